"""One worker at a time over all processes, by a lease in the store; the others look again until the work is done.

A look is one SELECT and one attempt at the lease; `FIRST_PAUSE` and `LONGEST_PAUSE` say how often. Tasks of one process do not look: one
of them does, and wakes the others (`authorizer/single_flight.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from langchain_mcp_oauth.errors import ConnectionFailed, StoreError
from langchain_mcp_oauth.http.driving import DEADLINE
from langchain_mcp_oauth.models import Lease
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["EXCHANGE_SECONDS", "FIRST_PAUSE", "LEASE", "LONGEST_PAUSE", "release", "under_lease", "wait_for_lease", "while_held"]

T = TypeVar("T")

EXCHANGE_SECONDS = DEADLINE
"""One OAuth exchange with another server, whole: what `drive` allows it."""

LEASE = timedelta(seconds=2 * EXCHANGE_SECONDS)
"""Room for skewed clocks beside the exchange. The holder's death keeps the others waiting no longer than this."""

PATIENCE = 2 * LEASE.total_seconds()
"""Seconds a caller waits for others: one who died, and one who took over."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two looks; doubling from the first to the longest, so a waiter adds little to a fast exchange."""


async def under_lease(
    store: TokenStore,
    name: tuple[str, ...],
    *,
    settled: Callable[[], Awaitable[T | None]],
    work: Callable[[Lease], Awaitable[T]],
    now: Callable[[], datetime],
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Do `work` alone; or return what `settled` finds that somebody else has done.

    Args:
        store: Keeps the lease.
        name: What it is a lease on.
        settled: Looks whether the work is still needed; None means it is. Asked before and again inside the lease.
        work: Gets the lease, to see how much of it is left.
        now: Aware UTC.
        sleep: Waits that many seconds.

    Raises:
        ConnectionFailed: as `wait_for_lease`.
    """

    async def take() -> T | Lease | None:
        result = await settled()
        return result if result is not None else await store.acquire_lease(name, now=now(), duration=LEASE)

    taken = await wait_for_lease(take, sleep=sleep)
    if not isinstance(taken, Lease):
        return taken
    try:
        result = await settled()
        return result if result is not None else await work(taken)
    finally:
        await release(store, taken)


async def wait_for_lease(take: Callable[[], Awaitable[T | Lease | None]], *, sleep: Callable[[float], Awaitable[None]]) -> T | Lease:
    """The lease, or what somebody else has done meanwhile.

    Args:
        take: Looks for either; None means that somebody else is still at it.
        sleep: Waits that many seconds.

    Raises:
        ConnectionFailed: others had the lease for as long as one of them can have it, and more. Also when a clock was set back while a
            dead process held it: it ends when the clock has caught up.
    """
    pause, waited = FIRST_PAUSE, 0.0
    while (taken := await take()) is None:
        if waited > PATIENCE:
            raise ConnectionFailed("Another process is at it and does not finish; make the call again.", retry_after=LEASE.total_seconds())
        await sleep(pause)
        waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)
    return taken


async def release(store: TokenStore, lease: Lease) -> None:
    """Let the next one have it. Never an error: it ends by itself."""
    with contextlib.suppress(StoreError):
        await store.release_lease(lease)


def while_held(flow: Flow[T], *, until: datetime, now: Callable[[], datetime]) -> Flow[T]:
    """The same conversation, of which no request leaves so late that its answer may come after `until`.

    A process can stand still anywhere (a stopped container, a lid that is closed) and wake up when somebody else has taken over. So the
    clock is read at the last moment: connected, before the first byte (the `trace` extension of httpcore2).

    Raises:
        ConnectionFailed: it was too late; nothing was sent.
    """

    async def look(event: str, _: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started") and now() + timedelta(seconds=EXCHANGE_SECONDS) > until:
            raise ConnectionFailed("This process was held up and did not send its request; make the call again.")

    try:
        request = next(flow)
        while True:
            request.extensions["trace"] = look
            request = flow.send((yield request))
    except StopIteration as end:
        result: T = end.value
        return result
