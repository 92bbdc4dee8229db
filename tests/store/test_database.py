"""Engines, their errors, and what a store does when its database is not as it was."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from threading import Barrier, Event
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, StaticPool, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex
from sqlmodel import Session, SQLModel, col, update

from langchain_mcp_oauth.errors import ConfigurationError, StoreCorruptError, StoreError, StoreKeyError, StoreUnavailable, StoreVersionError
from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.store import SQLModelTokenStore, _resealing
from langchain_mcp_oauth.store.schema import upgrade_tables
from langchain_mcp_oauth.store.sealing import Sealer, generate_key
from langchain_mcp_oauth.store.tables import METADATA, GrantRow, UTCDateTime

from .store_samples import ENCRYPTION_KEY, ISSUER, KEY, NOW, REDIRECT, a_client, a_grant, a_listing, a_request, minutes

pytestmark = pytest.mark.anyio

BOB, MALLORY = (GrantKey(user, KEY.server, KEY.url) for user in ("bob", "mallory"))
EVIL = "https://evil.example"

Store = SQLModelTokenStore

READS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "load_grant": lambda store: store.load_grant(KEY),
    "list_grants": lambda store: store.list_grants("alice"),
    "disconnect": lambda store: store.disconnect(KEY, now=NOW),
    "find_open_request": lambda store: store.find_open_request(KEY, now=NOW),
    "open_request": lambda store: store.open_request(a_request("2"), now=NOW),
    "load_request": lambda store: store.load_request("auth-1"),
    "load_request_by_state": lambda store: store.load_request_by_state(SecretStr("canary-state-1")),
    "load_client": lambda store: store.load_client(ISSUER, REDIRECT, KEY.url),
    "load_credentials": lambda store: store.load_credentials(KEY),
    "load_documents": lambda store: store.load_documents({"digest-1"}),
    "rotate": lambda store: store.rotate(),
}
"""Whatever opens a sealed value."""

WRITES: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "save_grant": lambda store: store.save_grant(a_grant()),
    "claim_request": lambda store: store.claim_request("auth-1", now=NOW, until=NOW),
    "count": lambda store: store.count(("x",), now=NOW, window=minutes(1)),
    "acquire_lease": lambda store: store.acquire_lease(("x",), now=NOW, duration=minutes(1)),
    "lease_grant": lambda store: store.lease_grant(KEY, 1, now=NOW, duration=minutes(1)),
    "purge": lambda store: store.purge(now=NOW),
}


def a_store(database: str | Engine, **options: Any) -> Store:
    return SQLModelTokenStore(database, **{"encryption_key": ENCRYPTION_KEY, "migrate": True, **options})


async def fill(store: Store) -> None:
    for key, name in [(KEY, "1"), (BOB, "bob")]:
        await store.save_grant(a_grant(key))
        await store.open_request(a_request(name, key=key), now=NOW)
    await store.save_client(a_client(), KEY.url)
    await store.save_client(a_client(), BOB.url + "/other")
    await store.save_listings([a_listing()], {a_listing().digest: "canary-document"})
    for key in (KEY, BOB):
        await store.save_credentials(key, {"API_KEY": SecretStr("canary-credentials")})
    for name in ("gone-1", "gone-2"):
        await store.save_grant(a_grant(key := GrantKey(name, KEY.server, KEY.url)))
        await store.disconnect(key, now=NOW)


def rows(database: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is stored."""
    engine = create_engine(database)
    with engine.connect() as connection:
        found = {
            table.name: sorted(tuple(map(repr, row)) for row in connection.execute(table.select())) for table in METADATA.sorted_tables
        }
    engine.dispose()
    return found


def execute(database: str, *statements: str) -> None:
    engine = create_engine(database)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process is writing."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


# What cannot be reached ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_a_locked_database_is_unavailable(tmp_path: Path, write: Callable[[Store], Awaitable[Any]]) -> None:
    """After its time-out the call fails, can be retried, and names neither SQL nor values."""
    path = tmp_path / "logins.db"
    store = a_store(f"sqlite:///{path}?timeout=0.05")
    await fill(store)
    with locked(path), pytest.raises(StoreUnavailable) as caught:
        await write(store)
    assert caught.value.retryable
    told = "".join(traceback.format_exception(caught.value))
    assert [secret for secret in ("SQL:", "BEGIN", "mcp_oauth_", "alice") if secret in told] == []
    await write(store)
    await store.aclose()


