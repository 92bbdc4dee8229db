"""A person's authorization: one open request for everybody who needs it, and one redemption of its answer.

The row is written before the URL leaves (RFC 9700 §2.1.1 needs verifier and state to be ours alone), with everything the callback will
need: the callback may come to another process, after a restart, and does no discovery of its own.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from langchain_mcp_oauth.authorizer.devices import Devices
from langchain_mcp_oauth.authorizer.leases import LEASE, under_lease, while_held
from langchain_mcp_oauth.authorizer.refreshing import CLIENT_REJECTED, kept
from langchain_mcp_oauth.authorizer.revoking import give_back, settle_all
from langchain_mcp_oauth.authorizer.saving import being_saved, save
from langchain_mcp_oauth.authorizer.single_flight import SingleFlight
from langchain_mcp_oauth.authorizer.world import World
from langchain_mcp_oauth.errors import (
    AuthorizationDenied,
    CallbackError,
    ConfigurationError,
    RequestExpiredError,
    RequestUsedError,
    StoreError,
    TokenEndpointError,
    UnknownStateError,
    WrongUserError,
)
from langchain_mcp_oauth.events import AuthorizationCompleted, AuthorizationFailed
from langchain_mcp_oauth.models import (
    AuthorizationRequest,
    BearerChallenge,
    ClientRegistration,
    Grant,
    GrantKey,
    Reason,
    RequestStatus,
)
from langchain_mcp_oauth.oauth import device
from langchain_mcp_oauth.oauth.authorization import (
    build_authorization_request,
    check_issuer,
    choose_scopes,
    is_as_configured,
    parse_callback,
)
from langchain_mcp_oauth.oauth.decisions import union
from langchain_mcp_oauth.oauth.dpop import key_for
from langchain_mcp_oauth.oauth.registration import choose_client, register
from langchain_mcp_oauth.oauth.tokens import exchange
from langchain_mcp_oauth.servers.remote import MCPServer

if TYPE_CHECKING:
    from langchain_mcp_oauth.oauth.discovery import Discovery

__all__ = ["Authorizing", "CompletedAuthorization", "Need", "about", "step_up_counter"]

CLAIM = LEASE
"""How long a redemption may take before its process counts as dead and the same answer may be tried again."""

TIDY_EVERY = timedelta(hours=1)
"""How often a process that opens requests deletes rows that have no further use."""

COOL_DOWN = timedelta(minutes=10)
"""How long a person's answers to a step-up are remembered; see `decisions.STEP_UP_LIMIT`."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a person is to be asked for, and why."""

    key: GrantKey
    reason: Reason
    scopes: tuple[str, ...] = ()
    challenge: BearerChallenge | None = None
    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class CompletedAuthorization:
    """What a finished authorization brought."""

    server: str
    scopes: tuple[str, ...]
    missing_scopes: tuple[str, ...]
    """Asked for and not granted; the login works all the same, for what was granted."""


