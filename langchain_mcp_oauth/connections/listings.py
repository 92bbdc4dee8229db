"""What a server lists, and how a listing is recognised when it comes again: equal bytes mean equal tools, for whichever user.

Reading two hundred tools and validating them costs many times what receiving them does, and users of one server are mostly told the same.
So the answer to `tools/list` is hashed as it comes; one that is known is neither read nor validated again, nor kept twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from weakref import WeakValueDictionary

from mcp_types import Implementation, ListToolsResult, Tool

__all__ = ["ListedTools", "Recogniser", "Repeated"]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ListedTools:
    """What a server offers one user. All of it is the server's own word, not to be trusted."""

    tools: tuple[Tool, ...]
    server_info: Implementation | None = None
    protocol_version: str | None = None
    ttl: float = 0.0
    """Seconds for which it need not be asked again (2026-07-28, SEP-2549); 0 where it does not say."""
    public: bool = False
    """It says that others may be shown the same."""
    page: ListToolsResult | None = None
    """What the server sent, if that was one page: by it the listing is recognised when it comes again."""
    in_headers: bool = False
    """Some tool's schema wants arguments in the call's headers, too (2026-07-28, `x-mcp-header`)."""

    def says_the_same(self, other: ListedTools) -> bool:
        """Whether the same page came with the same words about the server."""
        mine, theirs = ((one.server_info, one.protocol_version) for one in (self, other))
        return self.page is other.page and mine == theirs


class Repeated(Exception):
    """The answer to `tools/list` is one that is known. Private to the session and its dispatcher."""

    def __init__(self, known: ListedTools, page: ListToolsResult) -> None:
        super().__init__("The server has listed what it listed before.")
        self.known = known
        self.page = page


_known: WeakValueDictionary[bytes, ListedTools] = WeakValueDictionary()
"""By the hash of what the server sent; as long as anybody uses it."""


class Recogniser:
    """What one session looks at its listings with."""

    def __init__(self) -> None:
        self._digest: bytes | None = None
        """Of the listing that came last."""

    def look(self, text: bytes) -> None:
        """To be called with every listing that comes, whole, before it is read. Raises `Repeated` for one that is known."""
        self._digest = sha256(text).digest()
        known = _known.get(self._digest)
        if known is not None and known.page is not None:
            raise Repeated(known, known.page)

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
