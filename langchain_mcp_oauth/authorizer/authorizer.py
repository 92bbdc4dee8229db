"""The service: a usable token for this user at this server, or a URL for a person. Knows nothing of LangChain or MCP sessions."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

from pydantic import SecretStr

from langchain_mcp_oauth.authorizer.authorizing import Authorizing, CompletedAuthorization, Need, about, step_up_counter
from langchain_mcp_oauth.authorizer.grant_cache import GrantCache
from langchain_mcp_oauth.authorizer.obtaining import Obtainer, fits, kept_under
from langchain_mcp_oauth.authorizer.refreshing import Refresher
from langchain_mcp_oauth.authorizer.revoking import settle
from langchain_mcp_oauth.authorizer.single_flight import SingleFlight
from langchain_mcp_oauth.authorizer.status import ServerStatus, status_of
from langchain_mcp_oauth.authorizer.world import Drive, World
from langchain_mcp_oauth.errors import (
    AuthRequired,
    ConfigurationError,
    ConnectionFailed,
    DiscoveryError,
    ScopeNotGrantedError,
    StoreError,
    TokenRejectedError,
    UnknownServerError,
)
from langchain_mcp_oauth.events import AuthorizationRequested, Events
from langchain_mcp_oauth.grants.contract import SilentGrant, Wanted
from langchain_mcp_oauth.models import (
    AuthorizationRequest,
    BearerChallenge,
    ClientRegistration,
    Grant,
    GrantKey,
    Reason,
)
from langchain_mcp_oauth.oauth.challenge import ask_for_challenge
from langchain_mcp_oauth.oauth.decisions import (
    Authorize,
    GiveUp,
    Obtain,
    Refresh,
    Use,
    asked_for,
    next_silent_step,
    next_step,
    step_up_scopes,
    union,
)
from langchain_mcp_oauth.oauth.headers import Place
from langchain_mcp_oauth.oauth.tokens import read_token_response
from langchain_mcp_oauth.oauth.urls import check_url
from langchain_mcp_oauth.servers.remote import AnyServer, MCPServer, is_name
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["Authorizer", "Refusal"]

USE_NOTED = timedelta(minutes=10)
"""How exact `last_used` is: one write in that time for each login that is used, by whichever call comes first."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An MCP server's refusal in this call: the challenge, and the grant whose token it refused (None: an anonymous request)."""

    challenge: BearerChallenge
    grant: Grant | None


