"""Calls to MCP servers as a user: the store, the authorizer and the connections put together, without any LangChain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import httpx2
from mcp_types import (
    CallToolResult,
    ElicitResult,
    GetPromptResult,
    LoggingMessageNotificationParams,
    Prompt,
    ReadResourceResult,
    Resource,
)

from langchain_mcp_oauth.authorizer.authorizer import Authorizer, Refusal, key_of
from langchain_mcp_oauth.authorizer.status import LoginState, ServerStatus
from langchain_mcp_oauth.connections import Connection, Connections, ListedTools, ToolResult, Unauthorized, mcp_error
from langchain_mcp_oauth.errors import (
    AuthRequired,
    ConfigurationError,
    ConnectionFailed,
    CredentialsRequired,
    ProtocolError,
    TokenRejectedError,
)
from langchain_mcp_oauth.events import CallFinished, Disconnected, Events, OnEvent
from langchain_mcp_oauth.http import Reach, check_proxy, drive, guarded_client
from langchain_mcp_oauth.models import BearerChallenge, Credentials, Grant, GrantKey
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.servers.remote import AnyServer, MCPServer
from langchain_mcp_oauth.service.breaker import Breaker
from langchain_mcp_oauth.service.catalogue import Catalogue, anybodys
from langchain_mcp_oauth.service.credentials import CredentialBook
from langchain_mcp_oauth.service.loops import LoopLocal
from langchain_mcp_oauth.service.pinning import check_pins
from langchain_mcp_oauth.service.private_hosts import foreign_hosts, own_hosts
from langchain_mcp_oauth.store.contract import TokenStore

if TYPE_CHECKING:
    from mcp.shared.dispatcher import ProgressFnT
    from mcp.shared.exceptions import MCPError

__all__ = ["ALONE", "Beside", "Service"]

T = TypeVar("T")

Operation: TypeAlias = Callable[[Connection, Grant | None], Awaitable[T]]

ROUNDS = 5
"""Requests one call makes before it gives up on a server that refuses every token it is shown: one for each thing that can be new."""


OnLog: TypeAlias = Callable[[LoggingMessageNotificationParams], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Beside:
    """What goes beside a call.

    Attributes:
        on_progress: Awaited for each progress notification: progress, total, message.
        on_log: Awaited for each log message that comes inside the answer.
        input_responses, request_state: A person's answers to the questions of the result before, and that result's state.
    """

    on_progress: ProgressFnT | None = None
    on_log: OnLog | None = None
    input_responses: Mapping[str, ElicitResult] | None = None
    request_state: str | None = None


ALONE = Beside()

_on_log: ContextVar[OnLog | None] = ContextVar("langchain_mcp_oauth_on_log", default=None)
"""Of the call under way in this task: a session's log messages do not say which call they belong to."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What belongs to one event loop. A 2025-11-25 session says at its start whether a person can be asked, so there are two kinds."""

    client: httpx2.AsyncClient
    alone: Connections
    attended: Connections

    async def close(self, key: GrantKey) -> None:
        await self.alone.close(key)
        await self.attended.close(key)


