"""The engine and its transactions. Everything here blocks: it is called in worker threads, by any number of them at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias, TypeVar

import platformdirs
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import SingletonThreadPool, StaticPool
from sqlmodel import Session

from langchain_mcp_oauth.errors import ConfigurationError, StoreError, StoreUnavailable
from langchain_mcp_oauth.store.schema import check_version, newest_version, stored_version, upgrade_tables

__all__ = ["Database", "default_database", "is_memory", "upgrade"]

T = TypeVar("T")

Begin: TypeAlias = Callable[[Connection], None]

ATTEMPTS = 10
"""At a write that collides with others. Each collision means that somebody else got on."""


class Database:
    """Runs a piece of work in a transaction: whole, or not at all.

    Args:
        database: A URL, for an engine of our own, or an engine that stays its owner's.
        migrate: Whether missing tables are made and older ones brought forward at first use. None: on SQLite only.

    Raises:
        ConfigurationError: not a database we can use.
    """

    def __init__(self, database: str | Engine, *, migrate: bool | None = None) -> None:
        self._own = not isinstance(database, Engine)
        self._engine = database if isinstance(database, Engine) else _make_engine(database)
        _check_engine(self._engine)
        self._reading, self._writing = _levels(self._engine)
        self._begin, self._begin_passing = _beginnings(self._engine, own=self._own)
        one_connection = isinstance(self._engine.pool, StaticPool)
        self._alone: AbstractContextManager[Any] = Lock() if one_connection else nullcontext()
        self._migrates = self._engine.dialect.name == "sqlite" if migrate is None else migrate
        self._preparing = Lock()
        self._prepared = False

    @property
    def url(self) -> URL:
        return self._engine.url

    def read(self, work: Callable[[Session], T]) -> T:
        """Run work that makes one SELECT; it sees what is committed.

        Raises:
            StoreUnavailable, StoreVersionError, StoreError: nothing was changed.
        """
        with _store_errors():
            self._prepare()
            return self._read(work)

    def write(self, work: Callable[[Session], T]) -> T:
        """Run work in a transaction. It runs again from the start when it collides with another one.

        Raises:
            StoreUnavailable, StoreVersionError, StoreError: nothing was changed.
        """
        with _store_errors():
            self._prepare()
            return self._write(work, self._begin)

    def write_passing(self, work: Callable[[Session], T]) -> T:
        """As `write`, for what concerns only those who are at work now: leases.

        In a SQLite file of ours it is not forced to the disk at once. It survives every process; should the machine itself fail, all that
        it concerned have failed with it. A database that others reach over the network writes it as everything else.
        """
        with _store_errors():
            self._prepare()
            return self._write(work, self._begin_passing)

    def upgrade(self) -> tuple[int, int]:
        """Make the tables or bring them forward, whoever else does the same; return the version they had (0: none) and have."""
        with _store_errors(), self._preparing:
            self._open()
            stored = self._write(_upgrade, self._begin)
            check_version(current := self._read(_version))
            return stored, current

    def close(self) -> None:
        if self._own:
            self._engine.dispose()

    def _read(self, work: Callable[[Session], T]) -> T:
        with self._alone, Session(self._reading) as session:
            return work(session)

    def _write(self, work: Callable[[Session], T], begin: Begin) -> T:
        for _ in range(ATTEMPTS - 1):
            try:
                return self._write_once(work, begin)
            except DBAPIError as error:
                if not _is_collision(error):
                    raise
        return self._write_once(work, begin)

    def _write_once(self, work: Callable[[Session], T], begin: Begin) -> T:
        with self._alone, Session(self._writing) as session, session.begin():
            begin(session.connection())
            return work(session)

    def _prepare(self) -> None:
        with self._preparing:
            if self._prepared:
                return
            self._open()
            if self._migrates and self._read(_version) < newest_version():
                self._write(_upgrade, self._begin)
            check_version(self._read(_version))
            self._prepared = True

    def _open(self) -> None:
        if self._own and self.url.get_backend_name() == "sqlite" and not is_memory(self.url):
            _make_file(self.url)
            if not _use_write_ahead_log(self._engine):
                self._begin_passing = self._begin


def upgrade(database: str | Engine) -> tuple[int, int]:
    """Make the tables of a store, or bring older ones forward; what `langchain-mcp-oauth db upgrade` does.

    Needs no encryption key and reads no row. All of it happens, or nothing; several processes may call it at once.

    Args:
        database: As for `SQLModelTokenStore`.

    Returns:
        The version that the tables had (0: there were none), and the one they have now.

    Raises:
        ConfigurationError: not a database that can be used.
        StoreVersionError: the tables are newer than this library.
        StoreUnavailable, StoreError: nothing was changed.
    """
    opened = Database(database)
    try:
        return opened.upgrade()
    finally:
        opened.close()


def default_database() -> str:
    """URL of the SQLite file in the user's data directory, for one machine."""
    return f"sqlite:///{platformdirs.user_data_path('langchain-mcp-oauth', appauthor=False) / 'tokens.db'}"