class Authorizer:
    """Decides by `oauth.decisions.next_step` and does what it says.

    Args:
        servers: The configured servers by name.
        store: Where the truth is.
        drive: Does the IO of one OAuth conversation.
        redirect_uri: Where a browser comes back to; None until an authorization is needed is an error then.
        request_lifetime: How long a person has for one URL.
        start_url: Where the application's start links live; None puts the authorization server's own URL into `AuthRequired`.
        on_login: Told of every login that was completed, brought along, or ended here.
        events: Where it is said what happened.
        foreign: See `World.foreign`.
        now, sleep, random: The clock (aware UTC), the pause between two looks at another process's work, and a source of
            URL-safe text made of that many random bytes.
    """

    def __init__(
        self,
        servers: Mapping[str, MCPServer],
        store: TokenStore,
        drive: Drive,
        *,
        redirect_uri: str | None,
        request_lifetime: timedelta,
        start_url: str | None = None,
        on_login: Callable[[GrantKey], None] = lambda _: None,
        events: Events | None = None,
        foreign: Mapping[str, Collection[Place]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[int], str] = secrets.token_urlsafe,
    ) -> None:
        self.servers = servers
        self.store = store
        self._redirect_uri = redirect_uri
        self._start_url = start_url
        self._on_login = on_login
        self._now = now
        self._cache = GrantCache()
        self._looks: SingleFlight[tuple[GrantKey, int], Grant | None] = SingleFlight()
        self._world = World(
            servers=servers,
            store=store,
            drive=drive,
            now=now,
            sleep=sleep,
            random=random,
            events=events or Events(),
            foreign=foreign or {},
        )
        self._refresher = Refresher(self._world)
        self._obtainer = Obtainer(self._world)
        self._authorizing = Authorizing(self._world, redirect_uri=redirect_uri, lifetime=request_lifetime)

    def key(self, user_id: str, server: str) -> GrantKey:
        """Whose account at which server.

        Raises:
            UnknownServerError, ConfigurationError: no such server; a user id that cannot be one.
        """
        return key_of(self.servers, user_id, server)

    async def acquire(self, key: GrantKey, refusal: Refusal | None = None, *, recovered: bool = False) -> Grant | None:
        """A grant to make the next request with, or None to make it anonymously.

        Args:
            key: Whose account at which server.
            refusal: What the server answered to the last request of this call, if it refused it.
            recovered: Whether a new token was already found after a 401 in this call.

        Raises:
            AuthRequired: only a person can help. Nothing is held open meanwhile.
            TokenRejectedError, ScopeNotGrantedError: nobody can.
            ConnectionFailed, DiscoveryError, RegistrationError, StoreError: it could not be found out. Nothing was lost.
        """
        server = self.servers[key.server]
        if server.grant is not None:
            return await self._acquire_silently(server, server.grant, key, refusal, recovered=recovered)
        grant = await self._load(key, refused=refusal.grant if refusal else None)
        challenge = refusal.challenge if refusal and _same(refusal.grant, grant) else None
        answered = await self._answered(grant, challenge)
        step = next_step(
            grant,
            challenge,
            self._now(),
            recovered=recovered,
            answered=answered,
            start_with_login=server.start == "login",
            ceiling=server.scopes,
        )
        match step:
            case Use(usable):
                return usable
            case Refresh(stale):
                return await self._refresh(stale, refused=challenge is not None)
            case Authorize(reason, scopes):
                return await self._ask(Need(key, reason, scopes, refusal.challenge if refusal else None, grant))
            case GiveUp("token_rejected") if grant and challenge and await self._authorizing.moved(grant, challenge):
                return await self._ask(Need(key, Reason.ISSUER_CHANGED, challenge.scopes, challenge, grant))
            case GiveUp(code, scopes):
                raise _given_up(code, key, scopes)
            case _:
                assert_never(step)

    async def _acquire_silently(
        self, server: MCPServer, source: SilentGrant, key: GrantKey, refusal: Refusal | None, *, recovered: bool
    ) -> Grant | None:
        """As `acquire`, where nobody has to be asked. The grant is the user's to use, wherever it is kept."""
        kept = kept_under(key, server)
        grant = await self._load(kept, refused=refusal.grant if refusal else None)
        challenge = refusal.challenge if refusal and _same(refusal.grant, grant) else None
        now = self._now()
        step = next_silent_step(grant, challenge, now, recovered=recovered, start_with_login=server.start == "login", ceiling=server.scopes)
        match step:
            case Use(usable):
                grant = usable
            case Obtain(scopes):
                wanted = Wanted(key=kept, user_id=key.user_id, server=server, scopes=scopes, challenge=challenge, previous=grant, now=now)
                grant = self._cache.put(await self._obtainer.obtain(source, wanted))
            case GiveUp(code, scopes):
                raise _given_up(code, key, scopes)
            case _:
                assert_never(step)
        return grant and replace(grant, key=key)

    async def accepted(self, grant: Grant | None) -> None:
        """Remember that the server accepted this login: a 401 later means that it ended, not that it never worked. And, now and then, when.

        Never an error: the call has succeeded, and its result is not lost because the database is away. The next call tries again.
        """
        now = self._now()
        if grant is None or _is_noted(grant, now) or _is_noted(self._cache.get(grant.key), now):
            return
        self._cache.amend(replace(grant, accepted=True, used_at=now))  # first: calls that end at the same time write it down once
        with suppress(StoreError):
            await self.store.mark_accepted(grant.key, grant.version, now=now)

    async def complete(self, callback_url: str, user_id: str) -> CompletedAuthorization:
        """See `Authorizing.complete`."""
        try:
            completed = await self._authorizing.complete(callback_url, user_id)
        finally:
            await self._world.events.flush()
        self._changed(self.key(user_id, completed.server))
        return completed

    async def save_token_response(
        self,
        key: GrantKey,
        token_response: Mapping[str, Any],
        *,
        issuer: str,
        token_endpoint: str,
        client_id: str,
        client_secret: str | None,
        resource: str | None,
        revocation_endpoint: str | None,
    ) -> None:
        """Keep a login that was obtained elsewhere. See `MCPOAuthToolkit.save_token_response`."""
        tokens = read_token_response(dict(token_response), issuer, scopes=(), refresh_token=None, now=self._now())
        grant = Grant(
            key=key,
            issuer=issuer,
            resource=resource or key.url,
            token_endpoint=check_url(token_endpoint, "token_endpoint"),
            revocation_endpoint=check_url(revocation_endpoint, "revocation_endpoint") if revocation_endpoint is not None else None,
            client=_imported_client(self.servers[key.server], issuer, client_id, client_secret),
            tokens=tokens,
            scopes_requested=tokens.scopes,
            accepted=True,
        )
        await self.store.save_grant(grant)
        self._changed(key)

    async def forget(self, key: GrantKey) -> Grant | None:
        """Delete the login here and now and void its open requests; the grant that is to be revoked, if there was one."""
        kept = kept_under(key, self.servers[key.server])
        grant = await self.store.disconnect(kept, now=self._now())
        self._cache.drop(kept)
        self._changed(key)
        return grant

    async def revoke(self, grant: Grant) -> bool:
        """Give a forgotten grant's tokens back to the issuer (RFC 7009). True if it was told, else that is tried again; never an error."""
        return await settle(self._world, grant)

    async def status(self, user_id: str) -> dict[str, ServerStatus]:
        """Every configured server's status for this user, from the store alone."""
        keys = {name: kept_under(self.key(user_id, name), server) for name, server in self.servers.items()}
        grants = {grant.key: grant for user in {key.user_id for key in keys.values()} for grant in await self.store.list_grants(user)}
        now = self._now()
        requests = {name: await self.store.find_open_request(key, now=now) for name, key in keys.items()}
        usable = {name: grants[key] for name, key in keys.items() if key in grants and fits(grants[key], self.servers[name])}
        return {name: status_of(name, usable.get(name), requests[name], now) for name in keys}

    async def begin(self, key: GrantKey) -> AuthRequired | None:
        """What a person opens to log in, or to log in anew. See `MCPOAuthToolkit.begin_authorization`."""
        server = self.servers[key.server]
        if server.grant is not None:
            return None  # nobody has to be asked
        self._cache.drop(key)
        grant = await self._load(key)
        waiting = await self.store.find_open_request(key, now=self._now())
        # What the server itself says of its guard comes first (RFC 9728 §5.1); an open request was made with that.
        challenge = None if waiting else await self._world.ask(key, ask_for_challenge(server))
        known = asked_for(grant) if grant else ()
        ended = grant is not None and isinstance(next_step(grant, None, self._now()), Authorize)
        need = Need(key, Reason.EXPIRED if ended else Reason.LOGIN, union(known, challenge.scopes if challenge else ()), challenge, grant)
        try:
            outcome = await self._authorizing.request(need)
        except DiscoveryError:
            if waiting or challenge or server.issuer:
                raise
            return None  # it asks for nothing, and names nobody who could be asked
        if isinstance(outcome, Grant):  # a login came meanwhile: begin from it, unless it is the one that was waited for
            return None if waiting is not None and waiting.device_code is not None else await self.begin(key)
        event = self._announced(outcome)
        await self._world.events.flush()
        return event

    def _changed(self, key: GrantKey) -> None:
        self._cache.drop(key)
        self._on_login(key)

    async def _refresh(self, stale: Grant, *, refused: bool) -> Grant:
        try:
            outcome = await self._refresher.refresh(stale)
        except ConnectionFailed:
            if not refused and self._now() < stale.tokens.expires_at:  # refreshing early failed; the token is still good
                return stale
            raise
        if isinstance(outcome, Grant):
            return self._cache.put(outcome)
        self._cache.drop(stale.key)
        scopes = stale.scopes_requested or stale.tokens.scopes
        return await self._ask(Need(stale.key, outcome, scopes, None, stale))

    async def _ask(self, need: Need) -> Grant:
        """Raise the event for the person; or return the login that came while we were about to."""
        outcome = await self._authorizing.request(need)
        if isinstance(outcome, Grant):
            return self._cache.put(outcome)
        raise self._announced(outcome)

    def _announced(self, request: AuthorizationRequest) -> AuthRequired:
        """The event for the person; the application hears of it from the process that opened the request."""
        needed = self._event(request)
        if self._authorizing.is_news(request):
            url = needed.authorization_url
            shown: dict[str, Any] = {"authorization_url": url, "user_code": request.user_code, "expires_at": request.expires_at}
            self._world.events.note(AuthorizationRequested(**about(request), **shown))
        return needed

    def _event(self, request: AuthorizationRequest) -> AuthRequired:
        url = f"{self._start_url.rstrip('/')}/{request.auth_id}" if self._start_url else request.authorization_url.get_secret_value()
        return AuthRequired(
            authorization_url=url,
            server=request.key.server,
            resource=request.resource,
            issuer=request.issuer,
            scopes=request.scopes,
            reason=request.reason.value,
            auth_id=request.auth_id,
            expires_at=request.expires_at,
            user_code=request.user_code,
            complete=lambda callback_url: self.complete(callback_url, request.key.user_id),
        )

    async def _answered(self, grant: Grant | None, challenge: BearerChallenge | None) -> int:
        if grant is None or challenge is None or not challenge.insufficient_scope:
            return 0
        scopes = step_up_scopes(grant, challenge, self.servers[grant.key.server].scopes)
        return await self.store.counted(step_up_counter(grant.key, scopes), now=self._now())

    async def is_logged_in(self, key: GrantKey) -> bool:
        """Whether there is a login, of whatever use it may be."""
        return await self._load(key) is not None

    async def is_usable(self, key: GrantKey) -> bool:
        """Whether calls need nobody to log in first, as far as is known without asking."""
        if self.servers[key.server].grant is not None:
            return True
        grant = await self._load(key)
        return grant is not None and not isinstance(next_step(grant, None, self._now()), Authorize)

    async def _load(self, key: GrantKey, *, refused: Grant | None = None) -> Grant | None:
        """The grant kept under this key, if it came about as the server is configured now; what has just been refused is read again."""
        server = self.servers[key.server]
        recent = self._cache.get(key)
        if recent is not None and _same(recent, refused):
            self._cache.drop(key)
        elif recent is not None and fits(recent, server):
            return recent
        # Whoever looks for the same grant at the same time shares one look, which began after whatever this process has changed.
        grant = await self._looks.run((key, self._cache.drops), lambda: self.store.load_grant(key))
        return self._cache.put(grant) if grant is not None and fits(grant, server) else None


