"""Tool listings: one small row for each user and server, and one document for all who were told the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple
from datetime import datetime

from sqlalchemy import UpdateBase, bindparam, tuple_
from sqlmodel import Session, col, delete, select, update

from langchain_mcp_oauth.models import GrantKey, Listing
from langchain_mcp_oauth.store._statements import change, insert_all, of
from langchain_mcp_oauth.store.sealing import Sealer
from langchain_mcp_oauth.store.tables import DocumentRow, ListingRow

__all__ = ["forget", "load", "load_documents", "outdated", "save", "unnamed_documents"]


def save(session: Session, listings: Collection[Listing], documents: Mapping[str, str], sealer: Sealer) -> None:
    """The documents first: whoever finds a row finds them too, unless one is purged in this moment, and then the server is asked again."""
    known = set(session.exec(select(DocumentRow.digest).where(col(DocumentRow.digest).in_(documents))))
    insert_all(session, [_document_row(digest, documents[digest], sealer) for digest in sorted(documents.keys() - known)])
    listings = sorted(listings, key=_place)  # transactions that lock in one order never wait for each other
    change(session, delete(ListingRow).where(tuple_(*_KEY).in_(map(_place, listings))))
    insert_all(session, map(_row, listings))


def load(session: Session, user_ids: Collection[str]) -> Sequence[Listing]:
    rows = session.exec(_OF_USERS, params={"user_ids": list(user_ids)})
    return sorted(map(_read, rows), key=_place)  # here: databases disagree on the order of text


def load_documents(session: Session, digests: Collection[str]) -> Iterable[DocumentRow]:
    return session.exec(select(DocumentRow).where(col(DocumentRow.digest).in_(digests)))


def forget(session: Session, key: GrantKey) -> None:
    change(session, delete(ListingRow).where(of(ListingRow, key)))


def outdated(key: GrantKey, now: datetime) -> UpdateBase:
    return update(ListingRow).where(of(ListingRow, key), col(ListingRow.fresh_until) > now).values(fresh_until=now)


def unnamed_documents() -> UpdateBase:
    return delete(DocumentRow).where(col(DocumentRow.digest).not_in(select(ListingRow.digest)))


_OF_USERS = select(ListingRow).where(col(ListingRow.user_id).in_(bindparam("user_ids", expanding=True)))
_KEY = (col(ListingRow.user_id), col(ListingRow.server), col(ListingRow.url))


def _place(listing: Listing) -> tuple[str, ...]:
    return astuple(listing.key)


def _document_row(digest: str, document: str, sealer: Sealer) -> DocumentRow:
    row = DocumentRow(digest=digest)
    row.sealed = sealer.seal(document, row.identity)
    return row


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
