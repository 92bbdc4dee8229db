"""From any version of the tables to ours: by itself on SQLite, by a command elsewhere, whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from typer.testing import CliRunner

from langchain_mcp_oauth import cli
from langchain_mcp_oauth.errors import StoreError, StoreVersionError
from langchain_mcp_oauth.store import SQLModelTokenStore, schema, upgrade
from langchain_mcp_oauth.store.tables import METADATA

from .store_samples import ENCRYPTION_KEY, KEY, a_grant

pytestmark = pytest.mark.anyio

NEXT = schema.newest_version() + 1

REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{number:04}", "{before:04}"


def upgrade():
    op.add_column("mcp_oauth_leases", sa.Column("why", sa.String, nullable=False, server_default=""))
    {then}
"""


def a_store(database: str, **options: Any) -> SQLModelTokenStore:
    return SQLModelTokenStore(database, encryption_key=ENCRYPTION_KEY, **options)


def on(database: str, work: Callable[[Connection], Any]) -> Any:
    engine = create_engine(database)
    with engine.begin() as connection:
        result = work(connection)
    engine.dispose()
    return result


def execute(database: str, *statements: str) -> None:
    for statement in statements:
        on(database, lambda connection, statement=statement: connection.execute(text(statement)))


def shape(connection: Connection) -> dict[str, Any]:
    """Columns, keys, constraints and indexes, as the database tells them."""
    found = inspect(connection)

    def plain(value: Any) -> Any:
        return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else str(value)

    def sorted_by_name(parts: Any) -> list[Any]:
        return sorted(map(plain, parts), key=lambda part: part["name"])

    return {
        table: (
            sorted_by_name(found.get_columns(table)),
            found.get_pk_constraint(table)["constrained_columns"],
            sorted_by_name(found.get_unique_constraints(table)),
            sorted_by_name(found.get_indexes(table)),
            sorted_by_name(found.get_foreign_keys(table)),
        )
        for table in found.get_table_names()
        if table != schema.VERSION.name
    }


def unmake(connection: Connection) -> None:
    METADATA.drop_all(connection)
    schema.VERSION.drop(connection, checkfirst=True)


@pytest.fixture
def file(file: str, tmp_path: Path) -> str:
    (tmp_path / "private").mkdir()
    return file


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Let the library have one more revision, which adds a column; `then` is what else it does. Returns the directory."""

    def make(then: str = "") -> Path:
        directory = tmp_path / "100% migrations"
        shutil.copytree(schema.MIGRATIONS, directory)
        (directory / "versions" / f"v{NEXT:04}_why.py").write_text(REVISION.format(number=NEXT, before=NEXT - 1, then=then))
        monkeypatch.setattr(schema, "MIGRATIONS", directory)
        return directory

    return make


def columns_of_leases(database: str) -> list[str]:
    return [column["name"] for column in on(database, lambda connection: inspect(connection).get_columns("mcp_oauth_leases"))]


def test_the_revisions_lead_to_the_tables_of_the_library(shared_database: str) -> None:
    """Whoever changes a table adds the revision that makes the same change to a database that exists."""
    on(shared_database, METADATA.create_all)
    wanted = on(shared_database, shape)
    on(shared_database, unmake)
    on(shared_database, schema._run_revisions)
    assert on(shared_database, shape) == wanted
    assert on(shared_database, schema.stored_version) == schema.newest_version()


def test_the_revisions_are_one_line_of_numbers() -> None:
    """v0001, v0002, …, each after the one before, so that a version is a number that can be compared."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS).replace("%", "%%"))
    found = [(each.revision, each.down_revision, Path(each.path).name[:6]) for each in ScriptDirectory.from_config(config).walk_revisions()]
    numbers = range(schema.newest_version(), 0, -1)
    assert found == [(f"{number:04}", f"{number - 1:04}" if number > 1 else None, f"v{number:04}_"[:6]) for number in numbers]


FIRST = {f"mcp_oauth_{name}" for name in ("grants", "requests", "clients", "leases", "counters")}
"""The tables of revision 0001."""

OLDEST = ("CREATE TABLE mcp_oauth_schema (version INTEGER PRIMARY KEY)", "INSERT INTO mcp_oauth_schema VALUES (1)")


