"""Recording: running servers answer, and what was said is written down.

vcrpy's own way of recording reads a response to its end before it hands it on, which stops a conversation over event streams for good.
Here each event is passed on as it comes, and stored with the number of requests that had been started by then: a replay shows it no
earlier, so that a question in the middle of a call, or a notification between two, comes when its cause has come.
"""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from vcr.request import Request
from vcr.serialize import serialize
from vcr.serializers import yamlserializer

from langchain_mcp_oauth.testing.cassettes.conversation import (
    Browse,
    CassetteError,
    CassetteTransport,
    Stream,
    build_response,
    parse_request,
    renumber,
)
from langchain_mcp_oauth.testing.cassettes.messages import edit_documents, has_answer, readdress_answer, request_ids, split_events
from langchain_mcp_oauth.testing.cassettes.scrubbing import HEADERS, Pseudonyms, find_secrets, scrub_request, scrub_response

__all__ = ["Recorder"]


@dataclass
class _Take:
    """One request and its answer, as they come."""

    request: Request
    answer: dict[str, Any] | None = None
    """In vcrpy's form, without the body."""
    chunks: list[bytes] = field(default_factory=list)
    """The events of a stream; otherwise the body."""
    gates: list[float] = field(default_factory=list)
    """How many requests had been started when each of the chunks came. 0: it does not matter."""
    ended: float = 0
    """The same for the end; infinite if the client did not wait for it."""


class Recorder(CassetteTransport):
    """Passes requests on to running servers and writes what was said into a cassette, replacing it.

    Re-recording the same conversation gives the same bytes. `names` maps the origin that a server is known by, to the client and in
    the cassette, to the origin where it really listens; what passes is translated. An answer keeps only the headers that a cassette
    keeps. The address checks, time and size limits of the library's own transport do not apply.
    """

    recording = True

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        super().__init__()
        self._path = path
        self._addresses = dict(names)
        self._names = {address: name for name, address in names.items()}
        self._takes: list[_Take] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass it on. Raises `httpx2.HTTPError` as any transport does; a conversation with an unanswered request is not written."""
        take = self._begin(await parse_request(request))
        async with AsyncExitStack() as stack:
            # A transport for each request, so that event loops share nothing.
            server = await stack.enter_async_context(httpx2.AsyncHTTPTransport(verify=_tls()))
            response = await server.handle_async_request(_to_server(take.request, self._addresses))
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                take.answer, take.ended = self._head(response), math.inf
                return build_response(take.answer, Stream(self._events(take, response), stack.pop_all().aclose))
            take.chunks = [_translate_bytes(await response.aread(), self._names)]
            take.answer = self._head(response)
            return build_response(take.answer, httpx2.ByteStream(take.chunks[0]))

    async def visit(self, authorization_url: str, browse: Browse) -> str:
        """As the base class says."""
        take = self._begin(Request("GET", authorization_url, b"", {}))
        callback_url = _translate(await browse(_translate(authorization_url, self._addresses)), self._names)
        take.answer = {"status": {"code": 302, "message": "Found"}, "headers": {"location": [callback_url]}}
        return callback_url

    def finish(self) -> None:
        """Write the cassette."""
        names, ids = Pseudonyms(), dict[Any, int]()
        requests, responses = [], []
        for number, take in enumerate(self._takes, start=1):
            ids.update(dict.fromkeys(request_ids(take.request.body), number))
            requests.append(scrub_request(renumber(take.request, lambda own: ids.get(own, own)), names))
            responses.append(scrub_response(self._written(number, take, ids), names))
        text = serialize({"requests": requests, "responses": responses}, yamlserializer)
        if found := find_secrets(text):
            raise CassetteError(f"{self._path} was not written, it would hold secrets: {'; '.join(found)}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(text, encoding="utf-8")

    def _begin(self, request: Request) -> _Take:
        self._takes.append(_Take(request))
        return self._takes[-1]

    def _head(self, response: httpx2.Response) -> dict[str, Any]:
        found = {name: response.headers.get_list(name) for name in HEADERS}
        return {
            "status": {"code": response.status_code, "message": response.reason_phrase},
            "headers": {name: [_translate(value, self._names) for value in values] for name, values in found.items() if values},
        }

    async def _events(self, take: _Take, response: httpx2.Response) -> AsyncIterator[bytes]:
        buffer = b""
        async for chunk in response.aiter_bytes():
            events, buffer = split_events(buffer + chunk)
            for event in events:
                take.chunks.append(_translate_bytes(event, self._names))
                take.gates.append(len(self._takes))
                yield take.chunks[-1]
        take.ended = len(self._takes)

    def _written(self, number: int, take: _Take, ids: Mapping[Any, int]) -> dict[str, Any]:
        if take.answer is None:
            raise CassetteError(f"{take.request.method} {take.request.uri} was not answered; that cannot be recorded.")
        body = edit_documents(b"".join(take.chunks), lambda message: readdress_answer(message, lambda own: ids.get(own, own)))
        gates = [gate if gate > number else 0 for gate in (*take.gates, self._end(number, take))]
        return {**take.answer, "body": {"string": body}} | ({"gates": gates} if any(gates) else {})

    def _end(self, number: int, take: _Take) -> float:
        """When the stream ends, independent of who was first to end it: the client, or the server because of what came next."""
        if not take.ended or any(map(has_answer, take.chunks)):
            return 0
        if take.request.method == "GET" and not any(_same_stream(take, later) for later in self._takes[number:]):
            return math.inf
        return take.ended


@cache
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def _same_stream(take: _Take, later: _Take) -> bool:
    place = [(each.request.method, each.request.uri, each.request.headers.get("mcp-session-id")) for each in (take, later)]
    return place[0] == place[1]


def _to_server(request: Request, addresses: Mapping[str, str]) -> httpx2.Request:
    headers = {name: _translate(value, addresses) for name, value in request.headers.items() if name not in {"host", "content-length"}}
    body = _translate_bytes(request.body, addresses)
    return httpx2.Request(request.method, _translate(request.uri, addresses), headers=headers, content=body or None)


def _translate(text: str, origins: Mapping[str, str]) -> str:
    """Replace origins, also where they are written as a value in a form or a query."""
    for old, new in origins.items():
        for write in (str, partial(quote, safe="")):
            text = re.sub(re.escape(write(old)) + r"(?!\d)", write(new), text)
    return text


def _translate_bytes(body: bytes, origins: Mapping[str, str]) -> bytes:
    return _translate(body.decode("latin-1"), origins).encode("latin-1")  # origins are ASCII; any other byte comes back as it was
