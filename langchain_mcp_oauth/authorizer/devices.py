"""Looking whether a person has entered their code (RFC 8628): by whoever needs the login, in any process, never more often than allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

from langchain_mcp_oauth.authorizer.leases import EXCHANGE_SECONDS
from langchain_mcp_oauth.authorizer.refreshing import kept
from langchain_mcp_oauth.authorizer.revoking import give_back
from langchain_mcp_oauth.authorizer.saving import being_saved, save
from langchain_mcp_oauth.authorizer.world import World
from langchain_mcp_oauth.errors import AuthorizationDenied, TokenEndpointError
from langchain_mcp_oauth.models import AuthorizationRequest, Grant, Lease, RequestStatus
from langchain_mcp_oauth.oauth.device import look

__all__ = ["Devices"]

SLOWER = 5
"""Seconds that each `slow_down` adds (RFC 8628 §3.5)."""

PENDING = frozenset({"authorization_pending", "slow_down"})


class Devices:
    """Completes device authorization requests. The right to look is a lease that nobody gives back: it ends when the interval has."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def began(self, request: AuthorizationRequest) -> None:
        """The first look is an interval away."""
        await self._may_look(request)

    async def look(self, request: AuthorizationRequest) -> Grant | None:
        """The grant, if the person has answered; None if not, or if somebody has looked just now. Raises nothing for a code that is over:
        the request is closed then, and another can be opened.

        Raises:
            AuthorizationDenied: the person refused.
            ConnectionFailed, StoreError: it could not be found out; the code is still good.
        """
        saved: Grant | None = await being_saved(self._world, _spent(request))
        if saved is not None:
            return saved
        lease = await self._may_look(request)
        if lease is None:
            return None
        sendable = replace(request, client=self._world.with_secret(request.key, request.client))
        try:
            flow = look(sendable, self._world.server(request.key), self._world.now())
            tokens = await self._world.ask(request.key, flow)
        except TokenEndpointError as refusal:
            await self._refused(request, refusal.oauth_error, lease)
            return None
        return await save(self._world, _spent(request), partial(self._save, request, request.granted(tokens)))

    async def _save(self, request: AuthorizationRequest, grant: Grant) -> Grant | None:
        store, now = self._world.store, self._world.now()
        claimed = await store.claim_request(request.auth_id, now=now, until=now + timedelta(seconds=EXCHANGE_SECONDS))
        status = None if claimed else await store.load_request(request.auth_id)
        ours = claimed or (status is not None and status.status is RequestStatus.REDEEMING)
        saved = (await store.grant_request(request.auth_id, grant) if ours else None) or await kept(store, grant)
        if saved is None:  # the user disconnected while we were at it
            await give_back(self._world, grant)
        return saved

    async def _may_look(self, request: AuthorizationRequest) -> Lease | None:
        slowed = await self._world.store.counted(_slowed(request), now=self._world.now())
        pause = timedelta(seconds=request.interval + SLOWER * slowed)
        return await self._world.store.acquire_lease(("device", request.auth_id), now=self._world.now(), duration=pause)

    async def _refused(self, request: AuthorizationRequest, error: str | None, lease: Lease) -> None:
        store, now = self._world.store, self._world.now()
        if error == "slow_down":
            await store.count(_slowed(request), now=now, window=request.expires_at - now + timedelta(minutes=1))
            await store.release_lease(lease)
            await self._may_look(request)  # the longer interval begins with this look
        if error in PENDING:
            return
        denied = error == "access_denied"
        await store.close_request(request.auth_id, RequestStatus.DENIED if denied else RequestStatus.SUPERSEDED)
        if denied:
            message = f"The authorization for {request.key.server!r} was refused at {request.issuer} ({error})."
            raise AuthorizationDenied(message, oauth_error=error)


def _spent(request: AuthorizationRequest) -> tuple[str, ...]:
    return ("device", request.auth_id)


def _slowed(request: AuthorizationRequest) -> tuple[str, ...]:
    return ("slow_down", request.auth_id)
