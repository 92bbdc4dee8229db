"""MCP's streamable HTTP as a `Dispatcher` for the SDK's `ClientSession`: one POST for each request, in the caller's own task.

So a 401 is an exception in the caller's frame, siblings on the session notice nothing, cancelling the caller cancels the request, and
no task or `async with` surrounds a session. Nothing is ever sent twice here: a request is made once, or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NoReturn

import anyio
import anyio.abc
import httpx2
from mcp.shared.dispatcher import CallOptions, OnNotify, OnNotifyIntercept, OnRequest
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.transport_context import TransportContext
from mcp_types import INVALID_PARAMS, REQUEST_TIMEOUT, RequestId
from pydantic import ValidationError
from pydantic_core import to_json

from langchain_mcp_oauth.connections.call import Call, stamped
from langchain_mcp_oauth.connections.endpoint import (
    BACKGROUND,
    END_OF_ANSWER,
    EVENTS,
    JSON,
    MAX_JSON,
    Endpoint,
    Refused,
    discard,
    media_type,
    read_trouble,
)
from langchain_mcp_oauth.connections.listings import Recogniser, Repeated
from langchain_mcp_oauth.connections.wire import answers, parse_message, read_error, read_result, repeated, without_id
from langchain_mcp_oauth.errors import ConnectionFailed, ProtocolError
from langchain_mcp_oauth.http import connection_failed, read_body

__all__ = ["AbandonCall", "HttpDispatcher"]

logger = logging.getLogger(__name__)

MAX_EVENT = 1024 * 1024
"""Bytes of one server-sent event."""

MAX_RESUMPTIONS = 5
"""Of one answer's event stream (2025-11-25)."""

NO_HINT = {"ttlMs": 0, "cacheScope": "private"}
"""What a listing that forgets to say how long it is in date is taken to say (SEP-2549)."""

SHORTEST_WAIT = 0.1
"""Seconds before the first resumption, twice as many before each further one; a longer `retry` of the server's is respected."""


class AbandonCall(Exception):
    """Raised by a callback of the session: cancel the request that is under way, and let this out to its caller."""


