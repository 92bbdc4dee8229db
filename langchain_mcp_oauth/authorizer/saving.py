"""What cannot be had a second time is saved, however long the database is away: a code or a refresh token was spent for it.

Nobody waits for that without end; but the saving goes on, in a task of its own, as long as the process lives. Whoever comes for the same
again in this process joins it, and the spent token is not sent a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from langchain_mcp_oauth.authorizer.leases import FIRST_PAUSE, LONGEST_PAUSE
from langchain_mcp_oauth.authorizer.world import World
from langchain_mcp_oauth.errors import StoreUnavailable

__all__ = ["being_saved", "save"]

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds that a caller waits for a database that is away: most restarts are over by then."""


async def save(world: World, name: tuple[str, ...], write: Callable[[], Awaitable[T]]) -> T:
    """Write again and again while the database is away.

    Args:
        world: Where it is remembered, and how to pause.
        name: Of what was spent.
        write: Raises `StoreUnavailable`, or is done. It may have been done and not be able to say so.

    Raises:
        StoreUnavailable: the database is still away after `PATIENCE`. It is written all the same when it is back.
    """

    async def insist() -> T:
        pause = FIRST_PAUSE
        while True:
            try:
                return await write()
            except StoreUnavailable:
                await world.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    return await _patiently(world.saving.run(name, insist))


async def being_saved(world: World, name: tuple[str, ...]) -> Any:
    """What this process has got for what has this name and is still saving; None if there is nothing. Raises as `save`."""
    return await _patiently(world.saving.join(name))


async def _patiently(landing: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(PATIENCE):
            return await landing
    except TimeoutError:
        raise StoreUnavailable("The database is away. New tokens are kept in this process, and saved when it is back.") from None
