"""The one place that decides what happens next. A decision is a value; nothing here does anything.

| grant                 | challenge                                   | step |
|-----------------------|---------------------------------------------|------|
| none                  | none                                        | `Use(None)`; `Authorize(login)` if the server starts with a login |
| none                  | 401, or insufficient_scope                  | `Authorize(login)` |
| fresh                 | none                                        | `Use` |
| due, refreshable      | none                                        | `Refresh`; see `JITTER` |
| stale, not refreshable| none                                        | `Authorize(expired)` |
| any, refreshable      | 401, first of this call                     | `Refresh` |
| new, never accepted   | 401 again, or not refreshable               | `GiveUp(token_rejected)`: no login loop, unless the issuer changed |
| other                 | 401 again, or not refreshable               | `Authorize(expired)` |
| any                   | insufficient_scope                          | `Authorize(step_up)` |
| any                   | insufficient_scope, answered too often      | `GiveUp(scope_not_granted)`; see `STEP_UP_LIMIT` |
| any                   | insufficient_scope beyond what is configured| `GiveUp(scope_not_granted)` |

And for servers with a grant that needs nobody (`MCPServer.grant`), whose tokens have no refresh tokens:

| grant                 | challenge                                   | step |
|-----------------------|---------------------------------------------|------|
| none                  | none                                        | `Use(None)`; `Obtain` if the server starts with a login |
| none                  | any                                         | `Obtain` |
| fresh                 | none                                        | `Use` |
| stale                 | none                                        | `Obtain` |
| any                   | 401, first of this call                     | `Obtain` |
| any                   | 401 again                                   | `GiveUp(token_rejected)` |
| any                   | insufficient_scope, not yet asked for       | `Obtain` with them |
| any                   | insufficient_scope, asked for or not allowed| `GiveUp(scope_not_granted)` |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from zlib import crc32

from langchain_mcp_oauth.models import BearerChallenge, Grant, Reason, TokenSet

__all__ = [
    "Authorize",
    "GiveUp",
    "Obtain",
    "Refresh",
    "Step",
    "Use",
    "asked_for",
    "is_due",
    "is_stale",
    "next_silent_step",
    "next_step",
    "step_up_scopes",
    "union",
]

STEP_UP_LIMIT = 2
"""How often a person answers a request for the same scopes before we give up: with the first login that makes three
("no more than a few times": MCP authorization, step-up flow). Requests nobody answered do not count."""

LEEWAY = timedelta(seconds=30)
"""A token is not used this long before it expires, or a tenth of its lifetime if that is shorter."""

JITTER = timedelta(minutes=5)
"""A refresh may come earlier still by so much, or a tenth of the token's lifetime if that is shorter: each grant has its own part of it,
always the same. A thousand users who logged in together are refreshed over five minutes, and not in one second."""


NEW = timedelta(minutes=10)
"""So long after it was given, a token that was never accepted counts as refused from the start rather than as ended since."""


@dataclass(frozen=True, slots=True)
class Use:
    """Make the call, with this grant's access token or (None) anonymously."""

    grant: Grant | None


@dataclass(frozen=True, slots=True)
class Refresh:
    """Get new tokens with the refresh token; nobody is asked."""

    grant: Grant