@dataclass(frozen=True, slots=True)
class _Inbound:
    """What the session's callbacks see of a message that came inside an answer. The only way back is what they return."""

    request_id: RequestId | None
    transport: TransportContext = field(default_factory=lambda: TransportContext(kind="streamable-http", can_send_request=False))
    can_send_request: bool = False
    message_metadata: None = None
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    async def send_raw_request(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> NoReturn:
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None: ...

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None: ...


class HttpDispatcher:
    """The JSON-RPC of one MCP session over one `Endpoint`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ids = count(1)
        self._on_request: OnRequest | None = None
        self._on_notify: OnNotify | None = None
        self.recogniser = Recogniser()

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep the session's callbacks and return: whatever a server sends comes inside the answer to a request, and is read there."""
        self._on_request, self._on_notify = on_request, on_notify
        task_status.started()

    async def send_raw_request(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> dict[str, Any]:
        """One request and its result.

        Raises:
            Unauthorized, SessionExpired: the server has done nothing.
            Repeated: it lists what it listed before.
            MCPError: the server's own error, at whatever HTTP status; or `opts["timeout"]` seconds have passed.
            ConnectionFailed: network trouble, 429 or 5xx, or an answer broken off. The server may have done what it was asked.
            ProtocolError: the answer is not MCP, or too large.
            UnsafeURLError: the server's address may not be contacted.
        """
        opts = opts or {}
        try:
            if "timeout" not in opts:  # `Connection` has a deadline for the whole operation
                return await self._perform(method, params, opts)
            with anyio.fail_after(opts["timeout"]):
                return await self._perform(method, params, opts)
        except TimeoutError:
            raise MCPError(REQUEST_TIMEOUT, f"No answer to {method} within {opts['timeout']} s.") from None
        except httpx2.TransportError as error:
            raise connection_failed(self._endpoint.place, error) from None

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send a notification; what the server answers does not matter.

        Raises:
            Unauthorized, SessionExpired, ConnectionFailed, UnsafeURLError: as for requests.
        """
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})
        try:
            await discard(await self._endpoint.send("POST", stamped(opts or {}), to_json(message)))
        except httpx2.TransportError as error:
            raise connection_failed(self._endpoint.place, error) from None

    # A request and its answer -------------------------------------------------------------------------------------------------

    async def _perform(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions) -> dict[str, Any]:
        call = Call(next(self._ids), method, stamped(opts), opts.get("on_progress"))
        try:
            answer = await self._exchange(call, to_json(call.message(params)))
        except (anyio.get_cancelled_exc_class(), AbandonCall):
            if opts.get("cancel_on_abandon", True) and not call.answered:
                await self._say_cancelled(call)
            raise
        result = read_result(answer, self._endpoint.place, modern=call.modern)
        return {**NO_HINT, **result} if call.modern and call.method == "tools/list" else result

    async def _say_cancelled(self, call: Call) -> None:
        """Until 2025-11-25 a notification cancels a request; from 2026-07-28 on, closing its stream does, and that has happened."""
        if call.modern:
            return
        params = {"requestId": call.id, "reason": "The caller gave up."}
        with anyio.move_on_after(BACKGROUND, shield=True):
            message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            await self._endpoint.post_quietly(message, call.headers)

    async def _exchange(self, call: Call, body: bytes) -> dict[str, Any]:
        response = await self._endpoint.send("POST", call.headers, body)
        try:
            answer = await self._read(call, response)
        finally:
            await response.aclose()
        for attempt in range(MAX_RESUMPTIONS):
            if answer is not None:
                break
            await anyio.sleep(max(call.retry, SHORTEST_WAIT * 2**attempt))
            answer = await self._resume(call)
        if answer is None:
            raise self._broken_off()
        return answer

    async def _read(self, call: Call, response: httpx2.Response) -> dict[str, Any] | None:
        """The answer; None if its stream ended early and can be resumed."""
        if not response.is_success:
            raise await self._refusal(call, response)
        if call.method == "initialize":
            self._endpoint.begin_session(response)
        if media_type(response) == EVENTS:
            return await self._read_events(call, response)
        if media_type(response) != JSON or response.status_code == 202:
            raise ProtocolError(f"{self._endpoint.place} answered a request with {response.status_code} and no MCP message.")
        text = await read_body(response, MAX_JSON)
        self._look(call, text)
        message = self._parse(text)
        if not answers(message, call.id):
            raise ProtocolError(f"{self._endpoint.place} sent the answer to another request.")
        call.answered = True
        return message

    async def _refusal(self, call: Call, response: httpx2.Response) -> Exception:
        """What an answer that is not 2xx means: a JSON-RPC error is the server's own word, else the status speaks."""
        status, place = response.status_code, self._endpoint.place
        if media_type(response) == JSON and status not in (429, 502, 503, 504):
            with suppress(ProtocolError):
                message = self._parse(await read_body(response, MAX_JSON))
                error = read_error(message) if answers(message, call.id) else None
                if error is not None:
                    return error
        return read_trouble(place, response)

    def _parse(self, text: bytes) -> dict[str, Any]:
        return parse_message(text, self._endpoint.place, self._endpoint.secrets())

    def _look(self, call: Call, text: bytes) -> None:
        """Raises `Repeated` for a listing that is known; one that repeats a secret of this user's is never known to anybody else."""
        if call.method == "tools/list" and not repeated(text, self._endpoint.secrets()):
            self.recogniser.look(without_id(text, call.id) + call.version.encode())

    def _broken_off(self) -> ConnectionFailed:
        return ConnectionFailed(f"{self._endpoint.place} broke off its answer. It may have done what it was asked.")

    # An event stream ------------------------------------------------------------------------------------------------------------

    async def _read_events(self, call: Call, response: httpx2.Response) -> dict[str, Any] | None:
        response.encoding = "utf-8"  # whatever it says it is (WHATWG event streams); Python knows charsets that inflate, or take for ever
        source = httpx2.EventSource(response, max_event_size=MAX_EVENT)
        try:
            async with aclosing(source.__aiter__()) as events:  # type: ignore[type-var]
                answer = await self._find_answer(call, events)
        except httpx2.SSEError:
            raise ProtocolError(f"{self._endpoint.place} sent an event of more than {MAX_EVENT // 1024:,} KiB.") from None
        except httpx2.TransportError:
            answer = None
        if answer is None and not call.resumable:
            raise self._broken_off()
        return answer

    async def _find_answer(self, call: Call, events: AsyncIterator[httpx2.ServerSentEvent]) -> dict[str, Any] | None:
        async for event in events:
            call.note(event)
            if event.event != "message" or not event.data:
                continue
            text = event.data.encode()
            try:
                self._look(call, text)
            except Repeated:
                call.answered = True
                await _read_to_end(events)
                raise
            message = self._parse(text)
            if answers(message, call.id):
                call.answered = True
                await _read_to_end(events)
                return message
            await self._receive(call, message)
        return None

    async def _resume(self, call: Call) -> dict[str, Any] | None:
        """Ask for the rest of the stream. Whatever is answered to *this*, the request itself has been accepted and may be done."""
        try:
            response = await self._endpoint.send("GET", {**call.headers, "accept": EVENTS, "last-event-id": call.last_event_id})
        except httpx2.TransportError:
            return None
        except Refused:
            raise self._broken_off() from None
        try:
            if response.status_code != 200 or media_type(response) != EVENTS:
                raise self._broken_off()
            return await self._read_events(call, response)
        finally:
            await response.aclose()

    async def _receive(self, call: Call, message: dict[str, Any]) -> None:
        """What a server sends before its answer: notifications and, until 2025-11-25, requests of its own."""
        method, params = message.get("method"), message.get("params")
        params = params if isinstance(params, dict) else {}
        if not isinstance(method, str):
            logger.debug("%s sent the answer to another request; it is ignored.", self._endpoint.place)
        elif "id" in message:
            await self._answer(call, message["id"], method, params)
        elif method == "notifications/progress":
            await call.report(params)
        elif self._on_notify is not None:
            await self._on_notify(_Inbound(None), method, params)

    async def _answer(self, call: Call, request_id: Any, method: str, params: dict[str, Any]) -> None:
        if self._on_request is None or call.modern:  # from 2026-07-28 on, servers make no requests and clients POST no answers
            logger.debug("%s sent a request, which is ignored.", self._endpoint.place)
            return
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id}
        try:
            answer["result"] = await self._on_request(_Inbound(request_id), method, params)
        except MCPError as error:
            answer["error"] = error.error.model_dump(exclude_none=True)
        except ValidationError:
            answer["error"] = {"code": INVALID_PARAMS, "message": "Invalid request parameters"}
        await self._endpoint.post_quietly(answer, call.headers)


async def _read_to_end(events: AsyncIterator[httpx2.ServerSentEvent]) -> None:
    """Only a stream read to its end leaves a connection that can be used again."""
    with anyio.move_on_after(END_OF_ANSWER), suppress(httpx2.TransportError):
        async for _ in events:
            pass
