"""Where a user's login at a server stands, judged from what is stored alone. A rule: values in, a value out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from langchain_mcp_oauth.models import AuthorizationRequest, Grant, Reason

__all__ = ["LoginState", "OpenLogin", "ServerStatus", "status_of"]


class LoginState(StrEnum):
    """Where a login stands."""

    CONNECTED = "connected"
    """There is a login that can be used or renewed without a person."""
    EXPIRED = "expired"
    """There was one; only a person can renew it."""
    NEEDS_SCOPES = "needs_scopes"
    """It can be used, and a call is waiting for a person to allow more."""
    NOT_CONNECTED = "not_connected"
    """There is none."""


@dataclass(frozen=True, slots=True)
class OpenLogin:
    """An authorization request that waits for its person."""

    auth_id: str
    reason: str
    issuer: str
    scopes: tuple[str, ...]
    expires_at: datetime
    user_code: str | None = None
    """What the person enters there, where no browser can come back (RFC 8628)."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known of one user's login at one server, without asking it."""

    server: str
    connected: bool
    """There is a login that can be used or renewed without a person."""
    issuer: str | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    """Of the access token; it is refreshed silently where the server gave a refresh token."""
    refreshable: bool = False
    state: LoginState = LoginState.NOT_CONNECTED
    last_used: datetime | None = None
    """When a call was last made with it, or it was last given or renewed; ten minutes late at most."""
    waiting: OpenLogin | None = None
    """A request for this login that a person has not answered yet."""
    missing: tuple[str, ...] = ()
    """The names of what this user has to supply to the server and has not: see `MCPServer.variables`."""


_ENDED = {Reason.EXPIRED, Reason.CLIENT_REJECTED, Reason.ISSUER_CHANGED}
"""Why a person is asked when there was a login that can no longer be used."""


def status_of(server: str, grant: Grant | None, request: AuthorizationRequest | None, now: datetime) -> ServerStatus:
    """What a grant and the open request of the same key come to."""
    waiting = _waiting(request) if request else None
    state = _state(grant, request.reason if request else None, now)
    if grant is None:
        return ServerStatus(server, connected=False, state=state, waiting=waiting)
    return ServerStatus(
        server,
        connected=_usable(grant, now),
        issuer=grant.issuer or None,  # a token that the application provided names none
        scopes=grant.tokens.scopes,
        expires_at=grant.tokens.expires_at,
        refreshable=grant.tokens.refresh_token is not None,
        state=state,
        last_used=grant.last_used,
        waiting=waiting,
    )


def _waiting(request: AuthorizationRequest) -> OpenLogin:
    return OpenLogin(request.auth_id, request.reason.value, request.issuer, request.scopes, request.expires_at, request.user_code)


def _state(grant: Grant | None, asked: Reason | None, now: datetime) -> LoginState:
    if asked in _ENDED or (grant is not None and not _usable(grant, now)):
        return LoginState.EXPIRED
    if grant is None:
        return LoginState.NOT_CONNECTED
    return LoginState.NEEDS_SCOPES if asked is Reason.STEP_UP else LoginState.CONNECTED


def _usable(grant: Grant, now: datetime) -> bool:
    """Without a person: a grant that was obtained silently is obtained again."""
    return grant.source != "login" or grant.tokens.refresh_token is not None or now < grant.tokens.expires_at