async def test_sqlite_waits_for_another_writer(tmp_path: Path) -> None:
    """By default long enough for a writer who is nearly done."""
    path = tmp_path / "logins.db"
    store = a_store(f"sqlite:///{path}")
    await store.purge(now=NOW)
    with locked(path):
        waiting = asyncio.create_task(store.save_grant(a_grant()))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
    assert await waiting
    await store.aclose()


async def test_a_read_only_database_is_unavailable(tmp_path: Path) -> None:
    """It can be read from, and writing fails as an error of the store."""
    path = tmp_path / "logins.db"
    writable = a_store(f"sqlite:///{path}")
    saved = await writable.save_grant(a_grant())
    store = a_store(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert await store.load_grant(KEY) == saved
    with pytest.raises(StoreUnavailable):
        await store.save_grant(a_grant())
    await store.aclose()
    await writable.aclose()


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    """The error holds no password."""
    store = a_store("postgresql://user:canary-password@127.0.0.1:1/logins?connect_timeout=2")
    with pytest.raises(StoreUnavailable) as caught:
        await store.load_grant(KEY)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    await store.aclose()


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "file").touch()
    store = a_store(f"sqlite:///{tmp_path / 'file' / 'logins.db'}")
    with pytest.raises(StoreUnavailable, match=r"logins\.db"):
        await store.load_grant(KEY)


async def test_no_free_connection_is_unavailable(tmp_path: Path) -> None:
    """A lent pool may be exhausted by its owner."""
    engine = create_engine(f"sqlite:///{tmp_path / 'logins.db'}", pool_size=1, max_overflow=0, pool_timeout=0.01)
    store = a_store(engine)
    await store.purge(now=NOW)
    with engine.connect(), pytest.raises(StoreUnavailable):
        await store.load_grant(KEY)
    assert await store.load_grant(KEY) is None
    engine.dispose()


async def test_a_broken_table_is_not_called_unavailable(shared_database: str) -> None:
    """Retrying would not help; the error keeps its cause for whoever repairs it."""
    store = a_store(shared_database)
    await fill(store)
    execute(shared_database, "DROP TABLE mcp_oauth_leases")
    with pytest.raises(StoreError) as caught:
        await store.acquire_lease(("x",), now=NOW, duration=minutes(1))
    assert not isinstance(caught.value, StoreUnavailable)
    assert not caught.value.retryable
    assert caught.value.__cause__ is not None
    await store.aclose()


TROUBLES = {
    "disk full": "53100",
    "out of memory": "53200",
    "too many connections": "53300",
    "read-only": "25006",
    "lock timeout": "55P03",
    "statement timeout": "57014",
    "shutting down": "57P01",
    "starting up": "57P03",
    "I/O error": "58030",
}
"""PostgreSQL's error codes (appendix A) for what passes."""


@pytest.mark.postgres
@pytest.mark.parametrize("code", TROUBLES.values(), ids=TROUBLES)
async def test_a_postgres_in_trouble_is_unavailable(postgres: str, code: str) -> None:
    """A write that it refuses with one of these changes nothing and can be tried again; once it is well, the same succeeds."""
    store = a_store(postgres)
    await fill(store)
    refuse = f"BEGIN RAISE EXCEPTION 'canary' USING ERRCODE = '{code}'; END"
    execute(
        postgres,
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $${refuse}$$",
        "CREATE TRIGGER trouble BEFORE INSERT OR UPDATE OR DELETE ON mcp_oauth_grants EXECUTE FUNCTION refuse()",
    )
    before = rows(postgres)
    for write in (lambda: store.save_grant(a_grant()), lambda: store.disconnect(KEY, now=NOW)):
        with pytest.raises(StoreUnavailable) as caught:
            await write()
        assert caught.value.retryable
        assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert rows(postgres) == before
    assert await store.load_grant(KEY), "what can be read is read"
    execute(postgres, "DROP TRIGGER trouble ON mcp_oauth_grants")
    assert await store.disconnect(KEY, now=NOW)
    await store.aclose()


