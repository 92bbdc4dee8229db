"""A protected MCP server that costs little: HTTP/1.1 by hand, both protocol eras, a bearer token on every request, a token endpoint.

    python -m benchmarks.server --ports 3

prints its ports as one JSON line and serves until its standard input ends. `/2026-07-28/mcp` is stateless and answers in JSON;
`/2025-11-25/mcp` has sessions and answers in event streams, whose heads it sends at once, as the SDK's server does. `?tools=200&ttl=60000`
at the end of a URL makes it list as many, to be kept for so many milliseconds. `GET /counts` says how many connections, requests and token
requests there were.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
TOKEN = re.compile(r"Bearer bench-[0-9]+(-[0-9]+)?\Z")
"""Good tokens. `bench-7-2` is the third of user 7; `stale-7` is one that has expired."""

REFRESH_SECONDS = 0.05
"""How long the token endpoint takes."""

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "What to say."},
        "seconds": {"type": "number", "description": "How long to think about it.", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "Anything."},
        "options": {"type": "object", "properties": {"loud": {"type": "boolean"}, "limit": {"type": "integer", "default": 10}}},
    },
    "required": ["text"],
}

REFUSED = {"2026-07-28": ("initialize",), "2025-11-25": ("server/discover",)}

counts: Counter[str] = Counter()


def after(seconds: float, act: Callable[..., None], *arguments: Any) -> None:
    if seconds:
        asyncio.get_running_loop().call_later(seconds, act, *arguments)
    else:
        act(*arguments)


def tools(number: int, port: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"echo_{n}" if n else "echo",
            "description": f"Say it again, in manner {n} of {port}, after a while if asked to.",
            "inputSchema": SCHEMA,
        }
        for n in range(number)
    ]


def result_of(method: str, params: dict[str, Any], era: str, listed: int, ttl: int, port: int) -> dict[str, Any]:
    info = {"name": "bench", "version": "1"}
    match method:
        case "initialize":
            return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        case "server/discover":
            return {"supportedVersions": [era], "capabilities": {"tools": {}}, "serverInfo": info, "ttlMs": 0, "cacheScope": "private"}
        case "tools/list":
            return {"tools": tools(listed, port), "ttlMs": ttl, "cacheScope": "private"}
        case "tools/call":
            return {"content": [{"type": "text", "text": params["arguments"]["text"]}]}
    raise LookupError(method)


class Served(asyncio.Protocol):
    """One connection; its requests are answered in turn."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        counts["connections"] += 1
        counts["open"] += 1
        self.transport: Any = transport
        self.unread = b""

    def connection_lost(self, exc: Exception | None) -> None:
        counts["open"] -= 1

    def data_received(self, data: bytes) -> None:
        self.unread += data
        while b"\r\n\r\n" in self.unread:
            head, _, rest = self.unread.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            self.unread = rest[length:]
            method, path, _ = first.split(" ")
            self.answer(method, path, headers, rest[:length])

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        counts["requests"] += 1
        if path == "/counts":
            self.send(200, counts)
        elif path == "/token":
            counts["token"] += 1
            user, _, generation = parse_qs(body.decode())["refresh_token"][0].removeprefix("refresh-").partition("-")
            again = f"{user}-{int(generation or 0) + 1}"
            tokens = {"access_token": f"bench-{again}", "token_type": "Bearer", "expires_in": 3600, "refresh_token": f"refresh-{again}"}
            after(REFRESH_SECONDS, self.send, 200, tokens)
        elif not TOKEN.match(headers.get("authorization", "")):
            counts["refused"] += 1
            self.send(401, {}, 'WWW-Authenticate: Bearer error="invalid_token"\r\n')
        elif method != "POST":
            self.send(405 if method == "GET" else 200, {})
        else:
            url = urlsplit(path)
            listed, ttl = (int(parse_qs(url.query).get(name, [default])[0]) for name, default in (("tools", "1"), ("ttl", "0")))
            self.answer_message(json.loads(body), headers, url.path.split("/")[1], listed, ttl)

    def answer_message(self, message: dict[str, Any], headers: dict[str, str], era: str, listed: int, ttl: int) -> None:
        modern = era == "2026-07-28"
        method, params = message["method"], message.get("params", {})
        counts[method] += 1
        if "id" not in message:
            self.send(202, None)
        elif method in REFUSED[era] or (not modern and method != "initialize" and "mcp-session-id" not in headers):
            self.send(400, {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "Not of this era."}})
        else:
            port = self.transport.get_extra_info("sockname")[1]
            result = result_of(method, params, era, listed, ttl, port) | ({"resultType": "complete"} if modern else {})
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            if not modern:
                self.begin_events(f"Mcp-Session-Id: bench-{counts[method]}\r\n" if method == "initialize" else "")
            end = partial(self.send, 200) if modern else self.end_events
            after(params.get("arguments", {}).get("seconds", 0), end, answer)

    def send(self, status: int, content: Any, headers: str = "") -> None:
        body = b"" if content is None else json.dumps(content).encode()
        head = f"HTTP/1.1 {status} -\r\n{headers}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    def begin_events(self, headers: str) -> None:
        self.transport.write(f"HTTP/1.1 200 -\r\n{headers}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".encode())

    def end_events(self, message: dict[str, Any]) -> None:
        event = b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"
        self.transport.write(f"{len(event):x}\r\n".encode() + event + b"\r\n0\r\n\r\n")


async def serve(number: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Served, HOST, 0, backlog=1024) for _ in range(number)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", type=int, default=1, help="how many to listen on, each an origin of its own")
    asyncio.run(serve(parser.parse_args().ports))
