"""What a process remembers of logins, for how long, and what it never remembers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from langchain_mcp_oauth.authorizer import grant_cache
from langchain_mcp_oauth.authorizer.grant_cache import MAX_AGE, GrantCache
from langchain_mcp_oauth.models import GrantKey
from tests.oauth.oauth_samples import GRANT, KEY


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_login_is_remembered_for_half_a_minute() -> None:
    """So a disconnect in another process is noticed in that time, whatever the server does."""
    clock = Clock()
    cache = GrantCache(clock=clock)
    cache.put(GRANT)
    assert MAX_AGE == 30
    clock.now += 29
    assert cache.get(KEY) == GRANT
    clock.now += 1
    assert cache.get(KEY) is None


def test_what_is_added_to_a_login_does_not_prolong_it() -> None:
    """Nor does it bring back a login that was dropped, or replace a newer one."""
    clock = Clock()
    cache = GrantCache(clock=clock)
    cache.amend(GRANT)
    assert cache.get(KEY) is None
    cache.put(GRANT)
    clock.now += 29
    cache.amend(replace(GRANT, accepted=True))
    cache.amend(replace(GRANT, version=GRANT.version + 1))
    assert cache.get(KEY) == replace(GRANT, accepted=True)
    clock.now += 1
    assert cache.get(KEY) is None


def test_absence_is_never_remembered() -> None:
    """Somebody may be logging in right now: what was not there a moment ago is looked for again."""
    cache = GrantCache()
    assert cache.get(KEY) is None
    cache.put(GRANT)
    assert cache.get(KEY) == GRANT
    cache.drop(KEY)
    assert cache.get(KEY) is None


def test_each_login_is_its_own() -> None:
    """By user, server and URL."""
    cache = GrantCache()
    cache.put(GRANT)
    for other in (
        GrantKey("bob", KEY.server, KEY.url),
        GrantKey(KEY.user_id, "other", KEY.url),
        GrantKey(KEY.user_id, KEY.server, "https://o"),
    ):
        assert cache.get(other) is None


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one used longest ago leaves."""
    monkeypatch.setattr(grant_cache, "MAX_SIZE", 2)
    cache = GrantCache()
    grants = [replace(GRANT, key=GrantKey(f"user-{n}", KEY.server, KEY.url)) for n in range(3)]
    cache.put(grants[0])
    cache.put(grants[1])
    cache.get(grants[0].key)
    cache.put(grants[2])
    assert [cache.get(grant.key) is not None for grant in grants] == [True, False, True]