@pytest.mark.parametrize("unrevised", [False, True], ids=["revised", "unrevised"])
async def test_an_old_file_is_brought_forward_at_first_use(file: str, newer: Callable[..., Path], unrevised: bool) -> None:
    """SQLite: the rows stay and nobody has to do anything; also with the tables of 0001 from before there were revisions."""
    old = a_store(file)
    saved = await old.save_grant(a_grant())
    await old.aclose()
    newer()
    if unrevised:
        later = [schema.VERSION.name, *(METADATA.tables.keys() - FIRST)]
        execute(file, *(f"DROP TABLE {table}" for table in later), "ALTER TABLE mcp_oauth_grants DROP COLUMN used_at", *OLDEST)
    store = a_store(file)
    assert await store.load_grant(KEY) == saved
    await store.aclose()
    assert (columns_of_leases(file)[-1], on(file, schema.stored_version)) == ("why", NEXT)


async def test_a_shared_database_is_brought_forward_by_command(shared_database: str, newer: Callable[..., Path]) -> None:
    """Without leave to migrate the store says what to run, and changes nothing; afterwards it works, with the rows it had."""
    old = a_store(shared_database, migrate=False)
    with pytest.raises(StoreVersionError, match=r"no tables.*langchain-mcp-oauth db upgrade"):
        await old.load_grant(KEY)
    assert upgrade(shared_database) == (0, NEXT - 1)
    saved = await old.save_grant(a_grant())
    await old.aclose()
    newer()
    store = a_store(shared_database, migrate=False)
    with pytest.raises(StoreVersionError, match=rf"version {NEXT - 1}.*needs {NEXT}.*langchain-mcp-oauth db upgrade"):
        await store.load_grant(KEY)
    assert "why" not in columns_of_leases(shared_database)
    assert [upgrade(shared_database), upgrade(shared_database)] == [(NEXT - 1, NEXT), (NEXT, NEXT)]
    assert await store.load_grant(KEY) == saved
    await store.aclose()


@pytest.mark.postgres
async def test_the_default_leaves_a_shared_database_alone(postgres: str) -> None:
    """Postgres: only SQLite is migrated without being told to."""
    store = a_store(postgres)
    with pytest.raises(StoreVersionError, match="db upgrade"):
        await store.load_grant(KEY)
    await store.aclose()
    assert on(postgres, lambda connection: inspect(connection).get_table_names()) == []


def test_a_revision_that_fails_has_done_nothing(shared_database: str, newer: Callable[..., Path]) -> None:
    """Nor has it changed the version: it can be tried again."""
    upgrade(shared_database)
    newer("op.execute('SELECT * FROM nowhere')")
    before = on(shared_database, shape)
    with pytest.raises(StoreError):
        upgrade(shared_database)
    assert (on(shared_database, shape), on(shared_database, schema.stored_version)) == (before, NEXT - 1)


def test_one_of_many_processes_migrates(shared_database: str, in_processes: Callable[..., list[Any]], newer: Callable[..., Path]) -> None:
    """Fifteen tasks in three processes start at once: one runs the revision, the others find it done."""
    upgrade(shared_database)
    directory = str(newer())
    found = in_processes("upgrade_tables", (directory, directory, directory))
    assert sorted(found) == [NEXT - 1] + [NEXT] * 14


def test_newer_tables_are_not_touched(shared_database: str) -> None:
    """The command of an older library says so."""
    upgrade(shared_database)
    execute(shared_database, "UPDATE mcp_oauth_version SET version_num = '0999'")
    with pytest.raises(StoreVersionError, match=r"999.*upgrade the library"):
        upgrade(shared_database)


def test_half_of_the_tables_are_not_guessed_about(shared_database: str) -> None:
    """Without a version nobody knows what they are; nothing is made beside them."""
    on(shared_database, METADATA.tables["mcp_oauth_leases"].create)
    with pytest.raises(StoreVersionError, match="no known version"):
        upgrade(shared_database)
    assert on(shared_database, lambda connection: inspect(connection).get_table_names()) == ["mcp_oauth_leases"]


def test_alembic_is_imported_only_for_a_migration(file: str) -> None:
    """Neither importing the library nor a first use costs its import."""
    program = f"""
import asyncio, sys
from langchain_mcp_oauth import SQLModelTokenStore
asyncio.run(SQLModelTokenStore({file!r}, encryption_key={ENCRYPTION_KEY!r}).list_grants("alice"))
sys.exit("alembic" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_command(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it did, takes the database from the environment, and fails with one line."""
    runner = CliRunner()
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_STORE", file)
    outputs = [runner.invoke(cli.app, ["db", "upgrade"]).output for _ in range(2)]
    newest = schema.newest_version()
    assert outputs == [f"The tables are at version {newest}; they are new.\n", f"The tables are at version {newest}.\n"]
    refused = runner.invoke(cli.app, ["db", "upgrade", "--store", "nothing://user:canary@host/x"])
    assert refused.exit_code == 2  # a mistake in how it was called
    assert "canary" not in refused.output
