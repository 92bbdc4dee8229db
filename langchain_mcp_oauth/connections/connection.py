"""Sessions opened when first needed, shared by one user's calls, renewed when the server forgot them, closed when idle."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio
import httpx2
from mcp_types import (
    INVALID_REQUEST,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    InputResponses,
    Prompt,
    ReadResourceResult,
    Resource,
)

from langchain_mcp_oauth.connections.endpoint import SessionExpired
from langchain_mcp_oauth.connections.listings import ListedTools
from langchain_mcp_oauth.errors import ConfigurationError, ConnectionFailed, ProtocolError, UnknownServerError
from langchain_mcp_oauth.loading import load
from langchain_mcp_oauth.models import Credentials, Grant, GrantKey
from langchain_mcp_oauth.servers.remote import AnyServer

if TYPE_CHECKING:
    from mcp.client.session import LoggingFnT
    from mcp.shared.dispatcher import ProgressFnT
    from mcp.shared.exceptions import MCPError

    from langchain_mcp_oauth.connections.session import Session

__all__ = ["Connection", "Connections", "ToolResult", "mcp_error"]

T = TypeVar("T")

ToolResult: TypeAlias = CallToolResult | InputRequiredResult

TIMEOUT = 60.0
"""Seconds for one operation, whole: all pages of a listing, and opening the session where that is needed."""

IDLE = 15 * 60.0
"""Seconds after which an unused session is closed, at the next use of any."""

MAX_SESSIONS = 1_000
"""In one event loop; beyond that the one unused longest is closed."""

CLOSED_AT_ONCE = 4
"""Sessions that one operation closes, within a second: its caller is waiting for something else."""

_OTHER_REVISION = frozenset({UNSUPPORTED_PROTOCOL_VERSION, INVALID_REQUEST})
"""How a server answers a 2026-07-28 request if it has gone back to an earlier revision since it was asked."""

_current_grant: ContextVar[Grant | None] = ContextVar("langchain_mcp_oauth_grant", default=None)
"""What the operation under way in this task is authorized with."""


class Connections:
    """The sessions of one event loop, one for each user and server.

    Args:
        client: From `guarded_client`, of the same loop. It is lent: `aclose` leaves it open.
        servers: By name.
        timeout: Seconds for one operation, whole.
        clock: Monotonic seconds.
        elicitation: Tell servers that a person can be asked; `call_tool` then returns an `InputRequiredResult` for their questions.
        logging_callback: Takes the log messages that 2025-11-25 servers send while they work on a request.
        tools_changed: Awaited when a server says, inside an answer to this user, that its tools are others now.
        versions: By server, what was negotiated last: all that one user's session ever tells another's. Given, it is shared.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        servers: Mapping[str, AnyServer],
        *,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
        elicitation: bool = False,
        logging_callback: LoggingFnT | None = None,
        tools_changed: Callable[[GrantKey], Awaitable[None]] | None = None,
        versions: dict[str, str] | None = None,
    ) -> None:
        self.timeout = timeout
        self.clock = clock
        self._client = client
        self._servers = servers
        self._elicitation = elicitation
        self._logging_callback = logging_callback
        self._tools_changed = tools_changed
        self._connections: OrderedDict[GrantKey, Connection] = OrderedDict()
        """The one unused longest first."""
        self._replaced: list[Connection] = []
        """Made with values that are no longer the user's; closed when nobody uses them any more."""
        self._versions = versions if versions is not None else {}

    def get(self, key: GrantKey, credentials: Credentials | None = None) -> Connection:
        """This user's connection to this server, for one operation: ask again for the next. Nothing is sent yet.

        Args:
            key: Whose, and where.
            credentials: What the server's placeholders are filled with. Others than the last time mean another session.

        Raises:
            UnknownServerError: there is no server of that name.
            ConfigurationError: the server of that name has another URL.
        """
        server = self._servers.get(key.server)
        if server is None:
            raise UnknownServerError(key.server, list(self._servers))
        if server.url != key.url:
            raise ConfigurationError(f"Server {key.server!r} has another URL than this login was made for.")
        connection = self._connections.get(key)
        if connection is None or connection.credentials != credentials:
            self._replaced += [connection] if connection is not None else []
            connection = self._connections[key] = Connection(self, key, server, credentials)
        self._connections.move_to_end(key)
        return connection

    async def close(self, key: GrantKey) -> None:
        """End this user's session at this server, if there is one; calls under way may fail. A second at most, never raises."""
        connection = self._connections.pop(key, None)
        if connection is not None:
            await connection.aclose()

    async def aclose(self) -> None:
        """End all sessions."""
        connections = [*self._connections.values(), *self._replaced]
        self._connections.clear()
        self._replaced.clear()
        async with anyio.create_task_group() as closing:
            for connection in connections:
                closing.start_soon(connection.aclose)

    # For `Connection` -----------------------------------------------------------------------------------------------------------

    async def open(self, connection: Connection) -> Session:
        """A new session, with what is known of the server."""
        await load("langchain_mcp_oauth.connections.opening")
        from langchain_mcp_oauth.connections.opening import Opening

        opening = Opening(
            client=self._client,
            server=connection.server,
            values=connection.credentials.values if connection.credentials is not None else {},
            current_grant=_current_grant.get,
            last_grant=lambda: connection.last_grant,
            asks=self._elicitation,
            logging_callback=self._logging_callback,
            tools_changed=partial(self._tools_changed, connection.key) if self._tools_changed is not None else None,
        )
        session = await opening.open(self._versions.get(connection.key.server))
        if session.protocol_version is not None:
            self._versions[connection.key.server] = session.protocol_version
        return session

    def forget_version(self, server_name: str) -> None:
        """The next session finds out again what the server speaks."""
        self._versions.pop(server_name, None)

    async def close_idle(self) -> None:
        """End a few of the sessions that have been unused too long, are too many, or have been replaced."""
        if self._replaced:
            await self._close_replaced()
        if self._over() is None:
            return
        with anyio.move_on_after(1.0):
            for _ in range(CLOSED_AT_ONCE):
                over = self._over()
                if over is None:
                    return
                await self.close(over.key)

    async def _close_replaced(self) -> None:
        idle = [connection for connection in self._replaced if not connection.busy]
        self._replaced = [connection for connection in self._replaced if connection.busy]
        for connection in idle:
            await connection.aclose()

    def _over(self) -> Connection | None:
        """The connection unused longest, if its time is over."""
        oldest = next(iter(self._connections.values()), None)
        if oldest is None or oldest.busy:
            return None
        return oldest if self.clock() - oldest.last_used > IDLE or len(self._connections) > MAX_SESSIONS else None


