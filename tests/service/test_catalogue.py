"""What is kept of servers' listings, who is shown it, and for how long; with a store that two processes share."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from mcp.types import Implementation, Tool

from langchain_mcp_oauth.connections import ListedTools
from langchain_mcp_oauth.errors import StoreUnavailable
from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.service.catalogue import Catalogue, anybodys
from langchain_mcp_oauth.store import SQLModelTokenStore

pytestmark = pytest.mark.anyio

ALICE = GrantKey("alice", "demo", "https://mcp.example/mcp")
BOB = GrantKey("bob", "demo", "https://mcp.example/mcp")


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def listed(*names: str, ttl: float = 0.0, public: bool = False) -> ListedTools:
    tools = tuple(Tool(name=name, description=f"Does {name}.", input_schema={"type": "object"}) for name in names)
    return ListedTools(tools, Implementation(name="demo", version="1"), "2026-07-28", ttl, public)


def names(found: ListedTools | None) -> list[str] | None:
    return None if found is None else [tool.name for tool in found.tools]


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store() -> AsyncIterator[SQLModelTokenStore]:
    opened = SQLModelTokenStore("sqlite://")
    yield opened
    await opened.aclose()


@pytest.fixture
def here(store: SQLModelTokenStore, clock: Clock) -> Catalogue:
    return Catalogue(store, now=clock)


@pytest.fixture
def elsewhere(store: SQLModelTokenStore, clock: Clock) -> Catalogue:
    """Another process's."""
    return Catalogue(store, now=clock)


async def test_a_listing_is_used_while_it_is_in_date(here: Catalogue, elsewhere: Catalogue, clock: Clock) -> None:
    """Here and in other processes, to the second; afterwards it is still known as the last one."""
    await here.keep(ALICE, listed("a", "b", ttl=60), anonymous=False)
    clock.advance(59)
    for catalogue in (here, elsewhere):
        assert names(await catalogue.current(ALICE, is_logged_in=yes)) == ["a", "b"]
    clock.advance(1)
    for catalogue in (here, elsewhere):
        assert await catalogue.current(ALICE, is_logged_in=yes) is None
        assert names(await catalogue.last(ALICE)) == ["a", "b"]


async def test_what_comes_back_is_what_was_listed(here: Catalogue, elsewhere: Catalogue) -> None:
    """All of it, over the database."""
    original = listed("a")
    await here.keep(ALICE, original, anonymous=False)
    found = await elsewhere.last(ALICE)
    assert found is not None
    words = [(one.tools, one.server_info, one.protocol_version) for one in (found, original)]
    assert words[0] == words[1]


async def test_a_listing_without_a_hint_is_out_of_date_at_once(here: Catalogue) -> None:
    """SEP-2549: no TTL is none."""
    await here.keep(ALICE, listed("a"), anonymous=False)
    assert await here.current(ALICE, is_logged_in=yes) is None


@pytest.mark.parametrize(
    ("anonymous", "public", "logged_in", "shown"),
    [
        (False, False, yes, False),
        (False, False, no, False),
        (False, True, yes, False),  # the server's word about an authorized listing is not taken
        (False, True, no, False),
        (True, False, no, True),
        (True, False, yes, False),  # with a login there may be more
        (True, True, yes, True),
    ],
)
async def test_who_is_shown_anothers_listing(
    here: Catalogue, elsewhere: Catalogue, anonymous: bool, public: bool, logged_in: Any, shown: bool
) -> None:
    """Bob sees what was listed to alice only if the server told it to anybody, and if that is enough for him."""
    await here.keep(ALICE, listed("a", ttl=60, public=public), anonymous=anonymous)
    for catalogue in (here, elsewhere):
        assert names(await catalogue.current(BOB, is_logged_in=logged_in)) == (["a"] if shown else None)
        assert names(await catalogue.last(BOB)) == (["a"] if anonymous else None)
        assert names(await catalogue.last(anybodys(BOB))) == (["a"] if anonymous else None)


async def test_absence_is_never_kept(here: Catalogue, elsewhere: Catalogue) -> None:
    """What another process is told is seen at once by one that found nothing before."""
    assert await here.last(ALICE) is None
    await elsewhere.keep(ALICE, listed("a"), anonymous=False)
    assert names(await here.last(ALICE)) == ["a"]


async def test_a_process_believes_its_memory_for_half_a_minute(here: Catalogue, elsewhere: Catalogue, clock: Clock) -> None:
    """Then it looks again: the login may have ended elsewhere."""
    await here.keep(ALICE, listed("a", ttl=3600), anonymous=False)
    await elsewhere.keep(ALICE, listed("b", ttl=3600), anonymous=False)
    assert names(await here.current(ALICE, is_logged_in=yes)) == ["a"]
    clock.advance(31)
    assert names(await here.current(ALICE, is_logged_in=yes)) == ["b"]


async def test_a_server_that_changed_its_tools_is_asked_next_time(here: Catalogue, elsewhere: Catalogue, store: Any) -> None:
    """The user's listing and anybody's, here at once and elsewhere as soon as it looks; the last ones stay."""
    await here.keep(ALICE, listed("a", ttl=3600), anonymous=False)
    await here.keep(BOB, listed("b", ttl=3600, public=True), anonymous=True)
    await here.outdate(ALICE)
    for catalogue in (here, elsewhere):
        assert await catalogue.current(ALICE, is_logged_in=no) is None
        assert names(await catalogue.last(ALICE)) == ["a"]


