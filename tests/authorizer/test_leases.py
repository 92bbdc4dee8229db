"""One worker at a time over all processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from langchain_mcp_oauth.authorizer.leases import FIRST_PAUSE, LEASE, LONGEST_PAUSE, PATIENCE, under_lease
from langchain_mcp_oauth.errors import ConnectionFailed, StoreUnavailable
from langchain_mcp_oauth.models import Lease
from langchain_mcp_oauth.store.sqlmodel import SQLModelTokenStore

pytestmark = pytest.mark.anyio


class Clock:
    """Stands still until somebody sleeps on it."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.pauses: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store() -> AsyncIterator[SQLModelTokenStore]:
    opened = SQLModelTokenStore("sqlite://")
    yield opened
    await opened.aclose()


async def nothing() -> str | None:
    return None


async def test_what_is_settled_is_not_done_again(store: SQLModelTokenStore, clock: Clock) -> None:
    """Without a lease, if another has done it already."""

    async def settled() -> str | None:
        return "theirs"

    async def work(lease: Lease) -> str:
        raise AssertionError(lease)

    assert await under_lease(store, ("n",), settled=settled, work=work, now=clock, sleep=clock.sleep) == "theirs"


async def test_it_looks_again_inside_the_lease(store: SQLModelTokenStore, clock: Clock) -> None:
    """Somebody may have finished between the first look and the lease; their refresh token must not be used up twice."""
    looks = iter([None, "theirs"])

    async def settled() -> str | None:
        return next(looks)

    async def work(lease: Lease) -> str:
        raise AssertionError(lease)

    assert await under_lease(store, ("n",), settled=settled, work=work, now=clock, sleep=clock.sleep) == "theirs"
    assert await store.acquire_lease(("n",), now=clock(), duration=LEASE) is not None, "the lease was not given back"


async def test_the_lease_is_given_back_after_an_error(store: SQLModelTokenStore, clock: Clock) -> None:
    """The next one need not wait for its end."""

    async def work(lease: Lease) -> str:
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        await under_lease(store, ("n",), settled=nothing, work=work, now=clock, sleep=clock.sleep)
    assert await store.acquire_lease(("n",), now=clock(), duration=LEASE) is not None


async def test_a_dead_holder_keeps_nobody_waiting_for_ever(store: SQLModelTokenStore, clock: Clock) -> None:
    """Whoever waits gets the lease when it ends; pauses grow from the first to the longest."""
    assert await store.acquire_lease(("n",), now=clock(), duration=LEASE)
    started = clock()

    async def work(lease: Lease) -> str:
        return "mine"

    assert await under_lease(store, ("n",), settled=nothing, work=work, now=clock, sleep=clock.sleep) == "mine"
    assert LEASE <= clock() - started <= LEASE + timedelta(seconds=LONGEST_PAUSE)
    assert clock.pauses[0] == FIRST_PAUSE
    assert max(clock.pauses) == LONGEST_PAUSE


async def test_a_clock_that_was_set_back_keeps_nobody_waiting_for_ever(store: SQLModelTokenStore, clock: Clock) -> None:
    """The holder died with a lease that ends tomorrow: an error that can be tried again, not a call that hangs until then."""
    assert await store.acquire_lease(("n",), now=clock() + timedelta(days=1), duration=LEASE)
    started = clock()

    async def work(lease: Lease) -> str:
        raise AssertionError(lease)

    with pytest.raises(ConnectionFailed) as stuck:
        await under_lease(store, ("n",), settled=nothing, work=work, now=clock, sleep=clock.sleep)
    assert stuck.value.retryable
    assert clock() - started <= timedelta(seconds=PATIENCE + 2 * LONGEST_PAUSE)


async def test_a_lease_that_cannot_be_given_back_ends_by_itself(
    store: SQLModelTokenStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work was done; that the database has gone since is no reason to lose its result."""

    async def gone(lease: Lease) -> None:
        raise StoreUnavailable("gone")

    async def work(lease: Lease) -> str:
        return "mine"

    monkeypatch.setattr(store, "release_lease", gone)
    assert await under_lease(store, ("n",), settled=nothing, work=work, now=clock, sleep=clock.sleep) == "mine"
