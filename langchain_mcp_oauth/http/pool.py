"""A pool of connections whose cost does not grow with the number of idle ones.

httpcore2's own pool walks all its connections twice for each request and polls every idle one: with 256 of them a request costs eight
times as much CPU. One pool for thousands of users needs another: connections are handed out last-in first-out, so that the warm ones
work and the others grow old, and a request looks at no more than the one it takes and the one that has been idle longest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Self, TypeAlias, cast

import anyio
import httpcore2

__all__ = ["ConnectionPool"]

MAX_CONNECTIONS = 512
"""In the whole pool, in use and idle: half of the 1,024 file descriptors that a process usually has."""

MAX_PER_ORIGIN = 256
"""In use at one origin; more requests wait. A server that answers nobody takes half of the pool, not all of it."""

Connection: TypeAlias = httpcore2.AsyncConnectionInterface
_Key: TypeAlias = tuple[bytes, bytes, int]


class ConnectionPool:
    """HTTP/1.1 connections by origin: scheme, host *name* and port. For one event loop.

    A connection serves one request at a time. It comes back when the answer's body is closed, and only if request and answer were
    transferred whole: after a cancelled request or a body not read to its end it is closed. A request that finds all connections in use
    waits; the caller's deadline is the limit.
    """

    def __init__(
        self,
        connect: Callable[[httpcore2.Origin], Connection],
        *,
        limit: int = MAX_CONNECTIONS,
        limit_per_origin: int = MAX_PER_ORIGIN,
    ) -> None:
        self._connect = connect
        self._limit = limit
        self._limit_per_origin = limit_per_origin
        self._turns = anyio.Semaphore(limit, fast_acquire=True)
        self._turns_of: dict[_Key, anyio.Semaphore] = {}
        self._open: set[Connection] = set()
        self._idle: dict[_Key, deque[Connection]] = {}
        """By origin, the one where a connection came back least recently first; in each, the longest idle connection first."""

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Send the request on a connection of its origin; the caller closes the answer's stream."""
        origin = request.url.origin
        key = (origin.scheme, origin.host, origin.port)
        await self._take_turn(key)
        connection: Connection | None = None
        try:
            connection = await self._reuse(key) or await self._open_new(origin)
            await self._close_oldest_if_stale()
            response = await connection.handle_async_request(request)
        except BaseException:
            await self._end_turn(key, connection)
            raise
        response.stream = _Body(response.stream, partial(self._end_turn, key, connection))
        return response

    async def aclose(self) -> None:
        """Close all connections, also those in use."""
        self._idle.clear()
        for connection in list(self._open):
            await self._close(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _take_turn(self, key: _Key) -> None:
        turns = self._turns_of.setdefault(key, anyio.Semaphore(self._limit_per_origin, fast_acquire=True))
        await turns.acquire()
        try:
            await self._turns.acquire()
        except BaseException:
            turns.release()
            raise

    async def _end_turn(self, key: _Key, connection: Connection | None) -> None:
        """Whatever becomes of the connection, the turn comes back.

        A shield is none in a task of the caller's caller: anyio cancels that one with asyncio's means, and again at each step it takes
        (LangChain runs every call in a task of its own). So cleaning up may be cut short where it waits; closing has begun by then.
        """
        try:
            if connection is not None and connection.is_available():
                self._take_back(key, connection)
            elif connection is not None:
                await self._close(connection)
        finally:
            self._give_turn(key)

    def _give_turn(self, key: _Key) -> None:
        self._turns.release()
        turns = self._turns_of[key]
        turns.release()
        if turns.value == self._limit_per_origin:
            del self._turns_of[key]

    def _take_back(self, key: _Key, connection: Connection) -> None:
        idle = self._idle.pop(key, None) or deque()
        idle.append(connection)
        self._idle[key] = idle

    async def _reuse(self, key: _Key) -> Connection | None:
        """The connection that came back last, if the server has not closed it meanwhile."""
        while (connection := self._pop(key, deque.pop)) is not None:
            if not connection.has_expired():
                return connection
            await self._close(connection)
        return None

    async def _open_new(self, origin: httpcore2.Origin) -> Connection:
        """At the limit, an idle connection makes room: there is one, since all that are in use have a turn, and ours has none yet."""
        while len(self._open) >= self._limit and self._idle:
            await self._close(cast("Connection", self._pop(next(iter(self._idle)), deque.popleft)))
        connection = self._connect(origin)
        self._open.add(connection)
        return connection

    async def _close_oldest_if_stale(self) -> None:
        for key in self._idle:
            if self._idle[key][0].has_expired():
                await self._close(cast("Connection", self._pop(key, deque.popleft)))
            return

    def _pop(self, key: _Key, pop: Callable[[deque[Connection]], Connection]) -> Connection | None:
        idle = self._idle.get(key)
        if not idle:
            return None
        connection = pop(idle)
        if not idle:
            del self._idle[key]
        return connection

    async def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        with anyio.CancelScope(shield=True):
            await connection.aclose()


class _Body:
    """An answer's body; its connection goes back to the pool when it is closed."""

    def __init__(self, stream: Any, end_turn: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._end_turn: Callable[[], Awaitable[None]] | None = end_turn

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        end_turn, self._end_turn = self._end_turn, None
        if end_turn is None:
            return
        try:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
        finally:
            await end_turn()
