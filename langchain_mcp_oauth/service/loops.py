"""Event loops: one set of connections for each, and one loop of the library's own for synchronous callers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["LoopLocal", "run_sync"]

T = TypeVar("T")


class LoopLocal(Generic[T]):
    """One `T` for each running event loop, made when first asked for: sockets belong to the loop that opened them."""

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._lock = threading.Lock()
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get(self) -> T:
        """The running loop's own."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._values:
                self._values[loop] = self._make()
            return self._values[loop]

    async def on_each(self, act: Callable[[T], Awaitable[Any]]) -> None:
        """Do something with the value of every loop that still runs, on that loop."""
        with self._lock:
            values = list(self._values.items())
        for loop, value in values:
            if loop is asyncio.get_running_loop():
                await act(value)
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_as_coroutine(act(value)), loop))

    async def aclose(self) -> None:
        """Close every loop's value. Those of loops that have ended went with them."""
        await self.on_each(self._close)
        with self._lock:
            self._values.clear()


def run_sync(awaitable: Awaitable[T]) -> T:
    """Wait for an awaitable on the library's own event loop, from any thread, also one whose own loop is running (a notebook's)."""
    return asyncio.run_coroutine_threadsafe(_as_coroutine(awaitable), _background_loop()).result()


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _after_fork() -> None:
    """The child has no copy of the thread that ran the loop."""
    global _lock, _loop
    _lock, _loop = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _background_loop() -> asyncio.AbstractEventLoop:
    global _loop  # noqa: PLW0603 - one loop for the process, made when first needed
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="langchain-mcp-oauth", daemon=True).start()
        return _loop
