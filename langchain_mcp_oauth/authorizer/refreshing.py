"""A stale grant becomes a fresh one, exactly once over all tasks, processes and machines, and nobody is asked.

Within a process one flight per grant; between processes a lease in the store. Whoever gets the lease reads the grant again *inside* it,
so a refresh token that somebody else has already used up is never sent (RFC 9700 §4.14: reuse may revoke the whole family). A hundred
callers wait meanwhile, so there are two transactions and no more: one takes the lease and reads, one saves and gives it back.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial

from langchain_mcp_oauth.authorizer.leases import LEASE, release, wait_for_lease, while_held
from langchain_mcp_oauth.authorizer.revoking import give_back
from langchain_mcp_oauth.authorizer.saving import being_saved, save
from langchain_mcp_oauth.authorizer.single_flight import SingleFlight
from langchain_mcp_oauth.authorizer.world import World
from langchain_mcp_oauth.errors import TokenEndpointError
from langchain_mcp_oauth.events import Refreshed
from langchain_mcp_oauth.models import Grant, GrantKey, Lease, Reason
from langchain_mcp_oauth.oauth.tokens import refresh
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["CLIENT_REJECTED", "Refresher", "kept"]

logger = logging.getLogger(__name__)

CLIENT_REJECTED = frozenset({"invalid_client", "unauthorized_client"})
"""The token endpoint does not know our client (RFC 6749 §5.2): only then is a registration forgotten."""


class Refresher:
    """Refreshes grants. Holds no tokens; the store does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = world.store
        self._flights: SingleFlight[tuple[GrantKey, int], Grant | Reason] = SingleFlight()

    async def refresh(self, stale: Grant) -> Grant | Reason:
        """The grant that took the place of `stale`, or why only a person can help: `expired` or `client_rejected`.

        Raises:
            ConnectionFailed: the token endpoint is down, or another process holds the lease and does not finish. The grant is kept.
            StoreError: as the store.
        """
        return await self._flights.run((stale.key, stale.version), lambda: self._refresh_alone(stale))

    async def _refresh_alone(self, stale: Grant) -> Grant | Reason:
        saved: Grant | Reason | None = await being_saved(self._world, _spent(stale))
        if saved is not None:
            return saved

        async def take() -> Grant | Reason | Lease | None:
            current, lease = await self._store.lease_grant(stale.key, stale.version, now=self._world.now(), duration=LEASE)
            if current is None:
                return Reason.EXPIRED
            return lease if current.version == stale.version else current

        taken: Grant | Reason | Lease = await wait_for_lease(take, sleep=self._world.sleep)
        return await self._redeem(stale, taken) if isinstance(taken, Lease) else taken

    async def _redeem(self, grant: Grant, lease: Lease) -> Grant | Reason:
        world, now = self._world, self._world.now
        flow = refresh(world.sendable(grant), world.server(grant.key), now())
        began = now()
        async with AsyncExitStack() as held:
            held.push_async_callback(release, self._store, lease)
            try:
                tokens = await world.ask(grant.key, while_held(flow, until=lease.until, now=now))
            except TokenEndpointError as refusal:
                self._note(grant, began, refusal.oauth_error or refusal.code)
                return await self._refused(grant, refusal)
            self._note(grant, began)
            held.pop_all()  # the lease is given back with what is saved, or ends by itself: nobody is to send the spent token meanwhile
        fresh = replace(grant, tokens=tokens)
        return await save(world, _spent(grant), partial(self._save, fresh, lease))

    async def _save(self, fresh: Grant, lease: Lease) -> Grant | Reason:
        saved = await self._store.save_grant(fresh, replaces=fresh.version, lease=lease)
        return saved or await kept(self._store, fresh) or await self._overtaken(fresh)

    def _note(self, grant: Grant, began: datetime, error: str | None = None) -> None:
        seconds = (self._world.now() - began).total_seconds()
        key = grant.key
        self._world.events.note(Refreshed(server=key.server, user_id=key.user_id, issuer=grant.issuer, seconds=seconds, error=error))

    async def _refused(self, grant: Grant, refusal: TokenEndpointError) -> Grant | Reason:
        """Forget only what is certainly dead, and only if nobody has replaced it meanwhile."""
        logger.info("%s refused to refresh the login of %r: %s", grant.issuer, grant.key.server, refusal.oauth_error)
        if refusal.oauth_error in CLIENT_REJECTED:
            await self._store.delete_client(grant.client, grant.key.url)
            return Reason.CLIENT_REJECTED
        if refusal.oauth_error == "invalid_grant":
            await self._store.delete_grant(grant.key, grant.version)
        current = await self._store.load_grant(grant.key)
        return current if current is not None and current.version != grant.version else Reason.EXPIRED

    async def _overtaken(self, fresh: Grant) -> Grant | Reason:
        """A newer login, or a disconnect, came while we refreshed: theirs counts, ours is given back (RFC 7009)."""
        await give_back(self._world, fresh)
        return await self._store.load_grant(fresh.key) or Reason.EXPIRED


def _spent(grant: Grant) -> tuple[str, ...]:
    return ("refresh", grant.key.user_id, grant.key.server, grant.key.url, str(grant.version))


async def kept(store: TokenStore, grant: Grant) -> Grant | None:
    """The stored grant, if it has these tokens: the database had saved them when it went away, and could not say so."""
    stored = await store.load_grant(grant.key)
    return stored if stored is not None and stored.tokens == grant.tokens else None