@pytest.mark.postgres
async def test_a_postgres_that_only_reads_is_unavailable(postgres: str) -> None:
    """As a standby is, before it has taken over: logins can be read, and writing can be tried again."""
    primary, standby = a_store(postgres), a_store(postgres + "%20-cdefault_transaction_read_only%3Don", migrate=False)
    await fill(primary)
    assert await standby.load_grant(KEY) == await primary.load_grant(KEY)
    with pytest.raises(StoreUnavailable) as caught:
        await standby.acquire_lease(("x",), now=NOW, duration=minutes(1))
    assert caught.value.retryable
    await primary.aclose()
    await standby.aclose()


@pytest.mark.postgres
async def test_a_key_too_long_for_postgres_is_not_called_unavailable(postgres: str) -> None:
    """Its indexes take about 2,700 bytes a row."""
    store = a_store(postgres)
    with pytest.raises(StoreError) as caught:
        await store.save_grant(a_grant(GrantKey("alice", "files", token_hex(4000))))
    assert not caught.value.retryable
    await store.aclose()


async def test_what_is_not_a_database_is_an_error_of_the_store(tmp_path: Path) -> None:
    """And the file stays as it is."""
    (tmp_path / "logins.db").write_bytes(b"not a database" * 100)
    store = a_store(f"sqlite:///{tmp_path / 'logins.db'}")
    with pytest.raises(StoreError):
        await store.load_grant(KEY)
    assert (tmp_path / "logins.db").read_bytes() == b"not a database" * 100
    await store.aclose()


# Keys and seals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_another_key_deletes_nothing(shared_database: str, read: Callable[[Store], Awaitable[Any]]) -> None:
    """Every call that would open a row says which trouble it is and changes nothing; with the right key all is there."""
    store, stranger = a_store(shared_database), a_store(shared_database, encryption_key=generate_key())
    await fill(store)
    before = rows(shared_database)
    with pytest.raises(StoreKeyError):
        await read(stranger)
    assert rows(shared_database) == before
    assert await store.load_grant(KEY)
    await store.aclose()
    await stranger.aclose()


@pytest.mark.parametrize("trouble", ["another key", "moved", "changed"])
async def test_revocations_that_do_not_open_are_left_out(shared_database: str, trouble: str) -> None:
    """They keep nobody from logging in, nor the others from being made; with the right key they are there."""
    store = a_store(shared_database)
    await fill(store)
    reader = a_store(shared_database, encryption_key=generate_key()) if trouble == "another key" else store
    moved = "(SELECT sealed FROM mcp_oauth_grants WHERE user_id = 'bob')"
    if trouble != "another key":
        execute(shared_database, f"UPDATE mcp_oauth_revocations SET sealed = {moved if trouble == 'moved' else chr(39) * 2}")
    await reader.save_grant(a_grant(MALLORY))
    await reader.disconnect(MALLORY, now=NOW)
    assert [grant.key for grant in await reader.claim_revocations(now=NOW + minutes(1), until=NOW + minutes(2))] == [MALLORY]
    found = await store.claim_revocations(now=NOW + minutes(2), until=NOW + minutes(3))
    assert len(found) == (2 if trouble == "another key" else 1)
    await store.aclose()
    await reader.aclose()


async def test_with_another_key_one_can_log_in_anew(shared_database: str) -> None:
    """An expired request does not stand in the way, and a new login replaces what cannot be read."""
    store, stranger = a_store(shared_database), a_store(shared_database, encryption_key=generate_key())
    await fill(store)
    later = NOW + minutes(10)
    request = await stranger.open_request(a_request("2", expires_at=later + minutes(10)), now=later)
    assert await stranger.claim_request(request.auth_id, now=later, until=later + minutes(1))
    granted = await stranger.grant_request(request.auth_id, a_grant())
    assert await stranger.load_grant(KEY) == granted
    await store.aclose()
    await stranger.aclose()


SWAPS = {
    "grant": ("mcp_oauth_grants", "user_id", lambda store: store.load_grant(KEY)),
    "grants": ("mcp_oauth_grants", "user_id", lambda store: store.list_grants("alice")),
    "request": ("mcp_oauth_requests", "user_id", lambda store: store.load_request("auth-1")),
    "state": ("mcp_oauth_requests", "user_id", lambda store: store.load_request_by_state(SecretStr("canary-state-1"))),
    "credentials": ("mcp_oauth_credentials", "user_id", lambda store: store.load_credentials(KEY)),
    "client": ("mcp_oauth_clients", "url", lambda store: store.load_client(ISSUER, REDIRECT, KEY.url)),
}


