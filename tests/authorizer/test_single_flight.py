"""One piece of work at a time for each key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from langchain_mcp_oauth.authorizer.single_flight import SingleFlight
from langchain_mcp_oauth.errors import ConnectionFailed

pytestmark = pytest.mark.anyio


class Work:
    """Counts its runs and waits to be let go."""

    def __init__(self) -> None:
        self.runs = 0
        self.started = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.runs += 1
        self.started.set()
        await self.go.wait()
        return self.runs


async def test_callers_share_one_run() -> None:
    """Ten callers, one run, one result."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    callers = [asyncio.create_task(flights.run("k", work)) for _ in range(10)]
    await work.started.wait()
    work.go.set()
    assert await asyncio.gather(*callers) == [1] * 10


async def test_callers_in_the_loop_of_the_work_are_woken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred callers: not one message from thread to thread, each of which is a system call."""
    loop, messages = asyncio.get_running_loop(), 0
    send = loop.call_soon_threadsafe

    def count(*arguments: Any, **options: Any) -> Any:
        nonlocal messages
        messages += 1
        return send(*arguments, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", count)
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    callers = [asyncio.create_task(flights.run("k", work)) for _ in range(100)]
    await work.started.wait()
    work.go.set()
    assert await asyncio.gather(*callers) == [1] * 100
    assert messages == 0


async def test_other_keys_fly_on_their_own() -> None:
    """Keys do not wait for each other."""
    flights: SingleFlight[str, int] = SingleFlight()
    slow, fast = Work(), Work()
    fast.go.set()
    waiting = asyncio.create_task(flights.run("slow", slow))
    assert await flights.run("fast", fast) == 1
    slow.go.set()
    assert await waiting == 1


async def test_nothing_is_cached() -> None:
    """The next caller starts a new run, after a result as after an error."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.go.set()
    assert [await flights.run("k", work), await flights.run("k", work)] == [1, 2]

    async def fail() -> int:
        raise ConnectionFailed("no")

    with pytest.raises(ConnectionFailed):
        await flights.run("k", fail)
    assert await flights.run("k", work) == 3


@pytest.mark.parametrize("leaves", [0, 1], ids=["the first", "a later one"])
async def test_a_cancelled_caller_only_leaves(leaves: int) -> None:
    """Whoever is cancelled, the work goes on for the others."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    callers = [asyncio.create_task(flights.run("k", work)) for _ in range(3)]
    await work.started.wait()
    callers[leaves].cancel()
    work.go.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results].count(asyncio.CancelledError) == 1
    assert results.count(1) == 2
    assert work.runs == 1


def test_loops_in_several_threads_share_a_flight() -> None:
    """A caller on another thread's loop gets the same result."""
    flights: SingleFlight[str, str] = SingleFlight()
    started, go = threading.Event(), threading.Event()
    runs: list[str] = []

    async def work() -> str:
        runs.append(threading.current_thread().name)
        started.set()
        await asyncio.to_thread(go.wait)
        return "done"

    results: list[str] = []

    def caller(before: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            before()
            results.append(asyncio.run(flights.run("k", work)))

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    threads = [caller(lambda: None), caller(started.wait)]
    started.wait()
    go.set()
    for thread in threads:
        thread.join()
    assert results == ["done", "done"]


def test_a_closing_loop_does_not_cancel_callers_elsewhere() -> None:
    """They get a retryable error and may try again."""
    flights: SingleFlight[str, str] = SingleFlight()
    started, joined = threading.Event(), threading.Event()

    async def work() -> str:
        started.set()
        await asyncio.sleep(60)
        return "never"

    async def lead() -> None:
        leading = asyncio.ensure_future(flights.run("k", work))
        await asyncio.to_thread(joined.wait)
        leading.cancel()

    errors: list[BaseException] = []

    def follow() -> None:
        async def main() -> None:
            waiting = asyncio.ensure_future(flights.run("k", work))
            await asyncio.sleep(0)
            joined.set()
            await waiting

        started.wait()
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    follower = threading.Thread(target=follow)
    follower.start()
    asyncio.run(lead())
    follower.join()
    assert [type(error) for error in errors] == [ConnectionFailed]
    assert getattr(errors[0], "retryable", False)
