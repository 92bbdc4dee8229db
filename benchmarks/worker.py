"""A process that holds one subject and does as it is told: one JSON line in, one JSON line out. It measures itself.

python -m benchmarks.worker SUBJECT
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.subjects import LISTINGS, SUBJECTS, Call, List, User, our_expired_login, text_of


class Stopwatch:
    """CPU of this process, all threads, and wall time, in seconds."""

    def __init__(self) -> None:
        gc.collect()
        self.began = time.process_time(), time.perf_counter()

    def read(self) -> dict[str, float]:
        cpu, wall = self.began
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def resident() -> int:
    """Bytes that this process alone has in memory."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return 1024 * sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))


class Worker:
    """Commands by the names of its methods."""

    def __init__(self, subject: str, life: AsyncExitStack) -> None:
        self.name = subject
        self.subject = SUBJECTS[subject]
        self.life = life
        self.call: Call
        self.list_all: List

    async def open(self, url: str) -> dict[str, float]:
        """One user, for `calls`."""
        [user] = await self.life.enter_async_context(self.subject(url, ["bench-0"]))
        self.call = await self.life.enter_async_context(user())
        return {}

    async def calls(self, number: int, at_once: int = 1, arguments: dict[str, Any] | None = None) -> dict[str, float]:
        """So many calls, so many at a time; latencies in seconds."""
        arguments = {"text": "hello", **(arguments or {})}
        took: list[float] = []

        async def caller() -> None:
            for _ in range(number // at_once):
                began = time.perf_counter()
                result = await self.call(arguments)
                took.append(time.perf_counter() - began)
                assert text_of(result) == arguments["text"]

        watch = Stopwatch()
        await together([caller] * at_once)
        return {**watch.read(), "p50": statistics.median(took), "p99": sorted(took)[len(took) * 99 // 100]}

    async def crowd(self, url: str, users: int, calls: int, at_once: int = 32) -> dict[str, float]:
        """So many users, each with a token of its own, who list the tools and make a few calls; memory while all are there, in bytes."""
        measured: dict[str, float] = {}
        async with self.subject(url, [f"bench-{number}" for number in range(users + 1)]) as [first, *others], first() as call:
            await call({"text": "hello"})  # what only the first one costs is not counted
            before, watch = resident(), Stopwatch()

            def all_there() -> None:
                measured.update(watch.read())
                gc.collect()
                measured["memory"] = resident() - before

            await stay_together([visit(user, calls) for user in others], at_once, all_there)
        return measured

    async def open_listing(self, urls: list[str], users: int = 1) -> dict[str, float]:
        """For `listing`."""
        self.list_all = await self.life.enter_async_context(LISTINGS[self.name](urls, users))
        return {}

    async def listing(self, user: int = 0) -> dict[str, float]:
        """All tools of all servers for one user."""
        watch = Stopwatch()
        listed = await self.list_all(user)
        return {**watch.read(), "tools": listed}

    async def further_users(self, users: int) -> dict[str, float]:
        """Bytes that each of so many further users leaves in memory after having listed everything."""
        tracemalloc.start()
        for user in range(1, users + 1):
            await self.list_all(user)
        gc.collect()
        return {"memory": tracemalloc.get_traced_memory()[0] / users}

    async def expire(self, url: str, callers: int) -> dict[str, float]:
        """So many calls at once of a user whose token has just expired; then as many whose token is good."""
        async with our_expired_login(url) as call:
            took = []
            for _ in range(2):
                watch = Stopwatch()
                results = await asyncio.gather(*(call({"text": "hello"}) for _ in range(callers)))
                took.append(watch.read()["wall"])
                assert [text_of(result) for result in results] == ["hello"] * callers
        return {"expired": took[0], "good": took[1]}


def visit(user: User, calls: int) -> Callable[[], Any]:
    @asynccontextmanager
    async def visiting() -> AsyncIterator[None]:
        async with user() as call:
            for _ in range(calls):
                assert text_of(await call({"text": "hello"})) == "hello"
            yield

    return visiting


async def together(callers: list[Callable[[], Awaitable[None]]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for caller in callers:
            tasks.create_task(caller())  # type: ignore[arg-type]


async def stay_together(visits: list[Callable[[], Any]], at_once: int, all_there: Callable[[], None]) -> None:
    """Everybody stays, each in a task of its own, until all are there."""
    turns = asyncio.Semaphore(at_once)
    arrived = 0
    leave = asyncio.Event()

    async def one(visiting: Callable[[], Any]) -> None:
        nonlocal arrived
        async with AsyncExitStack() as stay:
            async with turns:
                await stay.enter_async_context(visiting())
            arrived += 1
            if arrived == len(visits):
                all_there()
                leave.set()
            await leave.wait()

    await together([lambda visiting=visiting: one(visiting) for visiting in visits])  # type: ignore[misc]


async def obey(subject: str) -> None:
    async with AsyncExitStack() as life:
        worker = Worker(subject, life)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, options = json.loads(line)
            print(json.dumps(await getattr(worker, command)(**options)), flush=True)


if __name__ == "__main__":
    asyncio.run(obey(sys.argv[1]))
