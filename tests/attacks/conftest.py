"""What every attack has: a hostile server, a victim who uses it, names that resolve as the attacker likes, a place to stay away from."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import langchain_mcp_oauth
from langchain_mcp_oauth import MCPOAuthToolkit
from tests.attacks.hostile import Hostile
from tests.e2e.conftest import KEY, REDIRECT_URI

COPY = os.environ.get("LANGCHAIN_MCP_OAUTH_MUTANT")
"""Where the package under attack must have been imported from; see `test_mutants.py`."""

if COPY is not None:
    assert Path(langchain_mcp_oauth.__file__).is_relative_to(COPY), "the attacks run against another copy than the mutant"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The plain run makes each attack once; its other cases are `slow`. Under a mutant all are made."""
    made: set[str] = set()
    for item in items:
        attack = item.nodeid.partition("[")[0]
        if Path(__file__).parent in item.path.parents and attack in made:
            item.add_marker(pytest.mark.slow)
        made.add(attack)


Victim = Callable[..., MCPOAuthToolkit]

PUBLIC = "93.184.216.34"


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


@pytest.fixture
def inside() -> Iterator[Hostile]:
    """A service of the inner network, on a loopback address of its own. `opened` must stay 0."""
    with Hostile("127.0.0.66") as server:
        yield server


@pytest.fixture
async def victim(hostile: Hostile, tmp_path: Path) -> AsyncIterator[Victim]:
    """A toolkit that has `hostile` configured, on one database for all; `ada` uses it unless the attack says who."""
    made: list[MCPOAuthToolkit] = []

    def make(server: Any = None, *, user_id: str | None = "ada", **options: Any) -> MCPOAuthToolkit:
        servers = server if isinstance(server, dict) and "url" not in server else {"files": server or hostile.url}
        options = {"store": f"sqlite:///{tmp_path / 'tokens.db'}", "encryption_key": KEY, "redirect_uri": REDIRECT_URI, **options}
        made.append(MCPOAuthToolkit(servers, user_id=user_id, **options))
        return made[-1]

    yield make
    for toolkit in made:
        await toolkit.aclose()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Names and what they resolve to: one answer after the other, the last for ever. No other name resolves; numbers are themselves."""
    table: dict[str, list[list[str]]] = {}

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        answers = [[host]] if host[0].isdigit() else table.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(None, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in addresses]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    return table
