"""The rules of OAuth 2.1 for MCP clients: no sockets, no clock, no database, no LangChain.

A conversation with another server is a generator (`Flow`): it yields a request, is sent the response, and returns a result. `http.drive`
does the IO; a test does it by hand.
"""

from collections.abc import Awaitable, Generator
from typing import Protocol, TypeAlias, TypeVar

import httpx2

T = TypeVar("T")

Flow: TypeAlias = Generator[httpx2.Request, httpx2.Response, T]
"""`response = yield request`. The response's body has been read whole; redirects have not been followed."""


class Drive(Protocol):
    """Does the IO of one conversation, within a deadline; see `http.drive`."""

    def __call__(self, flow: Flow[T], /) -> Awaitable[T]: ...


__all__ = ["Drive", "Flow"]