def key_of(servers: Mapping[str, AnyServer], user_id: str, server: str) -> GrantKey:
    """Whose account at which of these servers.

    Raises:
        UnknownServerError, ConfigurationError: no such server; a user id that cannot be one.
    """
    if server not in servers:
        raise UnknownServerError(server, servers)
    if not is_name(user_id):
        raise ConfigurationError("A user_id must be a string of 1 to 255 characters without NUL or half a surrogate pair.")
    return GrantKey(user_id, server, servers[server].url)


def _imported_client(server: MCPServer, issuer: str, client_id: str, client_secret: str | None) -> ClientRegistration:
    mine = server.client_at(issuer)
    configured = mine if mine is not None and mine.client_id == client_id else None
    has_secret = client_secret is not None or (configured is not None and configured.client_secret is not None)
    return ClientRegistration(
        issuer=issuer,
        client_id=client_id,
        client_secret=SecretStr(client_secret) if client_secret is not None else None,
        auth_method=(configured and configured.client_auth_method) or ("client_secret_basic" if has_secret else "none"),
        kind="preregistered" if configured else "dynamic",
        redirect_uri="",
    )


def _is_noted(grant: Grant | None, now: datetime) -> bool:
    """Whether it is known that the server accepts this login, and lately. A login that nobody has made is nobody's to look after."""
    return grant is not None and grant.accepted and (grant.source != "login" or now - grant.last_used < USE_NOTED)


def _same(one: Grant | None, other: Grant | None) -> bool:
    return (one.version if one else None) == (other.version if other else None)


def _given_up(code: str, key: GrantKey, scopes: tuple[str, ...]) -> TokenRejectedError | ScopeNotGrantedError:
    if code == "token_rejected":
        return TokenRejectedError(
            f"{key.server!r} refuses a token that its own authorization server has just issued for it; logging in again would not "
            "help. Ask who runs the server whether it accepts tokens of that issuer for this resource."
        )
    return ScopeNotGrantedError(
        f"{key.server!r} needs more than was granted ({' '.join(scopes) or 'it does not say what'}), and asking again has not "
        "helped, or `MCPServer.scopes` does not allow it. Ask who runs the server to grant it, or go on without this tool."
    )
