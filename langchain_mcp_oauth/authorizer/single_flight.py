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


class _Flight(Generic[T]):
    """Work under way. Who waits in the loop that it runs in waits for its task, all others for what is brought to their loop, once."""

    def __init__(self) -> None:
        self.outcome: Future[T] = Future()
        self.landings: dict[asyncio.AbstractEventLoop, asyncio.Future[T]] = {}

    def landing(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[T]:
        if loop not in self.landings:
            self.land(loop, asyncio.wrap_future(self.outcome))
        return self.landings[loop]

    def land(self, loop: asyncio.AbstractEventLoop, landing: asyncio.Future[T]) -> None:
        landing.add_done_callback(_seen)
        self.landings[loop] = landing


class SingleFlight(Generic[K, T]):
    """Callers with the same key share one run of the work and its result or error; the next caller after it starts a new one.

    The work runs in a task of its own, so a caller that is cancelled only leaves: the others, and the work, go on. Nothing is cached.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[K, _Flight[T]] = {}

    async def run(self, key: K, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work()`, or of the same key's work that is already under way."""
        loop = asyncio.get_running_loop()
        with self._lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
        if leads:
            flight.land(loop, loop.create_task(self._fly(key, flight.outcome, work)))
        return await asyncio.shield(flight.landing(loop))

    async def join(self, key: K) -> T | None:
        """The result of the same key's work that is under way; None if there is none."""
        with self._lock:
            flight = self._flights.get(key)
        if flight is None:
            return None
        return await asyncio.shield(flight.landing(asyncio.get_running_loop()))

    async def _fly(self, key: K, outcome: Future[T], work: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await work()
        except asyncio.CancelledError:  # this event loop is closing; callers on other loops are not cancelled, they may try again
            self._end(key)
            outcome.set_exception(ConnectionFailed("The event loop that did the work was closed; make the call again."))
            raise
        except BaseException as error:
            self._end(key)
            outcome.set_exception(error)
            raise
        self._end(key)
        outcome.set_result(result)
        return result

    def _end(self, key: K) -> None:
        with self._lock:
            del self._flights[key]


def _seen(landing: asyncio.Future[Any]) -> None:
    """A caller that has left does not want the error; asyncio would log it as forgotten."""
    if not landing.cancelled():
        landing.exception()
