"""Leases and counters: small rows that lapse. Of a lease there is a row while somebody holds it, and none when it is given back."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UpdateBase, and_
from sqlmodel import Session, col, delete, insert, select, update

from langchain_mcp_oauth.models import Lease
from langchain_mcp_oauth.store._statements import change, put
from langchain_mcp_oauth.store.tables import CounterRow, LeaseRow, digest

__all__ = ["count", "counted", "lapsed", "release", "take"]


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


def count(session: Session, name: tuple[str, ...], now: datetime, until: datetime) -> int:
    named = col(CounterRow.name) == digest(name)
    running = update(CounterRow).where(named, col(CounterRow.until) > now)
    if change(session, running.values(value=col(CounterRow.value) + 1)):
        return session.exec(select(CounterRow.value).where(named)).one()
    put(session, CounterRow(name=digest(name), value=1, until=until), and_(named, col(CounterRow.until) <= now))
    return 1


def counted(session: Session, name: tuple[str, ...], now: datetime) -> int:
    statement = select(CounterRow.value).where(col(CounterRow.name) == digest(name), col(CounterRow.until) > now)
    return session.exec(statement).one_or_none() or 0


def lapsed(now: datetime) -> tuple[UpdateBase, UpdateBase]:
    return delete(LeaseRow).where(col(LeaseRow.until) <= now), delete(CounterRow).where(col(CounterRow.until) <= now)
