"""Real MCP servers for these tests: the SDK's own, behind an ASGI front that sees every request and may answer in its place."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult, ToolListChangedNotification
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langchain_mcp_oauth.connections import Connection, Connections
from langchain_mcp_oauth.models import ClientRegistration, Grant, GrantKey, TokenSet
from langchain_mcp_oauth.testing.serving import ServerThread, origin

Serve: TypeAlias = Callable[[ASGIApp], str]
Connect: TypeAlias = Callable[..., Awaitable[Connections]]

ERAS = ("2025-11-25 events", "2025-11-25 json", "2026-07-28")
SESSION_ERAS = ERAS[:2]


@dataclass
class Seen:
    """One HTTP request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    connection: tuple[str, int]
    """The client's address: one for each TCP connection."""
    message: dict[str, Any]
    rpc: str | None
    params: dict[str, Any]
    status: int | None = None
    disconnected: bool = False


Rule: TypeAlias = Callable[[Seen], ASGIApp | None]


@dataclass
class Front:
    """Records every request; the first rule that returns a response answers it, else the application does."""

    app: ASGIApp = field(default_factory=lambda: Starlette())
    seen: list[Seen] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await _read(receive)
        message = json.loads(body) if body else {}
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        params = message.get("params") or {}
        seen = Seen(scope["method"], scope["path"], headers, tuple(scope["client"]), message, message.get("method"), params)
        self.seen.append(seen)
        answers = (rule(seen) for rule in self.rules)
        answer = next((answer for answer in answers if answer is not None), self.app)
        await answer(scope, _again(body, receive, seen), _noting(send, seen))

    def of(self, rpc: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.rpc == rpc]

    def of_answers(self) -> list[Seen]:
        """The POSTs that answer a request of the server's."""
        return [seen for seen in self.seen if seen.method == "POST" and seen.rpc is None]

    def rpcs(self) -> list[str]:
        """What was sent, in order; `DELETE` and `GET` by their method, JSON-RPC answers as `answer`."""
        return [(seen.rpc or "answer") if seen.method == "POST" else seen.method for seen in self.seen]

    def connections(self) -> int:
        return len({seen.connection for seen in self.seen})

    def forget(self) -> None:
        self.seen.clear()


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes, receive: Receive, seen: Seen) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        if pending:
            return pending.pop()
        message = await receive()
        seen.disconnected = seen.disconnected or message["type"] == "http.disconnect"
        return message

    return replay