@pytest.mark.parametrize(("table", "identity", "read"), SWAPS.values(), ids=SWAPS)
async def test_a_moved_seal_does_not_open(shared_database: str, table: str, identity: str, read: Callable[[Store], Awaitable[Any]]) -> None:
    """Who can write to the database but has no key cannot give one row's secrets to another; nothing is deleted over it."""
    store = a_store(shared_database)
    await fill(store)
    execute(
        shared_database,
        f"UPDATE {table} SET sealed = (SELECT o.sealed FROM {table} AS o WHERE o.{identity} <> {table}.{identity})",
    )
    before = rows(shared_database)
    with pytest.raises(StoreCorruptError):
        await read(store)
    assert rows(shared_database) == before
    await store.aclose()


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (
            "UPDATE mcp_oauth_grants SET user_id = 'mallory' WHERE user_id = 'bob'",
            lambda store: store.load_grant(MALLORY),
        ),
        ("UPDATE mcp_oauth_grants SET issuer = '" + EVIL + "'", lambda store: store.load_grant(KEY)),
        ("UPDATE mcp_oauth_grants SET sealed = 'secret'", lambda store: store.load_grant(KEY)),
        ("UPDATE mcp_oauth_requests SET user_id = 'mallory'  WHERE user_id = 'bob'", lambda store: store.load_request("auth-bob")),
        ("UPDATE mcp_oauth_requests SET issuer = '" + EVIL + "'", lambda store: store.load_request("auth-1")),
        ("UPDATE mcp_oauth_requests SET url = '" + EVIL + "' WHERE auth_id = 'auth-1'", lambda store: store.load_request("auth-1")),
        ("UPDATE mcp_oauth_requests SET auth_id = 'other' WHERE auth_id = 'auth-1'", lambda store: store.load_request("other")),
        (
            "UPDATE mcp_oauth_clients SET issuer = '" + EVIL + "'",
            lambda store: store.load_client(EVIL, REDIRECT, KEY.url),
        ),
    ],
)
async def test_a_changed_identity_does_not_open(shared_database: str, change: str, read: Callable[[Store], Awaitable[Any]]) -> None:
    """Nor can the row itself be given to another user or issuer."""
    store = a_store(shared_database)
    await fill(store)
    execute(shared_database, change)
    with pytest.raises(StoreCorruptError):
        await read(store)
    await store.aclose()


async def test_endpoints_cannot_be_changed_in_the_database(shared_database: str) -> None:
    """Where a refresh token is sent, and for what, stands in the seal and nowhere else."""
    store = a_store(shared_database)
    await fill(store)
    assert "as.example/token" not in str(rows(shared_database))
    await store.aclose()


async def test_a_seal_of_another_form_is_corrupt(shared_database: str) -> None:
    """What opens but cannot be read is an error of the store that shows nothing of it."""
    store = a_store(shared_database)
    await fill(store)
    identity = ("grant", KEY.user_id, KEY.server, KEY.url, ISSUER)
    record = store._sealer.seal('{"access_token": "canary-access"}', identity)
    execute(shared_database, f"UPDATE mcp_oauth_grants SET sealed = '{record}' WHERE user_id = 'alice'")
    with pytest.raises(StoreCorruptError) as caught:
        await store.load_grant(KEY)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    await store.aclose()


async def test_rotating_seals_every_row_with_the_first_key(shared_database: str) -> None:
    """Then the old key can go; versions, and so everybody's compare-and-swap, stay as they were."""
    new = generate_key()
    old_store, both, new_store = (a_store(shared_database, encryption_key=key) for key in (ENCRYPTION_KEY, [new, ENCRYPTION_KEY], new))
    await fill(old_store)
    grant, request = await old_store.load_grant(KEY), await old_store.load_request("auth-1")
    assert [await both.rotate(), await both.rotate()] == [11, 0]
    assert (await new_store.load_grant(KEY), await new_store.load_request("auth-1")) == (grant, request)
    assert await new_store.load_client(ISSUER, REDIRECT, KEY.url) == a_client()
    with pytest.raises(StoreKeyError):
        await old_store.load_grant(KEY)
    for store in (old_store, both, new_store):
        await store.aclose()


