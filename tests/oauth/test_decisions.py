"""The table of `next_step`, row by row, and that it has no other rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_mcp_oauth.models import BearerChallenge, Grant, Reason
from langchain_mcp_oauth.oauth.decisions import (
    JITTER,
    LEEWAY,
    NEW,
    STEP_UP_LIMIT,
    Authorize,
    GiveUp,
    Obtain,
    Refresh,
    Step,
    Use,
    is_stale,
    next_silent_step,
    next_step,
    step_up_scopes,
    union,
)

from .oauth_samples import GRANT, NOW, TOKENS

FRESH = replace(GRANT, tokens=replace(TOKENS, obtained_at=NOW, expires_at=NOW + timedelta(hours=1)), scopes_requested=("read", "write"))
STALE = GRANT
NO_REFRESH = replace(TOKENS, refresh_token=None)
FRESH_UNREFRESHABLE = replace(FRESH, tokens=replace(FRESH.tokens, refresh_token=None))
STALE_UNREFRESHABLE = replace(STALE, tokens=NO_REFRESH)

UNAUTHORIZED = BearerChallenge(401, error="invalid_token", scopes=("read",))
TOO_LITTLE = BearerChallenge(403, error="insufficient_scope", scopes=("admin",))
ASKED = ("read", "write")


def aged(grant: Grant, age: timedelta) -> Grant:
    return replace(grant, tokens=replace(grant.tokens, obtained_at=grant.tokens.obtained_at - age))


def accepted(grant: Grant) -> Grant:
    return replace(grant, accepted=True)


@pytest.mark.parametrize(
    ("grant", "challenge", "recovered", "answered", "step"),
    [
        (None, None, False, 0, Use(None)),
        (None, UNAUTHORIZED, False, 0, Authorize(Reason.LOGIN, ("read",))),
        (None, BearerChallenge(401), False, 0, Authorize(Reason.LOGIN)),
        (None, TOO_LITTLE, False, 0, Authorize(Reason.LOGIN, ("admin",))),
        (FRESH, None, False, 0, Use(FRESH)),
        (FRESH_UNREFRESHABLE, None, False, 0, Use(FRESH_UNREFRESHABLE)),
        (STALE, None, False, 0, Refresh(STALE)),
        (STALE_UNREFRESHABLE, None, False, 0, Authorize(Reason.EXPIRED, ASKED)),
        (FRESH, UNAUTHORIZED, False, 0, Refresh(FRESH)),
        (accepted(FRESH), UNAUTHORIZED, False, 0, Refresh(accepted(FRESH))),
        (STALE, UNAUTHORIZED, False, 0, Refresh(STALE)),
        (accepted(FRESH), UNAUTHORIZED, True, 0, Authorize(Reason.EXPIRED, ASKED)),
        (accepted(FRESH_UNREFRESHABLE), UNAUTHORIZED, False, 0, Authorize(Reason.EXPIRED, ASKED)),
        (FRESH, UNAUTHORIZED, True, 0, GiveUp("token_rejected")),
        (FRESH_UNREFRESHABLE, UNAUTHORIZED, False, 0, GiveUp("token_rejected")),
        (aged(FRESH_UNREFRESHABLE, NEW), UNAUTHORIZED, False, 0, Authorize(Reason.EXPIRED, ASKED)),
        (FRESH, TOO_LITTLE, False, 0, Authorize(Reason.STEP_UP, ("read", "write", "admin"))),
        (STALE, TOO_LITTLE, True, STEP_UP_LIMIT - 1, Authorize(Reason.STEP_UP, ("read", "write", "admin"))),
        (FRESH, TOO_LITTLE, False, STEP_UP_LIMIT, GiveUp("scope_not_granted", ("admin",))),
        (accepted(FRESH_UNREFRESHABLE), TOO_LITTLE, True, STEP_UP_LIMIT + 1, GiveUp("scope_not_granted", ("admin",))),
    ],
)
def test_next_step(grant: Grant | None, challenge: BearerChallenge | None, answered: int, step: Step, *, recovered: bool) -> None:
    """Silent ways first, a person last, and a person never in a loop."""
    assert next_step(grant, challenge, NOW, recovered=recovered, answered=answered) == step


@pytest.mark.parametrize(
    ("ceiling", "challenged", "answered", "step"),
    [
        (None, ("admin",), 0, Authorize(Reason.STEP_UP, ("read", "write", "admin"))),
        (("read", "admin"), ("admin",), 0, Authorize(Reason.STEP_UP, ("read", "admin"))),
        (("read", "admin"), (), 0, Authorize(Reason.STEP_UP, ("read", "admin"))),
        (("admin", "admin"), ("admin",), STEP_UP_LIMIT - 1, Authorize(Reason.STEP_UP, ("admin",))),
        (("admin",), ("admin",), STEP_UP_LIMIT, GiveUp("scope_not_granted", ("admin",))),
        (("read",), ("admin",), 0, GiveUp("scope_not_granted", ("admin",))),
        (("read",), ("read", "admin"), 0, GiveUp("scope_not_granted", ("read", "admin"))),
        ((), ("admin",), 0, GiveUp("scope_not_granted", ("admin",))),
    ],
)
def test_configured_scopes_are_a_ceiling(ceiling: tuple[str, ...] | None, challenged: tuple[str, ...], answered: int, step: Step) -> None:
    """What the operator configured is asked for whole, and nothing from the network adds to it: nobody is asked in vain."""
    challenge = BearerChallenge(403, error="insufficient_scope", scopes=challenged)
    assert next_step(FRESH, challenge, NOW, answered=answered, ceiling=ceiling) == step


@pytest.mark.parametrize(
    ("grant", "challenge", "recovered", "ceiling", "step"),
    [
        (None, None, False, None, Use(None)),
        (None, UNAUTHORIZED, False, None, Obtain(("read",))),
        (None, TOO_LITTLE, True, None, Obtain(("admin",))),
        (FRESH, None, False, None, Use(FRESH)),
        (STALE, None, False, None, Obtain(ASKED)),
        (FRESH, UNAUTHORIZED, False, None, Obtain(ASKED)),
        (STALE, UNAUTHORIZED, False, None, Obtain(ASKED)),
        (FRESH, UNAUTHORIZED, True, None, GiveUp("token_rejected")),
        (accepted(FRESH), UNAUTHORIZED, True, None, GiveUp("token_rejected")),
        (FRESH, TOO_LITTLE, True, None, Obtain(("read", "write", "admin"))),
        (replace(FRESH, scopes_requested=("admin",)), TOO_LITTLE, False, None, GiveUp("scope_not_granted", ("admin",))),
        (FRESH, TOO_LITTLE, False, ("read", "admin"), Obtain(("read", "admin"))),
        (FRESH, TOO_LITTLE, False, ("read",), GiveUp("scope_not_granted", ("admin",))),
        (FRESH, BearerChallenge(403, error="insufficient_scope"), False, None, GiveUp("scope_not_granted")),
    ],
)
def test_next_silent_step(
    grant: Grant | None, challenge: BearerChallenge | None, ceiling: tuple[str, ...] | None, step: Step, *, recovered: bool
) -> None:
    """Nobody is asked, and nothing is asked for twice."""
    assert next_silent_step(grant, challenge, NOW, recovered=recovered, ceiling=ceiling) == step
    assert next_silent_step(None, None, NOW, start_with_login=True) == Obtain()


def test_the_step_up_limit() -> None:
    """MCP authorization, step-up flow, "no more than a few times": three sign-ins for the same thing, the first login included."""
    assert STEP_UP_LIMIT == 2


def test_start_with_login() -> None:
    """Some servers answer anonymous requests with less; only a missing grant makes a difference."""
    assert next_step(None, None, NOW, start_with_login=True) == Authorize(Reason.LOGIN)
    assert next_step(FRESH, None, NOW, start_with_login=True) == Use(FRESH)


@pytest.mark.parametrize(
    ("lifetime", "fresh_for"),
    [(timedelta(hours=1), timedelta(minutes=59, seconds=30)), (timedelta(minutes=1), timedelta(seconds=54)), (timedelta(0), timedelta(0))],
)
def test_is_stale(lifetime: timedelta, fresh_for: timedelta) -> None:
    """Half a minute before the end, or a tenth of a short life; a token without any life is stale at once."""
    tokens = replace(TOKENS, obtained_at=NOW, expires_at=NOW + lifetime)
    assert is_stale(tokens, NOW + fresh_for)
    assert not is_stale(tokens, NOW + fresh_for - timedelta(milliseconds=1))


def test_grants_of_the_same_age_are_refreshed_at_different_times() -> None:
    """A thousand users who logged in together: spread evenly over five minutes before the leeway, each always at the same time."""
    expires_at = NOW + timedelta(hours=1)
    grants = [
        replace(FRESH, key=replace(FRESH.key, user_id=f"user-{number}"), tokens=replace(TOKENS, obtained_at=NOW, expires_at=expires_at))
        for number in range(1_000)
    ]

    def due(before: timedelta) -> int:
        now = expires_at - LEEWAY - before
        return sum(next_step(grant, None, now) == Refresh(grant) for grant in grants)

    assert [due(JITTER), due(timedelta(0))] == [0, 1_000]
    minutes = [due(timedelta(minutes=minute)) for minute in range(5, -1, -1)]
    assert all(150 < later - earlier < 250 for earlier, later in pairwise(minutes))
    assert minutes == [due(timedelta(minutes=minute)) for minute in range(5, -1, -1)]


@pytest.mark.parametrize(
    ("lifetime", "earliest"), [(timedelta(hours=1), timedelta(seconds=330)), (timedelta(minutes=1), timedelta(seconds=12))]
)
def test_a_refresh_is_early_within_bounds(lifetime: timedelta, earliest: timedelta) -> None:
    """Five minutes and the leeway, or a fifth of a short life; a grant that cannot be refreshed is used until it is stale."""
    tokens = replace(TOKENS, obtained_at=NOW, expires_at=NOW + lifetime)
    for number in range(100):
        grant = replace(FRESH, key=replace(FRESH.key, user_id=f"user-{number}"), tokens=tokens)
        assert next_step(grant, None, NOW + lifetime - earliest - timedelta(seconds=1)) == Use(grant)
        lasting = replace(grant, tokens=replace(tokens, refresh_token=None))
        assert next_step(lasting, None, NOW + lifetime - min(LEEWAY, lifetime / 10) - timedelta(seconds=1)) == Use(lasting)


def test_union() -> None:
    """SEP-2350: everything once, earlier ones first."""
    assert union(("a", "b"), (), ("b", "c"), ("a",)) == ("a", "b", "c")


def test_step_up_scopes() -> None:
    """SEP-2350: asked for, granted and challenged, so that no permission is lost by asking for another."""
    grant = replace(FRESH, scopes_requested=("a",), tokens=replace(TOKENS, scopes=("b",)))
    assert step_up_scopes(grant, BearerChallenge(403, error="insufficient_scope", scopes=("c", "a"))) == ("a", "b", "c")


grants = st.none() | st.builds(
    lambda grant, offset, accepted: replace(
        grant, tokens=replace(grant.tokens, obtained_at=NOW, expires_at=NOW + timedelta(seconds=offset)), accepted=accepted
    ),
    st.sampled_from([FRESH, FRESH_UNREFRESHABLE]),
    st.integers(0, 7200),
    st.booleans(),
)
challenges = st.sampled_from([None, UNAUTHORIZED, TOO_LITTLE, BearerChallenge(401)])
moments = st.integers(-10, 10_000).map(lambda seconds: NOW + timedelta(seconds=seconds))


@given(grants, challenges, moments, st.booleans(), st.integers(0, 5))
def test_what_holds_for_every_row(
    grant: Grant | None, challenge: BearerChallenge | None, now: datetime, recovered: bool, answered: int
) -> None:
    """A refused token is never used again, only refreshable grants are refreshed, and after a recovery nothing is refreshed on a 401."""
    match next_step(grant, challenge, now, recovered=recovered, answered=answered):
        case Use(used):
            assert challenge is None
            assert used is grant
            assert used is None or not is_stale(used.tokens, now)
        case Refresh(old):
            assert old.tokens.refresh_token is not None
            assert challenge is None or (challenge.status == 401 and not recovered)
        case Authorize(reason, scopes):
            assert (reason is Reason.LOGIN) == (grant is None)
            assert set(challenge.scopes if challenge and reason is not Reason.EXPIRED else ()) <= set(scopes)
        case GiveUp():
            assert challenge is not None
            assert grant is not None
