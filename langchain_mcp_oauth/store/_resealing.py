"""Rows that another than the first key sealed are sealed with the first."""

from __future__ import annotations

from sqlalchemy import inspect
from sqlmodel import Session, col, select

from langchain_mcp_oauth.errors import StoreError
from langchain_mcp_oauth.store.sealing import Sealer
from langchain_mcp_oauth.store.tables import SealedRow

__all__ = ["reseal"]

AT_ONCE = 500
"""Rows in one transaction: a tenth of a second, in which nobody else changes them."""


def reseal(session: Session, table: type[SealedRow], after: int, sealer: Sealer) -> list[StoreError | None]:
    """The next rows that another key sealed, after so many that did not open: for each what was wrong with it."""
    stale = select(table).where(~col(table.sealed).startswith(sealer.beginning())).order_by(*inspect(table).primary_key)
    return [_reseal(row, sealer) for row in session.exec(stale.offset(after).limit(AT_ONCE).with_for_update()).all()]


def _reseal(row: SealedRow, sealer: Sealer) -> StoreError | None:
    try:
        row.sealed = sealer.seal(sealer.open(row.sealed, row.identity), row.identity)
    except StoreError as trouble:
        return trouble
    return None