async def test_whoever_is_stopped_in_the_middle_of_rotating_starts_again(shared_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away after some rows: those are sealed with the first key, the others with the old one, and with both keys all can
    be read. The next run seals the rest."""
    monkeypatch.setattr(_resealing, "AT_ONCE", 2)
    old_store, both = a_store(shared_database), a_store(shared_database, encryption_key=[new := generate_key(), ENCRYPTION_KEY])
    await fill(old_store)
    write, left = both._database.write, [2]

    def ends(work: Callable[[Session], Any]) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise StoreUnavailable("gone")
        return write(work)

    monkeypatch.setattr(both._database, "write", ends)
    with pytest.raises(StoreUnavailable):
        await both.rotate()
    assert sealed_by(shared_database, new) == 2
    assert [await both.load_grant(key) for key in (KEY, BOB)].count(None) == 0
    monkeypatch.setattr(both._database, "write", write)
    assert await both.rotate() == sealed_by(shared_database, new) - 2
    assert sealed_by(shared_database, ENCRYPTION_KEY) == 0
    await old_store.aclose()
    await both.aclose()


@pytest.mark.parametrize("rows_at_once", [1, 2, 500])
async def test_rotating_leaves_what_does_not_open_as_it_is(
    shared_database: str, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of some rows is missing: that is the error, and those rows stay as they were; all others are sealed with the first key."""
    monkeypatch.setattr(_resealing, "AT_ONCE", rows_at_once)
    lost, new = generate_key(), generate_key()
    forgotten, known = a_store(shared_database, encryption_key=lost), a_store(shared_database)
    for user in ("a", "b", "z"):  # before and after the others
        await forgotten.save_grant(a_grant(GrantKey(user, KEY.server, KEY.url)))
    await fill(known)
    everything = sealed_by(shared_database, ENCRYPTION_KEY)
    both = a_store(shared_database, encryption_key=[new, ENCRYPTION_KEY])
    for _ in range(2):
        with pytest.raises(StoreKeyError):
            await both.rotate()
        assert [sealed_by(shared_database, key) for key in (lost, ENCRYPTION_KEY, new)] == [3, 0, everything]
    for store in (forgotten, known, both):
        await store.aclose()


def sealed_by(database: str, key: str) -> int:
    """How many rows this key has sealed."""
    return str(rows(database)).count(Sealer(key).beginning())


# Tables -------------------------------------------------------------------------------------------------------------------------


async def test_newer_tables_are_left_alone(shared_database: str) -> None:
    """An older library says so at its first call, and changes nothing."""
    first = a_store(shared_database)
    await fill(first)
    await first.aclose()
    execute(shared_database, "UPDATE mcp_oauth_version SET version_num = '0999'")
    before = rows(shared_database)
    store = a_store(shared_database)
    for call in [*READS.values(), *WRITES.values()]:
        with pytest.raises(StoreVersionError, match="999"):
            await call(store)
    assert rows(shared_database) == before
    await store.aclose()


async def test_whoever_creates_the_tables_second_uses_the_firsts(shared_database: str, tmp_path: Path) -> None:
    """Another process is creating them at this moment: one waits, and goes on with what the other made."""
    (tmp_path / "private").mkdir()
    store, engine = a_store(shared_database), create_engine(shared_database)
    with engine.begin() as other:
        if other.dialect.name == "sqlite":
            other.exec_driver_sql("BEGIN IMMEDIATE")
        assert upgrade_tables(other) == 0
        saving = asyncio.create_task(store.save_grant(a_grant()))
        done, _ = await asyncio.wait([saving], timeout=0.3)
        assert not done
    assert await saving == await store.load_grant(KEY)
    engine.dispose()
    await store.aclose()


@pytest.mark.postgres
async def test_creating_what_another_process_just_created_is_tried_again(postgres: str) -> None:
    """The look whether the tables are there and their creation are two moments to Postgres."""
    store = a_store(postgres)
    await fill(store)
    attempts: list[int] = []

    def create_blindly_at_first(session: Session) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            session.connection().exec_driver_sql("CREATE TABLE mcp_oauth_version (version INTEGER)")
        return len(attempts)

    assert await store._write(create_blindly_at_first) == 2
    await store.aclose()


async def test_tables_can_be_made_by_migrations(shared_database: str) -> None:
    """With `migrate=False` none is made; those made from `METADATA` are used."""
    store = a_store(shared_database, migrate=False)
    with pytest.raises(StoreVersionError, match="no tables"):
        await store.load_grant(KEY)
    engine = create_engine(shared_database)
    assert inspect(engine).get_table_names() == []
    METADATA.create_all(engine)
    engine.dispose()
    saved = await store.save_grant(a_grant())
    assert await store.load_grant(KEY) == saved
    await store.aclose()


def test_the_tables_are_apart_from_an_applications_own() -> None:
    """An application that creates its own SQLModel tables does not create ours, and the other way round."""
    assert not [name for name in SQLModel.metadata.tables if name.startswith("mcp_oauth_")]
    assert all(name.startswith("mcp_oauth_") for name in METADATA.tables)


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=["sqlite", "postgresql"])
def test_one_pending_request_is_the_databases_rule(dialect: Any) -> None:
    """The unique index is partial on both databases."""
    [index] = [index for index in METADATA.tables["mcp_oauth_requests"].indexes if index.unique]
    assert "(user_id, server, url) WHERE status = 'pending'" in str(CreateIndex(index).compile(dialect=dialect))


