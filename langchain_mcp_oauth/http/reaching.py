"""Whether a server answers at all, for people who look at a page: cheap, anonymous, and remembered for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import httpx2

from langchain_mcp_oauth.errors import MCPOAuthError

__all__ = ["Reach"]

DEADLINE = 2.0
"""Seconds; somebody is waiting for a page."""

REMEMBERED = 30.0
"""Seconds. A page that is reloaded, or looks for news by itself, does not ask again."""

_DOWN = frozenset({502, 503, 504})
"""What a proxy says of a server behind it. Whatever else comes, somebody has answered."""


class Reach:
    """Who answered lately.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, bool]] = {}

    async def look(self, url: str, client: httpx2.AsyncClient) -> bool:
        """Whether the server at `url` answers a HEAD request within `DEADLINE`. Never raises."""
        at, up = self._seen.get(url, (float("-inf"), False))
        if self._clock() - at < REMEMBERED:
            return up
        up = await _answers(url, client)
        self._seen[url] = (self._clock(), up)
        return up


async def _answers(url: str, client: httpx2.AsyncClient) -> bool:
    try:
        with anyio.fail_after(DEADLINE):
            async with client.stream("HEAD", url) as response:
                return response.status_code not in _DOWN
    except (TimeoutError, httpx2.HTTPError, MCPOAuthError):
        return False
