"""What cannot be had a second time is saved, however long the database is away."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Any

import pytest

from langchain_mcp_oauth.authorizer import saving
from langchain_mcp_oauth.authorizer.leases import LONGEST_PAUSE
from langchain_mcp_oauth.authorizer.saving import being_saved, save
from langchain_mcp_oauth.authorizer.world import World
from langchain_mcp_oauth.errors import StoreError, StoreUnavailable
from langchain_mcp_oauth.store import SQLModelTokenStore

pytestmark = pytest.mark.anyio

NAME = ("refresh", "alice")


class Database:
    """One that can be away, perhaps for so many attempts only."""

    def __init__(self, *, away: bool, attempts: int | None = None) -> None:
        self.away = away
        self.attempts = attempts
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self.attempts:
            self.away = False
        await asyncio.sleep(0.001)

    async def write(self) -> str:
        if self.away:
            raise StoreUnavailable("gone")
        return "saved"

    def world(self) -> World:
        async def drive(*_: Any) -> Any:
            raise AssertionError

        store = SQLModelTokenStore("sqlite://")
        now = lambda: datetime.now(UTC)  # noqa: E731
        return World(servers={}, store=store, drive=drive, now=now, sleep=self.sleep, random=secrets.token_urlsafe)


async def test_it_is_saved_when_the_database_is_back() -> None:
    """Whoever waits gets it; until then the pauses grow to the longest."""
    database = Database(away=True, attempts=10)
    assert await save(database.world(), NAME, database.write) == "saved"
    assert database.pauses == sorted(database.pauses)
    assert (len(database.pauses), database.pauses[-1]) == (10, LONGEST_PAUSE)


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retryable error; the saving goes on, and whoever comes for the same joins it. In the end nothing is left of it."""
    monkeypatch.setattr(saving, "PATIENCE", 0.05)
    database = Database(away=True)
    world = database.world()
    with pytest.raises(StoreUnavailable) as away:
        await save(world, NAME, database.write)
    assert away.value.retryable
    with pytest.raises(StoreUnavailable):
        await being_saved(world, NAME)
    assert await being_saved(world, ("refresh", "bob")) is None
    joined = asyncio.create_task(being_saved(world, NAME))
    await asyncio.sleep(0)
    database.away = False
    assert await joined == "saved"
    assert await being_saved(world, NAME) is None


async def test_another_error_ends_it() -> None:
    """Trying again would not help."""

    async def refuse() -> str:
        raise StoreError("refused")

    world = Database(away=False).world()
    with pytest.raises(StoreError, match="refused"):
        await save(world, NAME, refuse)
    assert await being_saved(world, NAME) is None
