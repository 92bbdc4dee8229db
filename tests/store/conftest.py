"""The databases that the contract is held against, each empty for every test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from langchain_mcp_oauth.store import SQLModelTokenStore
from tests.databases import ON_POSTGRES, postgres_schema

from .store_samples import ENCRYPTION_KEY


@pytest.fixture(params=["file", "memory", ON_POSTGRES])
def database(request: pytest.FixtureRequest) -> str:
    """URL of an empty database."""
    if request.param == "memory":
        return "sqlite://"
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["file", ON_POSTGRES])
def shared_database(request: pytest.FixtureRequest) -> str:
    """URL of an empty database that several processes can use."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'private' / 'logins.db'}"


@pytest.fixture
def postgres() -> Iterator[str]:
    with postgres_schema() as url:
        yield url


@pytest.fixture
async def store(database: str) -> AsyncIterator[SQLModelTokenStore]:
    opened = SQLModelTokenStore(database, encryption_key=ENCRYPTION_KEY, migrate=True)
    yield opened
    await opened.aclose()


@pytest.fixture
async def shared_store(shared_database: str) -> AsyncIterator[SQLModelTokenStore]:
    opened = SQLModelTokenStore(shared_database, encryption_key=ENCRYPTION_KEY, migrate=True)
    yield opened
    await opened.aclose()


@pytest.fixture(scope="session")
def processes() -> Iterator[Callable[..., list[Any]]]:
    """Run an operation of `store_process.py` in three processes at once, each with its name; all their results in one list."""
    command = [sys.executable, "-W", "error", "-m", "tests.store.store_process"]
    root = Path(__file__).parents[2]
    started: list[Any] = [subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * 3

    def run(database: str, operation: str, names: tuple[str, str, str] = ("a", "b", "c")) -> list[Any]:
        for process, name in zip(started, names, strict=True):
            process.stdin.write(json.dumps([database, operation, name]) + "\n")
            process.stdin.flush()
        return [result for process in started for result in json.loads(process.stdout.readline())]

    yield run
    for process in started:
        process.communicate(timeout=60)


@pytest.fixture
def in_processes(shared_database: str, processes: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """`processes` at the shared database."""
    return partial(processes, shared_database)
