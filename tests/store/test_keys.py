"""Where the key comes from, and that it is made once."""

from __future__ import annotations

import logging
import sqlite3
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import keyring as keyring_package
import keyring.backends.chainer
import keyring.backends.fail
import keyring.backends.null
import pytest
from sqlalchemy.engine import make_url

from langchain_mcp_oauth.errors import ConfigurationError
from langchain_mcp_oauth.store import SQLModelTokenStore, keys
from langchain_mcp_oauth.store.keys import KEY_VARIABLE, Keyring, choose_keys, system_keyring
from langchain_mcp_oauth.store.sealing import Keys, Sealer, generate_key

from .store_samples import KEY, a_grant

FILE, MEMORY, POSTGRES = (
    make_url(text) for text in ("sqlite:///logins.db", "sqlite://", "postgresql://user:canary-password@db.example/logins")
)
DESKTOP = {"DISPLAY": ":0"}


class FakeKeyring:
    """A keyring in a dict."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str, /) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str, /) -> None:
        self.entries[service, username] = password


class BrokenKeyring(FakeKeyring):
    """One that fails at everything."""

    def get_password(self, service: str, username: str, /) -> str | None:
        raise RuntimeError("no bus")

    def set_password(self, service: str, username: str, password: str, /) -> None:
        raise RuntimeError("no bus")


class ForgetfulKeyring(FakeKeyring):
    """One that accepts everything and keeps nothing."""

    def set_password(self, service: str, username: str, password: str, /) -> None:
        pass


class PromptingKeyring(FakeKeyring):
    """One that waits for a person who is not there."""

    def __init__(self, released: Event) -> None:
        super().__init__()
        self.released = released

    def get_password(self, service: str, username: str, /) -> str | None:
        self.released.wait(30)
        return None


def embedded(directory: Path, keyring: Keyring | None = None) -> list[str]:
    """The keys of an SQLite file when nothing is configured."""
    chosen = choose_keys(None, FILE, environ={}, directory=directory, keyring=lambda: keyring)
    assert callable(chosen)
    found = chosen()
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("url", [FILE, MEMORY, POSTGRES], ids=str)
@pytest.mark.parametrize("explicit", ["key", ["key", "other"], lambda: "key"], ids=["text", "list", "function"])
def test_an_argument_comes_first(url: object, explicit: Keys) -> None:
    """On every database, whatever the environment says."""
    assert choose_keys(explicit, url, environ={KEY_VARIABLE: "other"}) is explicit  # type: ignore[arg-type]


@pytest.mark.parametrize("url", [FILE, MEMORY, POSTGRES], ids=str)
def test_the_environment_comes_second(url: object) -> None:
    """On every database."""
    assert choose_keys(None, url, environ={KEY_VARIABLE: "a,b"}) == "a,b"  # type: ignore[arg-type]


def test_an_empty_variable_is_a_mistake(tmp_path: Path) -> None:
    """A secret that did not arrive must not quietly become another key."""
    with pytest.raises(ConfigurationError):
        Sealer(choose_keys(None, FILE, environ={KEY_VARIABLE: ""}, directory=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_shared_database_needs_a_key() -> None:
    """The message says what to set, and nothing of the database's password."""
    with pytest.raises(ConfigurationError, match="LANGCHAIN_MCP_OAUTH_KEY") as caught:
        choose_keys(None, POSTGRES, environ={})
    assert "encryption_key" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_database_in_memory_has_a_passing_key(tmp_path: Path) -> None:
    """A new one each time, and nothing is written."""
    chosen = [choose_keys(None, MEMORY, environ={}, directory=tmp_path) for _ in range(2)]
    assert chosen[0] != chosen[1]
    assert [Sealer(each).open(Sealer(each).seal("x", ()), ()) for each in chosen] == ["x", "x"]
    assert list(tmp_path.iterdir()) == []


def test_the_keyring_keeps_the_key(tmp_path: Path) -> None:
    """It is made once; no file holds it."""
    keyring = FakeKeyring()
    first = embedded(tmp_path, keyring)
    assert embedded(tmp_path, keyring) == first == list(keyring.entries.values())
    assert not (tmp_path / "key").exists()
    assert Sealer(first)


