"""Postgres restarts while people work."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_mcp_oauth import MCPOAuthError, MCPOAuthToolkit
from langchain_mcp_oauth.store import upgrade
from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.databases import Postgres

from .conftest import KEY, REDIRECT_URI
from .logins import log_in, text_of, tools_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.postgres]

USERS = [f"user-{number}" for number in range(6)]


@pytest.fixture
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer(era="2026-07-28") as running:
        yield running


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    running = Postgres()
    yield running
    running.close()


async def test_a_restart_under_load_loses_nothing(postgres: Postgres, server: ProtectedServer) -> None:
    """Every user calls all the time, tokens end all the time, and the database restarts twice: a call succeeds, or says that it can be
    made again; afterwards everybody is still logged in, no refresh token was used twice, and nobody was asked."""
    upgrade(postgres.url)
    options: dict[str, Any] = {"store": postgres.url, "encryption_key": KEY, "redirect_uri": REDIRECT_URI}
    options["allowed_private_hosts"] = server.allowed_private_hosts
    toolkits = [MCPOAuthToolkit({"demo": server.url}, user_id=user, **options) for user in USERS]
    tools = [(await log_in(toolkit, Person(user)))["whoami"] for toolkit, user in zip(toolkits, USERS, strict=True)]
    asked, over = server.count(path="/authorize", method="GET"), asyncio.Event()
    made: asyncio.Queue[int] = asyncio.Queue()
    refused: list[MCPOAuthError] = []

    async def work(number: int) -> None:
        while not over.is_set():
            try:
                await text_of(tools[number])
                made.put_nowait(number)
            except MCPOAuthError as error:
                refused.append(error)
            await asyncio.sleep(0.05)

    async def everybody_is_through() -> None:
        """Each user's call has ended that was under way, and the next one too."""
        while not made.empty():
            made.get_nowait()
        calls = Counter[int]()
        async with asyncio.timeout(120):
            while len(calls) < len(USERS) or min(calls.values()) < 2:
                calls[await made.get()] += 1

    working = [asyncio.create_task(work(number)) for number in range(len(USERS))]
    for _ in range(2):
        server.expire_tokens()
        await asyncio.to_thread(postgres.restart)
        await everybody_is_through()  # a token that ends twice within one call is one that the server does not want
        server.expire_tokens()
        await everybody_is_through()
    over.set()
    await asyncio.gather(*working)
    assert [error for error in refused if not error.retryable] == []
    assert [await text_of((await tools_of(toolkit))["whoami"]) for toolkit in toolkits] == USERS
    assert (server.authorization_server.reuses, server.count(path="/authorize", method="GET")) == (0, asked)
    for toolkit in toolkits:
        await toolkit.aclose()
