"""Sealing: what is sealed opens with the same ring for the same identity, and in no other way."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from langchain_mcp_oauth.errors import ConfigurationError, StoreCorruptError, StoreError, StoreKeyError
from langchain_mcp_oauth.store.sealing import Keys, Sealer, generate_key

OLD, NEW, OTHER = (generate_key() for _ in range(3))
IDENTITY = ("grant", "alice", "files", "https://mcp.example/mcp", "https://as.example")
PLAINTEXT = "canary-secret"


@given(plaintext=st.text(), identity=st.lists(st.text()))
def test_what_was_sealed_opens(plaintext: str, identity: list[str]) -> None:
    """Any text for any identity comes back."""
    sealer = Sealer(NEW)
    assert sealer.open(sealer.seal(plaintext, tuple(identity)), tuple(identity)) == plaintext


@given(one=st.lists(st.text(max_size=3), max_size=4), other=st.lists(st.text(max_size=3), max_size=4))
def test_another_identity_does_not_open(one: list[str], other: list[str]) -> None:
    """Identities are lists: what would read the same when joined is still another one."""
    sealer = Sealer(NEW)
    record = sealer.seal(PLAINTEXT, tuple(one))
    if one == other:
        assert sealer.open(record, tuple(other)) == PLAINTEXT
    else:
        with pytest.raises(StoreCorruptError):
            sealer.open(record, tuple(other))


@pytest.mark.parametrize("position", range(len(IDENTITY)))
def test_a_row_of_somebody_else_does_not_open(position: int) -> None:
    """Neither with another user, nor server, URL, issuer or kind of row."""
    sealer = Sealer(NEW)
    moved = tuple("x" if index == position else part for index, part in enumerate(IDENTITY))
    with pytest.raises(StoreCorruptError):
        sealer.open(sealer.seal(PLAINTEXT, IDENTITY), moved)


@given(data=st.data())
def test_a_changed_record_does_not_open(data: st.DataObject) -> None:
    """One character changed anywhere, also in bits that base64 would ignore, is an error of the store and nothing else."""
    record = Sealer(NEW).seal(PLAINTEXT, IDENTITY)
    position = data.draw(st.integers(0, len(record) - 1))
    character = data.draw(
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0é").filter(
            lambda c: c != record[position]
        )
    )
    with pytest.raises((StoreCorruptError, StoreKeyError)):
        Sealer(NEW).open(record[:position] + character + record[position + 1 :], IDENTITY)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: "",
        lambda record: "v1",
        lambda record: "v1..",
        lambda record: record[:-1],
        lambda record: record + "A",
        lambda record: record + "=",
        lambda record: "v2" + record[2:],
        lambda record: record.rsplit(".", 1)[0] + ".",
        lambda record: record.rsplit(".", 1)[0] + ".AAAA",
        lambda record: PLAINTEXT,
    ],
)
def test_garbage_is_corrupt(change: Callable[[str], str]) -> None:
    """There is no fallback to plaintext, and nothing but a whole record is read."""
    sealer = Sealer(NEW)
    with pytest.raises(StoreCorruptError):
        sealer.open(change(sealer.seal(PLAINTEXT, IDENTITY)), IDENTITY)


@given(record=st.text())
def test_any_text_is_refused(record: str) -> None:
    """Whatever stands in the column, the error is ours."""
    with pytest.raises(StoreError):
        Sealer(NEW).open(record, IDENTITY)


def test_sealing_twice_differs() -> None:
    """Every record has a nonce of its own."""
    sealer = Sealer(NEW)
    assert len({sealer.seal(PLAINTEXT, IDENTITY) for _ in range(100)}) == 100


def test_the_record_is_as_documented() -> None:
    """`v1.<key id>.<base64url>` with the nonce in front; the key id does not change between versions of the library."""
    version, key_id, body = Sealer(base64.urlsafe_b64encode(bytes(32)).decode(), lambda count: b"n" * count).seal("", IDENTITY).split(".")
    assert (version, key_id) == ("v1", "9acc2517")
    raw = base64.urlsafe_b64decode(body + "==")
    assert (raw[:12], len(raw)) == (b"n" * 12, 28)


def test_the_key_of_fernet_fits() -> None:
    """What people already have at hand to make a key with."""
    sealer = Sealer(Fernet.generate_key().decode())
    assert sealer.open(sealer.seal(PLAINTEXT, IDENTITY), IDENTITY) == PLAINTEXT


@pytest.mark.parametrize(
    "keys",
    [f"{NEW},{OLD}", f" {NEW} ,\n{OLD}\n", [NEW, OLD], (NEW, OLD), lambda: f"{NEW},{OLD}", lambda: [NEW, OLD]],
    ids=["text", "spaced text", "list", "tuple", "function to text", "function to list"],
)
def test_the_first_key_seals_and_all_open(keys: Keys) -> None:
    """However several keys are written; that is how one rotates."""
    ring, old, new = Sealer(keys), Sealer(OLD), Sealer(NEW)
    before, after = old.seal(PLAINTEXT, IDENTITY), ring.seal(PLAINTEXT, IDENTITY)
    assert ring.open(before, IDENTITY) == ring.open(after, IDENTITY) == new.open(after, IDENTITY) == PLAINTEXT
    assert [sealed.startswith(ring.beginning()) for sealed in (before, after)] == [False, True]
    with pytest.raises(StoreKeyError):
        old.open(after, IDENTITY)


def test_another_key_is_named_as_the_trouble() -> None:
    """A key that is not configured is another error than damage."""
    with pytest.raises(StoreKeyError, match="not configured"):
        Sealer(OTHER).open(Sealer(NEW).seal(PLAINTEXT, IDENTITY), IDENTITY)


BAD_KEYS: list[Keys] = [
    "",
    " ",
    ",",
    f"{NEW},",
    "short",
    NEW[:-2],
    NEW + "A",
    NEW[:20] + "!" + NEW[21:],
    "é" * 44,
    [],
    [NEW, ""],
    [NEW, None],
    [b"x" * 32],
    b"x" * 32,
]  # type: ignore[list-item]


@pytest.mark.parametrize("keys", BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_a_malformed_key_is_a_configuration_error(keys: Keys) -> None:
    """At once, or when the function that gives it is first called."""
    with pytest.raises(ConfigurationError):
        Sealer(keys)
    asked = Sealer(lambda: keys)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError):
        asked.seal(PLAINTEXT, IDENTITY)


def test_a_function_is_called_once_and_only_when_needed() -> None:
    """Also when several threads need the key at once."""
    calls: list[int] = []
    barrier = Barrier(8)

    def ask() -> str:
        calls.append(1)
        return NEW

    def work() -> None:
        barrier.wait()
        sealer.seal(PLAINTEXT, IDENTITY)

    sealer = Sealer(ask)
    assert calls == []
    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]


def test_errors_and_repr_hold_no_secret() -> None:
    """Neither a key, nor a key id, nor ciphertext, nor what was sealed; not in the chained exceptions either."""
    sealer = Sealer([NEW, OLD])
    record = sealer.seal(PLAINTEXT, IDENTITY)
    texts = [repr(sealer), str(sealer)]
    for ring, identity in [(sealer, ("x",)), (Sealer(OTHER), IDENTITY)]:
        with pytest.raises(StoreError) as caught:
            ring.open(record, identity)
        texts.append("".join(traceback.format_exception(caught.value)))
    with pytest.raises(ConfigurationError) as malformed:
        Sealer([NEW, OLD[:-3]])
    texts.append("".join(traceback.format_exception(malformed.value)))
    secrets = [PLAINTEXT, NEW, OLD[:-3], OTHER, *record.split(".")[1:]]
    assert [secret for secret in secrets for text in texts if secret in text] == []