def _noting(send: Send, seen: Seen) -> Send:
    async def note(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.status = message["status"]
        await send(message)

    return note


class Sum(BaseModel):
    total: int


class Name(BaseModel):
    name: str


@dataclass
class Example:
    """An MCP server with a few tools. `events` tells what its tools did, across threads."""

    mcp: MCPServer = field(default_factory=lambda: MCPServer("example", instructions="Be kind.", version="7", log_level="ERROR"))
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for tool in (self.echo, self.add, self.fail, self.steps, self.wait, self.greet, self.insist, self.greet_modern):
            self.mcp.add_tool(tool)

    async def echo(self, text: str) -> str:
        self.events.append(f"echo {text}")
        return text

    async def add(self, a: int, b: int) -> Sum:
        return Sum(total=a + b)

    async def fail(self) -> str:
        raise ToolError("it broke")

    async def steps(self, ctx: Context, count: int) -> str:
        for step in range(1, count + 1):
            await ctx.report_progress(step, count, f"step {step}")
        return "done"

    async def wait(self, seconds: float = 30) -> str:
        self.events.append("waiting")
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            self.events.append("cancelled")
            raise
        return "never"

    async def greet(self, ctx: Context) -> str:
        """Asks in the middle of the call (2025-11-25)."""
        first = await ctx.elicit("Your name?", Name)
        second = await ctx.elicit("Your other name?", Name)
        names = [answer.data.name if answer.action == "accept" else answer.action for answer in (first, second)]
        self.events.append(f"greeted {names}")
        return " ".join(names)

    async def insist(self, ctx: Context) -> str:
        """Asks the same thing twice."""
        answers = [await ctx.elicit("Your name?", Name) for _ in range(2)]
        return " ".join(answer.data.name if answer.action == "accept" else answer.action for answer in answers)

    async def greet_modern(self, ctx: Context) -> str | InputRequiredResult:
        """Asks by its result (2026-07-28), after one round of asking nothing."""
        if ctx.request_state is None:
            return InputRequiredResult(request_state="round 1")
        if not ctx.input_responses:
            form = ElicitRequestFormParams(message="Your name?", requested_schema=Name.model_json_schema())
            return InputRequiredResult(input_requests={"who": ElicitRequest(params=form)}, request_state="round 2")
        return f"{ctx.request_state}: {ctx.input_responses['who'].content['name']}"


def add_reporting_tools(mcp: MCPServer) -> MCPServer:
    """Two that tell something while they work: their progress, and that there are other tools now."""

    async def narrate(ctx: Context, count: int) -> str:
        """Report progress and log, in turn."""
        for step in range(1, count + 1):
            await ctx.report_progress(step, count)
            await ctx.session.send_log_message(level="info", data=step, related_request_id=ctx.request_id)
        return "done"

    async def grow(ctx: Context) -> str:
        """Have another tool from now on, and say so."""

        async def grown() -> str:
            return "grown"

        mcp.add_tool(grown)
        await ctx.session.send_notification(ToolListChangedNotification(), related_request_id=ctx.request_id)
        return "done"

    mcp.add_tool(narrate)
    mcp.add_tool(grow)
    return mcp


def app_of(mcp: MCPServer, era: str) -> Front:
    """The server in one era; the SDK's speaks both, so the other one is refused as a server of one era does."""
    front = Front(mcp.streamable_http_app(json_response=era == "2025-11-25 json"))
    front.rules.append(refuse_sessions if era == "2026-07-28" else refuse_modern)
    return front


@dataclass
class Peer:
    """A served MCP server and a way to it."""

    front: Front
    url: str
    example: Example
    connections: Connections

    def key(self, user: str = "ada") -> GrantKey:
        return GrantKey(user, "example", self.url)

    def connection(self, user: str = "ada") -> Connection:
        return self.connections.get(self.key(user))

    def grant(self, token: str = "access-token-1", user: str = "ada") -> Grant:
        return make_grant(self.key(user), token)


def make_grant(key: GrantKey, token: str) -> Grant:
    now = datetime.now(UTC)
    return Grant(
        key=key,
        issuer="https://as.example",
        resource=key.url,
        token_endpoint="https://as.example/token",
        client=ClientRegistration(issuer="https://as.example", client_id="us", kind="dynamic", redirect_uri="https://app.example/callback"),
        tokens=TokenSet(
            access_token=SecretStr(token),
            refresh_token=SecretStr("refresh-token-1"),
            obtained_at=now,
            expires_at=now + timedelta(hours=1),
        ),
    )


async def until(happened: Callable[[], object]) -> None:
    """Wait for what happens on a server's thread; five seconds at most."""
    with anyio.fail_after(5):
        while not happened():  # noqa: ASYNC110 - it happens in another thread
            await anyio.sleep(0.005)


def refuse_modern(seen: Seen) -> Response | None:
    """2025-11-25, transports: an unsupported version is 400."""
    return _rpc_error(-32600, "Unsupported protocol version") if is_modern(seen) else None


def refuse_sessions(seen: Seen) -> Response | None:
    """2026-07-28, versioning: `UnsupportedProtocolVersionError`."""
    if is_modern(seen):
        return None
    return _rpc_error(-32022, "Unsupported protocol version", {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": "2025-11-25"})


def is_modern(seen: Seen) -> bool:
    return seen.headers.get("mcp-protocol-version") in MODERN_PROTOCOL_VERSIONS


def _rpc_error(code: int, message: str, data: dict[str, Any] | None = None) -> Response:
    error = {"code": code, "message": message} | ({"data": data} if data else {})
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The origin at which the application is served, from a thread of its own."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only where it says TCP
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    thread = ServerThread([(app, listener)])
    thread.start()
    try:
        yield origin(listener)
    finally:
        thread.stop()


def fake(era: str = "2026-07-28", **answers: Rule) -> Front:
    """A server that begins as it should, and then answers each method as the test says, e.g. `fake(tools_call=lambda seen: ...)`."""
    front = Front()
    by_method = {name.replace("_", "/"): rule for name, rule in answers.items()}
    front.rules.append(lambda seen: by_method[seen.rpc](seen) if seen.rpc in by_method else None)
    front.rules.append(lambda seen: by_method["GET"](seen) if seen.method == "GET" and "GET" in by_method else None)
    front.rules.append(_discover if era == "2026-07-28" else _handshake)
    return front


def _discover(seen: Seen) -> ASGIApp | None:
    found = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "ttlMs": 0, "cacheScope": "private"}
    return reply(seen, found) if seen.rpc == "server/discover" else None


def _handshake(seen: Seen) -> ASGIApp | None:
    if seen.rpc == "initialize":
        greeting = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "fake", "version": "1"}}
        return reply(seen, greeting, headers={"Mcp-Session-Id": "session-1"})
    return Response(status_code=202) if seen.rpc is None or seen.rpc.startswith("notifications/") else None


def reply(seen: Seen, result: object, **options: Any) -> Response:
    """The JSON-RPC result for a request."""
    return JSONResponse(answer_to(seen, result), **options)


def answer_to(seen: Seen, result: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": seen.message["id"], "result": result}


TEXT = {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}
"""A tool's result, for both eras."""


def events(*parts: dict[str, Any] | str) -> Response:
    """An event stream of these messages (text: as it stands), which then ends."""
    return Response("".join(as_event(part) for part in parts), media_type="text/event-stream")


def as_event(part: dict[str, Any] | str) -> str:
    return part if isinstance(part, str) else f"event: message\ndata: {json.dumps(part)}\n\n"
