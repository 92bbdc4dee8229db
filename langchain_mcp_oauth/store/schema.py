"""The version of the tables, and how a database gets to ours.

An empty database gets the tables of `METADATA` at once. One with older tables goes through the revisions in `migrations/versions/`, which
lead to the same tables (a test compares). Both happen in one transaction, in one process at a time. Nothing here reads a row of a table.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, func, insert, inspect, select, text

from langchain_mcp_oauth.errors import StoreVersionError
from langchain_mcp_oauth.store.tables import METADATA

__all__ = ["VERSION", "check_version", "newest_version", "stored_version", "upgrade_tables"]

VERSION = Table("mcp_oauth_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""One row, in the form that Alembic gives it: the revision of the tables."""

UNREVISED = "mcp_oauth_schema"
"""Where the tables of revision 0001 had their version before there were revisions."""

MIGRATIONS = Path(__file__).parent / "migrations"

UPGRADE_LOCK = 0x6D63705F6F61
"""Of Postgres' advisory locks: the one that whoever changes the tables holds. SQLite's write lock is enough there."""


def newest_version() -> int:
    """The version this library works with: the number of its last revision."""
    return max(int(name[1]) for path in (MIGRATIONS / "versions").iterdir() if (name := re.fullmatch(r"v(\d{4})_\w+\.py", path.name)))


def stored_version(connection: Connection) -> int:
    """The version of the database's tables; 0 if there are none.

    Raises:
        StoreVersionError: some of the tables are there, and nothing says of which version.
    """
    tables = set(inspect(connection).get_table_names())
    if VERSION.name in tables:
        return int(connection.scalar(select(func.max(VERSION.c.version_num))) or 0)
    if UNREVISED in tables:
        return 1
    ours = METADATA.tables.keys() & tables
    if ours and len(ours) < len(METADATA.tables):
        raise StoreVersionError(f"The database has {len(ours)} of this library's {len(METADATA.tables)} tables, of no known version.")
    return newest_version() if ours else 0  # the application made them from `METADATA`


def check_version(stored: int) -> None:
    """Nothing, if tables of this version can be used.

    Raises:
        StoreVersionError: they are missing, older or newer; the message says what to do.
    """
    newest = newest_version()
    if stored > newest:
        raise StoreVersionError(f"The database has tables of version {stored}, this library knows {newest}: upgrade the library.")
    if stored < newest:
        found = f"tables of version {stored}, this library needs {newest}" if stored else "no tables of this library"
        raise StoreVersionError(f"The database has {found}: run `langchain-mcp-oauth db upgrade` once.")


def upgrade_tables(connection: Connection) -> int:
    """Make the tables, or bring older ones forward; leave newer ones alone. Return the version they had.

    To be called in a transaction, on SQLite one that has its write lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))
    stored = stored_version(connection)
    if stored == 0:
        METADATA.create_all(connection)
        _put_version(connection, newest_version())
    elif stored < newest_version():
        if not inspect(connection).has_table(VERSION.name):
            _put_version(connection, stored)
            connection.execute(text(f"DROP TABLE {UNREVISED}"))
        _run_revisions(connection)
    return stored


def _put_version(connection: Connection, version: int) -> None:
    VERSION.create(connection, checkfirst=True)
    connection.execute(insert(VERSION).values(version_num=f"{version:04}"))


def _run_revisions(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
