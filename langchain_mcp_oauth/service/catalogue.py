"""What servers last listed, for whom: kept in the store, and parsed once in memory for all users who were told the same.

A listing that a user got with their login is theirs alone. One that the server gave to an anonymous request it gives to anybody; whether it
is enough for somebody who is logged in, the server says (`cacheScope`, SEP-2549). A server's word that an *authorized* listing may be
shared is not taken: a mislabelled one would show one customer another's tools. Absence is never kept: somebody may be logging in right now.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from weakref import WeakKeyDictionary, WeakValueDictionary

from mcp_types import Implementation, Tool
from pydantic import ConfigDict, TypeAdapter, ValidationError

from langchain_mcp_oauth.authorizer.grant_cache import MAX_AGE
from langchain_mcp_oauth.authorizer.single_flight import SingleFlight
from langchain_mcp_oauth.connections import ListedTools
from langchain_mcp_oauth.errors import ConnectionFailed, StoreError
from langchain_mcp_oauth.models import GrantKey, Listing
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["Catalogue", "anybodys"]

MAX_SIZE = 100_000
"""Listings kept in memory, the least recently used leaving first; less than 1 KiB each. Also how many are remembered to be out of date."""

SAVED_AGAIN = timedelta(minutes=5)
"""How soon an unchanged listing without a hint is written again: only its time would be new."""

SAVED_AT_ONCE = 500
"""Listings in one transaction, at most."""

BEFORE = datetime.min.replace(tzinfo=UTC)

_TOOLS = TypeAdapter(tuple[Tool, ...], config=ConfigDict(defer_build=True))
_NOBODY = ""
"""No user has this id."""


@dataclass(frozen=True, slots=True)
class Known:
    """A listing, and what was listed."""

    listing: Listing
    listed: ListedTools


def anybodys(key: GrantKey) -> GrantKey:
    """Under what key everybody finds what the server tells anybody."""
    return replace(key, user_id=_NOBODY)


class Catalogue:
    """Usable from any thread and event loop.

    Args:
        store: Where listings are kept.
        now: The clock (aware UTC).
    """

    def __init__(self, store: TokenStore, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._now = now
        self._lock = threading.Lock()
        self._known: OrderedDict[GrantKey, tuple[datetime, Known]] = OrderedDict()
        """With the time at which the store was last asked."""
        self._outdated: dict[GrantKey, datetime] = {}
        """When servers said, to this process, that their tools had changed."""
        self._parsed: WeakValueDictionary[str, ListedTools] = WeakValueDictionary()
        self._written: WeakKeyDictionary[ListedTools, dict[str, tuple[str, str]]] = WeakKeyDictionary()
        """By URL, a listing's hash and document: what comes again is not written out again."""
        self._reading: SingleFlight[str, None] = SingleFlight()
        self._unsaved: dict[GrantKey, tuple[Listing, str]] = {}
        """On their way to the store, with their documents."""
        self._saving: SingleFlight[None, None] = SingleFlight()

    async def keep(self, key: GrantKey, listed: ListedTools, *, anonymous: bool) -> ListedTools:
        """Every listing that a server gives comes in here, whole; what is returned is what tools are made of.

        Never an error: the server has answered, and its answer is not lost because the database is away.
        """
        now = self._now()
        digest, document = self._write(key.url, listed)
        listing = Listing(anybodys(key) if anonymous else key, digest, now, now + timedelta(seconds=listed.ttl), listed.public)
        before = self._remembered(listing.key)
        if listed.page is not None and (parsed := self._parsed.get(digest)) is not None and parsed.page is None:
            del self._parsed[digest]  # it was read from the store; the one that came from the server is recognised when it comes again
        known = self._remember(listing, listed)
        if before is None or not _only_newer(before.listing, listing):
            with suppress(StoreError, ConnectionFailed):
                await self._save(listing, document)
        return known.listed

    async def current(
        self, key: GrantKey, *, is_logged_in: Callable[[], Awaitable[bool]], max_age: timedelta = timedelta()
    ) -> ListedTools | None:
        """What this user may be shown without asking the server, since what it said last is still in date, or not older than `max_age`."""
        own, shared = await self._find(key, lambda own: self._is_fresh(own, max_age))
        if own is not None and self._is_fresh(own, max_age):
            return own.listed
        if shared is None or not self._is_fresh(shared, max_age):
            return None
        return shared.listed if shared.listing.public or not await is_logged_in() else None

    async def last(self, key: GrantKey) -> ListedTools | None:
        """What the server said last, however long ago: to this user, or else to anybody."""
        own, shared = await self._find(key, lambda _: True)
        known = own or shared
        return known.listed if known is not None else None

    async def outdate(self, key: GrantKey) -> None:
        """The server has said that its tools are others now (`notifications/tools/list_changed`): it is asked next time. Never an error."""
        for one in (key, anybodys(key)):
            self.forget(one)
            self._outdated[one] = self._now()
            if len(self._outdated) > MAX_SIZE:  # of whom nobody has asked since; the store knows it too
                del self._outdated[next(iter(self._outdated))]
            with suppress(StoreError):
                await self._store.outdate_listing(one, now=self._now())

    def forget(self, key: GrantKey) -> None:
        """The store knows better: this user's login is another one now, or none."""
        with self._lock:
            self._known.pop(key, None)

    async def _find(self, key: GrantKey, suits: Callable[[Known], bool]) -> tuple[Known | None, Known | None]:
        """What this user was told, and what anybody is told. Unless the first suits, what is not in memory is looked up."""
        own, shared = self._remembered(key), self._remembered(anybodys(key))
        if own is not None and (shared is not None or suits(own)):
            return own, shared
        await self._reading.run(key.user_id, lambda: self._read({key.user_id, _NOBODY}))
        return self._remembered(key), self._remembered(anybodys(key))

    async def _read(self, user_ids: Collection[str]) -> None:
        """All of their listings at once, and those documents that are not in memory."""
        listings = await self._store.load_listings(user_ids)
        unknown = {listing.digest for listing in listings if listing.digest not in self._parsed}
        documents = await self._store.load_documents(unknown) if unknown else {}
        for listing in listings:
            listed = self._parsed.get(listing.digest) or _read(listing.key.url, documents.get(listing.digest))
            if listed is not None:
                self._remember(listing, listed)

    async def _save(self, listing: Listing, document: str) -> None:
        """Write it, together with all that came while others were being written: a crowd that arrives is a few transactions."""
        mine = self._unsaved[listing.key] = listing, document
        while self._unsaved.get(listing.key) is mine:
            await self._saving.run(None, self._save_waiting)

    async def _save_waiting(self) -> None:
        with self._lock:
            batch = dict(islice(self._unsaved.items(), SAVED_AT_ONCE))
        try:
            await self._store.save_listings(
                [listing for listing, _ in batch.values()], {listing.digest: document for listing, document in batch.values()}
            )
        finally:
            with self._lock:
                for key in [key for key, written in batch.items() if self._unsaved.get(key) is written]:
                    del self._unsaved[key]

    def _write(self, url: str, listed: ListedTools) -> tuple[str, str]:
        by_url = self._written.setdefault(listed, {})
        if url not in by_url:
            document = _write(url, listed)
            by_url[url] = hashlib.sha256(document.encode()).hexdigest(), document
        return by_url[url]

    def _remembered(self, key: GrantKey) -> Known | None:
        with self._lock:
            read_at, known = self._known.get(key, (self._now(), None))
            if known is None or self._now() - read_at > timedelta(seconds=MAX_AGE):
                return None
            self._known.move_to_end(key)
            return known

    def _remember(self, listing: Listing, listed: ListedTools) -> Known:
        with self._lock:
            if self._outdated.get(listing.key, BEFORE) < listing.listed_at:
                self._outdated.pop(listing.key, None)
            known = Known(listing, self._parsed.setdefault(listing.digest, listed))
            self._known[listing.key] = (self._now(), known)
            self._known.move_to_end(listing.key)
            if len(self._known) > MAX_SIZE:
                self._known.popitem(last=False)
        return known

    def _is_fresh(self, known: Known, max_age: timedelta) -> bool:
        listing, now = known.listing, self._now()
        is_young = listing.listed_at + max_age > now and listing.listed_at > self._outdated.get(listing.key, BEFORE)
        return is_young or listing.fresh_until > now


def _only_newer(before: Listing, listing: Listing) -> bool:
    """Nothing that another process would miss soon."""
    unhinted = before.fresh_until <= before.listed_at and listing.fresh_until <= listing.listed_at
    return unhinted and before.digest == listing.digest and listing.listed_at - before.listed_at < SAVED_AGAIN


def _write(url: str, listed: ListedTools) -> str:
    """The same for the same tools: equal bytes mean equal tools, and no other server's."""
    server_info = listed.server_info.model_dump(mode="json", by_alias=True, exclude_none=True) if listed.server_info else None
    document = {
        "url": url,
        "tools": _TOOLS.dump_python(listed.tools, mode="json", by_alias=True, exclude_none=True),
        "server_info": server_info,
        "protocol_version": listed.protocol_version,
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True)


def _read(url: str, document: str | None) -> ListedTools | None:
    """None where it is not there (any more), or not of this version's form: the server is asked again."""
    if document is None:
        return None
    try:
        found = json.loads(document)
        if found["url"] != url:
            return None
        info = Implementation.model_validate(found["server_info"]) if found["server_info"] else None
        return ListedTools(_TOOLS.validate_python(found["tools"]), info, found["protocol_version"])
    except (ValidationError, ValueError, KeyError, TypeError):
        return None
