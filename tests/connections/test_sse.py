"""HTTP with SSE, the transport of 2024-11-05: the SDK's own server, through the guarded client, by the interface of all servers."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.types import CallToolResult
from starlette.responses import JSONResponse, Response

from langchain_mcp_oauth.connections import Connections, Unauthorized
from langchain_mcp_oauth.errors import ConnectionFailed, ProtocolError
from langchain_mcp_oauth.models import GrantKey

from .mcp_servers import Connect, Example, Front, Seen, Serve, events, make_grant, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def example() -> Example:
    return Example()


@pytest.fixture
def front(example: Example) -> Front:
    return Front(example.mcp.sse_app())


@pytest.fixture
async def url(front: Front, serve: Serve) -> str:
    return f"{serve(front)}/sse"


@pytest.fixture
async def connections(url: str, connect: Connect) -> Connections:
    options: dict[str, Any] = {"transport": "sse", "headers": {"X-Gate": "open"}, "query": {"k": "a b"}}
    return await connect(url, server=options, timeout=10.0)


async def test_calls_over_one_event_stream(connections: Connections, front: Front, url: str) -> None:
    """Listing and calls, each a POST with the token of its own operation; the event stream is opened once."""
    key = GrantKey("ada", "example", url)
    listed = await connections.get(key).list_tools(make_grant(key, "access-token-1"))
    assert "echo" in {tool.name for tool in listed.tools}
    result = await connections.get(key).call_tool(make_grant(key, "access-token-2"), "echo", {"text": "hello"})
    assert isinstance(result, CallToolResult)
    assert result.content[0].text == "hello"  # type: ignore[union-attr]
    assert front.rpcs() == ["GET", "initialize", "notifications/initialized", "tools/list", "tools/call"]
    assert [seen.headers["authorization"] for seen in front.seen] == [*["Bearer access-token-1"] * 4, "Bearer access-token-2"]
    assert {seen.headers["x-gate"] for seen in front.seen} == {"open"}
    await connections.aclose()
    await until(lambda: front.seen[0].disconnected)


def refuse(method: str) -> Any:
    def rule(seen: Seen) -> Response | None:
        refused = (seen.rpc or seen.method) == method and seen.headers.get("authorization") != "Bearer access-token-2"
        return Response(status_code=401, headers={"www-authenticate": 'Bearer error="invalid_token"'}) if refused else None

    return rule


@pytest.mark.parametrize("method", ["GET", "tools/call"])
async def test_a_401_is_its_callers(connections: Connections, front: Front, url: str, method: str) -> None:
    """To the event stream and to a message alike; the same call with another token goes through."""
    front.rules.append(refuse(method))
    key = GrantKey("ada", "example", url)
    with pytest.raises(Unauthorized):
        await connections.get(key).call_tool(make_grant(key, "access-token-1"), "echo", {"text": "a"})
    await connections.get(key).call_tool(make_grant(key, "access-token-2"), "echo", {"text": "b"})


async def test_a_session_that_was_forgotten_is_opened_again(connections: Connections, front: Front, example: Example, url: str) -> None:
    """404 to a message: the server has not carried it out."""
    connection = connections.get(GrantKey("ada", "example", url))
    await connection.list_tools(None)
    forgetful = [404]
    front.rules.append(lambda seen: Response(status_code=forgetful.pop()) if seen.rpc == "tools/call" and forgetful else None)
    await connection.call_tool(None, "echo", {"text": "once"})
    assert example.events == ["echo once"]
    assert front.rpcs().count("GET") == 2


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (events("event: endpoint\ndata: https://elsewhere.example/messages\n\n"), ProtocolError, "another origin"),
        (events("event: endpoint\ndata: http://[::1\n\n"), ProtocolError, "no URL"),
        (events("event: ping\ndata: 1\n\n"), ProtocolError, "where messages go"),
        (Response("event: ping\n\n", media_type="text/event-stream; charset=zlib"), ProtocolError, "where messages go"),
        (events("data: " + "x" * 2_000_000), ConnectionFailed, "broke off"),
        (JSONResponse({}), ProtocolError, "Is this the URL"),
        (Response(status_code=503), ConnectionFailed, "503"),
    ],
    ids=["another origin", "no URL", "no endpoint", "a strange charset", "an endless event", "no event stream", "in trouble"],
)
async def test_event_streams_that_are_none(
    connections: Connections, front: Front, url: str, answer: Response, error: type[Exception], message: str
) -> None:
    """Nothing is posted, least of all to another origin."""
    front.rules.append(lambda seen: answer if seen.method == "GET" else None)
    with pytest.raises(error, match=message):
        await connections.get(GrantKey("ada", "example", url)).list_tools(None)
    assert front.rpcs() == ["GET"]
