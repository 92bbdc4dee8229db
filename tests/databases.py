"""Databases that several processes can use, each empty for every test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from langchain_mcp_oauth.store import upgrade

POSTGRES = "LANGCHAIN_MCP_OAUTH_TEST_POSTGRES"

ON_POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


@contextmanager
def postgres_schema() -> Iterator[str]:
    """URL of a schema of its own in the Postgres database that the environment names."""
    if POSTGRES not in os.environ:
        pytest.fail(f"{POSTGRES} is not set to the URL of a Postgres database")
    url, schema = make_url(os.environ[POSTGRES]).set(drivername="postgresql+psycopg"), f"test_{token_hex(6)}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@contextmanager
def ready_database(kind: str, folder: Path) -> Iterator[str]:
    """URL of a database that any process can use: a SQLite file in that folder, or a schema in `postgres` with its tables."""
    if kind != "postgres":
        yield f"sqlite:///{folder / 'tokens.db'}"
        return
    with postgres_schema() as url:
        upgrade(url)
        yield url


class Postgres:
    """A server of its own, on a Unix socket, that can be restarted while it is used. Debian's programs; `.ci/run` installs them."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            pytest.fail("There is no Postgres in /usr/lib/postgresql")
        self._programs = programs[-1]
        self._directory = Path(tempfile.mkdtemp(prefix="pg"))
        if os.getuid() == 0:  # Postgres refuses to run as root
            shutil.chown(self._directory, "postgres")
        self._run("initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8")
        self._control("start")
        self.url = f"postgresql+psycopg://postgres@/postgres?host={self._directory}"

    def restart(self) -> None:
        """End every connection at once, and start again."""
        self._control("restart", "-m", "fast")

    def close(self) -> None:
        self._control("stop", "-m", "immediate")
        shutil.rmtree(self._directory)

    def _control(self, *command: str) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self._directory}"
        self._run("pg_ctl", "-o", options, "-l", str(self._directory / "log"), "-w", "-t", "120", *command)

    def _run(self, program: str, *arguments: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        command = [*user, str(self._programs / program), "-D", str(self._directory / "data"), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)
