"""A server on a bare socket that may be anything: an MCP server with its authorization server, honest until it is told otherwise.

Honest first, so that every attack has its control: the same story without the lie must succeed.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from tests.http.web_server import WebServer

TLS_HANDSHAKE = 0x16
"""The first byte of a client that wants TLS. It has knocked, which is all that matters, and is hung up on."""

ACCESS, REFRESH, CODE = "canary-access-7Qp3vZ", "canary-refresh-9Xk2mB", "canary-code-4Ty8wL"

Says: TypeAlias = "bytes | Callable[[Seen], bytes | Iterable[bytes]]"


@dataclass(frozen=True)
class Seen:
    """One request that arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def message(self) -> dict[str, Any]:
        with suppress(ValueError):
            return dict(json.loads(self.body))
        return {}

    @property
    def rpc(self) -> str | None:
        return self.message.get("method")

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


def http(status: int, body: bytes = b"", kind: str = "application/json", **headers: str) -> bytes:
    """An HTTP answer, whole."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def as_json(document: object, status: int = 200, **headers: str) -> bytes:
    return http(status, json.dumps(document).encode(), **headers)


def result(seen: Seen, document: dict[str, Any]) -> bytes:
    """The JSON-RPC result of a request."""
    return as_json({"jsonrpc": "2.0", "id": seen.message.get("id"), "result": {"resultType": "complete", **document}})


def tool(name: str, description: str = "A tool.", **schema: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object", **schema}}


def text(value: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": value}]}


class Hostile(WebServer):
    """Answers as `says` says for a path or a JSON-RPC method, else as an honest server would. `seen` is everything that arrived.

    Attributes:
        guarded: Whether MCP requests need a token.
        metadata: Members of the authorization server's metadata to put in the place of the honest ones; None leaves one out.
        resource: Likewise for the protected resource metadata.
        tools: What it lists.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(self._reply, host)
        self.origin = f"http://{self.entry}"
        self.url = f"{self.origin}/mcp"
        self.guarded = True
        self.says: dict[str, Says] = {}
        self.seen: list[Seen] = []
        self.metadata: dict[str, Any] = {}
        self.resource: dict[str, Any] = {}
        self.tools = [tool("read")]
        self.sent = 0

    def at(self, place: str) -> list[Seen]:
        """What arrived at a path, or with a JSON-RPC method."""
        return [seen for seen in self.seen if place in (seen.path, seen.rpc)]

    # Honest answers ---------------------------------------------------------------------------------------------------------

    def challenge(self, more: str = "") -> bytes:
        where = f'resource_metadata="{self.origin}/.well-known/oauth-protected-resource/mcp"'
        return http(401, WWW_Authenticate=f"Bearer {where}{more}")

    def call(self, seen: Seen) -> bytes:
        return result(seen, text("done"))

    def token(self, seen: Seen, **members: Any) -> bytes:
        answer = {"token_type": "Bearer", "access_token": ACCESS, "refresh_token": REFRESH, "expires_in": 3600}
        return as_json({name: value for name, value in {**answer, **members}.items() if value is not None})

    def _honest(self, seen: Seen) -> bytes:
        match seen.path:
            case "/mcp":
                return self._mcp(seen)
            case "/.well-known/oauth-protected-resource/mcp":
                return as_json(_without_none({"resource": self.url, "authorization_servers": [self.origin], **self.resource}))
            case "/.well-known/oauth-authorization-server":
                return as_json(_without_none({**self._metadata(), **self.metadata}))
            case "/register":
                return as_json({"client_id": "client-1", **seen.message, "token_endpoint_auth_method": "none"}, 201)
            case "/token":
                return self.token(seen)
            case "/revoke":
                return http(200)
        return http(404)

    def _metadata(self) -> dict[str, Any]:
        endpoints = {f"{name}_endpoint": f"{self.origin}/{path}" for name, path in ENDPOINTS.items()}
        return {
            "issuer": self.origin,
            **endpoints,
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
            "authorization_response_iss_parameter_supported": True,
        }

    def _mcp(self, seen: Seen) -> bytes:
        if self.guarded and "authorization" not in seen.headers:
            return self.challenge()
        match seen.rpc:
            case "server/discover":
                return result(seen, {"supportedVersions": ["2026-07-28"], "capabilities": {}, "ttlMs": 0, "cacheScope": "private"})
            case "tools/list":
                return result(seen, {"tools": self.tools, "ttlMs": 0, "cacheScope": "private"})
            case "tools/call":
                return self.call(seen)
        return http(202)

    # The socket -------------------------------------------------------------------------------------------------------------

    def _reply(self, peer: socket.socket, head: bytes) -> None:
        seen = _parse(head)
        self.seen.append(seen)
        says = self.says.get(seen.rpc or "") or self.says.get(seen.path) or self._honest
        answer = says if isinstance(says, bytes) else says(seen)
        for part in [answer] if isinstance(answer, bytes) else answer:
            peer.sendall(part)
            self.sent += len(part)
        if not isinstance(answer, bytes):
            peer.shutdown(socket.SHUT_RDWR)

    def _read_head(self, peer: socket.socket) -> bytes:
        data = bytearray()
        while b"\r\n\r\n" not in data:
            part = peer.recv(65_536)
            data += part
            if not part or data[0] == TLS_HANDSHAKE:
                return b""
        head, _, _ = bytes(data).partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        while len(data) < len(head) + 4 + length:
            data += peer.recv(65_536)
        return bytes(data)


ENDPOINTS = {"authorization": "authorize", "token": "token", "registration": "register", "revocation": "revoke"}


def _without_none(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}


def _parse(data: bytes) -> Seen:
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Seen(method, target, headers, body)
