"""Tool listings: one small row for each user and server, and one document for all who were told the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, UpdateBase, and_
from sqlmodel import Session, col, delete, select, update

from langchain_mcp_oauth.models import GrantKey, Listing
from langchain_mcp_oauth.store._statements import change, put
from langchain_mcp_oauth.store.sealing import Sealer
from langchain_mcp_oauth.store.tables import DocumentRow, ListingRow

__all__ = ["forget", "load", "load_documents", "outdated", "save", "unnamed_documents"]


def save(session: Session, listing: Listing, document: str, sealer: Sealer) -> None:
    """The document first: whoever finds the row finds it too, unless it is purged in this moment, and then the server is asked again."""
    if session.exec(select(DocumentRow.digest).where(col(DocumentRow.digest) == listing.digest)).one_or_none() is None:
        row = DocumentRow(digest=listing.digest)
        row.sealed = sealer.seal(document, row.identity)
        put(session, row, col(DocumentRow.digest) == listing.digest)
    put(session, _row(listing), _of(listing.key))


def load(session: Session, user_id: str) -> Sequence[Listing]:
    rows = session.exec(select(ListingRow).where(col(ListingRow.user_id) == user_id))
    return [_read(row) for row in sorted(rows, key=lambda row: (row.server, row.url))]


def load_documents(session: Session, digests: Collection[str]) -> Iterable[DocumentRow]:
    return session.exec(select(DocumentRow).where(col(DocumentRow.digest).in_(digests)))


def forget(session: Session, key: GrantKey) -> None:
    change(session, delete(ListingRow).where(_of(key)))


def outdated(key: GrantKey, now: datetime) -> UpdateBase:
    return update(ListingRow).where(_of(key), col(ListingRow.fresh_until) > now).values(fresh_until=now)


def unnamed_documents() -> UpdateBase:
    return delete(DocumentRow).where(col(DocumentRow.digest).not_in(select(ListingRow.digest)))


def _of(key: GrantKey) -> ColumnElement[bool]:
    return and_(col(ListingRow.user_id) == key.user_id, col(ListingRow.server) == key.server, col(ListingRow.url) == key.url)


def _row(listing: Listing) -> ListingRow:
    return ListingRow(
        user_id=listing.key.user_id,
        server=listing.key.server,
        url=listing.key.url,
        digest=listing.digest,
        listed_at=listing.listed_at,
        fresh_until=listing.fresh_until,
        public=listing.public,
    )


def _read(row: ListingRow) -> Listing:
    return Listing(GrantKey(row.user_id, row.server, row.url), row.digest, row.listed_at, row.fresh_until, row.public)
