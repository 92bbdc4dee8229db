"""The nouns. All frozen; all times aware UTC; secrets are `SecretStr`, so a `repr` shows stars.

These are not database rows (`store/tables.py`) and not wire documents (`mcp.shared.auth`): they are what the rules in `oauth/` and
the service in `authorizer/authorizer.py` talk about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import SecretStr

__all__ = [
    "AuthorizationRequest",
    "BearerChallenge",
    "ClientRegistration",
    "Credentials",
    "Grant",
    "GrantKey",
    "Lease",
    "Listing",
    "Reason",
    "RequestStatus",
    "TokenSet",
]


class Reason(StrEnum):
    """Why a person is asked."""

    LOGIN = "login"
    """There is no grant yet."""
    EXPIRED = "expired"
    """The grant can no longer be refreshed, or a refreshed token was refused."""
    STEP_UP = "step_up"
    """The server wants scopes that the grant does not have (RFC 6750 §3.1, SEP-2350)."""
    CLIENT_REJECTED = "client_rejected"
    """The authorization server no longer knows the client the grant was made with."""
    ISSUER_CHANGED = "issuer_changed"
    """The MCP server names another authorization server than the one that gave the grant (SEP-2352)."""


class RequestStatus(StrEnum):
    """Where an authorization request stands. `TRANSITIONS` is the whole state machine."""

    PENDING = "pending"
    """The URL is out; nobody has answered."""
    REDEEMING = "redeeming"
    """One process is exchanging the code; its claim ends at `redeeming_until`."""
    GRANTED = "granted"
    """Tokens are stored."""
    DENIED = "denied"
    """The authorization server answered with an error."""
    FAILED = "failed"
    """The token endpoint refused the code."""
    SUPERSEDED = "superseded"
    """A newer request of the same user and server took its place, or the user disconnected."""


TRANSITIONS: dict[RequestStatus, frozenset[RequestStatus]] = {
    RequestStatus.PENDING: frozenset({RequestStatus.REDEEMING, RequestStatus.DENIED, RequestStatus.SUPERSEDED}),
    RequestStatus.REDEEMING: frozenset({RequestStatus.GRANTED, RequestStatus.FAILED, RequestStatus.SUPERSEDED}),
}
"""Which status may follow which; those not named as a key are final. Expiry is not a status: it is `expires_at` in the past."""


@dataclass(frozen=True, slots=True)
class GrantKey:
    """Whose account at which server. Compared exactly, as three separate values; never joined, trimmed or folded (R34)."""

    user_id: str
    server: str
    url: str
    """The configured MCP URL: a server whose URL changes needs a new login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSet:
    """What a token endpoint gave (RFC 6749 §5.1)."""

    access_token: SecretStr
    refresh_token: SecretStr | None = None
    scopes: tuple[str, ...] = ()
    """Granted scopes: the answer's, else those asked for (§3.3)."""
    obtained_at: datetime
    expires_at: datetime
    """Always there: an answer without a lifetime counts as one hour, none as more than 30 days (R31)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRegistration:
    """Who we are to one authorization server."""

    issuer: str
    client_id: str
    client_secret: SecretStr | None = None
    """What it authenticates with; for `private_key_jwt` its private key."""
    auth_method: str = "none"
    """`token_endpoint_auth_method`: `none`, `client_secret_basic`, `client_secret_post` or `private_key_jwt`."""
    kind: str
    """`preregistered` (configured), `metadata_document` (CIMD) or `dynamic` (RFC 7591)."""
    redirect_uri: str
    scopes: tuple[str, ...] = ()
    """What it was registered to ask for (RFC 7591 §2); dynamic ones only."""
    secret_expires_at: datetime | None = None
    """None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One user's tokens for one MCP server, and everything needed to use, refresh and revoke them without discovery."""

    key: GrantKey
    issuer: str
    """Raw string, never normalised (RFC 9207 §2.4)."""
    resource: str
    """Raw `resource` of the protected resource metadata (RFC 8707), sent again on refresh."""
    token_endpoint: str
    revocation_endpoint: str | None = None
    client: ClientRegistration
    tokens: TokenSet
    scopes_requested: tuple[str, ...] = ()
    dpop_key: SecretStr | None = None
    """The private JWK that the tokens are bound to (RFC 9449); None: they are bearer tokens."""
    accepted: bool = False
    """Whether the MCP server has ever accepted a token of this login; false again after a new login, kept over refreshes."""
    used_at: datetime | None = None
    """When that was last written down; not every time (`USE_NOTED`)."""
    source: str = "login"
    """How it came about: a person's login, or the `source` of the `SilentGrant` that obtained it."""
    version: int = 0
    """Opaque and new with every save (login or refresh), so it never repeats for a key; 0 before the first. Compare-and-swap runs on it."""

    @property
    def last_used(self) -> datetime:
        """About when a call was made with it: what was written down, or when its tokens were given, if that was later."""
        return max(self.used_at or self.tokens.obtained_at, self.tokens.obtained_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one user supplies for one server, such as an API key, by name."""

    key: GrantKey
    values: Mapping[str, SecretStr]
    version: int = 0
    """Opaque and new with every save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """One stored, single-use attempt to get a person's authorization. Everything the callback needs was recorded before the URL left."""

    auth_id: str
    key: GrantKey
    status: RequestStatus = RequestStatus.PENDING
    reason: Reason
    state: SecretStr
    """43 characters; the store keeps its SHA-256 to look it up by, and this value sealed within the URL."""
    code_verifier: SecretStr
    authorization_url: SecretStr
    issuer: str
    iss_required: bool
    """The metadata advertised `authorization_response_iss_parameter_supported` (RFC 9207 §3)."""
    token_endpoint: str
    revocation_endpoint: str | None = None
    resource: str
    scopes: tuple[str, ...] = ()
    redirect_uri: str
    client: ClientRegistration
    dpop_key: SecretStr | None = None
    """See `Grant.dpop_key`."""
    device_code: SecretStr | None = None
    """With one, nobody comes back: the token endpoint is asked (RFC 8628). The `state` and verifier are then of no use."""
    user_code: str | None = None
    """What the person enters at the authorization URL, unless that holds it."""
    interval: int = 5
    """Seconds between two looks at the token endpoint."""
    created_at: datetime
    expires_at: datetime
    redeeming_until: datetime | None = None

    def granted(self, tokens: TokenSet) -> Grant:
        """The login that these tokens make of the request: not stored, and never accepted yet."""
        return Grant(
            key=self.key,
            issuer=self.issuer,
            resource=self.resource,
            token_endpoint=self.token_endpoint,
            revocation_endpoint=self.revocation_endpoint,
            client=self.client,
            tokens=tokens,
            scopes_requested=self.scopes,
            dpop_key=self.dpop_key,
        )


@dataclass(frozen=True, slots=True)
class BearerChallenge:
    """A parsed `WWW-Authenticate: Bearer …` with the status it came with (RFC 6750 §3, RFC 9728 §5.1)."""

    status: int
    """401 or 403."""
    error: str | None = None
    scopes: tuple[str, ...] = ()
    resource_metadata: str | None = None
    dpop: bool = False
    """Its scheme is DPoP instead (RFC 9449 §7.1): the server takes no bearer token."""

    @property
    def insufficient_scope(self) -> bool:
        """403 with `insufficient_scope`: the token is good, its scopes are not enough (RFC 6750 §3.1)."""
        return self.status == 403 and self.error == "insufficient_scope"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do one thing alone, such as refreshing one grant, until a time."""

    name: tuple[str, ...]
    """What it is a lease on, e.g. `("refresh", user_id, server, url)`; compared exactly."""
    holder: str
    """Random, fresh for every acquisition."""
    until: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """That a server listed its tools to somebody. What it listed is a document, which equal listings share."""

    key: GrantKey
    """Who was told, where. An empty user id: the server told anybody, since it was asked anonymously."""
    digest: str
    """SHA-256 of the document."""
    listed_at: datetime
    fresh_until: datetime
    """By the server's hint (SEP-2549); `listed_at` where it gave none: out of date at once."""
    public: bool = False
    """The server allows it to be shared across logins (`cacheScope: public`)."""


DEFAULT_TOKEN_LIFETIME = timedelta(hours=1)
MAX_TOKEN_LIFETIME = timedelta(days=30)
