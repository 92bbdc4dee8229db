"""What servers may answer, and what becomes of it: results, the server's own errors, and our typed ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError
from starlette.responses import JSONResponse, Response, StreamingResponse

from langchain_mcp_oauth.connections import Connection
from langchain_mcp_oauth.errors import ConnectionFailed, ProtocolError
from langchain_mcp_oauth.models import GrantKey

from .mcp_servers import TEXT, Connect, Front, Seen, Serve, answer_to, as_event, events, fake, reply

pytestmark = pytest.mark.anyio

ERAS = ["2025-11-25", "2026-07-28"]


@pytest.fixture
def connection_to(serve: Serve, connect: Connect) -> Callable[..., Any]:
    async def make(front: Front, **options: Any) -> Connection:
        url = f"{serve(front)}/mcp"
        connections = await connect(url, timeout=options.pop("timeout", 5.0), **options)
        return connections.get(GrantKey("ada", "example", url))

    return make


async def call(connection: Connection) -> str:
    result = await connection.call_tool(None, "t", {})
    return result.content[0].text  # type: ignore[union-attr]


def error(seen: Seen, code: int = -32000, message: str = "mine") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": seen.message["id"], "error": {"code": code, "message": message}}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "answer",
    [
        lambda seen: reply(seen, TEXT),
        lambda seen: JSONResponse(answer_to(seen, TEXT) | {"id": str(seen.message["id"])}),
        lambda seen: Response(reply(seen, TEXT).body, media_type="application/json; charset=utf-8"),
        lambda seen: events(answer_to(seen, TEXT)),
        lambda seen: events(": comment\n\n", "event: other\ndata: {}\n\n", "data:\n\n", answer_to(seen, TEXT)),
        lambda seen: events({"jsonrpc": "2.0", "id": 999, "result": {}}, answer_to(seen, TEXT)),
        lambda seen: events({"jsonrpc": "2.0", "method": "notifications/nobody/knows"}, answer_to(seen, TEXT), "data: {\n\n"),
    ],
    ids=["json", "id as text", "charset", "events", "other events", "another's answer", "unknown notification"],
)
async def test_answers(connection_to: Callable[..., Any], era: str, answer: Callable[[Seen], Response]) -> None:
    """Both media types, with everything that may stand around an answer."""
    assert await call(await connection_to(fake(era, tools_call=answer))) == "done"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda seen: Response(status_code=202), "answered a request with 202"),
        (lambda seen: reply(seen, TEXT, status_code=202), "answered a request with 202"),
        (lambda seen: Response(status_code=204), "answered a request with 204"),
        (lambda seen: Response("<p>hello</p>", media_type="text/html"), "no MCP message"),
        (lambda seen: Response("{", media_type="application/json"), "not JSON"),
        (lambda seen: Response("[" * 100_000 + "]" * 100_000, media_type="application/json"), "not JSON, or nested too deep"),
        (lambda seen: Response(b"\xff\xfe", media_type="application/json"), "not JSON"),
        (lambda seen: JSONResponse([answer_to(seen, TEXT)]), "not an MCP message"),
        (lambda seen: JSONResponse(answer_to(seen, TEXT) | {"id": 999}), "the answer to another request"),
        (lambda seen: JSONResponse(answer_to(seen, "text")), "neither a result nor an error"),
        (lambda seen: JSONResponse({"jsonrpc": "2.0", "id": seen.message["id"], "error": "text"}), "neither a result nor an error"),
        (lambda seen: reply(seen, {"content": "text", "resultType": "complete"}), "does not fit its revision"),
        (lambda seen: Response(b" " * (4 * 1024 * 1024 + 1), media_type="application/json"), "more than 4,096 KiB"),
        (lambda seen: events("data: " + "x" * (1024 * 1024 + 1) + "\n\n"), "an event of more than 1,024 KiB"),
        (lambda seen: events("data: {\n\n"), "not JSON"),
        (lambda seen: Response(b"[" + b"[]," * 1_000_000 + b"[]]", media_type="application/json"), "more than 500,000 lists"),
        (lambda seen: Response(b"x", media_type="application/json", headers={"Content-Encoding": "gzip"}), "compressed"),
        (lambda seen: Response(status_code=400), "answered 400"),
        (lambda seen: JSONResponse({"error": "no"}, 418), "answered 418"),
        (lambda seen: JSONResponse(error(seen) | {"id": 999}, 400), "answered 400"),
        (lambda seen: Response(status_code=302, headers={"Location": "/mcp"}), "redirects to another place"),
        (lambda seen: Response(status_code=307, headers={"Location": "/mcp"}), "redirects to another place"),
    ],
)
async def test_what_is_not_mcp(connection_to: Callable[..., Any], era: str, answer: Callable[[Seen], Response], says: str) -> None:
    """Each is a typed error that says what the server did, and holds none of its words; nothing is sent again."""
    front = fake(era, tools_call=answer)
    with pytest.raises(ProtocolError, match=says) as caught:
        await call(await connection_to(front))
    assert caught.value.__cause__ is None
    assert len(front.of("tools/call")) in (1, 6)  # six with a redirect that leads nowhere


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("status", [200, 400, 404, 422, 500])
async def test_the_servers_own_errors(connection_to: Callable[..., Any], era: str, status: int) -> None:
    """A JSON-RPC error is the server's word at whatever status (but 404 to a session means that it expired)."""
    front = fake(era, tools_call=lambda seen: JSONResponse(error(seen, -32601, "no such method"), status))
    expected = ProtocolError if (era, status) == ("2025-11-25", 404) else MCPError
    with pytest.raises(expected):
        await call(await connection_to(front))


