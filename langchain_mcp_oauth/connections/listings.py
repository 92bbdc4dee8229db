"""What a server lists, and how a listing is recognised when it comes again: equal bytes mean equal tools, for whichever user.

Validating two hundred tools costs many times what reading them does, and users of one server are mostly told the same. So the answer to
`tools/list` is hashed as it comes; one that is known is neither validated again nor kept twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

from mcp.shared.dispatcher import CallOptions, Dispatcher
from mcp.types import Implementation, ListToolsResult, Tool
from pydantic_core import to_json

__all__ = ["ListedTools", "RecognisingDispatcher", "Repeated"]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ListedTools:
    """What a server offers one user. All of it is the server's own word, not to be trusted."""

    tools: tuple[Tool, ...]
    server_info: Implementation | None = None
    instructions: str | None = None
    protocol_version: str | None = None
    ttl: float = 0.0
    """Seconds for which it need not be asked again (2026-07-28, SEP-2549); 0 where it does not say."""
    public: bool = False
    """It says that others may be shown the same."""
    page: ListToolsResult | None = None
    """What the server sent, if that was one page: by it the listing is recognised when it comes again."""

    def says_the_same(self, other: ListedTools) -> bool:
        """Whether the same page came with the same words about the server."""
        mine, theirs = ((one.server_info, one.instructions, one.protocol_version) for one in (self, other))
        return self.page is other.page and mine == theirs


class Repeated(Exception):
    """The answer to `tools/list` is one that is known. Private to `Session`."""

    def __init__(self, page: ListToolsResult) -> None:
        super().__init__("The server has listed what it listed before.")
        self.page = page


_known: WeakValueDictionary[bytes, ListedTools] = WeakValueDictionary()
"""By the hash of what the server sent; as long as anybody uses it."""


class RecognisingDispatcher:
    """A session's dispatcher, which raises `Repeated` for a listing that is known."""

    def __init__(self, dispatcher: Dispatcher[Any]) -> None:
        self._dispatcher = dispatcher
        self._digest: bytes | None = None
        """Of the listing that came last."""
        self.run = dispatcher.run
        self.notify = dispatcher.notify

    async def send_raw_request(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> dict[str, Any]:
        """As the dispatcher's. Raises `Repeated`."""
        result = await self._dispatcher.send_raw_request(method, params, opts)
        if method == "tools/list":
            self._digest = sha256(to_json(result)).digest()
            known = _known.get(self._digest)
            if known is not None and known.page is not None:
                raise Repeated(known.page)
        return result

    def recognise(self, listed: ListedTools) -> ListedTools:
        """The listing that is known to be the same, or this one, which is known from now on.

        To be called when its page has just come, before anything is awaited.
        """
        if listed.page is None or self._digest is None:
            return listed
        known = _known.get(self._digest)
        if known is not None and known.says_the_same(listed):
            return known
        _known[self._digest] = listed
        return listed
