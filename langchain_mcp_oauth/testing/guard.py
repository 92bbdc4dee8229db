"""An MCP server behind bearer tokens: the SDK's server and token check, with challenges as precise as the standards allow."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend
from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.auth.settings import AuthSettings
from mcp.server.context import ServerMiddleware
from mcp.server.mcpserver import MCPServer
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import AnyHttpUrl
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from langchain_mcp_oauth.testing.observed import SEEN, SeenRequest

__all__ = ["Era", "Guard", "guarded", "make_mcp_server", "resource_routes"]

Era: TypeAlias = Literal["2025-11-25", "2026-07-28"]
"""`2025-11-25`: sessions that begin with `initialize`. `2026-07-28`: every request stands alone."""


class Guard:
    """Answers 401 or 403 with a `WWW-Authenticate` challenge (RFC 6750 §3, RFC 9728 §5.1), or passes the request on.

    Attributes:
        scopes: What every request's token must have.
        tool_scopes: What the token must have besides, for a call of this tool.
        anonymous: JSON-RPC methods that need no token.
        reject_tokens: Refuse every token, even good ones.
    """

    def __init__(self, app: ASGIApp, *, resource: str, scopes: tuple[str, ...], anonymous: frozenset[str], era: Era | None = None) -> None:
        self.scopes = scopes
        self.tool_scopes: dict[str, str] = {}
        self.anonymous = anonymous
        self.reject_tokens = False
        self._app = app
        self._era = era
        self._metadata_url = str(build_resource_metadata_url(AnyHttpUrl(resource)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen: SeenRequest = scope[SEEN]
        user = scope["user"] if isinstance(scope["user"], AuthenticatedUser) else None
        seen.user = user.access_token.subject if user else None
        connection = HTTPConnection(scope)
        refusal = self._refuse(seen, user, connection) or self._wrong_era(connection)
        await (refusal or self._app)(scope, receive, send)

    def _refuse(self, seen: SeenRequest, user: AuthenticatedUser | None, connection: HTTPConnection) -> Response | None:
        if seen.rpc in self.anonymous and user is None:
            return None
        if user is None or self.reject_tokens:
            presented = "authorization" in connection.headers
            # Without a token there is nothing wrong with the token (RFC 6750 §3.1).
            return self._challenge(401, {"error": "invalid_token"} if presented else {}, self.scopes)
        needed = (*self.scopes, *filter(None, [self.tool_scopes.get(seen.tool or "")]))
        if set(needed) <= set(user.scopes):
            return None
        return self._challenge(403, {"error": "insufficient_scope"}, needed)

    def _challenge(self, status: int, parameters: Mapping[str, str], scopes: tuple[str, ...]) -> Response:
        parameters = {**parameters, "resource_metadata": self._metadata_url, "scope": " ".join(scopes)}
        value = ", ".join(f'{name}="{text}"' for name, text in parameters.items() if text)
        return JSONResponse({"error": parameters.get("error")}, status, {"WWW-Authenticate": f"Bearer {value}"})

    def _wrong_era(self, connection: HTTPConnection) -> Response | None:
        """A server of one era refuses the other's requests as such servers do."""
        version = connection.headers.get(MCP_PROTOCOL_VERSION_HEADER)
        modern = version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS
        if self._era is None or modern == (self._era == "2026-07-28"):
            return None
        if modern:
            return _rpc_error(-32600, "Bad Request: Unsupported protocol version")
        supported = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": version or "2025-11-25"}
        return _rpc_error(UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version", supported)


def _rpc_error(code: int, message: str, data: Mapping[str, Any] | None = None) -> Response:
    error = {"code": code, "message": message} | ({"data": data} if data else {})
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)


def make_mcp_server(name: str, *middleware: ServerMiddleware[Any]) -> MCPServer:
    """An SDK server without tools. Made as it is, it would set the root logger's level and give it a handler."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    server = MCPServer(name, log_level="ERROR", middleware=middleware)
    root.handlers[:] = handlers
    root.setLevel(level)
    return server


def guarded(guard: Guard, verifier: TokenVerifier, *, resource: str) -> ASGIApp:
    """The guard behind the SDK's token check, which accepts tokens of this resource only (RFC 8707 §2)."""
    backend = BearerAuthBackend(verifier, resource_server_url=AnyHttpUrl(resource))
    return AuthenticationMiddleware(AuthContextMiddleware(guard), backend=backend)


def resource_routes(resource: str, issuer: str, *, name: str, scopes: tuple[str, ...]) -> list[Route]:
    """The RFC 9728 document at the resource's well-known path."""
    # AuthSettings keeps an issuer without a path as it is; AnyHttpUrl alone would add a slash.
    settings = AuthSettings.model_validate({"issuer_url": issuer, "resource_server_url": None})
    return create_protected_resource_routes(AnyHttpUrl(resource), [settings.issuer_url], list(scopes), name)
