"""The tables, with a `MetaData` of their own: `METADATA` can be given to Alembic and does not mix with an application's models.

A row is not a model of `models.py`: `table=True` models do not validate. Columns are for finding rows, for transitions, and for people
with an SQL prompt; what is read back is the sealed document, which nobody without the key can change or move. Of a row only `version`,
`accepted`, `used_at`, `status` and `redeeming_until` live in columns alone.

Whoever changes a table here adds a revision `migrations/versions/vNNNN_what.py`, numbered after the last, whose `upgrade()` makes the same
change to a database that exists. `tests/store/test_migrations.py` fails until the revisions and `METADATA` agree.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Index
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel, text

__all__ = [
    "METADATA",
    "SEALED",
    "ClientRow",
    "CounterRow",
    "CredentialsRow",
    "DocumentRow",
    "GrantRow",
    "LeaseRow",
    "ListingRow",
    "PinRow",
    "RequestRow",
    "RevocationRow",
    "SealedRow",
    "digest",
]


class UTCDateTime(TypeDecorator[datetime]):
    """Aware in, aware UTC out, on every database (SQLite drops the zone). Refuses a naive time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.utcoffset() is None:
            raise ValueError("a time without a zone cannot be stored; use an aware one")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


class _Row(SQLModel, registry=registry()):
    pass


METADATA = _Row.metadata


class SealedRow(_Row):
    """A row with a document that opens only together with the row's identity."""

    sealed: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        raise NotImplementedError


class GrantRow(SealedRow, table=True):
    """One user's tokens for one MCP server."""

    __tablename__ = "mcp_oauth_grants"

    user_id: str = Field(primary_key=True)
    server: str = Field(primary_key=True)
    url: str = Field(primary_key=True)
    issuer: str
    scopes: list[str] = Field(sa_type=JSON)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    accepted: bool
    used_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    version: int = Field(sa_type=BigInteger)

    @property
    def identity(self) -> tuple[str, ...]:
        return ("grant", self.user_id, self.server, self.url, self.issuer)


class RequestRow(SealedRow, table=True):
    """One attempt to get a person's authorization."""

    __tablename__ = "mcp_oauth_requests"

    id: int | None = Field(default=None, primary_key=True)
    """In the order of opening."""
    auth_id: str = Field(unique=True)
    state_hash: str = Field(unique=True)
    user_id: str = Field(index=True)
    server: str
    url: str
    issuer: str
    status: str
    expires_at: datetime = Field(sa_type=UTCDateTime)
    redeeming_until: datetime | None = Field(default=None, sa_type=UTCDateTime)

    @property
    def identity(self) -> tuple[str, ...]:
        return ("request", self.user_id, self.server, self.state_hash, self.issuer)


_PENDING = text("status = 'pending'")
Index(
    "mcp_oauth_one_pending_request",
    *(RequestRow.metadata.tables["mcp_oauth_requests"].c[name] for name in ("user_id", "server", "url")),
    unique=True,
    sqlite_where=_PENDING,
    postgresql_where=_PENDING,
)


class ClientRow(SealedRow, table=True):
    """Our registration at one authorization server."""

    __tablename__ = "mcp_oauth_clients"

    issuer: str = Field(primary_key=True)
    redirect_uri: str = Field(primary_key=True)
    url: str = Field(primary_key=True)
    client_id: str

    @property
    def identity(self) -> tuple[str, ...]:
        return ("client", self.issuer, self.redirect_uri, self.url)


class PinRow(SealedRow, table=True):
    """The tools of one MCP server as one user first saw them: sealed, since whoever could change a fingerprint could accept a change."""

    __tablename__ = "mcp_oauth_pins"

    user_id: str = Field(primary_key=True)
    server: str = Field(primary_key=True)
    url: str = Field(primary_key=True)

    @property
    def identity(self) -> tuple[str, ...]:
        return ("pins", self.user_id, self.server, self.url)


class CredentialsRow(SealedRow, table=True):
    """What one user has given for one MCP server themselves."""

    __tablename__ = "mcp_oauth_credentials"
    user_id: str = Field(primary_key=True)
    server: str = Field(primary_key=True)
    url: str = Field(primary_key=True)
    version: int = Field(sa_type=BigInteger)

    @property
    def identity(self) -> tuple[str, ...]:
        return ("credentials", self.user_id, self.server, self.url)


class DocumentRow(SealedRow, table=True):
    """What a server listed: sealed, so that nobody without the key can put words before a model."""

    __tablename__ = "mcp_oauth_documents"

    digest: str = Field(primary_key=True)

    @property
    def identity(self) -> tuple[str, ...]:
        return ("document", self.digest)


class RevocationRow(SealedRow, table=True):
    """Tokens that nobody uses any more, until their issuer has been told (RFC 7009)."""

    __tablename__ = "mcp_oauth_revocations"

    version: int = Field(sa_type=BigInteger, primary_key=True, sa_column_kwargs={"autoincrement": False})
    """The grant's."""
    due: datetime = Field(sa_type=UTCDateTime)
    """When somebody may try, if nobody has."""
    until: datetime = Field(sa_type=UTCDateTime)
    """When nobody tries any more."""

    @property
    def identity(self) -> tuple[str, ...]:
        return ("revocation", str(self.version))


SEALED: tuple[type[SealedRow], ...] = (GrantRow, RequestRow, ClientRow, CredentialsRow, PinRow, DocumentRow, RevocationRow)


class ListingRow(_Row, table=True):
    """Which document a server listed to one user, or (no user id) to anybody."""

    __tablename__ = "mcp_oauth_listings"

    user_id: str = Field(primary_key=True)
    server: str = Field(primary_key=True)
    url: str = Field(primary_key=True)
    digest: str = Field(index=True)
    listed_at: datetime = Field(sa_type=UTCDateTime)
    fresh_until: datetime = Field(sa_type=UTCDateTime)
    public: bool


class LeaseRow(_Row, table=True):
    """A lease somebody holds until a time."""

    __tablename__ = "mcp_oauth_leases"

    name: str = Field(primary_key=True)
    """`digest` of the lease's name."""
    holder: str
    until: datetime = Field(sa_type=UTCDateTime)


class CounterRow(_Row, table=True):
    """A counter, and when its window is over."""

    __tablename__ = "mcp_oauth_counters"

    name: str = Field(primary_key=True)
    """`digest` of the counter's name."""
    value: int
    until: datetime = Field(sa_type=UTCDateTime)


def digest(name: tuple[str, ...]) -> str:
    """A name of any length and number of parts as 64 characters: SHA-256 of its compact JSON, so that no two names are joined alike."""
    return hashlib.sha256(json.dumps(name, separators=(",", ":")).encode()).hexdigest()