async def test_an_error_without_an_id_is_for_the_only_request(connection_to: Callable[..., Any]) -> None:
    """A server that could not read the request cannot name it (JSON-RPC 2.0 §5)."""
    front = fake(tools_call=lambda seen: JSONResponse(error(seen) | {"id": None}, 400))
    with pytest.raises(MCPError, match="mine"):
        await call(await connection_to(front))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("status", "headers", "retry_after"),
    [(429, {"Retry-After": "7"}, 7.0), (503, {}, None), (500, {}, None), (502, {"Retry-After": "soon"}, None)],
)
async def test_trouble(
    connection_to: Callable[..., Any], era: str, status: int, headers: dict[str, str], retry_after: float | None
) -> None:
    """429 and 5xx are retryable, say when, and are not retried here."""
    front = fake(era, tools_call=lambda seen: Response("sorry", status, headers))
    with pytest.raises(ConnectionFailed, match=f"answered {status}") as caught:
        await call(await connection_to(front))
    assert (caught.value.retryable, caught.value.retry_after) == (True, retry_after)
    assert len(front.of("tools/call")) == 1


async def test_a_limit_with_a_json_rpc_body_is_a_limit(connection_to: Callable[..., Any]) -> None:
    """Gateways put JSON-RPC errors into 429; that one may try again later matters more."""
    front = fake(tools_call=lambda seen: JSONResponse(error(seen), 429, {"Retry-After": "7"}))
    with pytest.raises(ConnectionFailed):
        await call(await connection_to(front))


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ({"content": [{"type": "text", "text": "done"}]}, "done"),
        ({"content": [{"type": "text", "text": "done"}], "resultType": "complete"}, "done"),
        ({"content": [{"type": "text", "text": "done"}], "resultType": "foo"}, None),
    ],
)
async def test_result_types(connection_to: Callable[..., Any], result: dict[str, Any], outcome: str | None) -> None:
    """2026-07-28, basic protocol: a result without a type is complete, one of an unknown type is invalid."""
    connection = await connection_to(fake(tools_call=lambda seen: reply(seen, result)))
    if outcome is None:
        with pytest.raises(ProtocolError, match="of a type that MCP does not have"):
            await call(connection)
    else:
        assert await call(connection) == outcome