@dataclass(frozen=True, slots=True)
class Authorize:
    """Ask a person, for at least these scopes (empty: what discovery says)."""

    reason: Reason
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Obtain:
    """Get a token by the configured grant, for at least these scopes (empty: what discovery says); nobody is asked."""

    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Asking would not help."""

    code: Literal["token_rejected", "scope_not_granted"]
    scopes: tuple[str, ...] = ()


Step: TypeAlias = Use | Refresh | Authorize | GiveUp


def next_step(
    grant: Grant | None,
    challenge: BearerChallenge | None,
    now: datetime,
    *,
    recovered: bool = False,
    answered: int = 0,
    start_with_login: bool = False,
    ceiling: tuple[str, ...] | None = None,
) -> Step:
    """Decide. Pure: the same values give the same step.

    Args:
        grant: What the store holds for this user and server.
        challenge: What the server answered to *that* grant's token in this call, if it refused it.
        now: Aware UTC.
        recovered: Whether this call has already got a new token after a 401 (by its own refresh or another's).
        answered: How often a person has lately answered (granted or refused) a request for these scopes, over all processes.
        start_with_login: Do not try anonymously first (`MCPServer.start="login"`).
        ceiling: The configured scopes (`MCPServer.scopes`), which nothing from the network widens; None: there are none.
    """
    if grant is None:
        if challenge is None and not start_with_login:
            return Use(None)
        return Authorize(Reason.LOGIN, challenge.scopes if challenge else ())
    if challenge is not None and challenge.insufficient_scope:
        return _step_up(grant, challenge, answered, ceiling)
    refreshable = grant.tokens.refresh_token is not None
    if challenge is not None:
        if refreshable and not recovered:
            return Refresh(grant)
        is_new = now - grant.tokens.obtained_at < NEW
        return GiveUp("token_rejected") if is_new and not grant.accepted else Authorize(Reason.EXPIRED, asked_for(grant))
    if refreshable:
        return Refresh(grant) if is_due(grant, now) else Use(grant)
    return Authorize(Reason.EXPIRED, asked_for(grant)) if is_stale(grant.tokens, now) else Use(grant)


def next_silent_step(
    grant: Grant | None,
    challenge: BearerChallenge | None,
    now: datetime,
    *,
    recovered: bool = False,
    start_with_login: bool = False,
    ceiling: tuple[str, ...] | None = None,
) -> Use | Obtain | GiveUp:
    """As `next_step`, with the same arguments, for a server whose grant needs nobody."""
    if challenge is None:
        fresh = grant is not None and not is_stale(grant.tokens, now)
        return Use(grant) if fresh or (grant is None and not start_with_login) else Obtain(asked_for(grant) if grant else ())
    if grant is None:
        return Obtain(challenge.scopes)
    if not challenge.insufficient_scope:
        return GiveUp("token_rejected") if recovered else Obtain(asked_for(grant))
    beyond = ceiling is not None and not set(challenge.scopes) <= set(ceiling)
    if beyond or set(challenge.scopes) <= set(grant.scopes_requested):
        return GiveUp("scope_not_granted", challenge.scopes)
    return Obtain(step_up_scopes(grant, challenge, ceiling))


def is_stale(tokens: TokenSet, now: datetime) -> bool:
    """Whether the access token has expired or is about to; see `LEEWAY`."""
    return now >= tokens.expires_at - _at_most(LEEWAY, tokens)


def is_due(grant: Grant, now: datetime) -> bool:
    """Whether the access token is to be refreshed: it is stale, or will be soon and this grant's turn has come; see `JITTER`."""
    jitter = _at_most(JITTER, grant.tokens)
    if not is_stale(grant.tokens, now + jitter):
        return False
    key = grant.key
    part = crc32(f"{key.user_id}\0{key.server}\0{key.url}".encode()) / 2**32
    return is_stale(grant.tokens, now + part * jitter)


def _at_most(limit: timedelta, tokens: TokenSet) -> timedelta:
    return min(limit, (tokens.expires_at - tokens.obtained_at) / 10)


def union(*scopes: tuple[str, ...]) -> tuple[str, ...]:
    """All scopes once, in order of first appearance (SEP-2350: earlier ones come first)."""
    return tuple(dict.fromkeys(scope for group in scopes for scope in group))


def step_up_scopes(grant: Grant, challenge: BearerChallenge, ceiling: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """What a step-up asks for: everything asked for or granted before, and what the server now wants (SEP-2350); or what is configured."""
    return union(ceiling) if ceiling is not None else union(asked_for(grant), challenge.scopes)


def asked_for(grant: Grant) -> tuple[str, ...]:
    """What a login was to have, and what it got."""
    return union(grant.scopes_requested, grant.tokens.scopes)


def _step_up(grant: Grant, challenge: BearerChallenge, answered: int, ceiling: tuple[str, ...] | None) -> Step:
    beyond = ceiling is not None and not set(challenge.scopes) <= set(ceiling)
    if beyond or answered >= STEP_UP_LIMIT:
        return GiveUp("scope_not_granted", challenge.scopes)
    return Authorize(Reason.STEP_UP, step_up_scopes(grant, challenge, ceiling))
