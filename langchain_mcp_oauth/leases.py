"""One worker at a time over all processes, by a lease in the store; the others look again until the work is done."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from langchain_mcp_oauth.errors import StoreError
from langchain_mcp_oauth.http.driving import DEADLINE
from langchain_mcp_oauth.models import Lease
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["EXCHANGE_SECONDS", "LEASE", "under_lease"]

T = TypeVar("T")

EXCHANGE_SECONDS = DEADLINE
"""One OAuth exchange with another server, whole: what `drive` allows it."""

LEASE = timedelta(seconds=2 * EXCHANGE_SECONDS)
"""Room for skewed clocks beside the exchange. The holder's death keeps the others waiting no longer than this."""

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
    """
    pause = FIRST_PAUSE
    while True:
        if (result := await settled()) is not None:
            return result
        if (lease := await store.acquire_lease(name, now=now(), duration=LEASE)) is not None:
            break
        await sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    try:
        result = await settled()
        return result if result is not None else await work(lease)
    finally:
        with contextlib.suppress(StoreError):  # it ends by itself
            await store.release_lease(lease)
