"""What a server saw: one line for every request, without anything secret."""

from __future__ import annotations

import json
from collections.abc import MutableSequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Observer", "SeenRequest", "ToolCall"]

SEEN = "langchain_mcp_oauth.seen"
"""The key of the request's `SeenRequest` in the ASGI scope."""


@dataclass
class SeenRequest:
    """One HTTP request. It is recorded when it has arrived whole; `status` is None until the answer starts."""

    method: str
    path: str
    grant_type: str | None = None
    """Of a request to the token endpoint."""
    rpc: str | None = None
    """The JSON-RPC method of an MCP request, e.g. `tools/list`."""
    tool: str | None = None
    """The tool of a `tools/call`, whether or not it was let through."""
    user: str | None = None
    """Subject of the access token of an MCP request."""
    status: int | None = None


@dataclass(frozen=True)
class ToolCall:
    """A tool that really ran, and for whom."""

    tool: str
    user: str | None


class Observer:
    """Reads each request whole, adds it to `log`, leaves it in the ASGI scope under `SEEN`, and passes it on."""

    def __init__(self, app: ASGIApp, log: MutableSequence[SeenRequest]) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await _read(receive) if scope["method"] == "POST" else b""
        seen = _parse(scope["method"], scope["path"], body)
        self._log.append(seen)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = int(message["status"])
            await send(message)

        again = _again(body, receive) if scope["method"] == "POST" else receive
        await self._app({**scope, SEEN: seen}, again, answer)


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _parse(method: str, path: str, body: bytes) -> SeenRequest:
    seen = SeenRequest(method, path)
    if path == "/token":
        seen.grant_type = next(iter(parse_qs(body.decode("utf-8", "replace")).get("grant_type", [])), None)
    elif body.startswith(b"{"):
        seen.rpc, seen.tool = _parse_rpc(body)
    return seen


def _parse_rpc(body: bytes) -> tuple[str | None, str | None]:
    try:
        message = json.loads(body)
    except ValueError:
        return None, None
    method, params = message.get("method"), message.get("params")
    tool = params.get("name") if method == "tools/call" and isinstance(params, dict) else None
    return method, tool
