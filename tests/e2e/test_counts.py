"""What a call costs once everything is known, in counts that do not depend on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from sqlalchemy import event
from sqlalchemy.engine import Engine

from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import MakeToolkit
from .logins import log_in, text_of
from .test_agents import CONFIG, HELLO, agent_of, tool_messages

pytestmark = pytest.mark.anyio


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every SQL statement of every engine of this process."""
    seen: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


async def test_a_call_is_one_request_and_no_database(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, statements: list[str]
) -> None:
    """Ten calls: ten HTTP requests, not one SQL statement, no token request."""
    tools = await log_in(make_toolkit(), alice)
    assert await text_of(tools["whoami"]) == "alice"
    requests, written = len(server.requests), len(statements)
    for _ in range(10):
        assert await text_of(tools["whoami"]) == "alice"
    assert [seen.method for seen in server.requests[requests:]] == ["POST"] * 10
    assert statements[written:] == []


async def test_an_agents_call_costs_the_same(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, statements: list[str]
) -> None:
    """Inside a graph with a checkpointer: no look into the database either, unless the run was resumed."""
    tools = await log_in(make_toolkit(), alice)
    await text_of(tools["whoami"])
    agent = agent_of(list(tools.values()), "demo__whoami")
    requests, written = len(server.requests), len(statements)
    assert isinstance(agent.checkpointer, InMemorySaver)
    assert tool_messages(await agent.ainvoke(HELLO, CONFIG))["demo__whoami"].text == "alice"
    assert len(server.requests) - requests == 1
    assert statements[written:] == []


async def test_listing_again_needs_no_new_session(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """One request for a listing that fits a page."""
    toolkit = make_toolkit()
    await log_in(toolkit, alice)
    requests = len(server.requests)
    await toolkit.aget_tools()
    assert len(server.requests) - requests == 1