class Authorizing:
    """Opens and completes authorization requests."""

    def __init__(self, world: World, *, redirect_uri: str | None, lifetime: timedelta) -> None:
        self._world = world
        self._store = world.store
        self._now = world.now
        self._redirect_uri = redirect_uri
        self._lifetime = lifetime
        self._devices = Devices(world)
        self._flights: SingleFlight[tuple[GrantKey, Reason, tuple[str, ...], int], AuthorizationRequest | Grant] = SingleFlight()
        self._redemptions: SingleFlight[str, CompletedAuthorization] = SingleFlight()
        self._tidied: datetime | None = None
        self._unannounced: set[str] = set()

    # Asking -----------------------------------------------------------------------------------------------------------------

    async def request(self, need: Need) -> AuthorizationRequest | Grant:
        """The one open request of this user and server that covers the need, opened if there is none; or the login that has just come.

        Asked fifty times at once, in several processes, it is discovered, registered and opened once, and all get the same URL.
        """
        server = self._world.server(need.key)
        if server.scopes is not None:  # nothing from the network widens them, so nothing else is looked for among open requests
            need = replace(need, scopes=server.scopes)
        seen = need.grant.version if need.grant else 0
        return await self._flights.run((need.key, need.reason, need.scopes, seen), lambda: self._request_looking(server, need, seen))

    async def _request_looking(self, server: MCPServer, need: Need, seen: int) -> AuthorizationRequest | Grant:
        """An open request for a device is looked at first: nobody else tells us that the person has answered."""
        found = await self._request_alone(server, need, seen)
        if isinstance(found, Grant) or found.device_code is None:
            return found
        grant = await self._look(found)
        if grant is not None:
            return grant
        current = await self._store.load_request(found.auth_id)
        is_open = current is not None and current.status is RequestStatus.PENDING
        return found if is_open else await self._request_alone(server, need, seen)

    async def _look(self, request: AuthorizationRequest) -> Grant | None:
        try:
            grant = await self._devices.look(request)
        except AuthorizationDenied as refusal:
            self._failed(request, refusal.oauth_error or refusal.code, denied=True)
            await self._answered(request)
            raise
        if grant is not None:
            missing = _completed(request, grant).missing_scopes
            self._world.events.note(AuthorizationCompleted(**self._story(request), missing_scopes=missing))
            await self._answered(request)
        return grant

    async def _request_alone(self, server: MCPServer, need: Need, seen: int) -> AuthorizationRequest | Grant:
        async def joinable() -> AuthorizationRequest | Grant | None:
            grant = await self._store.load_grant(need.key)
            if grant is not None and grant.version != seen:  # the answer came while we were on our way to ask
                return grant
            request = await self._store.find_open_request(need.key, now=self._now())
            if request is not None and not is_as_configured(request, server):
                await self._store.close_request(request.auth_id, RequestStatus.SUPERSEDED)
                return None
            return request if request is not None and _serves(request, need, self._redirect_uri or "") else None

        outcome: AuthorizationRequest | Grant = await under_lease(
            self._store,
            ("authorize", need.key.user_id, need.key.server, need.key.url),
            settled=joinable,
            work=lambda _lease: self._open(server, need),
            now=self._now,
            sleep=self._world.sleep,
        )
        await self._tidy()
        return outcome

    async def moved(self, grant: Grant, challenge: BearerChallenge) -> bool:
        """Whether the MCP server now names another authorization server than the one that gave this grant (SEP-2352)."""
        discovery = await self._world.discover(grant.key, challenge)
        return discovery.issuer != grant.issuer

    async def _open(self, server: MCPServer, need: Need) -> AuthorizationRequest:
        discovery = await self._world.discover(need.key, need.challenge)
        moved = need.grant is not None and need.grant.issuer != discovery.issuer
        scopes = choose_scopes(server, discovery, need.scopes)
        if self._redirect_uri is None and discovery.device_authorization_endpoint is None:
            raise _no_way_back()
        client = await self._client(server, need.key, discovery, scopes)
        asked: dict[str, Any] = {
            "key": need.key,
            "reason": Reason.ISSUER_CHANGED if moved else need.reason,
            "server": server,
            "discovery": discovery,
            "scopes": scopes,
            "now": self._now(),
            "random": self._world.random,
            "dpop_key": key_for(server, discovery, need.challenge, need.grant),
        }
        if self._redirect_uri is None:
            request = await self._begin_device(client, asked)
        else:
            request = build_authorization_request(client=client, redirect_uri=self._redirect_uri, lifetime=self._lifetime, **asked)
        opened = await self._store.open_request(request, now=self._now())
        if opened.auth_id == request.auth_id:
            self._unannounced.add(opened.auth_id)
        return opened

    def is_news(self, request: AuthorizationRequest) -> bool:
        """Whether this process has opened the request and nobody has been told: true once."""
        news = request.auth_id in self._unannounced
        self._unannounced.discard(request.auth_id)
        return news

    async def _begin_device(self, client: ClientRegistration, asked: dict[str, Any]) -> AuthorizationRequest:
        key: GrantKey = asked["key"]
        request = await self._world.ask(key, device.begin(client=self._world.with_secret(key, client), **asked))
        await self._devices.began(request)
        return replace(request, client=client)

    async def _tidy(self) -> None:
        now = self._now()
        if self._tidied is None or now - self._tidied >= TIDY_EVERY:
            self._tidied = now
            with suppress(StoreError):  # nobody is here for that
                await self._store.purge(now=now)
                await settle_all(self._world, again=TIDY_EVERY)

    async def _client(self, server: MCPServer, key: GrantKey, discovery: Discovery, scopes: tuple[str, ...]) -> ClientRegistration:
        redirect_uri = self._redirect_uri or ""
        known = await self._store.load_client(discovery.issuer, redirect_uri, key.url)
        client = choose_client(discovery, server, redirect_uri, scopes, known, self._now())
        if client is None:
            # Some servers grant no scope that was not registered: a later step-up must find all that the resource has, and all that
            # any user has needed, so that users with different step-ups share one client.
            needed = known.scopes if known else ()
            possible = scopes if server.scopes is not None else union(scopes, needed, discovery.resource_scopes)
            client = await self._world.ask(key, register(discovery, redirect_uri, possible, self._now()))
            await self._store.save_client(client, key.url)
        return client

    # Answering --------------------------------------------------------------------------------------------------------------

    async def complete(self, callback_url: str, user_id: str) -> CompletedAuthorization:
        """Redeem the answer that came back, once. Nothing that fails before the state, user and issuer are checked changes anything.

        Raises:
            CallbackError: malformed, unknown, expired, used, another user's, or from another authorization server.
            AuthorizationDenied: the person, or the server, refused; the request is closed.
            TokenEndpointError: the server refused the code; the request is closed.
            ConnectionFailed: the token endpoint is down; the same callback may be tried again (after `CLAIM` at the latest).
            StoreUnavailable: the database is away; what the code brought is saved when it is back, as long as this process lives.
        """
        callback = parse_callback(callback_url)
        request = await self._store.load_request_by_state(callback.state)
        if request is None:
            raise UnknownStateError("No authorization was asked for with this answer's state, or it is long over. Start again.")
        if request.key.user_id != user_id:
            raise WrongUserError("This authorization was asked for by another user; sign in as that user, or start your own.")
        check_issuer(callback, request)
        if callback.code is None:
            raise await self._denied(request, callback.error)
        return await self._redeem_once(request, callback.code)

    async def _denied(self, request: AuthorizationRequest, error: str | None) -> AuthorizationDenied | CallbackError:
        if not await self._store.close_request(request.auth_id, RequestStatus.DENIED):
            return _already_used(request)
        self._failed(request, error or "no_reason_given", denied=True)
        await self._answered(request)
        message = f"The authorization for {request.key.server!r} was refused at {request.issuer} ({error or 'no reason given'})."
        return AuthorizationDenied(message, oauth_error=error)

    async def _redeem_once(self, request: AuthorizationRequest, code: SecretStr) -> CompletedAuthorization:
        """Exchange the code if this process gets the claim; else wait for the one that has it."""
        while True:
            until = self._now() + CLAIM
            if await self._store.claim_request(request.auth_id, now=self._now(), until=until):
                # In a task of its own: the code is spent, and a browser or a caller that goes away must not take the tokens along.
                return await self._redemptions.run(request.auth_id, partial(self._redeem, request, code, until))
            current = await self._store.load_request(request.auth_id)
            if current is None or current.status is not RequestStatus.REDEEMING:
                return await self._outcome(current or request)
            await self._world.sleep(0.1)

    async def _outcome(self, request: AuthorizationRequest) -> CompletedAuthorization:
        if request.status is RequestStatus.PENDING:
            raise RequestExpiredError(f"The answer for {request.key.server!r} came too late. Start again for a new URL.")
        grant = await self._store.load_grant(request.key)
        if request.status is not RequestStatus.GRANTED or grant is None:
            raise _already_used(request)
        return _completed(request, grant)

    async def _redeem(self, request: AuthorizationRequest, code: SecretStr, until: datetime) -> CompletedAuthorization:
        spent = ("redeem", request.auth_id)
        saved: Grant | None = await being_saved(self._world, spent)
        if saved is None:
            grant = await self._exchange(request, code, until)
            saved = await save(self._world, spent, partial(self._save, request, grant))
        completed = _completed(request, saved)
        self._world.events.note(AuthorizationCompleted(**self._story(request), missing_scopes=completed.missing_scopes))
        await self._answered(request)
        return completed

    async def _exchange(self, request: AuthorizationRequest, code: SecretStr, until: datetime) -> Grant:
        sendable = replace(request, client=self._world.with_secret(request.key, request.client))
        flow = exchange(sendable, code, self._world.server(request.key), self._now())
        try:
            tokens = await self._world.ask(request.key, while_held(flow, until=until, now=self._now))
        except TokenEndpointError as refusal:
            await self._store.close_request(request.auth_id, RequestStatus.FAILED)
            self._failed(request, refusal.oauth_error or refusal.code, denied=False)
            if refusal.oauth_error in CLIENT_REJECTED:
                await self._store.delete_client(request.client, request.key.url)
            raise
        return request.granted(tokens)

    async def _save(self, request: AuthorizationRequest, grant: Grant) -> Grant:
        saved = await self._store.grant_request(request.auth_id, grant) or await kept(self._store, grant)
        if saved is None:  # the user disconnected while we were at it: what came is given back, not kept
            await give_back(self._world, grant)
            raise RequestUsedError(f"{request.key.server!r} was disconnected, or asked for again, before this answer. Start again.")
        return saved

    def _failed(self, request: AuthorizationRequest, error: str, *, denied: bool) -> None:
        self._world.events.note(AuthorizationFailed(**self._story(request), error=error, denied=denied))

    def _story(self, request: AuthorizationRequest) -> dict[str, Any]:
        """What every event about an answered request says."""
        return {**about(request), "waited": (self._now() - request.created_at).total_seconds()}

    async def _answered(self, request: AuthorizationRequest) -> None:
        if request.reason is Reason.STEP_UP:
            await self._store.count(step_up_counter(request.key, request.scopes), now=self._now(), window=COOL_DOWN)


