"""MCP servers that are programs: real processes of this machine, by the same interface as servers on HTTP."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.types import CallToolResult, ElicitResult, InputRequiredResult
from pydantic import SecretStr

from langchain_mcp_oauth.connections import Connection, Connections, ToolResult
from langchain_mcp_oauth.errors import ConnectionFailed
from langchain_mcp_oauth.http import guarded_client
from langchain_mcp_oauth.models import Credentials, GrantKey
from langchain_mcp_oauth.servers.programs import StdioServer

pytestmark = pytest.mark.anyio

PROGRAM = str(Path(__file__).parent / "program.py")
KEY = GrantKey("ada", "example", f"stdio:{sys.executable}")


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with guarded_client() as opened:
        yield opened


def connections_to(client: httpx2.AsyncClient, *args: str, env: dict[str, str] | None = None, **options: Any) -> Connections:
    server = StdioServer(command=sys.executable, args=[PROGRAM, *args], env=env or {})
    return Connections(client, {"example": server}, timeout=30.0, **options)


def text(result: ToolResult) -> str:
    assert isinstance(result, CallToolResult), result
    return result.content[0].text  # type: ignore[union-attr]


async def facts(connection: Connection) -> dict[str, Any]:
    result = await connection.call_tool(None, "started_with", {})
    assert isinstance(result, CallToolResult)
    return dict(result.structured_content or {})


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_program_serves_its_user_until_its_connection_is_closed(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing and calls of several tasks share one process. It is given what it is configured with and, of ours, nothing secret."""
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", "canary-key")
    connections = connections_to(client, "--region={{REGION}}", env={"API_KEY": "{{KEY}}"})
    credentials = Credentials(key=KEY, values={"KEY": SecretStr("${HOME} {{REGION}}"), "REGION": SecretStr("eu")}, version=1)
    connection = connections.get(KEY, credentials)
    listed = await connection.list_tools(None)
    assert {"echo", "started_with"} <= {tool.name for tool in listed.tools}
    echoed: list[str] = []

    async def echo(number: int) -> None:
        echoed.append(text(await connection.call_tool(None, "echo", {"text": str(number)})))

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(echo, number)
    assert sorted(echoed) == ["0", "1", "2"]
    started = await facts(connection)
    assert started["args"] == ["--region=eu"]
    assert started["env"]["API_KEY"] == "${HOME} {{REGION}}"  # what a user gives is never looked at again
    assert "canary-key" not in str(started)
    assert is_running(started["pid"])

    changed = Credentials(key=KEY, values={"KEY": SecretStr("new"), "REGION": SecretStr("us")}, version=2)
    restarted = await facts(connections.get(KEY, changed))
    assert (restarted["args"], restarted["env"]["API_KEY"]) == (["--region=us"], "new")
    assert not is_running(started["pid"])
    await connections.aclose()
    assert not is_running(restarted["pid"])


async def test_a_program_that_ends_is_started_again(client: httpx2.AsyncClient) -> None:
    """The call during which it ended fails, since it may have been carried out; the next one finds a new process."""
    connections = connections_to(client)
    connection = connections.get(KEY)
    first = (await facts(connection))["pid"]
    with pytest.raises(ConnectionFailed, match="without an answer"):
        await connection.call_tool(None, "quit_now", {})
    assert (await facts(connection))["pid"] != first
    await connections.aclose()


async def test_questions_of_a_program(client: httpx2.AsyncClient) -> None:
    """2025-11-25: as over HTTP, the call is given up while a person is asked, and made again with the answers."""
    connections = connections_to(client, elicitation=True)
    connections._versions["example"] = "2025-11-25"  # the SDK's server would speak the newer revision, which asks otherwise
    connection = connections.get(KEY)
    answers: dict[str, Any] = {}
    state: str | None = None
    for name in ("Ada", "Lovelace"):
        result = await connection.call_tool(None, "greet", {}, input_responses=answers, request_state=state)
        assert isinstance(result, InputRequiredResult)
        answers = {key: ElicitResult(action="accept", content={"name": name}) for key in result.input_requests or {}}
        state = result.request_state
    assert text(await connection.call_tool(None, "greet", {}, input_responses=answers, request_state=state)) == "Ada Lovelace"
    assert text(await connection.call_tool(None, "echo", {"text": "still there"})) == "still there"
    await connections.aclose()


async def test_a_program_that_is_not_there(client: httpx2.AsyncClient) -> None:
    """The reason is told, not an exception group."""
    connections = Connections(client, {"example": StdioServer(command="/no/such/program")})
    with pytest.raises(ConnectionFailed, match="'/no/such/program' cannot be started: No such file"):
        await connections.get(GrantKey("ada", "example", "stdio:/no/such/program")).list_tools(None)


@pytest.mark.slow
async def test_a_program_that_does_not_want_to_end(client: httpx2.AsyncClient) -> None:
    """It is made to: input closed, SIGTERM, SIGKILL."""
    connections = connections_to(client, "stubborn")
    pid = (await facts(connections.get(KEY)))["pid"]
    await connections.aclose()
    assert not is_running(pid)
