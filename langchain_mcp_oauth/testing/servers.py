"""A protected MCP server and its authorization server, on loopback, for tests.

    with ProtectedServer() as server:
        toolkit = MCPOAuthToolkit({"example": server.url}, allowed_private_hosts=server.allowed_private_hosts, ...)
        callback_url = Person("ada").approve(authorization_url)
        assert server.calls == [ToolCall("whoami", "ada")]

It speaks real HTTP and is the MCP SDK's own server; nothing is patched. Everything may be called from any thread.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any, Self

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.auth import OAuthClientInformationFull
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from langchain_mcp_oauth.testing.authorization_server import AuthorizationServer
from langchain_mcp_oauth.testing.endpoints import authorization_routes
from langchain_mcp_oauth.testing.example_tools import add_example_tools
from langchain_mcp_oauth.testing.gates import Gate
from langchain_mcp_oauth.testing.guard import Era, Guard, guarded, make_mcp_server, resource_routes
from langchain_mcp_oauth.testing.observed import Observer, SeenRequest, ToolCall
from langchain_mcp_oauth.testing.records import Records
from langchain_mcp_oauth.testing.serving import ServerThread, listen, origin
from langchain_mcp_oauth.testing.silent_grants import SilentGrants

__all__ = ["ProtectedServer"]


class ProtectedServer:
    """An MCP server at `url`, guarded by the authorization server `issuer`; both run from `with` to the end of its block.

    Its tools: `whoami`, `echo(text)`, `add(a, b)` (structured), `fail(message)` (`isError`), `slow(steps, seconds)` (progress),
    `awkward(config, run_manager, runtime, self)` and `picture` (an image). Add more with `server.mcp.add_tool(function)`.

    Args:
        name: What people and PRM call it.
        scopes: What every token must have; named in the challenge and in the protected resource metadata.
        optional_scopes: Scopes that can be granted besides.
        token_lifetime: Seconds an access token lives, from 1.
        era: Which MCP revision it speaks; None: both.
        one_origin: The authorization server lives at the MCP server's own origin. Default: a port of its own.
        json_response: Always answer with JSON, never with an event stream; progress is then lost.
        anonymous: JSON-RPC methods that need no token, e.g. `{"initialize", "notifications/initialized", "tools/list"}`.
        metadata: Members of the authorization server metadata to add, replace or (None) leave out, e.g.
            `{"code_challenge_methods_supported": None}` or `{"registration_endpoint": None}`.
        records: Where the authorization server keeps its state; default: in memory, for this server alone.
        clock: Seconds since the epoch, by which access tokens expire.

    Attributes:
        url: The MCP endpoint; also the `resource`.
        issuer: The authorization server.
        allowed_private_hosts: Both servers' `127.0.0.1:port`, for `MCPOAuthToolkit(allowed_private_hosts=...)`.
        mcp: The SDK's `MCPServer`.
        authorization_server: Decides and remembers; `.reuses` counts presented spent codes and refresh tokens.
        silent_grants: Gives tokens without a person: its `client_keys` and `trusted` say to whom.
        requests: Every HTTP request since the start, in order of arrival.
        calls: Every call that reached its tool, in order; not those that were refused, or are still held.
    """

    def __init__(
        self,
        *,
        name: str = "Example",
        scopes: tuple[str, ...] = ("tools",),
        optional_scopes: tuple[str, ...] = (),
        token_lifetime: int = 3600,
        era: Era | None = None,
        one_origin: bool = False,
        json_response: bool = False,
        anonymous: Collection[str] = (),
        metadata: Mapping[str, Any] | None = None,
        records: Records | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        listeners = [listen()] if one_origin else [listen(), listen()]
        self.url = f"{origin(listeners[0])}/mcp"
        self.issuer = origin(listeners[-1])
        self.allowed_private_hosts = frozenset(origin(listener).removeprefix("http://") for listener in listeners)
        self.requests: list[SeenRequest] = []
        self.calls: list[ToolCall] = []
        self.mcp = make_mcp_server(name, self._at_tool)
        add_example_tools(self.mcp)
        self.authorization_server = AuthorizationServer(
            self.issuer,
            resource=self.url,
            scopes=scopes,
            optional_scopes=optional_scopes,
            records=records or Records(),
            token_lifetime=token_lifetime,
            clock=clock,
        )
        self.silent_grants = SilentGrants(self.authorization_server)
        self._gates: dict[str, Gate] = {}
        self._token_failures: list[tuple[int, str]] = []
        mcp_app = self.mcp.streamable_http_app(json_response=json_response)
        self._guard = Guard(mcp_app, resource=self.url, scopes=scopes, anonymous=frozenset(anonymous), era=era)
        self._thread = ServerThread(self._applications(listeners, mcp_app, name, metadata or {}))

    def _applications(
        self, listeners: list[socket.socket], mcp_app: Starlette, name: str, metadata: Mapping[str, Any]
    ) -> list[tuple[ASGIApp, socket.socket]]:
        oauth = authorization_routes(self.authorization_server, name=name, metadata=metadata, silent=self.silent_grants)
        mcp: list[Route | Mount] = [
            *resource_routes(self.url, self.issuer, name=name, scopes=self._guard.scopes),
            Mount("/", guarded(self._guard, self.authorization_server, resource=self.url)),
        ]
        if len(listeners) == 1:
            return [(self._observed([*oauth, *mcp], mcp_app), listeners[0])]
        return [(self._observed(mcp, mcp_app), listeners[0]), (self._observed(oauth, None), listeners[1])]

    def _observed(self, routes: Collection[Route | Mount], mcp_app: Starlette | None) -> ASGIApp:
        lifespan = mcp_app.router.lifespan_context if mcp_app else None
        return Observer(self._at_token_endpoint(Starlette(routes=list(routes), lifespan=lifespan)), self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for gate in self._gates.values():
            gate.open()
        self._thread.stop()
        self.authorization_server.records.close()

    # What was seen ----------------------------------------------------------------------------------------------------------

    def count(self, **fields: Any) -> int:
        """How many requests have these values, e.g. `count(grant_type="refresh_token", status=200)` or `count(path="/register")`."""
        return sum(all(getattr(seen, name) == value for name, value in fields.items()) for seen in list(self.requests))

    # Trouble ----------------------------------------------------------------------------------------------------------------

    def expire_tokens(self) -> None:
        """All access tokens expire now, though their clients believe otherwise; refresh tokens stay good."""
        self.authorization_server.expire_access_tokens()

    def revoke_all(self) -> None:
        """All grants end: access and refresh tokens are no longer good."""
        self.authorization_server.records.end_all_grants()

    def forget_clients(self) -> None:
        """All clients must register again: `invalid_client` at the token endpoint, an error page at the authorization endpoint."""
        self.authorization_server.records.forget_clients()

    def add_client(self, client_id: str, *, redirect_uri: str, client_secret: str | None = None, auth_method: str = "none") -> None:
        """Register a client beforehand. A URL as `client_id` stands for a client-ID metadata document that was fetched."""
        client = OAuthClientInformationFull.model_validate(
            {
                "client_id": client_id,
                "client_secret": client_secret,
                "redirect_uris": [redirect_uri],
                "token_endpoint_auth_method": auth_method,
            }
        )
        self.authorization_server.records.save_client(client_id, client.model_dump_json(exclude_none=True))

    def require_scope(self, tool: str, scope: str) -> None:
        """From now on calls of `tool` need `scope` too: 403 `insufficient_scope` without it. The person can grant it."""
        self.authorization_server.know_scope(scope)
        self._guard.tool_scopes[tool] = scope

    def reject_tokens(self, reject: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as a switch
        """The MCP server answers 401 to every token, or stops doing so."""
        self._guard.reject_tokens = reject

    def deny_next(self) -> None:
        """The next consent form that is sent is refused, whatever the person chose."""
        self.authorization_server.refusals += 1

    def fail_token_endpoint(self, status: int, *, error: str = "server_error", times: int = 1) -> None:
        """The next `times` token requests are answered with this status and OAuth error code, and nothing happens."""
        self._token_failures += [(status, error)] * times

    def hold_token_endpoint(self) -> Gate:
        """From now on token requests wait at the returned gate, before anything is spent."""
        return self._hold("token endpoint")

    def hold_tool(self, tool: str) -> Gate:
        """From now on calls of `tool` wait at the returned gate, let through by the guard but not yet run."""
        return self._hold(f"tool {tool}")

    def _hold(self, place: str) -> Gate:
        self._gates[place] = gate = Gate()
        return gate

    def _at_token_endpoint(self, app: ASGIApp) -> ASGIApp:
        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            answer = app
            if scope["type"] == "http" and scope["path"] == "/token":
                if gate := self._gates.get("token endpoint"):
                    await gate.pass_through()
                if self._token_failures:
                    status, error = self._token_failures.pop(0)
                    answer = JSONResponse({"error": error}, status)
            await answer(scope, receive, send)

        return wrapped

    async def _at_tool(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "tools/call":
            tool = str((ctx.params or {}).get("name"))
            if gate := self._gates.get(f"tool {tool}"):
                await gate.pass_through()
            token = get_access_token()
            self.calls.append(ToolCall(tool, token.subject if token else None))
        return await call_next(ctx)
