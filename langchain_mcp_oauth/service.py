"""Calls to MCP servers as a user: the store, the authorizer and the connections put together, without any LangChain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import httpx2
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult

from langchain_mcp_oauth.authorizer import Authorizer, Refusal
from langchain_mcp_oauth.breaker import Breaker
from langchain_mcp_oauth.catalogue import Catalogue, anybodys
from langchain_mcp_oauth.connections import Connection, Connections, ListedTools, Unauthorized
from langchain_mcp_oauth.errors import AuthRequired, ConnectionFailed, ProtocolError, TokenRejectedError
from langchain_mcp_oauth.events import CallFinished, Disconnected, Events, OnEvent
from langchain_mcp_oauth.http import Reach, drive, guarded_client, host_port
from langchain_mcp_oauth.loops import LoopLocal
from langchain_mcp_oauth.models import BearerChallenge, Grant, GrantKey
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.urls import is_loopback_host, origin
from langchain_mcp_oauth.pinning import check_pins
from langchain_mcp_oauth.servers import MCPServer
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["Service"]

T = TypeVar("T")

Operation: TypeAlias = Callable[[Connection, Grant | None], Awaitable[T]]

ROUNDS = 5
"""Requests one call makes before it gives up on a server that refuses every token it is shown: one for each thing that can be new."""


class Service:
    """Everything that toolkits made from each other by `for_user` share. Usable from any event loop."""

    def __init__(
        self,
        servers: dict[str, MCPServer],
        store: TokenStore,
        *,
        redirect_uri: str | None,
        start_url: str | None,
        allowed_private_hosts: frozenset[str],
        timeout: float,
        request_lifetime: timedelta,
        pin_tools: bool = False,
        on_event: OnEvent | None = None,
    ) -> None:
        allowed = allowed_private_hosts | _own_loopback_hosts(servers)

        def connect() -> tuple[httpx2.AsyncClient, Connections]:
            client = guarded_client(allowed_hosts=allowed)
            return client, Connections(client, servers, timeout=timeout, tools_changed=self.catalogue.outdate)

        self.store = store
        self.events = Events(on_event)
        self.catalogue = Catalogue(store)
        self._pin_tools = pin_tools
        self._loops = LoopLocal(connect, _close)
        self._reach = Reach()
        self._breaker = Breaker()
        self.authorizer = Authorizer(
            servers,
            store,
            self._drive,
            redirect_uri=redirect_uri,
            start_url=start_url,
            request_lifetime=request_lifetime,
            on_login=self._login_changed,
            events=self.events,
        )

    @property
    def servers(self) -> dict[str, MCPServer]:
        """The configured servers by name."""
        return dict(self.authorizer.servers)

    async def list_tools(self, user_id: str, server: str, *, max_age: timedelta = timedelta()) -> ListedTools:
        """All tools that this user has there; the server is asked only if what it said last is out of date, and older than `max_age`.

        Raises:
            AuthRequired: it will not list without a login.
            ToolsChanged: see `check_pins`.
            ConnectionFailed, ProtocolError, …: what `Connection.list_tools` raises. What was known before stays.
        """
        key = self.authorizer.key(user_id, server)
        listed = await self.catalogue.current(key, is_logged_in=lambda: self.authorizer.is_logged_in(key), max_age=max_age)
        if listed is None:
            answered, grant = await self._as_user(key, _list, "tools/list")
            listed = await self.catalogue.keep(key, answered, anonymous=grant is None)
        return await self._checked(key, listed)

    async def list_for_anybody(self, server: str) -> ListedTools | None:
        """All tools that the server shows to anybody, for a graph that is built before there is a user; None if it wants a login first."""
        key = self._anybodys(server)
        listed = await self.catalogue.current(key, is_logged_in=_nobody_is)
        if listed is None:
            try:
                listed = await self._loops.get()[1].get(key).list_tools(None)
            except Unauthorized:
                return None
            except MCPError as error:
                raise _server_error(key, error) from None
            listed = await self.catalogue.keep(key, listed, anonymous=True)
        return await self._checked(key, listed)

    async def last_listed(self, user_id: str | None, server: str) -> ListedTools | None:
        """What the server listed last to this user, or else to anybody; nobody is asked."""
        key = self._anybodys(server) if user_id is None else self.authorizer.key(user_id, server)
        listed = await self.catalogue.last(key)
        return await self._checked(key, listed) if listed is not None else None

    async def _checked(self, key: GrantKey, listed: ListedTools) -> ListedTools:
        """Every listing that anybody is shown, from wherever it comes, goes out here."""
        return await check_pins(self.store, key, listed) if self._pin_tools else listed

    async def login_needed(self, user_id: str, server: str) -> AuthRequired | None:
        """What a person has to open before this server can be used, unless they are logged in, or it names nobody to log in to."""
        key = self.authorizer.key(user_id, server)
        return None if await self.authorizer.is_usable(key) else await self.authorizer.begin(key)

    async def is_logged_in(self, user_id: str, server: str) -> bool:
        """Whether there is a login, of whatever use it may be."""
        return await self.authorizer.is_logged_in(self.authorizer.key(user_id, server))

    def _anybodys(self, server: str) -> GrantKey:
        return anybodys(self.authorizer.key("anybody", server))

    async def accept_tools(self, user_id: str | None, server: str, changed: Mapping[str, str] | None) -> None:
        """See `MCPOAuthToolkit.accept_tools`."""
        key = self._anybodys(server) if user_id is None else self.authorizer.key(user_id, server)
        await self.store.repin_tools(key, changed)

    async def call_tool(self, user_id: str, server: str, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """One call as that user. Raises `AuthRequired`, and what `Connection.call_tool` raises."""
        key = self.authorizer.key(user_id, server)
        means_unauthorized = self.authorizer.servers[server].unauthorized_result

        async def call(connection: Connection, grant: Grant | None) -> CallToolResult:
            result = await connection.call_tool(grant, tool, arguments)
            assert isinstance(result, CallToolResult), "nobody told the server that it may ask questions"
            if result.is_error and means_unauthorized is not None and means_unauthorized(result):
                raise Unauthorized(BearerChallenge(401), grant)
            return result

        return await self._as_user(key, call, "tools/call", tool)

    def _login_changed(self, key: GrantKey) -> None:
        """Whatever went wrong, and whatever was listed, was another login's."""
        self._breaker.clear(key)
        self.catalogue.forget(key)

    async def disconnect(self, user_id: str, server: str) -> bool:
        """Forget the login here first, end its sessions while their token is still good, then revoke. True if the issuer was told."""
        key = self.authorizer.key(user_id, server)
        grant = await self.authorizer.forget(key)
        await self._loops.on_each(lambda parts: parts[1].close(key))
        revoked = grant is not None and await self.authorizer.revoke(grant)
        if grant is not None:
            self.events.note(Disconnected(server=server, user_id=user_id, issuer=grant.issuer, revoked=revoked))
            await self.events.flush()
        return revoked

    async def reachable(self) -> dict[str, bool]:
        """Which servers answer at all, asked of all at once, with no one's token; remembered for half a minute."""
        client, _ = self._loops.get()
        answers = await asyncio.gather(*(self._reach.look(server.url, client) for server in self.servers.values()))
        return dict(zip(self.servers, answers, strict=True))

    async def aclose(self) -> None:
        """Close every session and connection; the store is its owner's."""
        await self._loops.aclose()

    async def _as_user(self, key: GrantKey, operation: Operation[T], method: str, tool: str | None = None) -> T:
        """Do it, and say how it went."""
        began = time.perf_counter()
        try:
            result = await self._unless_paused(key, operation)
        except BaseException as error:
            await self._tell(key, began, method, tool, getattr(error, "code", type(error).__name__))
            raise
        await self._tell(key, began, method, tool, "tool_error" if getattr(result, "is_error", False) else None)
        return result

    async def _tell(self, key: GrantKey, began: float, method: str, tool: str | None, error: str | None) -> None:
        seconds = time.perf_counter() - began
        self.events.note(CallFinished(server=key.server, user_id=key.user_id, seconds=seconds, method=method, tool=tool, error=error))
        if self.events.pending:
            await self.events.flush()

    async def _unless_paused(self, key: GrantKey, operation: Operation[T]) -> T:
        """Do it, unless the server has failed this user too often lately. Raises `ServerPaused`."""
        began = self._breaker.begin(key)
        try:
            result = await self._with_best_grant(key, operation)
        except ConnectionFailed:
            self._breaker.failed(key, began)
            raise
        self._breaker.clear(key)
        return result

    async def _with_best_grant(self, key: GrantKey, operation: Operation[T]) -> T:
        """Do it with the best grant there is; when the server refuses it, with the next; until only a person can help."""
        refusal: Refusal | None = None
        recovered = False
        for _ in range(ROUNDS):
            grant = await self.authorizer.acquire(key, refusal, recovered=recovered)
            recovered = recovered or (refusal is not None and refusal.challenge.status == 401 and refusal.grant is not None)
            _, connections = self._loops.get()
            try:
                result = await operation(connections.get(key), grant)
            except Unauthorized as refused:
                refusal = Refusal(refused.challenge, refused.grant)
                continue
            except MCPError as error:
                raise _server_error(key, error) from None
            await self.authorizer.accepted(grant)
            return result
        raise TokenRejectedError(f"{key.server!r} refused {ROUNDS} requests in a row, each with another token. Try again later.")

    async def _drive(self, flow: Flow[T], /) -> T:
        client, _ = self._loops.get()
        return await drive(flow, client)


async def _list(connection: Connection, grant: Grant | None) -> tuple[ListedTools, Grant | None]:
    return await connection.list_tools(grant), grant


async def _nobody_is() -> bool:
    return False


def _server_error(key: GrantKey, error: MCPError) -> ProtocolError:
    return ProtocolError(f"{key.server!r} answered with the JSON-RPC error {error.code}; its text is its own.")


async def _close(parts: tuple[httpx2.AsyncClient, Connections]) -> None:
    client, connections = parts
    await connections.aclose()
    await client.aclose()


def _own_loopback_hosts(servers: dict[str, MCPServer]) -> frozenset[str]:
    """A configured server on loopback needs no permission (development); nothing that the network names gets one."""
    return frozenset(host_port(server.url) for server in servers.values() if is_loopback_host(origin(server.url)[1]))