def about(request: AuthorizationRequest) -> dict[str, Any]:
    """What every event about a request says."""
    return {
        "server": request.key.server,
        "user_id": request.key.user_id,
        "auth_id": request.auth_id,
        "issuer": request.issuer,
        "scopes": request.scopes,
        "reason": request.reason.value,
    }


def _no_way_back() -> ConfigurationError:
    return ConfigurationError(
        "A login is needed but there is no redirect_uri for the browser to come back to, and the authorization server has no device "
        "authorization (RFC 8628). Give MCPOAuthToolkit a redirect_uri, or on_auth_required=LoopbackBrowser() in a script."
    )


def step_up_counter(key: GrantKey, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """The counter of a person's answers to requests for these scopes. `offline_access` is ours, not the server's (SEP-2207)."""
    return ("step_up", key.user_id, key.server, key.url, *sorted(set(scopes) - {"offline_access"}))


def _serves(request: AuthorizationRequest, need: Need, redirect_uri: str) -> bool:
    """Whether an open request is good enough for a need. After a rejected client, only one made since is."""
    fresh_client = need.reason is not Reason.CLIENT_REJECTED or request.reason is Reason.CLIENT_REJECTED
    return fresh_client and request.redirect_uri == redirect_uri and set(need.scopes) <= set(request.scopes)


def _already_used(request: AuthorizationRequest) -> RequestUsedError:
    return RequestUsedError(f"This answer for {request.key.server!r} was already used, or replaced by a newer request. Start again.")


def _completed(request: AuthorizationRequest, grant: Grant) -> CompletedAuthorization:
    granted = grant.tokens.scopes
    # A refresh token is what `offline_access` asks for; servers need not list it among the scopes of the access token (SEP-2207).
    given = {*granted, "offline_access"} if grant.tokens.refresh_token else set(granted)
    missing = tuple(scope for scope in request.scopes if scope not in given)
    return CompletedAuthorization(request.key.server, granted, missing)
