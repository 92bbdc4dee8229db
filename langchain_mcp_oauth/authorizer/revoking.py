"""Tokens that nobody uses any more are given back to their issuer (RFC 7009): at once, and where that fails, later and by anybody."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta

import anyio

from langchain_mcp_oauth.authorizer.world import World
from langchain_mcp_oauth.errors import StoreError
from langchain_mcp_oauth.models import Grant
from langchain_mcp_oauth.oauth.tokens import revoke

__all__ = ["give_back", "settle", "settle_all"]

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that somebody who is there for something else is kept by issuers that do not answer."""


async def give_back(world: World, grant: Grant) -> bool:
    """Revoke a grant's tokens where the server offers it. False, and a log line, if it could not be done; never an error."""
    try:
        await world.ask(grant.key, revoke(world.sendable(grant)))
    except Exception as error:  # noqa: BLE001 - local deletion has happened; the remote one is a courtesy
        logger.warning("Could not revoke a token at %s: %s", grant.issuer, type(error).__name__)
        return False
    return grant.revocation_endpoint is not None


async def settle(world: World, grant: Grant) -> bool:
    """Give back a grant that is among the store's revocations. There it stays until its issuer has been told."""
    told = await give_back(world, grant)
    if told:
        with suppress(StoreError):  # it will be told twice, which harms nobody (§2.2)
            await world.store.end_revocation(grant)
    return told


async def settle_all(world: World, *, again: timedelta) -> None:
    """Give back what is due, by whomever it was left: their process has died, or the issuer was away.

    Args:
        world: Where from, and whom to tell.
        again: When those are due anew that cannot be given back now.

    Raises:
        StoreError: as the store.
    """
    due = await world.store.claim_revocations(now=world.now(), until=world.now() + again)
    with anyio.move_on_after(PATIENCE):
        async with anyio.create_task_group() as group:
            for grant in due:
                group.start_soon(settle, world, grant)