@pytest.mark.parametrize("keyring", [None, BrokenKeyring(), ForgetfulKeyring()], ids=lambda keyring: type(keyring).__name__)
def test_without_a_keyring_a_file_keeps_the_key(tmp_path: Path, keyring: Keyring | None) -> None:
    """It is made once, readable by its owner only."""
    directory = tmp_path / "config" / "langchain-mcp-oauth"
    first = embedded(directory, keyring)
    assert embedded(directory, keyring) == first == [(directory / "key").read_text().strip()]
    assert Sealer(first)
    assert ((directory / "key").stat().st_mode & 0o777, directory.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_keyring_that_is_not_found_is_no_error(tmp_path: Path) -> None:
    """Whatever goes wrong in looking for it."""

    def find() -> Keyring:
        raise ModuleNotFoundError("keyring")

    chosen = choose_keys(None, FILE, environ={}, directory=tmp_path, keyring=find)
    assert callable(chosen)
    assert chosen() == [(tmp_path / "key").read_text().strip()]


def test_a_keyring_that_waits_for_a_person_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time it counts as not there."""
    monkeypatch.setattr(keys, "KEYRING_SECONDS", 0.01)
    released = Event()
    try:
        assert embedded(tmp_path, PromptingKeyring(released)) == [(tmp_path / "key").read_text().strip()]
    finally:
        released.set()


def test_a_keyring_that_comes_back_opens_but_does_not_seal(tmp_path: Path) -> None:
    """Rows sealed while it was there stay readable, and new ones can be read without it."""
    keyring = FakeKeyring()
    [desktop] = embedded(tmp_path, keyring)
    [terminal] = embedded(tmp_path, BrokenKeyring())
    assert embedded(tmp_path, keyring) == [terminal, desktop]


def test_an_empty_key_file_is_made_again(tmp_path: Path) -> None:
    """Its maker died before writing; nothing was sealed with it."""
    (tmp_path / "key").touch(mode=0o644)
    [key] = embedded(tmp_path)
    assert (tmp_path / "key").read_text().strip() == key
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_key_file_can_be_put_into_a_read_only_place(tmp_path: Path) -> None:
    """If there is one, nothing is written beside it."""
    key = generate_key()
    (tmp_path / "key").write_text(key + "\n")
    assert embedded(tmp_path) == [key]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_directory_that_cannot_be_used_says_what_to_set(tmp_path: Path) -> None:
    """No traceback of the operating system, but the variable's name."""
    (tmp_path / "config").write_text("a file")
    with pytest.raises(ConfigurationError, match=KEY_VARIABLE):
        embedded(tmp_path / "config")


def test_making_a_key_file_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning in the log, naming the variable and the file, without the key."""
    [key] = embedded(tmp_path)
    embedded(tmp_path)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "langchain_mcp_oauth.store.keys"
    assert KEY_VARIABLE in record.getMessage()
    assert str(tmp_path / "key") in record.getMessage()
    assert key not in record.getMessage()


def test_who_comes_second_waits_for_the_firsts_key(tmp_path: Path) -> None:
    """A key is looked for again when it is one's turn to make it."""
    first, found = generate_key(), []
    with closing(sqlite3.connect(tmp_path / "lock", isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        second = Thread(target=lambda: found.append(embedded(tmp_path)))
        second.start()
        second.join(0.3)
        assert second.is_alive()
        (tmp_path / "key").write_text(first)
    second.join()
    assert found == [[first]]


def test_processes_make_one_key(tmp_path: Path, processes: Callable[..., list[str]]) -> None:
    """Processes that find no key at the same moment end up with the same one."""
    for number in range(5):
        directory = tmp_path / str(number)
        assert processes("sqlite://", "make_key", (str(directory),) * 3) == [(directory / "key").read_text().strip()] * 3


@pytest.fixture
def backend() -> Iterator[None]:
    """Puts back the backend that a test chose for the `keyring` package."""
    before = keyring_package.core._keyring_backend
    yield
    keyring_package.core._keyring_backend = before


def a_backend(module: str) -> object:
    return type("Keyring", (keyring.backends.null.Keyring,), {"__module__": module})()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("module", "used"),
    [
        ("keyring.backends.SecretService", True),
        ("keyring.backends.macOS", True),
        ("keyring.backends.Windows", True),
        ("keyring.backends.kwallet", True),
        ("keyring.backends.libsecret", True),
        ("keyring.backends.fail", False),
        ("keyring.backends.null", False),
        ("keyrings.alt.file", False),
        ("keyrings.cryptfile.cryptfile", False),
    ],
)
def test_only_keyrings_of_desktops_are_used(module: str, used: bool) -> None:
    """Others keep secrets in clear or ask for a password in the terminal."""
    chosen = a_backend(module)
    keyring_package.set_keyring(chosen)  # type: ignore[arg-type]
    assert system_keyring(DESKTOP) is (chosen if used else None)


@pytest.mark.usefixtures("backend")
def test_of_a_chain_the_first_desktop_keyring_is_used() -> None:
    """The chain itself would also ask those that are not."""
    inner = [a_backend("keyrings.alt.file"), a_backend("keyring.backends.kwallet")]
    chain = type("Chain", (keyring.backends.chainer.ChainerBackend,), {"backends": inner, "priority": 10})()
    keyring_package.set_keyring(chain)
    assert system_keyring(DESKTOP) is inner[1]


@pytest.mark.skipif(sys.platform in {"darwin", "win32"}, reason="these desktops have no DISPLAY")
def test_without_a_display_the_keyring_is_not_even_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could answer its prompt; the package is not imported."""
    monkeypatch.setitem(sys.modules, "keyring", types.ModuleType("keyring"))
    assert system_keyring({}) is None


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform in {"darwin", "win32"}, reason="XDG_CONFIG_HOME")
async def test_a_store_finds_its_key_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SQLite store without any configuration keeps its key in the user's configuration directory, not beside the database."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in (KEY_VARIABLE, "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    database = f"sqlite:///{tmp_path / 'data' / 'logins.db'}"
    first = SQLModelTokenStore(database)
    assert not (tmp_path / "config").exists()
    saved = await first.save_grant(a_grant())
    await first.aclose()
    second = SQLModelTokenStore(database)
    assert await second.load_grant(KEY) == saved
    await second.aclose()
    assert (tmp_path / "config" / "langchain-mcp-oauth" / "key").stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "data").glob("*key*"))
