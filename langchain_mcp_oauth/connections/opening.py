"""A session with a server of each kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

import anyio
import httpx2
from mcp.client.session import LoggingFnT
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from pydantic import SecretStr

from langchain_mcp_oauth.connections.dispatcher import HttpDispatcher
from langchain_mcp_oauth.connections.endpoint import Endpoint
from langchain_mcp_oauth.connections.pipes import run_program
from langchain_mcp_oauth.connections.session import Session
from langchain_mcp_oauth.connections.sse import listen
from langchain_mcp_oauth.connections.streams import Owner, StreamDispatcher
from langchain_mcp_oauth.models import Grant
from langchain_mcp_oauth.servers.configured import fill
from langchain_mcp_oauth.servers.programs import StdioServer
from langchain_mcp_oauth.servers.remote import AnyServer, MCPServer

__all__ = ["Opening"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a session is opened with.

    Attributes:
        client: From `guarded_client`, for servers on HTTP.
        server: Where.
        values: What this user supplies, by name.
        current_grant: Asked when a request starts.
        last_grant: The same for a task that is no caller's.
        asks: Whether a person can be asked (elicitation).
        logging_callback: Takes the server's log messages.
        tools_changed: Awaited when the server says that its tools are others now.
    """

    client: httpx2.AsyncClient
    server: AnyServer
    values: Mapping[str, SecretStr]
    current_grant: Callable[[], Grant | None]
    last_grant: Callable[[], Grant | None]
    asks: bool
    logging_callback: LoggingFnT | None
    tools_changed: Callable[[], Awaitable[None]] | None

    async def open(self, known_version: str | None) -> Session:
        """A session that has negotiated.

        Raises:
            Exception: as `Connection.list_tools`.
        """
        match self.server:
            case MCPServer(transport="http"):
                return await self._negotiated(await self._over_http(self.server), known_version)
            case MCPServer():  # a server of that age is not asked for a revision without a handshake
                return await self._negotiated(await self._over_sse(self.server), LATEST_HANDSHAKE_VERSION)
            case StdioServer():
                return await self._negotiated(await self._over_pipes(self.server), known_version)
            case _:
                assert_never(self.server)

    @property
    def _options(self) -> dict[str, Any]:
        grant = self.server.grant if isinstance(self.server, MCPServer) else None
        return {
            "asks": self.asks,
            "logging_callback": self.logging_callback,
            "tools_changed": self.tools_changed,
            "extensions": grant.extensions if grant is not None else (),
        }

    async def _negotiated(self, session: Session, known_version: str | None) -> Session:
        try:
            await session.negotiate(known_version)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await session.close()
            raise
        return session

    async def _over_http(self, server: MCPServer) -> Session:
        endpoint = self._endpoint(server, server.url, self.current_grant)
        session = Session(HttpDispatcher(endpoint), endpoint.place, endpoint.end_session, **self._options)
        # Entering makes the session hand its callbacks to `HttpDispatcher.run`, which only keeps them. Nothing lives in the session's
        # task group, so it is left at once, and no task owns the session.
        async with session:
            pass
        return session

    async def _over_sse(self, server: MCPServer) -> Session:
        def endpoint(url: str) -> Endpoint:
            return self._endpoint(server, url, lambda: self.current_grant() or self.last_grant())

        events_at = endpoint(server.url)
        return await self._owned(Owner(partial(listen, events_at, endpoint), events_at.place))

    async def _over_pipes(self, server: StdioServer) -> Session:
        return await self._owned(Owner(partial(run_program, server, self.values), f"The program {server.command!r}"))

    async def _owned(self, owner: Owner) -> Session:
        async def leave(headers: Mapping[str, str]) -> None:
            await owner.leave()

        def make(dispatcher: StreamDispatcher) -> Session:
            return Session(dispatcher, owner.place, leave, **self._options)

        return await owner.start(make)

    def _endpoint(self, server: MCPServer, url: str, current_grant: Callable[[], Grant | None]) -> Endpoint:
        return Endpoint(
            self.client,
            url,
            headers=_filled(server.headers or {}, self.values),
            query=_filled(server.query, self.values),
            secrets=[value.get_secret_value() for value in self.values.values()],
            current_grant=current_grant,
        )


def _filled(templates: Mapping[str, SecretStr], values: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: fill(template.get_secret_value(), values) for name, template in templates.items()}
