"""What many calls leave behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from benchmarks.calls import ERAS
from benchmarks.processes import Server, running
from benchmarks.subjects import Call, ours
from benchmarks.worker import resident

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CALLS = int(os.environ.get("LANGCHAIN_MCP_OAUTH_TEST_CALLS", "10000"))
"""A hundred thousand take some minutes; ten thousand find whatever leaves an object behind in every twentieth call."""

USERS = 10


@pytest.mark.parametrize("era", ERAS)
async def test_calls_leave_nothing_behind(era: str) -> None:
    """Of ten users, ten at a time, every hundredth cancelled: memory stays as it was, and in the end no socket and no file is open."""
    server = Server()
    with running(server):
        await begin_and_end(server.url(era))  # what a process opens once, such as the library's thread pool
        descriptors = open_descriptors()
        async with AsyncExitStack() as life:
            users = await life.enter_async_context(ours(server.url(era), [f"bench-{number}" for number in range(USERS)]))
            calls = [await life.enter_async_context(user()) for user in users]
            await make(calls, CALLS // 10)
            objects, memory = left(), resident()
            await make(calls, CALLS)
            grown = left() - objects, resident() - memory
            print(f"{era}: {CALLS:,} calls left {grown[0]:,} objects and {grown[1] / 1000:,.0f} KB.")
            assert grown[0] < CALLS / 20
            assert grown[1] < 4_000_000
        assert open_descriptors() == descriptors
        with anyio.fail_after(10):
            while server.counts()["open"] > 1:  # noqa: ASYNC110 - it happens in another process, and one connection asks
                await anyio.sleep(0.01)


async def begin_and_end(url: str) -> None:
    async with ours(url, ["bench-0"]) as [user], user() as call:
        await call({"text": "hello"})


async def make(calls: list[Call], number: int) -> None:
    async def some(call: Call) -> None:
        for turn in range(number // USERS):
            if turn % 100 == 99:
                with anyio.move_on_after(0.001):
                    await call({"text": "never", "seconds": 1})
            else:
                assert (await call({"text": "hello"}))[0]["text"] == "hello"

    await asyncio.gather(*map(some, calls))


def left() -> int:
    gc.collect()
    return len(gc.get_objects())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