async def test_a_servers_schema_is_not_run(connection_to: Callable[..., Any]) -> None:
    """An output schema with a regular expression that takes for ever costs nothing, and structured content comes as it is (R45)."""
    schema = {"type": "object", "properties": {"n": {"type": "string", "pattern": "^(a+)+$"}}}
    listing = {"tools": [{"name": "t", "inputSchema": {"type": "object"}, "outputSchema": schema}]}
    content = {"n": "a" * 40 + "!"}
    front = fake(
        "2025-11-25",
        tools_list=lambda seen: reply(seen, listing),
        tools_call=lambda seen: reply(seen, TEXT | {"structuredContent": content}),
    )
    connection = await connection_to(front)
    await connection.list_tools(None)
    with anyio.fail_after(2):
        assert (await connection.call_tool(None, "t", {})).structured_content == content


async def test_headers_that_do_not_fit_are_corrected(connection_to: Callable[..., Any]) -> None:
    """2026-07-28: a call refused for its headers is made again with the listed schema's (SEP-2243), once."""
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    listing = {"tools": [{"name": "t", "inputSchema": schema}], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    front = fake(
        tools_list=lambda seen: reply(seen, listing),
        tools_call=lambda seen: (
            reply(seen, TEXT) if "mcp-param-region" in seen.headers else JSONResponse(error(seen, -32020, "HeaderMismatch"), 400)
        ),
    )
    connection = await connection_to(front)
    for _ in range(2):
        await connection.call_tool(None, "t", {"region": "eu"})
    assert front.rpcs() == ["server/discover", "tools/call", "tools/list", "tools/call", "tools/call"]
    assert front.seen[-1].headers["mcp-param-region"] == "eu"


async def test_long_listings(connection_to: Callable[..., Any]) -> None:
    """All pages are fetched; more than 1,000 tools or 50 pages are refused after a bounded number of requests."""

    def pages(size: int, last: int) -> Callable[[Seen], Response]:
        def page(seen: Seen) -> Response:
            number = int(seen.params.get("cursor", 1))
            tools = [{"name": f"t{number}-{n}", "inputSchema": {"type": "object"}} for n in range(size)]
            return reply(seen, {"tools": tools} | ({"nextCursor": str(number + 1)} if number < last else {}))

        return page

    listed = await (await connection_to(fake("2025-11-25", tools_list=pages(20, 50)))).list_tools(None)
    assert len(listed.tools) == 1_000
    for size, last, requests in ((21, 50, 48), (1, 51, 50)):
        front = fake("2025-11-25", tools_list=pages(size, last))
        with pytest.raises(ProtocolError, match="more than 1,000 tools or 50 pages"):
            await (await connection_to(front)).list_tools(None)
        assert len(front.of("tools/list")) == requests


@pytest.mark.parametrize(
    ("era", "hints", "ttl", "public"),
    [
        ("2026-07-28", [{"ttlMs": 90_000, "cacheScope": "private"}], 90.0, False),
        ("2026-07-28", [{"ttlMs": 90_000, "cacheScope": "public"}], 90.0, True),
        ("2026-07-28", [{"ttlMs": 90_000, "cacheScope": "public"}, {"ttlMs": 5_000, "cacheScope": "private"}], 5.0, False),
        ("2026-07-28", [{"ttlMs": 10**12, "cacheScope": "public"}], 86_400.0, True),
        ("2026-07-28", [{"ttlMs": 0, "cacheScope": "public"}], 0.0, True),
        ("2026-07-28", [{"ttlMs": -1, "cacheScope": "public"}], 0.0, True),
        ("2026-07-28", [{"cacheScope": "public"}], 0.0, True),
        ("2026-07-28", [{}], 0.0, False),
        ("2025-11-25", [{"ttlMs": 90_000, "cacheScope": "public"}], 0.0, False),
    ],
)
async def test_how_long_a_listing_is_in_date(
    connection_to: Callable[..., Any], era: str, hints: list[dict[str, Any]], ttl: float, public: bool
) -> None:
    """The shortest time of all pages, a day at most; shared only if all pages say so; before 2026-07-28 there are no such hints."""

    def page(seen: Seen) -> Response:
        number = int(seen.params.get("cursor", 0))
        more = {"nextCursor": str(number + 1)} if number + 1 < len(hints) else {}
        return reply(seen, {"tools": [{"name": f"t{number}", "inputSchema": {"type": "object"}}], **hints[number], **more})

    listed = await (await connection_to(fake(era, tools_list=page))).list_tools(None)
    assert (listed.ttl, listed.public) == (ttl, public)


@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
async def test_a_server_says_that_its_tools_changed(serve: Serve, connect: Connect, era: str) -> None:
    """Inside the answer to a call: its user's key is handed on before the answer is."""

    def answer(seen: Seen) -> Response:
        return events({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}, answer_to(seen, TEXT))

    url = f"{serve(fake(era, tools_call=answer))}/mcp"
    changed: list[GrantKey] = []

    async def hear(key: GrantKey) -> None:
        changed.append(key)

    key = GrantKey("ada", "example", url)
    await (await connect(url, tools_changed=hear)).get(key).call_tool(None, "t", {})
    assert changed == [key]


async def test_the_first_of_several_tools_with_one_name(connection_to: Callable[..., Any]) -> None:
    """A second one could not be called, and would lend its description to the first."""
    tools = [{"name": name, "description": text, "inputSchema": {"type": "object"}} for name, text in (("a", "1"), ("b", "2"), ("a", "3"))]
    listed = await (
        await connection_to(fake(tools_list=lambda seen: reply(seen, {"tools": tools, "ttlMs": 0, "cacheScope": "private"})))
    ).list_tools(None)
    assert [(tool.name, tool.description) for tool in listed.tools] == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    ("content_type", "retry"),
    [("text/event-stream; charset=zlib", "1"), ("text/event-stream; charset=punycode", "1"), ("text/event-stream", "9" * 4_000)],
)
async def test_an_event_stream_is_utf_8_and_waits_for_seconds(connection_to: Callable[..., Any], content_type: str, retry: str) -> None:
    """Whatever charset it claims, and however long it wants us to wait: neither is an exception that nobody expects."""

    def call(seen: Seen) -> Response:
        return Response(f"retry: {retry}\n" + as_event(answer_to(seen, TEXT)), headers={"content-type": content_type})

    result = await (await connection_to(fake(tools_call=call))).call_tool(None, "echo", {})
    assert result.content[0].text == "done"


