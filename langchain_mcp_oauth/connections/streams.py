"""Sessions over a pair of streams, for the transports that are not one POST for each request: a program's pipes, and legacy SSE.

The SDK's dispatcher does the JSON-RPC, with requests written in the caller's own task. Its transports and its session have tasks of
their own and must be left where they were entered, so each session has one owner task, which does nothing but enter, wait and leave.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import anyio
import anyio.abc
from mcp.client.session import ClientSession
from mcp.shared.dispatcher import CallOptions, DispatchContext, OnNotify, OnNotifyIntercept, OnRequest
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST
from pydantic_core import to_json

from langchain_mcp_oauth.connections.dispatcher import AbandonCall
from langchain_mcp_oauth.connections.endpoint import SessionExpired
from langchain_mcp_oauth.connections.listings import Recogniser
from langchain_mcp_oauth.connections.questions import Answers, current_answers
from langchain_mcp_oauth.errors import ConnectionFailed

__all__ = ["Owner", "StreamDispatcher", "Streams"]

S = TypeVar("S", bound=ClientSession)

logger = logging.getLogger(__name__)

Streams: TypeAlias = tuple[Any, Any]
"""A read and a write stream of `SessionMessage`s, as the SDK's transports give them."""

LEAVING = 7.0
"""Seconds to wait for an owner to leave. The SDK gives a program two to end by itself, two more after SIGTERM, and two after SIGKILL."""


@dataclass(slots=True, eq=False)
class _Call:
    """A tool call under way, and the way to end it from outside."""

    answers: Answers | None
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    """Its caller's."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    over: anyio.Event = field(default_factory=anyio.Event)
    stop: AbandonCall | None = None

    async def abandon(self, stop: AbandonCall) -> None:
        """Cancel it, here and at the server, and have its caller see `stop`."""
        self.stop = stop
        self.scope.cancel()
        await self.over.wait()


class StreamDispatcher(JSONRPCDispatcher[TransportContext]):
    """The SDK's dispatcher with this library's errors, and with a server's questions brought to the call they belong to.

    A 2025-11-25 server does not say to which call its question belongs. With one call under way there is no doubt; with several, the
    question is refused, which the server's tool sees as an error, and from then on this session makes its calls one after the other.
    """

    def __init__(self, streams: Streams, place: str) -> None:
        super().__init__(*streams)
        self.ended = anyio.Event()
        """There is nothing at the other end any more, or nobody at this one."""
        self.recogniser = Recogniser()
        self._place = place
        self._calls: list[_Call] = []
        self._asks = False
        self._turn = anyio.Lock()

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until the read stream ends."""

        async def receive(context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
            return await self._receive(on_request, context, method, params)

        async def hear(context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None) -> None:
            if method == "notifications/message":
                self._take_to_the_call()
            await on_notify(context, method, params)

        try:
            await super().run(receive, hear, on_notify_intercept, task_status=task_status)
        finally:
            self.ended.set()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None, **related: Any
    ) -> dict[str, Any]:
        """One request and its result.

        Raises:
            SessionExpired: nothing was sent: the other end has gone.
            Repeated: it lists what it listed before.
            ConnectionFailed: it went before it answered.
            MCPError: the server's own error, or no answer within `opts["timeout"]` seconds.
            Exception: what the write stream raises.
        """
        if method != "tools/call":
            result = await self._send(method, params, opts, **related)
            if method == "tools/list":
                self.recogniser.look(to_json(result))
            return result
        async with self._turn if self._asks else nullcontext():
            return await self._call(method, params, opts, **related)

    async def _call(self, *request: Any, **related: Any) -> dict[str, Any]:
        call = _Call(current_answers.get())
        self._calls.append(call)
        try:
            with call.scope:
                return await self._send(*request, **related)
        finally:
            self._calls.remove(call)
            call.over.set()
        assert call.stop is not None, "only `abandon` cancels the scope"
        raise call.stop

    async def _send(self, *request: Any, **related: Any) -> dict[str, Any]:
        if self.ended.is_set():
            raise SessionExpired
        try:
            return await super().send_raw_request(*request, **related)
        except SessionExpired:
            self.ended.set()
            raise
        except MCPError as error:
            if (error.code, error.error.message) != (CONNECTION_CLOSED, "Connection closed"):
                raise
        await self.ended.wait()
        raise ConnectionFailed(f"{self._place} ended without an answer. It may have done what it was asked.")

    async def _receive(
        self, on_request: OnRequest, context: DispatchContext[TransportContext], method: str, params: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """A request of the server's. It has a task of its own, so what is set in its context is seen by the session's callback alone."""
        call = self._asking_call() if method == "elicitation/create" else None
        current_answers.set(call.answers if call else None)
        try:
            return await on_request(context, method, params)
        except AbandonCall as stop:
            assert call is not None, "only a call's question abandons it"
            await call.abandon(stop)
            raise MCPError(INVALID_REQUEST, "A person is asked; the call will be made again.") from None

    def _take_to_the_call(self) -> None:
        """A log message does not say either to which call it belongs. Its task, its own, takes over the only call's context."""
        if len(self._calls) == 1:
            for variable, value in self._calls[0].context.items():
                variable.set(value)

    def _asking_call(self) -> _Call | None:
        if len(self._calls) == 1:
            return self._calls[0]
        self._asks = True
        return None


class Owner:
    """The task that enters a transport and its session, and leaves them when told to, or when the other end has gone.

    Args:
        transport: Gives the streams. What it raises when entered, `start` raises.
        place: For messages.
    """

    def __init__(self, transport: Callable[[], AbstractAsyncContextManager[Streams]], place: str) -> None:
        self.place = place
        self._transport = transport
        self._task: asyncio.Task[None] | None = None
        self._ended = anyio.Event()

    async def start(self, make: Callable[[StreamDispatcher], S]) -> S:
        """The session that `make` makes, entered."""
        ready: asyncio.Future[S] = asyncio.get_running_loop().create_future()
        # In a context of its own: the caller's holds a run's state and spans, and the owner outlives them.
        self._task = asyncio.create_task(self._live(make, ready), context=contextvars.Context())
        try:
            return await asyncio.shield(ready)
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    async def leave(self) -> None:
        """End it: a program is given two seconds to end by itself, and is then made to. Never raises."""
        self._ended.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=LEAVING)

    async def _live(self, make: Callable[[StreamDispatcher], S], ready: asyncio.Future[S]) -> None:
        try:
            async with self._entered(make) as session:
                ready.set_result(session)
                await self._ended.wait()
        except Exception as error:  # noqa: BLE001 - `start` raises it, or nobody waits any more
            if ready.done():
                logger.debug("%s was left with %s.", self.place, type(error).__name__)
            else:
                ready.set_exception(error)
        finally:
            self._ended.set()
            ready.cancel()

    @asynccontextmanager
    async def _entered(self, make: Callable[[StreamDispatcher], S]) -> AsyncIterator[S]:
        async with self._transport() as streams:
            dispatcher = StreamDispatcher(streams, self.place)
            dispatcher.ended = self._ended
            async with make(dispatcher) as session:
                yield session
