"""Statements that every table needs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Protocol

from sqlalchemy import ColumnElement, UpdateBase, and_
from sqlmodel import Session, SQLModel, col, insert, update

from langchain_mcp_oauth.models import GrantKey

__all__ = ["change", "insert_all", "of", "put", "put_read"]


class Keyed(Protocol):
    """A table of which each row belongs to one user at one server URL."""

    user_id: str
    server: str
    url: str


def of(table: type[Keyed], key: GrantKey) -> ColumnElement[bool]:
    return and_(col(table.user_id) == key.user_id, col(table.server) == key.server, col(table.url) == key.url)


def change(session: Session, statement: UpdateBase) -> int:
    """Run an UPDATE, DELETE or INSERT; return how many rows it met."""
    return session.exec(statement, execution_options={"synchronize_session": False}).rowcount


def insert_all(session: Session, rows: Iterable[SQLModel]) -> None:
    """Insert rows, those of one table together."""
    for table, same in groupby(rows, type):
        session.connection().execute(insert(table), [row.model_dump() for row in same])


def put_read(session: Session, row: SQLModel, which: ColumnElement[bool], *, found: bool) -> None:
    """Replace the row that was read to be changed, or insert it. One that came since is a collision: all is read and done again."""
    values = row.model_dump()
    change(session, update(type(row)).where(which).values(values) if found else insert(type(row)).values(values))


def put(session: Session, row: SQLModel, which: ColumnElement[bool]) -> None:
    """Replace the row that `which` finds, or insert it."""
    values = row.model_dump()
    if not change(session, update(type(row)).where(which).values(values)):
        change(session, insert(type(row)).values(values))
