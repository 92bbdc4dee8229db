"""Real servers on loopback, a real database file, and toolkits that have only the database in common, like processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from langchain_mcp_oauth import MCPOAuthToolkit
from langchain_mcp_oauth.testing import Person, ProtectedServer

KEY = "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM="
REDIRECT_URI = "http://127.0.0.1:18080/oauth/callback"

ERAS = ["2025-11-25", "2026-07-28"]

MakeToolkit = Callable[..., MCPOAuthToolkit]


@pytest.fixture(params=ERAS)
def server(request: pytest.FixtureRequest) -> Iterator[ProtectedServer]:
    """A protected server, in both protocol eras; marked `options` go to it."""
    marker = request.node.get_closest_marker("server")
    with ProtectedServer(era=request.param, **(marker.kwargs if marker else {})) as running:
        yield running


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tokens.db'}"


@pytest.fixture
async def make_toolkit(server: ProtectedServer, database: str) -> AsyncIterator[MakeToolkit]:
    """A fresh toolkit on the shared database; all are closed at the end."""
    made: list[MCPOAuthToolkit] = []

    def make(user_id: str | None = "alice", demo: Mapping[str, Any] | None = None, **options: Any) -> MCPOAuthToolkit:
        options = {
            "store": database,
            "encryption_key": KEY,
            "redirect_uri": REDIRECT_URI,
            "allowed_private_hosts": server.allowed_private_hosts,
            **options,
        }
        made.append(MCPOAuthToolkit({"demo": {"url": server.url, **(demo or {})}}, user_id=user_id, **options))
        return made[-1]

    yield make
    for toolkit in made:
        await toolkit.aclose()


@pytest.fixture
def alice() -> Person:
    return Person("alice")


@pytest.fixture
def bob() -> Person:
    return Person("bob")
