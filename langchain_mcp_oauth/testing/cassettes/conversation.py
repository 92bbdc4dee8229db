"""What recording and replaying have in common: a transport that answers, and vcrpy's form of requests and answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import httpx2
from vcr.request import Request

from langchain_mcp_oauth.testing.cassettes.messages import edit_documents, readdress_request

__all__ = ["Browse", "CassetteError", "CassetteTransport", "Stream", "build_response", "parse_request", "renumber"]

Browse: TypeAlias = Callable[[str], Awaitable[str]]
"""Opens an authorization URL, and returns the callback URL that the browser is sent to: `Person("ada").aapprove`."""


class CassetteError(AssertionError):
    """The conversation is not the recorded one, or could not be recorded."""


class CassetteTransport(httpx2.AsyncBaseTransport, ABC):
    """A conversation. `use_cassette` puts it under the library's clients; others take it as `httpx2.AsyncClient(transport=...)`.

    Attributes:
        recording: Whether real servers answer.
        problems: What went wrong so far; shown with whatever the test fails with.
    """

    recording: bool

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, text: str) -> CassetteError:
        """Note it and return it as an error to raise: the code in between may swallow the error, but not the note."""
        self.problems.append(text)
        return CassetteError(text)

    @abstractmethod
    async def visit(self, authorization_url: str, browse: Browse) -> str:
        """Let a person answer, when recording; return the callback URL. What the person's browser does is not recorded, only where
        it ends; a replay calls nobody, and answers with the `state` of its own request."""

    @abstractmethod
    def finish(self) -> None:
        """Everything was said. Raises `CassetteError` if it was not as it should be."""


class Stream(httpx2.AsyncByteStream):
    """The body of an answer: chunks as they come, and what to do when the client closes it."""

    def __init__(self, chunks: AsyncIterator[bytes], close: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint) -> None:
        self._chunks = chunks
        self._close = close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        """Also when the client was cancelled."""
        with anyio.CancelScope(shield=True):
            await self._close()


async def parse_request(request: httpx2.Request) -> Request:
    """The request in vcrpy's form, with its whole body."""
    return Request(request.method, str(request.url), await request.aread(), dict(request.headers))


def build_response(answer: Mapping[str, Any], stream: httpx2.AsyncByteStream) -> httpx2.Response:
    """An answer in vcrpy's form, without its body, as a response with this one."""
    headers = [(name, value) for name, values in answer["headers"].items() for value in values]
    return httpx2.Response(answer["status"]["code"], headers=headers, stream=stream)


def renumber(request: Request, rename: Callable[[Any], Any]) -> Request:
    """The request with `rename(id)` for every JSON-RPC id that is the client's own."""
    body = edit_documents(request.body, lambda message: readdress_request(message, rename))
    return Request(request.method, request.uri, body, request.headers)