@pytest.mark.parametrize("era", ERAS)
async def test_what_a_server_says_while_it_works(connection_to: Callable[..., Any], era: str) -> None:
    """Until 2025-11-25 pings are answered, other requests refused, log messages handed on; from 2026-07-28 on requests are ignored."""
    ping = {"jsonrpc": "2.0", "id": "p1", "method": "ping"}
    sampling = {"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}
    unknown = {"jsonrpc": "2.0", "id": "u1", "method": "no/such"}
    log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "working"}}
    logged: list[Any] = []

    async def on_log(params: Any) -> None:
        logged.append(params.data)

    front = fake(era, tools_call=lambda seen: events(ping, sampling, unknown, log, answer_to(seen, TEXT)))
    assert await call(await connection_to(front, logging_callback=on_log)) == "done"
    answered = {seen.message["id"]: seen.message.get("result", seen.message.get("error", {}).get("code")) for seen in front.of_answers()}
    assert answered == ({} if era == "2026-07-28" else {"p1": {}, 7: -32600, "u1": -32601})
    assert logged == ["working"]


async def test_a_stream_that_stays_open_after_its_answer(connection_to: Callable[..., Any]) -> None:
    """Its end is not waited for: the call returns, and the connection is given up."""

    async def endless(seen: Seen) -> Any:
        yield as_event(answer_to(seen, TEXT))
        await anyio.sleep(2)

    front = fake(tools_call=lambda seen: StreamingResponse(endless(seen), media_type="text/event-stream"))
    with anyio.fail_after(1):
        assert await call(await connection_to(front)) == "done"


