"""Tokens for servers whose grant needs nobody: one at a time for each key over all processes, kept like a person's login."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import anyio

from langchain_mcp_oauth.authorizer.leases import LEASE, under_lease
from langchain_mcp_oauth.authorizer.single_flight import SingleFlight
from langchain_mcp_oauth.authorizer.world import World
from langchain_mcp_oauth.errors import AuthorizationError, ConnectionFailed
from langchain_mcp_oauth.events import Refreshed
from langchain_mcp_oauth.grants.contract import SilentGrant, Wanted
from langchain_mcp_oauth.models import Grant, GrantKey
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.decisions import is_stale
from langchain_mcp_oauth.servers.remote import MCPServer

T = TypeVar("T")

__all__ = ["Obtainer", "fits", "kept_under"]

TIME = LEASE - timedelta(seconds=1)
"""For one token, the application's part included: its lease is not outlived."""


def kept_under(key: GrantKey, server: MCPServer) -> GrantKey:
    """Where this user's grant is kept: a service identity is nobody's, and so under the user that nobody can be."""
    return key if server.grant is None or server.grant.per_user else replace(key, user_id="")


def fits(grant: Grant, server: MCPServer) -> bool:
    """Whether a stored grant came about as the server is configured now."""
    source = server.grant.source if server.grant else "login"
    if grant.source != source or source == "login":
        return grant.source == source
    client = server.client_at(grant.issuer)
    return server.issuer in {None, grant.issuer} and (client is None or client.client_id == grant.client.client_id)


class Obtainer:
    """Obtains grants without anybody. Holds no tokens; the store does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._flights: SingleFlight[tuple[GrantKey, int, tuple[str, ...]], Grant] = SingleFlight()

    async def obtain(self, grant: SilentGrant, wanted: Wanted) -> Grant:
        """The grant that took the place of `wanted.previous`: got here, or by another process meanwhile.

        Raises:
            TokenEndpointError, DiscoveryError, RegistrationError, ConnectionFailed, StoreError: nothing was lost.
            Exception: whatever the application's function raises.
        """
        unwanted = wanted.previous.version if wanted.previous else 0
        return await self._flights.run((wanted.key, unwanted, wanted.scopes), lambda: self._obtain_alone(grant, wanted))

    async def _obtain_alone(self, grant: SilentGrant, wanted: Wanted) -> Grant:
        async def obtained() -> Grant | None:
            current = await self._world.store.load_grant(wanted.key)
            return current if current is not None and self._serves(current, wanted) else None

        def drive(flow: Flow[T], /) -> Awaitable[T]:
            return self._world.ask(wanted.key, flow)

        async def work() -> Grant:
            began = self._world.now()
            try:
                with anyio.fail_after(TIME.total_seconds()):
                    new = await grant.obtain(wanted, drive)
            except AuthorizationError as refusal:
                self._note(wanted, began, refusal.oauth_error or refusal.code)
                raise
            except TimeoutError:
                raise ConnectionFailed(f"A token for {wanted.key.server!r} did not come within {TIME.total_seconds():g} s.") from None
            saved = await self._world.store.save_grant(replace(new, accepted=True))
            assert saved is not None, "unconditional"
            self._note(wanted, began)
            return saved

        return await under_lease(
            self._world.store,
            ("obtain", wanted.key.user_id, wanted.key.server, wanted.key.url),
            settled=obtained,
            work=lambda _lease: work(),
            now=self._world.now,
            sleep=self._world.sleep,
        )

    def _note(self, wanted: Wanted, began: datetime, error: str | None = None) -> None:
        issuer, seconds = wanted.server.issuer or "", (self._world.now() - began).total_seconds()
        server = wanted.key.server
        self._world.events.note(Refreshed(server=server, user_id=wanted.user_id, issuer=issuer, seconds=seconds, error=error))

    def _serves(self, current: Grant, wanted: Wanted) -> bool:
        is_new = wanted.previous is None or current.version != wanted.previous.version
        return (
            is_new
            and fits(current, wanted.server)
            and not is_stale(current.tokens, self._world.now())
            and (wanted.server.scopes is not None or set(wanted.scopes) <= set(current.scopes_requested))
        )