def test_a_naive_time_is_refused() -> None:
    """It could mean any of two dozen instants."""
    with pytest.raises(ValueError, match="zone"):
        UTCDateTime().process_bind_param(datetime(2026, 3, 1), sqlite.dialect())  # noqa: DTZ001


# Engines ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database", "says"),
    [
        ("logins.db", "database"),
        ("no-such-database://user:canary@host/x", "database"),
        ("postgresql+psycopg_async://user:canary@host/x", "synchronous"),
        ("postgresql+pg8000://user:canary@host/x", "pg8000"),
        (create_engine("sqlite://"), "StaticPool"),
    ],
    ids=str,
)
def test_a_database_that_cannot_work_is_refused_at_once(database: str | Engine, says: str) -> None:
    """With a message that says what to write instead, and no password."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        a_store(database)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.fixture
def lent(shared_database: str, tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "private").mkdir()
    engine = create_engine(shared_database)
    yield engine
    engine.dispose()


async def test_a_lent_engine_stays_open(lent: Engine) -> None:
    """Closing the store leaves the owner's connections; the store can still be used, and so can the engine."""
    store = a_store(lent)
    saved = await store.save_grant(a_grant())
    connections = lent.pool.status()
    await store.aclose()
    assert lent.pool.status() == connections
    assert await store.load_grant(KEY) == saved


async def test_an_engine_of_our_own_is_closed(shared_database: str) -> None:
    """No connection is left."""
    store = a_store(shared_database)
    await store.save_grant(a_grant())
    assert store._database._engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    await store.aclose()
    assert store._database._engine.pool.checkedin() == 0  # type: ignore[attr-defined]


async def test_a_lent_engine_keeps_its_own_transactions(file: str, tmp_path: Path) -> None:
    """Its owner's transactions do not become ours: they still read while somebody writes."""
    (tmp_path / "private").mkdir()
    engine = create_engine(file + "?timeout=0")
    await fill(a_store(engine))
    with locked(tmp_path / "private" / "logins.db"), engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM mcp_oauth_grants")).scalar() == 2
    engine.dispose()


async def test_a_lent_engine_may_begin_by_itself(tmp_path: Path) -> None:
    """SQLAlchemy's own recipe for SQLite emits BEGIN; ours comes after it."""
    engine = create_engine(f"sqlite:///{tmp_path / 'logins.db'}")
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    store = a_store(engine)
    await fill(store)
    assert sorted(await asyncio.gather(*(store.count(("x",), now=NOW, window=minutes(1)) for _ in range(20)))) == list(range(1, 21))
    engine.dispose()


