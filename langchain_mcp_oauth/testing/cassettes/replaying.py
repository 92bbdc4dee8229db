"""Replaying: the cassette answers, and nothing else can."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, quote, urlsplit

import anyio
import httpx2
from vcr import matchers
from vcr.cassette import Cassette
from vcr.errors import UnhandledHTTPRequestError
from vcr.record_mode import RecordMode
from vcr.request import Request

from langchain_mcp_oauth.testing.cassettes.conversation import (
    Browse,
    CassetteError,
    CassetteTransport,
    Stream,
    build_response,
    parse_request,
    renumber,
)
from langchain_mcp_oauth.testing.cassettes.messages import edit_documents, is_stream, readdress_answer, request_ids, split_events
from langchain_mcp_oauth.testing.cassettes.scrubbing import MARK, Pseudonyms, scrub_request

__all__ = ["Player", "no_network"]

PATIENCE = 5.0
"""Seconds that a replayed event waits for the request that came before it in the recording."""


class Player(CassetteTransport):
    """Answers from a cassette. Every request must be a recorded one, and every recorded one must be made, once.

    Requests are equal if their method, URL, body and headers are, of those that a cassette keeps (`Authorization` and the session
    among them); JSON-RPC ids, `_meta` and `clientInfo` do not count. Equal ones are answered in the order of the recording.
    """

    recording = False

    def __init__(self, path: Path) -> None:
        super().__init__()
        if not path.is_file():
            raise FileNotFoundError(f"There is no cassette {path}; record it with `pytest --record-mcp`.")
        self._cassette = Cassette.load(path=path, record_mode=RecordMode.NONE, match_on=MATCHERS, before_record_request=_scrubbed)
        self._started = 0
        self._ids: dict[int, Any] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer it. Raises `CassetteError` if it was not recorded, or not as often."""
        answer = self._play(await parse_request(request))
        return build_response(answer, Stream(self._chunks(answer)))

    async def visit(self, authorization_url: str, browse: Browse) -> str:
        """As the base class says."""
        answer = self._play(Request("GET", authorization_url, b"", {}))
        state = parse_qs(urlsplit(authorization_url).query).get("state", [""])[0]
        callback_url: str = answer["headers"]["location"][0]
        return callback_url.replace(f"state={MARK}state", f"state={quote(state)}")

    def finish(self) -> None:
        """Raise what went wrong, and what was recorded but not asked for."""
        counts = self._cassette.play_counts
        unused = [f"{request.method} {request.uri}" for index, request in enumerate(self._cassette.requests) if not counts[index]]
        problems = self.problems + [f"Recorded, but not requested: {line}" for line in unused]
        if problems:
            raise CassetteError("\n".join([f"{self._cassette.path} was not replayed as recorded.", *problems]))

    def _play(self, live: Request) -> dict[str, Any]:
        self._started += 1
        try:
            answer: dict[str, Any] = self._cassette.play_response(live)
        except UnhandledHTTPRequestError:
            raise self.problem(_describe(self._cassette, live)) from None
        recorded = next(request for request, other in self._cassette.data if other is answer)
        self._ids.update(zip(request_ids(recorded.body), request_ids(live.body), strict=True))
        return answer

    async def _chunks(self, answer: Mapping[str, Any]) -> AsyncIterator[bytes]:
        body: bytes = answer["body"]["string"]
        chunks = split_events(body)[0] if is_stream(body) or not body else [body]
        *gates, end = answer.get("gates", [0] * (len(chunks) + 1))
        for chunk, gate in zip(chunks, gates, strict=True):
            await self._until(gate)
            yield edit_documents(chunk, lambda message: readdress_answer(message, lambda number: self._ids.get(number, number)))
        await self._until(end)

    async def _until(self, gate: float) -> None:
        """Wait until so many requests have been started."""
        with anyio.move_on_after(PATIENCE if math.isfinite(gate) else math.inf):
            while self._started < gate:  # noqa: ASYNC110 - polled, because requests may come from other event loops
                await anyio.sleep(0.005)
            return
        raise self.problem(f"A recorded event waited for request number {gate}, which did not come in {PATIENCE:g} seconds.")


def _describe(cassette: Cassette, live: Request) -> str:
    lines = [f"{live.method} {_scrubbed(live).uri} was not recorded in {cassette.path}, or has been replayed already."]
    for recorded, _, differences in cassette.find_requests_with_most_matches(live)[:1]:
        lines += [f"The closest recorded one, {recorded.method} {recorded.uri}, differs in"] if differences else []
        lines += [f"  {name}: {why}" for name, why in differences]
    return "\n".join(lines)


def _scrubbed(request: Request) -> Request:
    return scrub_request(request, Pseudonyms())


def body(live: Request, recorded: Request) -> None:
    """As vcrpy compares bodies, but for any JSON-RPC ids. Its name is how a difference is reported."""
    matchers.body(renumber(live, lambda _: None), renumber(recorded, lambda _: None))


MATCHERS = (*(getattr(matchers, part) for part in ("method", "scheme", "host", "port", "path", "query", "headers")), body)


@contextmanager
def no_network(player: Player) -> Iterator[None]:
    """Refuse every connection and look-up in this process, and note it as a problem of the replay. Unix sockets go on working."""

    def refusing(name: str) -> Callable[..., Any]:
        original = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            if self.family != getattr(socket, "AF_UNIX", None):
                raise player.problem(f"A connection to {args[-1]} was attempted; a replay has no network.")
            return original(self, *args)

        return call

    def resolve(host: object, *_args: object, **_options: object) -> None:
        raise player.problem(f"The name {host!r} was looked up; a replay has no network.")

    with ExitStack() as patches:
        for name in ("connect", "connect_ex", "sendto"):
            patches.enter_context(mock.patch.object(socket.socket, name, refusing(name)))
        patches.enter_context(mock.patch("socket.getaddrinfo", resolve))
        yield
