"""`TokenStore` on SQLModel: SQLite in a file or in memory, Postgres for many machines.

The same portable statements run on both. A transition is a conditional UPDATE whose row count tells who won; an insertion is guarded by a
unique constraint, and whoever comes second starts over and finds the first one's row (`_database.Database.write`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from anyio import to_thread
from pydantic import SecretStr
from sqlalchemy import ColumnElement, Engine, and_, bindparam
from sqlmodel import Session, col, delete, select, update

from langchain_mcp_oauth.errors import StoreError
from langchain_mcp_oauth.models import (
    AuthorizationRequest,
    ClientRegistration,
    Credentials,
    Grant,
    GrantKey,
    Lease,
    Listing,
    RequestStatus,
)
from langchain_mcp_oauth.store import _leases, _listings, _pins, _requests, _revocations, _rows
from langchain_mcp_oauth.store._database import Database
from langchain_mcp_oauth.store._resealing import reseal
from langchain_mcp_oauth.store._statements import change, of, put, put_read
from langchain_mcp_oauth.store.contract import TokenStore
from langchain_mcp_oauth.store.keys import choose_keys
from langchain_mcp_oauth.store.sealing import Keys, Sealer
from langchain_mcp_oauth.store.tables import (
    SEALED,
    ClientRow,
    CredentialsRow,
    GrantRow,
    RequestRow,
)

__all__ = ["SQLModelTokenStore"]

T = TypeVar("T")


class SQLModelTokenStore(TokenStore):
    """A `TokenStore` in an SQL database. Nothing is opened before the first call.

    It works from any event loop and from several at once: the database is driven in worker threads, and a transaction that has started
    is finished there even if its caller is cancelled.

    Args:
        database: `sqlite:///logins.db` (made with mode 0600 in a directory of mode 0700), `sqlite://` (in memory), `postgresql://…`
            (needs the extra `postgres`), or a synchronous SQLAlchemy engine, which stays yours to dispose. SQLite waits 5 seconds for
            another writer; `?timeout=30` in the URL makes it 30.
        encryption_key: See `Keys`. Default: `LANGCHAIN_MCP_OAUTH_KEY`; for SQLite else the operating system's keyring or a key file.
        migrate: Whether the first call makes missing tables and brings older ones forward. Default: on SQLite only; for other databases run
            `langchain-mcp-oauth db upgrade` once for each release (or `upgrade`). False: never, for instance because your own migrations
            make the tables of `store.tables.METADATA`.
        random: Gives that many random bytes.

    Raises:
        ConfigurationError: the database or its key cannot work; the message names the option.
    """

    def __init__(
        self,
        database: str | Engine,
        *,
        encryption_key: Keys | None = None,
        migrate: bool | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._database = Database(database, migrate=migrate)
        self._sealer = Sealer(choose_keys(encryption_key, self._database.url), random)
        self._random = random

    async def _read(self, work: Callable[[Session], T]) -> T:
        return await to_thread.run_sync(self._with_keys, self._database.read, work)

    async def _write(self, work: Callable[[Session], T]) -> T:
        return await to_thread.run_sync(self._with_keys, self._database.write, work)

    async def _write_passing(self, work: Callable[[Session], T]) -> T:
        return await to_thread.run_sync(self._with_keys, self._database.write_passing, work)

    def _with_keys(self, transact: Callable[[Callable[[Session], T]], T], work: Callable[[Session], T]) -> T:
        self._sealer.load()  # it may ask a key service, and nobody is asked while a transaction is open
        return transact(work)

    # Grants -----------------------------------------------------------------------------------------------------------------

    async def load_grant(self, key: GrantKey) -> Grant | None:
        return await self._read(lambda session: self._grant(session, key))

    def _grant(self, session: Session, key: GrantKey) -> Grant | None:
        row = session.exec(_GRANT, params=asdict(key)).one_or_none()
        return _rows.read_grant(row, self._sealer) if row else None

    async def save_grant(self, grant: Grant, *, replaces: int | None = None, lease: Lease | None = None) -> Grant | None:
        def work(session: Session) -> Grant | None:
            if lease is not None:
                change(session, _leases.release(lease))
            return self._put_grant(session, grant) if replaces is None else self._replace_grant(session, grant, replaces)

        return await self._write(work)

    def _put_grant(self, session: Session, grant: Grant) -> Grant:
        stored = self._new_version(grant)
        _listings.forget(session, grant.key)
        put(session, _rows.grant_row(stored, self._sealer), of(GrantRow, grant.key))
        return stored

    def _replace_grant(self, session: Session, grant: Grant, version: int) -> Grant | None:
        stored = self._new_version(grant)
        row = _rows.grant_row(stored, self._sealer).model_dump()
        replaced = change(session, update(GrantRow).where(of(GrantRow, grant.key), col(GrantRow.version) == version).values(row))
        return stored if replaced else None

    def _new_version(self, grant: Grant) -> Grant:
        return replace(grant, version=self._unique(), client=_rows.without_configured_secret(grant.client))

    def _unique(self) -> int:
        return 1 + (int.from_bytes(self._random(8)) >> 2)  # 62 bits: fits BIGINT and does not come twice

    async def mark_accepted(self, key: GrantKey, version: int, *, now: datetime) -> None:
        statement = update(GrantRow).where(of(GrantRow, key), col(GrantRow.version) == version).values(accepted=True, used_at=now)
        await self._write(lambda session: change(session, statement))

    async def delete_grant(self, key: GrantKey, version: int) -> bool:
        statement = delete(GrantRow).where(of(GrantRow, key), col(GrantRow.version) == version)
        return await self._write(lambda session: change(session, statement) == 1)

    async def list_grants(self, user_id: str) -> Sequence[Grant]:
        def work(session: Session) -> list[Grant]:
            rows = session.exec(select(GrantRow).where(col(GrantRow.user_id) == user_id))
            # Sorted here: databases disagree on the order of text.
            return [_rows.read_grant(row, self._sealer) for row in sorted(rows, key=lambda row: (row.server, row.url))]

        return await self._read(work)

    async def disconnect(self, key: GrantKey, *, now: datetime) -> Grant | None:
        # Requests before the grant, as in `grant_request`: two transactions that lock in one order never wait for each other.
        def work(session: Session) -> Grant | None:
            change(session, _requests.superseded(key))
            _listings.forget(session, key)
            change(session, delete(CredentialsRow).where(of(CredentialsRow, key)))
            row = session.exec(select(GrantRow).where(of(GrantRow, key)).with_for_update()).one_or_none()
            if row is None:
                return None
            session.delete(row)
            grant = _rows.read_grant(row, self._sealer)
            _revocations.add(session, grant, now, self._sealer)
            return grant

        return await self._write(work)

    # Revocations ------------------------------------------------------------------------------------------------------------

    async def claim_revocations(self, *, now: datetime, until: datetime) -> Sequence[Grant]:
        return await self._write(lambda session: _revocations.claim(session, now, until, self._sealer))

    async def end_revocation(self, grant: Grant) -> None:
        await self._write(lambda session: change(session, _revocations.ended(grant)))

    # Authorization requests -------------------------------------------------------------------------------------------------

    async def find_open_request(self, key: GrantKey, *, now: datetime) -> AuthorizationRequest | None:
        return await self._load_request(_requests.find_open(key, now))

    async def open_request(self, request: AuthorizationRequest, *, now: datetime) -> AuthorizationRequest:
        stored = replace(request, client=_rows.without_configured_secret(request.client))
        return await self._write(lambda session: _requests.open_one(session, stored, now, self._sealer))

    async def load_request(self, auth_id: str) -> AuthorizationRequest | None:
        return await self._load_request(col(RequestRow.auth_id) == auth_id)

    async def load_request_by_state(self, state: SecretStr) -> AuthorizationRequest | None:
        return await self._load_request(col(RequestRow.state_hash) == _rows.hash_state(state))

    async def _load_request(self, which: ColumnElement[bool]) -> AuthorizationRequest | None:
        return await self._read(lambda session: _requests.load(session, which, self._sealer))

    async def claim_request(self, auth_id: str, *, now: datetime, until: datetime) -> bool:
        statement = _requests.claimed(auth_id, now, until)
        return await self._write(lambda session: change(session, statement) == 1)

    async def grant_request(self, auth_id: str, grant: Grant) -> Grant | None:
        def work(session: Session) -> Grant | None:
            return self._put_grant(session, grant) if _requests.grant(session, auth_id, grant.key) else None

        return await self._write(work)

    async def close_request(self, auth_id: str, status: RequestStatus) -> bool:
        return await self._write(lambda session: change(session, _requests.closed(auth_id, status)) == 1)

    # Clients ----------------------------------------------------------------------------------------------------------------

    async def load_client(self, issuer: str, redirect_uri: str, url: str) -> ClientRegistration | None:
        def work(session: Session) -> ClientRegistration | None:
            row = session.exec(select(ClientRow).where(_at(issuer, redirect_uri, url))).one_or_none()
            return _rows.read_client(row, self._sealer) if row else None

        return await self._read(work)

    async def save_client(self, client: ClientRegistration, url: str) -> None:
        row = partial(_rows.client_row, _rows.without_configured_secret(client), url, self._sealer)
        await self._write(lambda session: put(session, row(), _at(client.issuer, client.redirect_uri, url)))

    async def delete_client(self, client: ClientRegistration, url: str) -> bool:
        which = _at(client.issuer, client.redirect_uri, url)
        statement = delete(ClientRow).where(which, col(ClientRow.client_id) == client.client_id)
        return await self._write(lambda session: change(session, statement) == 1)

    # Credentials ------------------------------------------------------------------------------------------------------------

    async def load_credentials(self, key: GrantKey) -> Credentials | None:
        return await self._read(lambda session: self._credentials(session, key))

    async def save_credentials(self, key: GrantKey, values: Mapping[str, SecretStr]) -> Credentials:
        def work(session: Session) -> Credentials:
            before = self._credentials(session, key)
            saved = Credentials(key=key, values={**(before.values if before else {}), **values}, version=self._unique())
            put_read(session, _rows.credentials_row(saved, self._sealer), of(CredentialsRow, key), found=before is not None)
            _listings.forget(session, key)
            return saved

        return await self._write(work)

    def _credentials(self, session: Session, key: GrantKey) -> Credentials | None:
        row = session.exec(select(CredentialsRow).where(of(CredentialsRow, key)).with_for_update()).one_or_none()
        return _rows.read_credentials(row, self._sealer) if row else None

    # Tool listings ------------------------------------------------------------------------------------------------------------

    async def save_listings(self, listings: Collection[Listing], documents: Mapping[str, str]) -> None:
        await self._write_passing(lambda session: _listings.save(session, listings, documents, self._sealer))

    async def load_listings(self, user_ids: Collection[str]) -> Sequence[Listing]:
        return await self._read(lambda session: _listings.load(session, user_ids))

    async def load_documents(self, digests: Collection[str]) -> Mapping[str, str]:
        def work(session: Session) -> dict[str, str]:
            return {row.digest: self._sealer.open(row.sealed, row.identity) for row in _listings.load_documents(session, digests)}

        return await self._read(work)

    async def outdate_listing(self, key: GrantKey, *, now: datetime) -> None:
        await self._write(lambda session: change(session, _listings.outdated(key, now)))

    # Pinned tools -----------------------------------------------------------------------------------------------------------

    async def pin_tools(self, key: GrantKey, fingerprints: Mapping[str, str]) -> Mapping[str, str]:
        pinned = await self._read(lambda session: _pins.load(session, key, self._sealer))
        if pinned is not None and _pins.are_known(pinned, fingerprints):
            return pinned
        return await self._write(lambda session: _pins.add(session, key, fingerprints, self._sealer))

    async def repin_tools(self, key: GrantKey, fingerprints: Mapping[str, str] | None) -> None:
        await self._write(lambda session: _pins.replace(session, key, fingerprints, self._sealer))

    # Leases -----------------------------------------------------------------------------------------------------------------

    async def acquire_lease(self, name: tuple[str, ...], *, now: datetime, duration: timedelta) -> Lease | None:
        lease = Lease(name, self._random(16).hex(), now + duration)
        return await self._write_passing(lambda session: _leases.take(session, lease, now))

    async def lease_grant(self, key: GrantKey, version: int, *, now: datetime, duration: timedelta) -> tuple[Grant | None, Lease | None]:
        lease = Lease(("refresh", key.user_id, key.server, key.url), self._random(16).hex(), now + duration)

        def work(session: Session) -> tuple[Grant | None, Lease | None]:
            taken = _leases.take(session, lease, now)
            grant = self._grant(session, key)  # after the lease: what its last holder has saved is seen
            if taken is None or (grant is not None and grant.version == version):
                return grant, taken
            change(session, _leases.release(lease))
            return grant, None

        return await self._write_passing(work)

    async def release_lease(self, lease: Lease) -> None:
        await self._write_passing(lambda session: change(session, _leases.release(lease)))

    # Counters ---------------------------------------------------------------------------------------------------------------

    async def count(self, name: tuple[str, ...], *, now: datetime, window: timedelta) -> int:
        return await self._write(lambda session: _leases.count(session, name, now, now + window))

    async def counted(self, name: tuple[str, ...], *, now: datetime) -> int:
        return await self._read(lambda session: _leases.counted(session, name, now))

    # Housekeeping -----------------------------------------------------------------------------------------------------------

    async def purge(self, *, now: datetime) -> int:
        of_no_use = (_requests.of_no_use(now), _revocations.of_no_use(now), *_leases.lapsed(now), _listings.unnamed_documents())
        return await self._write(lambda session: sum(change(session, statement) for statement in of_no_use))

    async def rotate(self) -> int:
        """Seal with the first key every row that another key sealed; return how many.

        At 0 no row needs the other keys any more. 500 rows at a time are locked, on SQLite the database, and nobody waits for longer.
        What is done stays done: whoever is stopped in the middle starts again.

        Raises:
            StoreKeyError, StoreCorruptError: some rows do not open. They are as they were; all others are sealed with the first key.
            StoreUnavailable: the database went away.
        """
        resealed, unopened = 0, list[StoreError]()
        for table in SEALED:
            of_table = list[StoreError]()
            while seen := await self._write(partial(reseal, table=table, after=len(of_table), sealer=self._sealer)):
                of_table += [trouble for trouble in seen if trouble is not None]
                resealed += seen.count(None)
            unopened += of_table
        if unopened:
            raise unopened[0]
        return resealed

    async def aclose(self) -> None:
        await to_thread.run_sync(self._database.close)


_GRANT = select(GrantRow).where(*(getattr(GrantRow, name) == bindparam(name) for name in ("user_id", "server", "url")))
"""Made once: SQLAlchemy takes longer to build a statement than to run it."""


def _at(issuer: str, redirect_uri: str, url: str) -> ColumnElement[bool]:
    return and_(col(ClientRow.issuer) == issuer, col(ClientRow.redirect_uri) == redirect_uri, col(ClientRow.url) == url)