async def test_a_lent_engine_in_memory_is_used_by_one_thread_at_a_time() -> None:
    """With the one connection that `StaticPool` gives."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    store = a_store(engine)
    assert sorted(await asyncio.gather(*(store.count(("x",), now=NOW, window=minutes(1)) for _ in range(20)))) == list(range(1, 21))
    engine.dispose()


# All or nothing -----------------------------------------------------------------------------------------------------------------


class Dice:
    """Random bytes until told to fail."""

    def __init__(self) -> None:
        self.fails = False

    def __call__(self, count: int) -> bytes:
        if self.fails:
            raise ZeroDivisionError
        return os.urandom(count)


@pytest.fixture(params=["lent", "own"])
def engine_or_url(request: pytest.FixtureRequest, shared_database: str, tmp_path: Path) -> Iterator[str | Engine]:
    """Also an engine whose owner commits every statement."""
    if request.param == "own":
        yield shared_database
    else:
        (tmp_path / "private").mkdir()
        engine = create_engine(shared_database, isolation_level="AUTOCOMMIT")
        yield engine
        engine.dispose()


async def test_a_method_that_fails_in_the_middle_has_done_nothing(engine_or_url: str | Engine, shared_database: str) -> None:
    """A request is not superseded without the next being opened, and not granted without the grant being saved."""
    dice = Dice()
    store = a_store(engine_or_url, random=dice)
    await fill(store)
    assert await store.claim_request("auth-bob", now=NOW, until=NOW + minutes(1))
    before = rows(shared_database)
    dice.fails = True
    for call in [
        store.open_request(a_request("2", scopes=("more",)), now=NOW),
        store.grant_request("auth-bob", a_grant(BOB)),
        store.save_grant(a_grant()),
    ]:
        with pytest.raises(ZeroDivisionError):
            await call
    assert rows(shared_database) == before
    dice.fails = False
    assert await store.grant_request("auth-bob", a_grant(BOB))
    await store.aclose()


async def test_disconnecting_returns_what_it_deletes(shared_database: str) -> None:
    """Tokens that another process is refreshing at this moment are those returned for revocation, not the ones before."""
    store, engine = a_store(shared_database), create_engine(shared_database)
    await fill(store)
    with engine.begin() as other:
        other.execute(text("UPDATE mcp_oauth_grants SET version = 42 WHERE user_id = 'alice'"))
        disconnecting = asyncio.create_task(store.disconnect(KEY, now=NOW))
        done, _ = await asyncio.wait([disconnecting], timeout=0.3)
        assert not done
    deleted = await disconnecting
    assert deleted is not None
    assert deleted.version == 42
    assert await store.load_grant(KEY) is None
    engine.dispose()
    await store.aclose()


async def test_no_transaction_is_open_while_a_key_service_is_asked(tmp_path: Path) -> None:
    """Others can write meanwhile."""
    path = tmp_path / "logins.db"
    made = a_store(f"sqlite:///{path}")
    await fill(made)

    def ask() -> str:
        with locked(path):
            return ENCRYPTION_KEY

    store = a_store(f"sqlite:///{path}?timeout=0", encryption_key=ask)
    assert await store.save_grant(a_grant())
    await store.aclose()
    await made.aclose()


@pytest.mark.postgres
async def test_a_deadlock_is_resolved(postgres: str) -> None:
    """Two transactions that lock the same rows in opposite orders both get done: the one the database ends starts again."""
    store, barrier = a_store(postgres), Barrier(2)
    await fill(store)
    attempts: list[str] = []

    def work(first: str, second: str) -> Callable[[Session], None]:
        def lock_both(session: Session) -> None:
            attempts.append(first)
            session.exec(update(GrantRow).where(col(GrantRow.user_id) == first).values(accepted=True))
            if attempts.count(first) == 1:
                barrier.wait(30)
            session.exec(update(GrantRow).where(col(GrantRow.user_id) == second).values(accepted=True))

        return lock_both

    await asyncio.gather(store._write(work("alice", "bob")), store._write(work("bob", "alice")))
    assert len(attempts) > 2
    await store.aclose()


async def test_a_cancelled_call_finishes_its_transaction(shared_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cancels a save that has begun gets a whole grant in the database, not half of one and no lock left behind."""
    begun, go_on = Event(), Event()

    def slow(count: int) -> bytes:
        begun.set()
        assert go_on.wait(30)
        return os.urandom(count)

    store = a_store(shared_database, random=slow)
    transact, ended = store._database.write, Event()

    def write(work: Callable[[Any], Any]) -> Any:
        try:
            return transact(work)
        finally:
            ended.set()

    monkeypatch.setattr(store._database, "write", write)
    saving = asyncio.create_task(store.save_grant(a_grant()))
    assert await asyncio.to_thread(begun.wait, 30)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 30)
    assert await store.load_grant(KEY) is not None
    assert await store.count(("x",), now=NOW, window=minutes(1)) == 1
    await store.aclose()
