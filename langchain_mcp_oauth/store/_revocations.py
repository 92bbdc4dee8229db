"""Disconnected grants whose issuer is still to be told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import UpdateBase
from sqlmodel import Session, col, delete, select

from langchain_mcp_oauth.errors import StoreCorruptError, StoreKeyError
from langchain_mcp_oauth.models import Grant
from langchain_mcp_oauth.store import _rows
from langchain_mcp_oauth.store.sealing import Sealer
from langchain_mcp_oauth.store.tables import RevocationRow

__all__ = ["add", "claim", "ended", "of_no_use"]

FIRST = timedelta(minutes=1)
"""What whoever disconnects has for telling the issuer, before others may do it; two exchanges fit in."""

LAST = timedelta(days=30)
"""How long that is tried."""

MOST = 100
"""For one process at once."""


def add(session: Session, grant: Grant, now: datetime, sealer: Sealer) -> None:
    if grant.revocation_endpoint:
        session.add(_rows.revocation_row(grant, now + FIRST, now + LAST, sealer))


def claim(session: Session, now: datetime, until: datetime, sealer: Sealer) -> Sequence[Grant]:
    due = select(RevocationRow).where(col(RevocationRow.due) <= now, col(RevocationRow.until) > now).order_by(col(RevocationRow.due))
    claimed = []
    for row in session.exec(due.limit(MOST).with_for_update(skip_locked=True)):
        row.due = until
        with suppress(StoreKeyError, StoreCorruptError):
            claimed.append(_rows.read_revocation(row, sealer))
    return claimed


def ended(grant: Grant) -> UpdateBase:
    return delete(RevocationRow).where(col(RevocationRow.version) == grant.version)


def of_no_use(now: datetime) -> UpdateBase:
    return delete(RevocationRow).where(col(RevocationRow.until) <= now)
