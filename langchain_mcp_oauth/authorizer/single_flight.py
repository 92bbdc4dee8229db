"""One piece of work at a time for each key, within one process, over all its event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from langchain_mcp_oauth.errors import ConnectionFailed

__all__ = ["SingleFlight"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Callers with the same key share one run of the work and its result or error; the next caller after it starts a new one.

    The work runs in a task of its own, so a caller that is cancelled only leaves: the others, and the work, go on. Nothing is cached.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[K, Future[T]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work()`, or of the same key's work that is already under way."""
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = Future()
        if leads:
            task = asyncio.get_running_loop().create_task(self._fly(key, flight, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await _landed(flight)

    async def join(self, key: K) -> T | None:
        """The result of the same key's work that is under way; None if there is none."""
        with self._lock:
            flight = self._flights.get(key)
        if flight is None:
            return None
        return await _landed(flight)

    async def _fly(self, key: K, flight: Future[T], work: Callable[[], Awaitable[T]]) -> None:
        try:
            result = await work()
        except asyncio.CancelledError:  # this event loop is closing; callers on other loops are not cancelled, they may try again
            self._land(key)
            flight.set_exception(ConnectionFailed("The event loop that did the work was closed; make the call again."))
            raise
        except BaseException as error:  # noqa: BLE001 - handed on to every caller
            self._land(key)
            flight.set_exception(error)
        else:
            self._land(key)
            flight.set_result(result)

    def _land(self, key: K) -> None:
        with self._lock:
            del self._flights[key]


async def _landed(flight: Future[T]) -> T:
    landing = asyncio.wrap_future(flight)
    landing.add_done_callback(_seen)
    return await asyncio.shield(landing)


def _seen(landing: asyncio.Future[Any]) -> None:
    """A caller that has left does not want the error; asyncio would log it as forgotten."""
    if not landing.cancelled():
        landing.exception()