def is_memory(url: URL) -> bool:
    """Whether this is an SQLite database that ends with its process."""
    return url.get_backend_name() == "sqlite" and (url.database in {None, "", ":memory:"} or url.query.get("mode") == "memory")


def _make_engine(text: str) -> Engine:
    try:
        url = make_url(text)
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        if is_memory(url):
            return create_engine(url, hide_parameters=True, poolclass=StaticPool, connect_args={"check_same_thread": False})
        return create_engine(url, hide_parameters=True, pool_pre_ping=url.get_backend_name() != "sqlite")
    except ArgumentError:  # its text may show the URL's password
        raise ConfigurationError(
            'database must be a URL such as "sqlite:///logins.db" or "postgresql://host/name", or an Engine.'
        ) from None
    except ImportError as error:
        raise ConfigurationError(f"The database needs the module {error.name!r}; for Postgres: langchain-mcp-oauth[postgres].") from None


def _check_engine(engine: Engine) -> None:
    if engine.dialect.is_async:
        raise ConfigurationError(f"database must use a synchronous driver, not {engine.dialect.driver}; it runs in worker threads.")
    if isinstance(engine.pool, SingletonThreadPool):
        raise ConfigurationError('An in-memory SQLite engine needs poolclass=StaticPool, or pass the URL "sqlite://" instead.')


def _levels(engine: Engine) -> tuple[Engine, Engine]:
    """The same pool, for single reads and for transactions; what is set here does not touch the owner's engine."""
    if engine.dialect.name == "sqlite":
        return engine, engine
    # Conditional updates wait for each other and then look again only at this level (PostgreSQL §13.2.1).
    return engine.execution_options(isolation_level="AUTOCOMMIT"), engine.execution_options(isolation_level="READ COMMITTED")


def _beginnings(engine: Engine, *, own: bool) -> tuple[Begin, Begin]:
    """How a transaction begins, and one that only concerns those who are at work now."""
    if engine.dialect.name != "sqlite":  # other databases lock rows, when they are changed
        return _nothing, _nothing
    return (_begin_durable, _begin_passing) if own else (_begin_immediate, _begin_immediate)


def _begin_durable(connection: Connection) -> None:
    """The commit returns when it is on the disk."""
    _begin_immediate(connection, "FULL")


def _begin_passing(connection: Connection) -> None:
    """The commit returns when every process sees it; with a write-ahead log it is on the disk with the next durable one."""
    _begin_immediate(connection, "NORMAL")


def _begin_immediate(connection: Connection, synchronous: str | None = None) -> None:
    """Take the write lock first: SQLite refuses a transaction that reads before it writes while another writes, and does not wait."""
    driver: Any = connection.connection.dbapi_connection
    if driver.in_transaction:  # a lent engine may emit a BEGIN of its own, as SQLAlchemy's recipe for savepoints does
        driver.rollback()
    if synchronous is not None:  # what an owner has set on a lent engine stays
        connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
    connection.exec_driver_sql("PRAGMA secure_delete=ON")  # R38: deleted rows are overwritten
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _nothing(connection: Connection) -> None: ...


def _make_file(url: URL) -> None:
    """The database is its owner's alone (R38); SQLite gives its journals the same mode."""
    if url.database is None or url.query.get("uri"):
        return
    path = Path(url.database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"The database file {path} cannot be made: {error.strerror}.") from None


def _use_write_ahead_log(engine: Engine) -> bool:
    """Readers do not wait for writers then. The file remembers it; where it cannot be set, all works without."""
    with suppress(OperationalError), engine.connect() as connection:
        return bool(connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar_one() == "wal")
    return False


def _version(session: Session) -> int:
    return stored_version(session.connection())


def _upgrade(session: Session) -> int:
    return upgrade_tables(session.connection())


@contextmanager
def _store_errors() -> Iterator[None]:
    """SQLAlchemy's errors as ours. The text of an unreachable database may hold its URL, so it is not kept."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if _is_unavailable(error):
            raise StoreUnavailable(f"The database is not available ({_name(error)}); nothing was changed. Try again.") from None
        raise StoreError(f"The database refused a statement ({_name(error)}); nothing was changed.") from error


def _is_collision(error: DBAPIError) -> bool:
    """Another transaction made the same row or table (42P07) first, or the database ended this one to resolve a deadlock (class 40)."""
    return isinstance(error, IntegrityError) or _code(error).startswith(("40", "42P07"))


def _is_unavailable(error: SQLAlchemyError) -> bool:
    """Not reached, locked, full, read-only; not a mistake in a statement, nor a key too long for an index."""
    kind = isinstance(error, (PoolTimeout, OperationalError, InterfaceError, InternalError))
    return kind and _code(error) not in {"SQLITE_ERROR", "54000"}


def _code(error: SQLAlchemyError) -> str:
    """The driver's: SQLite's result code, PostgreSQL's SQLSTATE, or nothing."""
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or ""


def _name(error: SQLAlchemyError) -> str:
    return _code(error) or type(getattr(error, "orig", None) or error).__name__
