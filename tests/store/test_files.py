"""What lies on the disk: whose it is, and what it does not show."""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine, event, select

from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.store import SQLModelTokenStore
from langchain_mcp_oauth.store.tables import GrantRow, RevocationRow

from .store_samples import ENCRYPTION_KEY, KEY, NOW, a_client, a_grant, a_request, minutes

pytestmark = pytest.mark.anyio

SECRETS = [
    "canary-access",
    "canary-refresh",
    "canary-client-secret",
    "canary-state-1",
    "canary-verifier",
    "code_challenge=",
    ENCRYPTION_KEY,
]


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that hides nothing by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def forms(secret: str) -> set[bytes]:
    """A secret as it is, quoted, in hexadecimal, and in base64 at each of its three alignments."""
    raw = secret.encode()
    encoded = {base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4] for shift in range(3)}
    return {raw, quote(secret, safe="").encode(), raw.hex().encode(), raw.hex().upper().encode(), *encoded}


async def fill(store: SQLModelTokenStore) -> None:
    """One row of every kind, each changed and read again."""
    await store.open_request(a_request("1"), now=NOW)
    await store.claim_request("auth-1", now=NOW, until=NOW + minutes(1))
    await store.grant_request("auth-1", a_grant())
    grant = await store.save_grant(a_grant())
    assert grant is not None
    await store.save_grant(a_grant(), replaces=grant.version)
    await store.save_client(a_client(), KEY.url)
    await store.acquire_lease(("refresh", "alice"), now=NOW, duration=minutes(1))
    await store.count(("step-up", "alice"), now=NOW, window=minutes(1))
    await store.list_grants("alice")
    await store.save_grant(a_grant(GrantKey("gone", KEY.server, KEY.url)))
    await store.disconnect(GrantKey("gone", KEY.server, KEY.url), now=NOW)


@pytest.mark.usefixtures("open_umask")
async def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    """The directory, if we make it, has mode 0700; the database and its journals 0600."""
    store = SQLModelTokenStore(f"sqlite:///{tmp_path / 'made' / 'logins.db'}", encryption_key=ENCRYPTION_KEY)
    await fill(store)
    assert {path.name: mode(path) for path in [tmp_path / "made", *(tmp_path / "made").iterdir()]} == {
        "made": 0o700,
        "logins.db": 0o600,
        "logins.db-wal": 0o600,
        "logins.db-shm": 0o600,
    }
    await store.aclose()


@pytest.mark.usefixtures("open_umask")
async def test_what_is_there_keeps_its_mode(tmp_path: Path) -> None:
    """We do not change the modes of a directory or a database that somebody else made."""
    (tmp_path / "logins.db").touch(0o660)
    before = mode(tmp_path)
    store = SQLModelTokenStore(f"sqlite:///{tmp_path / 'logins.db'}", encryption_key=ENCRYPTION_KEY)
    await store.save_grant(a_grant())
    assert (mode(tmp_path), mode(tmp_path / "logins.db")) == (before, 0o660)
    await store.aclose()


async def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    """Making a store touches no disk; closing one that was never used neither."""
    store = SQLModelTokenStore(f"sqlite:///{tmp_path / 'made' / 'logins.db'}", encryption_key=ENCRYPTION_KEY)
    await store.aclose()
    assert contents(tmp_path) == {}


async def test_no_secret_stands_in_clear(tmp_path: Path) -> None:
    """In no file, journals included, in none of the usual spellings; what people look for with SQL is there."""
    store = SQLModelTokenStore(f"sqlite:///{tmp_path / 'logins.db'}", encryption_key=ENCRYPTION_KEY)
    await fill(store)
    files = contents(tmp_path)
    assert "logins.db-wal" in files
    everything = b"".join(files.values())
    assert [secret for secret in SECRETS for form in forms(secret) if form in everything] == []
    assert all(text in everything for text in (b"alice", b"files:write", b"https://mcp.example/mcp", b"https://as.example", b"granted"))
    await store.aclose()


async def test_deleted_rows_are_overwritten(tmp_path: Path) -> None:
    """A copy of the file made later holds no sealed token of a user who has disconnected and whose issuer has been told, however SQLite
    was built."""
    path = tmp_path / "logins.db"
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA secure_delete=OFF").close())
    store = SQLModelTokenStore(engine, encryption_key=ENCRYPTION_KEY)
    keys = [GrantKey("alice", f"server-{number}", KEY.url) for number in range(20)]
    for key in keys:
        await store.save_grant(a_grant(key))
    with engine.connect() as connection:
        sealed = [row.sealed.encode() for row in connection.execute(select(GrantRow))]
    assert [record[-40:] in path.read_bytes() for record in sealed] == [True] * 20
    for key in keys:
        await store.disconnect(key, now=NOW)
    with engine.connect() as connection:
        sealed += [row.sealed.encode() for row in connection.execute(select(RevocationRow))]
    assert len(sealed) == 40
    for grant in await store.claim_revocations(now=NOW + minutes(1), until=NOW + minutes(2)):
        await store.end_revocation(grant)
    engine.dispose()
    assert [record[-40:] in path.read_bytes() for record in sealed] == [False] * 40


async def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    """The file is in write-ahead mode: while another process writes, a grant can be read."""
    path = tmp_path / "logins.db"
    store = SQLModelTokenStore(f"sqlite:///{path}?timeout=0", encryption_key=ENCRYPTION_KEY)
    saved = await store.save_grant(a_grant())
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM mcp_oauth_grants")
    assert await store.load_grant(KEY) == saved
    writer.execute("ROLLBACK")
    writer.close()
    await store.aclose()