@pytest.mark.parametrize("era", ERAS)
async def test_an_answer_broken_off_is_not_asked_for_again(connection_to: Callable[..., Any], era: str) -> None:
    """A stream that ends without the answer, and cannot be resumed: the call may have been carried out, so it is not made again."""
    front = fake(era, tools_call=lambda seen: events({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}))
    with pytest.raises(ConnectionFailed, match="may have done what it was asked"):
        await call(await connection_to(front))
    assert len(front.of("tools/call")) == 1


async def test_resumption(connection_to: Callable[..., Any]) -> None:
    """2025-11-25: a stream with event ids is resumed by GET with the last id, after the server's `retry`; the call is made once."""
    waited: list[float] = []

    def call_then_end(seen: Seen) -> Response:
        waited.append(anyio.current_time())
        calls.append(seen)
        return events("id: e1\nretry: 300\ndata:\n\n")

    def resume(seen: Seen) -> Response:
        waited.append(anyio.current_time())
        resumed.append(seen.headers["last-event-id"])
        return events("id: e2\ndata:\n\n") if len(resumed) == 1 else events(answer_to(calls[0], TEXT))

    calls: list[Seen] = []
    resumed: list[str] = []
    front = fake("2025-11-25", tools_call=call_then_end, GET=resume)
    assert await call(await connection_to(front)) == "done"
    assert (len(calls), resumed) == (1, ["e1", "e2"])
    assert [seen.headers["mcp-session-id"] for seen in front.seen if seen.method == "GET"] == ["session-1"] * 2
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(waited))


@pytest.mark.parametrize("wait", ["retry: 0", "retry: -5", "x: y"])
async def test_resumption_is_bounded(connection_to: Callable[..., Any], wait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five resumptions, with delays of our own (R10), whatever the server would like."""
    monkeypatch.setattr("langchain_mcp_oauth.connections.dispatcher.SHORTEST_WAIT", 0.01)
    front = fake("2025-11-25", tools_call=lambda seen: events(f"id: e1\n{wait}\ndata:\n\n"), GET=lambda seen: events("data:\n\n"))
    began = anyio.current_time()
    with pytest.raises(ConnectionFailed, match="broke off"):
        await call(await connection_to(front))
    assert sum(seen.method == "GET" for seen in front.seen) == 5
    assert anyio.current_time() - began >= 0.31


@pytest.mark.parametrize("status", [401, 404, 405, 500])
async def test_a_refused_resumption_is_not_a_refused_call(connection_to: Callable[..., Any], status: int) -> None:
    """The call was accepted; so no 401 or expired session is reported, which would have it made again."""
    front = fake("2025-11-25", tools_call=lambda seen: events("id: e1\ndata:\n\n"), GET=lambda seen: Response(status_code=status))
    with pytest.raises(ConnectionFailed, match="may have done"):
        await call(await connection_to(front))
    assert len(front.of("tools/call")) == 1


async def test_modern_streams_are_not_resumed(connection_to: Callable[..., Any]) -> None:
    """2026-07-28 has no resumption."""
    front = fake(tools_call=lambda seen: events("id: e1\ndata:\n\n"))
    with pytest.raises(ConnectionFailed):
        await call(await connection_to(front))
    assert "GET" not in front.rpcs()


@pytest.mark.parametrize("session_id", ["has blank", "x" * 1_025])
async def test_impossible_session_ids(connection_to: Callable[..., Any], session_id: str) -> None:
    """2025-11-25, session management: visible ASCII only; and not without end."""
    greeting = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "fake", "version": "1"}}
    front = fake("2025-11-25", initialize=lambda seen: reply(seen, greeting, headers={"Mcp-Session-Id": session_id}))
    with pytest.raises(ProtocolError, match="session id"):
        await call(await connection_to(front))


async def test_a_revision_nobody_knows(connection_to: Callable[..., Any]) -> None:
    """A handshake that ends in an unknown revision is a typed error."""
    greeting = {"protocolVersion": "1999-01-01", "capabilities": {}, "serverInfo": {"name": "fake", "version": "1"}}
    with pytest.raises(ProtocolError, match="no revision of MCP that this library knows"):
        await call(await connection_to(fake("2025-11-25", initialize=lambda seen: reply(seen, greeting))))
