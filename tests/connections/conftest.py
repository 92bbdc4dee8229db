"""Connections to real servers on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
from starlette.types import ASGIApp

from langchain_mcp_oauth.connections import Connections
from langchain_mcp_oauth.http import guarded_client, host_port
from langchain_mcp_oauth.servers.remote import MCPServer

from .mcp_servers import ERAS, Connect, Example, Peer, Serve, app_of, serving


@pytest.fixture
def serve() -> Iterator[Callable[[ASGIApp], str]]:
    """Serve an application to the end of the test; gives its origin."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Connections]]]:
    """Connections to the server at a URL, called `example`; closed at the end of the test."""
    async with AsyncExitStack() as stack:

        async def make(url: str, *, server: dict[str, Any] | None = None, **options: Any) -> Connections:
            client = await stack.enter_async_context(guarded_client(allowed_hosts=frozenset({host_port(url)})))
            connections = Connections(client, {"example": MCPServer(url, **(server or {}))}, **options)
            stack.push_async_callback(connections.aclose)
            return connections

        yield make


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def peer(era: str, serve: Serve, connect: Connect) -> Peer:
    """The example server in one era, connected."""
    example = Example()
    front = app_of(example.mcp, era)
    url = f"{serve(front)}/mcp"
    return Peer(front, url, example, await connect(url, elicitation=True, timeout=10.0))