class Service:
    """Everything that toolkits made from each other by `for_user` share. Usable from any event loop."""

    def __init__(
        self,
        servers: dict[str, AnyServer],
        store: TokenStore,
        *,
        redirect_uri: str | None,
        start_url: str | None,
        allowed_private_hosts: frozenset[str],
        timeout: float,
        request_lifetime: timedelta,
        pin_tools: bool = False,
        on_event: OnEvent | None = None,
        is_attended: Callable[[], bool] = lambda: False,
        proxy: str | None = None,
    ) -> None:
        allowed = allowed_private_hosts | own_hosts(servers)
        proxy = check_proxy(proxy) if proxy is not None else None

        def connect() -> _Parts:
            client = guarded_client(allowed_hosts=allowed, proxy=proxy)
            kinds = partial(
                Connections, client, servers, timeout=timeout, tools_changed=self.catalogue.outdate, logging_callback=_log, versions={}
            )
            return _Parts(client, kinds(), kinds(elicitation=True))

        self.servers = servers
        """The configured servers by name."""
        self.store = store
        self.events = Events(on_event)
        self.catalogue = Catalogue(store)
        self.credentials = CredentialBook(servers, store, on_change=self._login_changed)
        self._pin_tools = pin_tools
        self._is_attended = is_attended
        self._loops = LoopLocal(connect, _close)
        self._reach = Reach()
        self._breaker = Breaker()
        self.authorizer = Authorizer(
            {name: server for name, server in servers.items() if isinstance(server, MCPServer) and server.uses_oauth},
            store,
            self._drive,
            redirect_uri=redirect_uri,
            start_url=start_url,
            request_lifetime=request_lifetime,
            on_login=self._login_changed,
            events=self.events,
            foreign=foreign_hosts(servers, allowed_private_hosts),
        )

    def key(self, user_id: str, server: str) -> GrantKey:
        """Whose account at which server.

        Raises:
            UnknownServerError, ConfigurationError: no such server; a user id that cannot be one.
        """
        return key_of(self.servers, user_id, server)

    def login_key(self, user_id: str, server: str) -> GrantKey:
        """The same where it is about a login.

        Raises:
            ConfigurationError: the server has none.
        """
        key = self.key(user_id, server)
        if not self.servers[server].uses_oauth:
            raise ConfigurationError(f"{server!r} has no login: it is configured with credentials of its own, or runs on this machine.")
        return key

    async def list_tools(self, user_id: str, server: str, *, max_age: timedelta = timedelta()) -> ListedTools:
        """All tools that this user has there; the server is asked only if what it said last is out of date, and older than `max_age`.

        Raises:
            AuthRequired: it will not list without a login.
            ToolsChanged: see `check_pins`.
            ConnectionFailed, ProtocolError, …: what `Connection.list_tools` raises. What was known before stays.
        """
        key = self.key(user_id, server)
        listed = await self.catalogue.current(key, is_logged_in=lambda: self.is_logged_in(user_id, server), max_age=max_age)
        if listed is None:
            answered, grant = await self._as_user(key, _list, "tools/list")
            listed = await self.catalogue.keep(key, answered, anonymous=grant is None and not self.servers[server].names)
        return await self._checked(key, listed)

    async def list_for_anybody(self, server: str) -> ListedTools | None:
        """All tools that the server shows to anybody, for a graph that is built before there is a user; None if it wants a login first."""
        key = self._anybodys(server)
        if self.servers[server].names:  # it needs something that only a user has
            return None
        listed = await self.catalogue.current(key, is_logged_in=_nobody_is)
        if listed is None:
            try:
                listed = await self._connections().get(key).list_tools(None)
            except Unauthorized:
                return None
            except mcp_error() as error:
                raise _server_error(key, error) from None
            listed = await self.catalogue.keep(key, listed, anonymous=True)
        return await self._checked(key, listed)

    async def last_listed(self, user_id: str | None, server: str) -> ListedTools | None:
        """What the server listed last to this user, or else to anybody; nobody is asked."""
        key = self._anybodys(server) if user_id is None else self.key(user_id, server)
        listed = await self.catalogue.last(key)
        return await self._checked(key, listed) if listed is not None else None

    async def _checked(self, key: GrantKey, listed: ListedTools) -> ListedTools:
        """Every listing that anybody is shown, from wherever it comes, goes out here."""
        return await check_pins(self.store, key, listed) if self._pin_tools else listed

    async def login_needed(self, user_id: str, server: str) -> AuthRequired | None:
        """What a person has to open before this server can be used, unless they are logged in, or it names nobody to log in to."""
        key, configured = self.key(user_id, server), self.servers[server]
        if not configured.uses_oauth:
            return None
        return None if await self.authorizer.is_usable(key) else await self.authorizer.begin(key)

    async def credentials_needed(self, user_id: str, server: str) -> CredentialsRequired | None:
        """What a person has to give before this server can be used, if there is anything."""
        return await self.credentials.missing(self.key(user_id, server))

    async def is_logged_in(self, user_id: str, server: str) -> bool:
        """Whether there is a login, of whatever use it may be; where there are none, whether users have something else of their own."""
        key, configured = self.key(user_id, server), self.servers[server]
        return await self.authorizer.is_logged_in(key) if configured.uses_oauth else bool(configured.names)

    def _anybodys(self, server: str) -> GrantKey:
        return anybodys(self.key("anybody", server))

    async def save_credentials(self, user_id: str, server: str, values: Mapping[str, str]) -> None:
        """See `MCPOAuthToolkit.save_credentials`."""
        await self.credentials.save(self.key(user_id, server), values)

    async def accept_tools(self, user_id: str | None, server: str, changed: Mapping[str, str] | None) -> None:
        """See `MCPOAuthToolkit.accept_tools`."""
        key = self._anybodys(server) if user_id is None else self.key(user_id, server)
        await self.store.repin_tools(key, changed)

    async def call_tool(self, user_id: str, server: str, tool: str, arguments: dict[str, Any], *, beside: Beside = ALONE) -> ToolResult:
        """One call as that user. An `InputRequiredResult` only where the call is attended (`is_attended`): a person has to answer.

        Raises:
            AuthRequired: before it can be made, a person has to log in.
            ConnectionFailed, ProtocolError, …: what `Connection.call_tool` raises.
        """
        key = self.key(user_id, server)
        configured = self.servers[server]
        means_unauthorized = configured.unauthorized_result if isinstance(configured, MCPServer) else None

        async def call(connection: Connection, grant: Grant | None) -> ToolResult:
            result = await connection.call_tool(
                grant,
                tool,
                arguments,
                on_progress=beside.on_progress,
                input_responses=dict(beside.input_responses) if beside.input_responses is not None else None,
                request_state=beside.request_state,
            )
            failed = result if isinstance(result, CallToolResult) and result.is_error else None
            if failed is not None and means_unauthorized is not None and means_unauthorized(failed):
                raise Unauthorized(BearerChallenge(401), grant)
            return result

        token = _on_log.set(beside.on_log)
        try:
            return await self._as_user(key, call, "tools/call", tool)
        finally:
            _on_log.reset(token)

    async def how_to_use(self, user_id: str, server: str) -> str | None:
        """The server's instructions to this user, if it has any. Raises as `call_tool`."""
        return await self._as_user(self.key(user_id, server), Connection.how_to_use, "server/discover")

    async def list_resources(self, user_id: str, server: str) -> tuple[Resource, ...]:
        """All resources that this user has there. Raises as `call_tool`."""
        return await self._as_user(self.key(user_id, server), Connection.list_resources, "resources/list")

    async def read_resources(self, user_id: str, server: str, uris: Sequence[str]) -> list[ReadResourceResult]:
        """These resources, in order. Raises as `call_tool`."""
        key = self.key(user_id, server)

        def reading(uri: str) -> Operation[ReadResourceResult]:
            return lambda connection, grant: connection.read_resource(grant, uri)

        return [await self._as_user(key, reading(uri), "resources/read") for uri in uris]

    async def list_prompts(self, user_id: str, server: str) -> tuple[Prompt, ...]:
        """All prompts that this user has there. Raises as `call_tool`."""
        return await self._as_user(self.key(user_id, server), Connection.list_prompts, "prompts/list")

    async def get_prompt(self, user_id: str, server: str, name: str, arguments: Mapping[str, str]) -> GetPromptResult:
        """One prompt, filled in. Raises as `call_tool`."""
        return await self._as_user(self.key(user_id, server), lambda at, grant: at.get_prompt(grant, name, dict(arguments)), "prompts/get")

    def _login_changed(self, key: GrantKey) -> None:
        """Whatever went wrong, and whatever was listed, was another login's."""
        self._breaker.clear(key)
        self.catalogue.forget(key)

    async def disconnect(self, user_id: str, server: str) -> bool:
        """Forget the login here first, end its sessions while their token is still good, then revoke. True if the issuer was told."""
        key, uses_oauth = self.key(user_id, server), self.servers[server].uses_oauth
        grant = await (self.authorizer.forget(key) if uses_oauth else self.store.disconnect(key, now=datetime.now(UTC)))
        await self._loops.on_each(lambda parts: parts.close(key))
        revoked = grant is not None and await self.authorizer.revoke(grant)
        if grant is not None:
            self.events.note(Disconnected(server=server, user_id=user_id, issuer=grant.issuer, revoked=revoked))
            await self.events.flush()
        return revoked

    async def status(self, user_id: str) -> dict[str, ServerStatus]:
        """Every configured server's status for this user, from the store alone."""
        logins = await self.authorizer.status(user_id)
        return {name: await self._with_credentials(user_id, name, logins.get(name)) for name in self.servers}

    async def _with_credentials(self, user_id: str, server: str, login: ServerStatus | None) -> ServerStatus:
        needed = await self.credentials.missing(self.key(user_id, server))
        missing = needed.names if needed is not None else ()
        if login is not None:
            return replace(login, missing=missing)
        state = LoginState.NOT_CONNECTED if missing else LoginState.CONNECTED
        return ServerStatus(server, connected=not missing, state=state, missing=missing)

    async def reachable(self) -> dict[str, bool]:
        """Which servers answer at all, asked of all at once, with no one's token; remembered for half a minute. A program always does."""
        client = self._loops.get().client
        remote = {name: server.url for name, server in self.servers.items() if isinstance(server, MCPServer)}
        answers = await asyncio.gather(*(self._reach.look(url, client) for url in remote.values()))
        return {**dict.fromkeys(self.servers, True), **dict(zip(remote, answers, strict=True))}

    async def aclose(self) -> None:
        """Close every session and connection; the store is its owner's."""
        await self._loops.aclose()

    def _connections(self) -> Connections:
        """Those that say to servers whether somebody is there who can be asked."""
        parts = self._loops.get()
        return parts.attended if self._is_attended() else parts.alone

    async def _as_user(self, key: GrantKey, operation: Operation[T], method: str, tool: str | None = None) -> T:
        """Do it, and say how it went."""
        facts: dict[str, Any] = {"server": key.server, "user_id": key.user_id, "method": method, "tool": tool}
        began, live = time.perf_counter(), self.events.begin(CallFinished, **facts)

        async def tell(error: str | None) -> None:
            self.events.finish(CallFinished(**facts, seconds=time.perf_counter() - began, error=error), live)
            if self.events.pending:
                await self.events.flush()

        try:
            result = await self._unless_paused(key, operation)
        except BaseException as error:
            await tell(getattr(error, "code", type(error).__name__))
            raise
        await tell("tool_error" if getattr(result, "is_error", False) else None)
        return result

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
        if not self.servers[key.server].uses_oauth:
            return await self._without_login(key, operation)
        refusal: Refusal | None = None
        recovered = False
        for _ in range(ROUNDS):
            credentials = await self.credentials.acquire(key)
            grant = await self.authorizer.acquire(key, refusal, recovered=recovered)
            recovered = recovered or (refusal is not None and refusal.challenge.status == 401 and refusal.grant is not None)
            try:
                result = await self._attempt(key, credentials, grant, operation)
            except Unauthorized as refused:
                refusal = Refusal(refused.challenge, refused.grant)
                continue
            await self.authorizer.accepted(grant)
            return result
        raise TokenRejectedError(f"{key.server!r} refused {ROUNDS} requests in a row, each with another token. Try again later.")

    async def _without_login(self, key: GrantKey, operation: Operation[T]) -> T:
        """Do it with what the server is configured with; when it is refused, with what the user has given meanwhile."""
        refused: Credentials | None = None
        for _ in range(ROUNDS):
            credentials = await self.credentials.acquire(key, refused)
            try:
                return await self._attempt(key, credentials, None, operation)
            except Unauthorized:
                refused = credentials
            if refused is None:
                break
        raise TokenRejectedError(f"{key.server!r} refuses the credentials that it is configured with. Whoever configured them has to look.")

    async def _attempt(
        self,
        key: GrantKey,
        credentials: Credentials | None,
        grant: Grant | None,
        operation: Operation[T],
    ) -> T:
        try:
            return await operation(self._connections().get(key, credentials), grant)
        except mcp_error() as error:
            raise _server_error(key, error) from None

    async def _drive(self, flow: Flow[T], /) -> T:
        client = self._loops.get().client
        return await drive(flow, client)


async def _list(connection: Connection, grant: Grant | None) -> tuple[ListedTools, Grant | None]:
    return await connection.list_tools(grant), grant


async def _nobody_is() -> bool:
    return False


def _server_error(key: GrantKey, error: MCPError) -> ProtocolError:
    return ProtocolError(f"{key.server!r} answered with the JSON-RPC error {error.code}; its text is its own.")


async def _log(params: LoggingMessageNotificationParams) -> None:
    on_log = _on_log.get()
    if on_log is not None:
        await on_log(params)


async def _close(parts: _Parts) -> None:
    await parts.alone.aclose()
    await parts.attended.aclose()
    await parts.client.aclose()
