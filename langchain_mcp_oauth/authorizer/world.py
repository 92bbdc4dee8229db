"""What the service does not do itself: remember, send, tell the time, wait, and invent; and what it was configured with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_mcp_oauth.authorizer.single_flight import SingleFlight
from langchain_mcp_oauth.events import Events
from langchain_mcp_oauth.loading import load
from langchain_mcp_oauth.models import BearerChallenge, ClientRegistration, Grant, GrantKey
from langchain_mcp_oauth.oauth import Drive, Flow
from langchain_mcp_oauth.oauth.headers import Place, keeping_out, with_headers
from langchain_mcp_oauth.servers.remote import MCPServer
from langchain_mcp_oauth.store.contract import TokenStore

if TYPE_CHECKING:
    from langchain_mcp_oauth.oauth.discovery import Discovery

__all__ = ["Drive", "World"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The collaborators that refreshing and authorizing share."""

    servers: Mapping[str, MCPServer]
    store: TokenStore
    drive: Drive
    now: Callable[[], datetime]
    """Aware UTC."""
    sleep: Callable[[float], Awaitable[None]]
    """The pause between two looks at another process's work, in seconds."""
    random: Callable[[int], str]
    """URL-safe text made of that many random bytes."""
    events: Events = field(default_factory=Events)
    """Where it is said what happened."""
    saving: SingleFlight[tuple[str, ...], Any] = field(default_factory=SingleFlight)
    """What could not be saved yet (`authorizer/saving.py`)."""
    foreign: Mapping[str, Collection[Place]] = field(default_factory=dict)
    """By server, what belongs to others on loopback, which no conversation about it goes to."""

    def server(self, key: GrantKey) -> MCPServer:
        """The options of this login's server; the defaults if it is no longer configured."""
        return self.servers.get(key.server) or MCPServer(key.url)

    async def ask(self, key: GrantKey, flow: Flow[T]) -> T:
        """Hold an OAuth conversation about this login."""
        return await self.drive(keeping_out(with_headers(flow, self.server(key)), self.foreign.get(key.server, ())))

    async def discover(self, key: GrantKey, challenge: BearerChallenge | None) -> Discovery:
        """Find out who guards this login's server."""
        await load("langchain_mcp_oauth.oauth.discovery")
        from langchain_mcp_oauth.oauth.discovery import discover

        return await self.ask(key, discover(self.server(key), challenge))

    def with_secret(self, key: GrantKey, client: ClientRegistration) -> ClientRegistration:
        """A pre-registered client's secret is configuration: it is read when it is used, and never stored."""
        configured = self.server(key).client_at(client.issuer)
        if client.kind != "preregistered" or configured is None or configured.client_id != client.client_id:
            return client
        return replace(client, client_secret=configured.credential)

    def sendable(self, grant: Grant) -> Grant:
        """The grant as it is sent: with its client's secret."""
        return replace(grant, client=self.with_secret(grant.key, grant.client))
