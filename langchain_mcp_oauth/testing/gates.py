"""Gates: a test stops a server at a place, looks at what has come that far, and lets it go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio.to_thread

__all__ = ["Gate"]


class Gate:
    """Holds everything that comes to it, from `__init__` until `open()` or the end of its `with` block.

    Example:
        ```python
        with server.hold_tool("echo") as gate:
            calls = [start(), start()]
            gate.wait_entered(2)      # both are in the tool at the same time
        ```

    Attributes:
        entered: How many have come.
        cancelled: How many went away while they were held.
    """

    def __init__(self) -> None:
        self.entered = 0
        self.cancelled = 0
        self._changed = threading.Condition()
        self._open = False
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.open()

    def open(self) -> None:
        """Let everything through, now and from now on. Idempotent."""
        with self._changed:
            self._open = True
            held, self._held = self._held, []
        for loop, passed in held:
            if not loop.is_closed():
                loop.call_soon_threadsafe(passed.set)

    def wait_entered(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """Return when `count` have come. Raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: self.entered >= count, f"Only {self.entered} of {count} came to the gate", timeout)

    def wait_cancelled(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """Return when `count` have gone away while they were held. Raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: self.cancelled >= count, f"Only {self.cancelled} of {count} went away", timeout)

    async def await_entered(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """`wait_entered` without blocking the event loop."""
        await anyio.to_thread.run_sync(lambda: self.wait_entered(count, timeout=timeout))

    async def await_cancelled(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """`wait_cancelled` without blocking the event loop."""
        await anyio.to_thread.run_sync(lambda: self.wait_cancelled(count, timeout=timeout))

    async def pass_through(self) -> None:
        """What the server does at the gate."""
        passed = asyncio.Event()
        with self._changed:
            self.entered += 1
            self._changed.notify_all()
            if self._open:
                return
            self._held.append((asyncio.get_running_loop(), passed))
        try:
            await passed.wait()
        except asyncio.CancelledError:
            with self._changed:
                self.cancelled += 1
                self._changed.notify_all()
            raise

    def _wait(self, reached: Callable[[], bool], otherwise: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(reached, timeout):
                raise TimeoutError(f"{otherwise} in {timeout:g} seconds.")
