"""Leases: a row while somebody holds one, none when it is given back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UpdateBase
from sqlmodel import Session, col, delete, insert, select, update

from langchain_mcp_oauth.models import Lease
from langchain_mcp_oauth.store._statements import change
from langchain_mcp_oauth.store.tables import LeaseRow, digest

__all__ = ["release", "take"]


def take(session: Session, lease: Lease, now: datetime) -> Lease | None:
    """The lease, if nobody holds one of its name. Mostly there is no row, and whoever else finds none either is a collision."""
    named = col(LeaseRow.name) == digest(lease.name)
    values = {"holder": lease.holder, "until": lease.until}
    if session.exec(select(LeaseRow.name).where(named)).one_or_none() is None:
        change(session, insert(LeaseRow).values(name=digest(lease.name), **values))
        return lease
    return lease if change(session, update(LeaseRow).where(named, col(LeaseRow.until) <= now).values(values)) else None


def release(lease: Lease) -> UpdateBase:
    return delete(LeaseRow).where(col(LeaseRow.name) == digest(lease.name), col(LeaseRow.holder) == lease.holder)