class Connection:
    """One user at one server. The session behind it is opened by the first operation, once for all that need it."""

    def __init__(self, home: Connections, key: GrantKey, server: AnyServer, credentials: Credentials | None = None) -> None:
        self.key = key
        self.server = server
        self.credentials = credentials
        self.last_grant: Grant | None = None
        self.busy = 0
        self.last_used = home.clock()
        self._home = home
        self._session: Session | None = None
        self._opening = anyio.Lock()
        self._closed = False

    async def list_tools(self, grant: Grant | None) -> ListedTools:
        """All tools the server has for this user.

        Args:
            grant: Of this user at this server; None asks anonymously.

        Raises:
            Unauthorized: the server wants authorization, or more of it.
            ConnectionFailed: it could not be reached, is in trouble, or was not done in time.
            ProtocolError: it does not speak MCP, or has more than 1,000 tools.
            MCPError: it answered with an error of its own.
            UnsafeURLError: its address may not be contacted.
        """
        return await self._run(grant, lambda session: session.list_all())

    async def call_tool(
        self,
        grant: Grant | None,
        name: str,
        arguments: dict[str, Any],
        *,
        on_progress: ProgressFnT | None = None,
        input_responses: InputResponses | None = None,
        request_state: str | None = None,
    ) -> ToolResult:
        """Call a tool, once: nothing is sent again unless the server has said that it did not carry it out.

        Args:
            grant: Of this user at this server; None calls anonymously.
            name: As the server lists it.
            arguments: As its input schema says.
            on_progress: Awaited for each progress notification, in order, before the answer is read on.
            input_responses: A person's answers to the `input_requests` of the result before, by the same keys.
            request_state: That result's `request_state`, unread.

        Returns:
            The result, also one that `is_error`. An `InputRequiredResult` only where `Connections` was made with `elicitation`: a person
            has to answer, and the call is then made again with the answers.

        Raises:
            Unauthorized, ConnectionFailed, ProtocolError, MCPError, UnsafeURLError: as `list_tools`. After `ConnectionFailed` the call may
                have been carried out.
        """
        return await self._run(grant, lambda session: session.call(name, arguments, on_progress, input_responses, request_state))

    async def how_to_use(self, grant: Grant | None) -> str | None:
        """The server's instructions, if it has any. Arguments and errors as for `list_tools`."""
        return await self._run(grant, lambda session: session.how_to_use())

    async def list_resources(self, grant: Grant | None) -> tuple[Resource, ...]:
        """All resources the server lists for this user. Arguments and errors as for `list_tools`."""
        return await self._run(grant, lambda session: session.all_resources())

    async def read_resource(self, grant: Grant | None, uri: str) -> ReadResourceResult:
        """One resource. Arguments and errors as for `list_tools`."""
        return await self._run(grant, lambda session: session.resource(uri))

    async def list_prompts(self, grant: Grant | None) -> tuple[Prompt, ...]:
        """All prompts the server lists for this user. Arguments and errors as for `list_tools`."""
        return await self._run(grant, lambda session: session.all_prompts())

    async def get_prompt(self, grant: Grant | None, name: str, arguments: dict[str, str]) -> GetPromptResult:
        """One prompt, filled in. Arguments and errors as for `list_tools`."""
        return await self._run(grant, lambda session: session.prompt(name, arguments))

    async def aclose(self) -> None:
        """End the server's session; best effort, a second at most, and seven for a program that does not want to end."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await self._as(self.last_grant, session.close)

    async def _run(self, grant: Grant | None, operation: Callable[[Session], Awaitable[T]]) -> T:
        if grant is not None and grant.key != self.key:
            raise ConfigurationError("A grant was used for another user or server than it was given for.")
        self.busy += 1
        self.last_grant = grant
        try:
            await self._home.close_idle()
            with anyio.fail_after(self._home.timeout):
                return await self._as(grant, lambda: self._on_session(operation))
        except TimeoutError:
            raise ConnectionFailed(f"{self.key.server!r} was not done within {self._home.timeout:g} s.") from None
        finally:
            self.busy -= 1
            self.last_used = self._home.clock()

    async def _as(self, grant: Grant | None, action: Callable[[], Awaitable[T]]) -> T:
        token = _current_grant.set(grant)
        try:
            return await action()
        finally:
            _current_grant.reset(token)

    async def _on_session(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """A session that has expired is opened again, once: the server has not carried out what it refused (404)."""
        with suppress(SessionExpired):
            return await self._on_open_session(operation)
        try:
            return await self._on_open_session(operation)
        except SessionExpired:
            raise ProtocolError(f"{self.key.server!r} forgets its sessions as soon as they are opened.") from None

    async def _on_open_session(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        session = await self._opened()
        try:
            return await operation(session)
        except SessionExpired:
            self._drop(session)
            raise
        except mcp_error() as error:
            if session.modern and error.code in _OTHER_REVISION:
                self._drop(session)
                self._home.forget_version(self.key.server)
                await session.close()
            raise

    async def _opened(self) -> Session:
        if self._session is not None:
            return self._session
        async with self._opening:
            if self._session is None:
                session = await self._home.open(self)
                if self._closed:
                    await session.close()
                    raise ConnectionFailed(f"{self.key.server!r} was disconnected while it was being connected.")
                self._session = session
            return self._session

    def _drop(self, session: Session) -> None:
        if self._session is session:
            self._session = None


def mcp_error() -> type[MCPError]:
    """A server's own JSON-RPC error, for an `except` clause: Python looks at it only when there is an exception, and the SDK is there."""
    from mcp.shared.exceptions import MCPError

    return MCPError
