"""HTTP with SSE, the transport of MCP 2024-11-05: one event stream for all that the server says, and a POST for each of our messages.

The SDK's own logs a refused POST and leaves its caller waiting. Here a message is posted in its caller's task, through the guarded client,
and a 401 is the caller's exception, as with streamable HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self
from urllib.parse import urljoin

import httpx2
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import JSONRPCError, JSONRPCResponse, jsonrpc_message_adapter
from pydantic import ValidationError
from pydantic_core import to_json

from langchain_mcp_oauth.connections.dispatcher import MAX_EVENT
from langchain_mcp_oauth.connections.endpoint import EVENTS, Endpoint, SessionExpired, discard, media_type, read_trouble, same_origin
from langchain_mcp_oauth.connections.streams import Streams
from langchain_mcp_oauth.connections.wire import parse_message
from langchain_mcp_oauth.errors import ProtocolError
from langchain_mcp_oauth.http import connection_failed

__all__ = ["listen"]

logger = logging.getLogger(__name__)


@asynccontextmanager
async def listen(events_at: Endpoint, posts_to: Callable[[str], Endpoint]) -> AsyncIterator[Streams]:
    """Open the event stream and wait for the server to say where messages go.

    Args:
        events_at: The configured URL.
        posts_to: The same for another URL of its origin.

    Raises:
        Unauthorized: the server wants authorization.
        ConnectionFailed, ProtocolError, UnsafeURLError: as for streamable HTTP.
    """
    try:
        response = await events_at.send("GET", {"accept": EVENTS})
    except httpx2.TransportError as error:
        raise connection_failed(events_at.place, error) from None
    try:
        if response.status_code != 200 or media_type(response) != EVENTS:
            raise read_trouble(events_at.place, response)
        response.encoding = "utf-8"  # whatever it says it is, as for streamable HTTP
        async with aclosing(httpx2.EventSource(response, max_event_size=MAX_EVENT).__aiter__()) as events:  # type: ignore[type-var]
            url = await _endpoint_event(events_at, events)
            yield _Received(events_at, events), _Posts(posts_to(url))
    finally:
        await response.aclose()


async def _endpoint_event(endpoint: Endpoint, events: AsyncIterator[httpx2.ServerSentEvent]) -> str:
    try:
        async for event in events:
            if event.event == "endpoint":
                url = urljoin(endpoint.url, event.data)
                if not same_origin(httpx2.URL(url), httpx2.URL(endpoint.url)):
                    raise ProtocolError(f"{endpoint.place} wants messages sent to another origin, which is refused.")
                return url
    except httpx2.TransportError as error:
        raise connection_failed(endpoint.place, error) from None
    except (ValueError, httpx2.InvalidURL):
        raise ProtocolError(f"{endpoint.place} wants messages sent to something that is no URL.") from None
    raise ProtocolError(f"{endpoint.place} did not say where messages go. Is this the URL of its event stream?")


class _Stream:
    async def aclose(self) -> None:
        """`listen` closes what there is to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None


class _Received(_Stream):
    """What the server says. It ends when the event stream does, for whatever reason."""

    def __init__(self, endpoint: Endpoint, events: AsyncIterator[httpx2.ServerSentEvent]) -> None:
        self._endpoint = endpoint
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            event = await anext(self._events)
            while event.event != "message" or not event.data:
                event = await anext(self._events)
        except (httpx2.TransportError, httpx2.SSEError) as error:
            logger.debug("The event stream of %s ended: %s.", self._endpoint.place, type(error).__name__)
            raise StopAsyncIteration from None
        try:
            message = parse_message(event.data.encode(), self._endpoint.place, self._endpoint.secrets())
            return SessionMessage(jsonrpc_message_adapter.validate_python(message, by_name=False))
        except (ProtocolError, ValidationError) as error:
            return error

    async def receive(self) -> SessionMessage | Exception:
        return await anext(self)


class _Posts(_Stream):
    """What we say. A request or a notification is its caller's; an answer to the server is nobody's."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def send(self, item: SessionMessage) -> None:
        message: dict[str, Any] = item.message.model_dump(by_alias=True, mode="json", exclude_unset=True)
        if isinstance(item.message, JSONRPCResponse | JSONRPCError):
            await self._endpoint.post_quietly(message, {})
            return
        stamps = item.metadata.headers if isinstance(item.metadata, ClientMessageMetadata) else None
        headers = {name.lower(): value for name, value in (stamps or {}).items()}
        try:
            response = await self._endpoint.send("POST", headers, to_json(message))
        except httpx2.TransportError as error:
            raise connection_failed(self._endpoint.place, error) from None
        await discard(response)
        if response.status_code == 404:
            raise SessionExpired
        if not response.is_success:
            raise read_trouble(self._endpoint.place, response)