async def test_a_listing_ends_with_its_login(here: Catalogue, store: SQLModelTokenStore, clock: Clock) -> None:
    """Disconnected: the user's own is gone, anybody's stays."""
    await here.keep(ALICE, listed("a", "b", ttl=3600), anonymous=False)
    await here.keep(ALICE, listed("a", ttl=3600), anonymous=True)
    await store.disconnect(ALICE, now=clock())
    here.forget(ALICE)
    assert names(await here.last(ALICE)) == ["a"]


async def test_equal_listings_are_one(here: Catalogue, elsewhere: Catalogue, store: SQLModelTokenStore) -> None:
    """In memory, over all users, however they came there; and in the database."""
    first = await here.keep(ALICE, listed("a"), anonymous=False)
    assert await here.keep(BOB, listed("a", ttl=60), anonymous=False) is first
    assert await here.keep(BOB, listed("a", "b"), anonymous=False) is not first
    mine, theirs = await elsewhere.last(ALICE), await elsewhere.last(GrantKey("carol", "demo", "https://mcp.example/mcp"))
    assert (mine is not None, theirs) == (True, None)
    assert len(await store.load_documents([(await store.load_listings(["alice"]))[0].digest])) == 1


async def test_one_servers_document_is_not_anothers(here: Catalogue, elsewhere: Catalogue, store: SQLModelTokenStore) -> None:
    """A row that was pointed at another server's document shows nothing."""
    other = GrantKey("alice", "other", "https://other.example/mcp")
    await here.keep(ALICE, listed("a"), anonymous=False)
    await here.keep(other, listed("a"), anonymous=False)
    mine, foreign = await store.load_listings(["alice"])
    assert mine.digest != foreign.digest
    moved = type(mine)(ALICE, foreign.digest, mine.listed_at, mine.fresh_until)
    await store.save_listings([moved], {foreign.digest: "x"})
    assert await elsewhere.last(ALICE) is None


async def test_a_database_that_is_away_loses_no_listing(clock: Clock) -> None:
    """The server has answered; the answer is used."""

    class Away(SQLModelTokenStore):
        async def save_listings(self, *_: Any) -> None:
            raise StoreUnavailable("away")

        async def outdate_listing(self, *_: Any, **__: Any) -> None:
            raise StoreUnavailable("away")

    store = Away("sqlite://")
    catalogue = Catalogue(store, now=clock)
    assert names(await catalogue.keep(ALICE, listed("a"), anonymous=False)) == ["a"]
    await catalogue.outdate(ALICE)
    await store.aclose()


async def test_what_is_out_of_date_is_not_remembered_without_end(here: Catalogue, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """The oldest is forgotten first; the store has been told, so its user is shown nothing that is out of date."""
    monkeypatch.setattr("langchain_mcp_oauth.service.catalogue.MAX_SIZE", 2)
    keys = [ALICE, BOB, GrantKey("carol", "demo", ALICE.url)]
    for key in keys:
        await here.keep(key, listed("read", ttl=600), anonymous=False)
    clock.advance(1)
    for key in keys:
        await here.outdate(key)
    assert len(here._outdated) == 2
    assert [await here.current(key, is_logged_in=yes) for key in keys] == [None] * 3


async def test_unchanged_listings_are_written_now_and_then(clock: Clock) -> None:
    """A server without hints is asked all the time; the database hears of it every five minutes, or when something is new."""
    writes: list[str] = []

    class Counting(SQLModelTokenStore):
        async def save_listings(self, listings: Any, documents: Any) -> None:
            writes.extend(documents)
            await super().save_listings(listings, documents)

    store = Counting("sqlite://")
    catalogue = Catalogue(store, now=clock)
    for seconds in (0, 10, 10):
        clock.advance(seconds)
        await catalogue.keep(ALICE, listed("a"), anonymous=False)
    assert len(writes) == 1
    await catalogue.keep(ALICE, listed("b"), anonymous=False)
    assert len(writes) == 2
    await store.aclose()


async def test_a_crowd_that_arrives_is_few_transactions(clock: Clock) -> None:
    """Those who come while another's listing is written are written together; each is there when they have been told."""
    batches: list[int] = []

    class Counting(SQLModelTokenStore):
        async def save_listings(self, listings: Any, documents: Any) -> None:
            batches.append(len(listings))
            await super().save_listings(listings, documents)

    store = Counting("sqlite://")
    here, elsewhere = Catalogue(store, now=clock), Catalogue(store, now=clock)

    async def join(key: GrantKey, tool: str) -> None:
        await here.keep(key, listed(tool), anonymous=False)
        assert names(await elsewhere.last(key)) == [tool]

    async with anyio.create_task_group() as crowd:
        for n in range(40):
            crowd.start_soon(join, GrantKey(f"user-{n}", "demo", "https://mcp.example/mcp"), f"tool-{n % 2}")
    assert sum(batches) == 40
    assert len(batches) <= 3
    await store.aclose()


@pytest.mark.slow
async def test_a_further_user_costs_little(here: Catalogue) -> None:
    """At most 1 KiB of memory for each user of the same tools, which are many times as large."""
    tools = [f"tool-{n}" for n in range(20)]

    async def join(first: int, last: int) -> None:
        for n in range(first, last):
            await here.keep(GrantKey(f"user-{n}", "demo", "https://mcp.example/mcp"), listed(*tools), anonymous=False)
        gc.collect()

    await join(0, 10)  # what the database's driver keeps for itself is there by then
    tracemalloc.start()
    await join(10, 310)  # so many that nothing else counts that happens in this process meanwhile
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown / 300 < 1024
