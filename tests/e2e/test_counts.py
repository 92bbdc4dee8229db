"""What a call costs once everything is known, in counts that do not depend on the machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import time_machine
from langgraph.checkpoint.memory import InMemorySaver
from sqlalchemy import event
from sqlalchemy.engine import Engine

from langchain_mcp_oauth import MCPOAuthToolkit
from langchain_mcp_oauth.http.guard import GuardedBackend
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
    agent = agent_of(list(tools.values()), "demo__whoami")
    await agent.ainvoke(HELLO, {"configurable": {"thread_id": "before"}})  # a 2025-11-25 server is told anew that a person can be asked
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


async def test_calls_at_once_look_once(make_toolkit: MakeToolkit, alice: Person, statements: list[str]) -> None:
    """Twenty calls of a user whose login this process does not know yet read it once."""
    first, second = make_toolkit(), make_toolkit()
    await log_in(first, alice)
    tools = {tool.name: tool for tool in await second.aget_tools()}
    second._service.authorizer._cache.drop(second._service.authorizer.key("alice", "demo"))
    before = len(statements)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(text_of, tools["demo__whoami"])
    assert sum("_grants" in statement for statement in statements[before:]) == 1


async def test_the_last_use_is_written_down_now_and_then(make_toolkit: MakeToolkit, alice: Person, statements: list[str]) -> None:
    """Ten minutes after it was written down, or the login was made, by one of the calls that come then; and shown."""
    toolkit = make_toolkit()
    tools = await log_in(toolkit, alice)
    await text_of(tools["whoami"])
    for minutes in (11, 22):
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes), tick=True):
            before = len(statements)
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(text_of, tools["whoami"])
            await text_of(tools["whoami"])
            assert len([one for one in statements[before:] if one.startswith("UPDATE mcp_oauth_grants")]) == 1
            used = (await toolkit.status())["demo"].last_used
            assert used is not None
            assert datetime.now(UTC) - used < timedelta(minutes=1)


async def test_a_refresh_is_two_transactions(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, statements: list[str]
) -> None:
    """Ten calls with a token that was refused: one transaction takes the lease, one saves and gives it back; one token request between."""
    tools = await log_in(make_toolkit(), alice)
    assert await text_of(tools["whoami"]) == "alice"
    server.expire_tokens()
    before, refreshed = len(statements), server.count(grant_type="refresh_token")
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(text_of, tools["whoami"])
    seen = [statement.split()[0] for statement in statements[before:] if not statement.startswith(("PRAGMA", "SELECT"))]
    assert seen == [*("BEGIN", "INSERT"), *("BEGIN", "DELETE", "UPDATE")]
    assert server.count(grant_type="refresh_token") == refreshed + 1


async def test_a_minute_later_nothing_is_opened_again(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model's turn is longer than five seconds: the next call uses the same connection and session, and looks for the login once."""
    opened: list[str] = []
    connect = GuardedBackend.connect_tcp

    async def note(self: GuardedBackend, host: str, *arguments: Any, **options: Any) -> Any:
        opened.append(host)
        return await connect(self, host, *arguments, **options)

    monkeypatch.setattr(GuardedBackend, "connect_tcp", note)
    toolkit = make_toolkit()
    tools = await log_in(toolkit, alice)
    await text_of(tools["whoami"])
    a_minute_later(toolkit, monkeypatch)
    opened.clear()
    requests, before = len(server.requests), len(statements)
    assert await text_of(tools["whoami"]) == "alice"
    assert opened == []
    assert [seen.rpc for seen in server.requests[requests:]] == ["tools/call"]
    assert len([statement for statement in statements[before:] if statement.startswith("SELECT")]) == 1


def a_minute_later(toolkit: MCPOAuthToolkit, monkeypatch: pytest.MonkeyPatch) -> None:
    """For everything of the library that gets old; the event loops' and the server's own timers go on as they were."""

    def later() -> float:
        return time.monotonic() + 60

    monkeypatch.setattr("httpcore2._async.http11.time", SimpleNamespace(monotonic=later))
    monkeypatch.setattr(toolkit._service.authorizer._cache, "_clock", later)
    monkeypatch.setattr(toolkit._service._loops.get().alone, "clock", later)
