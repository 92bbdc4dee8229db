"""Grants this process has read lately, so that a call in steady state needs no database."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from langchain_mcp_oauth.models import Grant, GrantKey

__all__ = ["MAX_AGE", "GrantCache"]

MAX_AGE = 30.0
"""Seconds a process goes on with a grant it has read, if no server refuses it: the bound on using a token after a disconnect elsewhere."""

MAX_SIZE = 10_000
"""Grants kept, the least recently used leaving first; about 2 KiB each."""


class GrantCache:
    """Usable from any thread. Absence is never cached: somebody may be logging in right now."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._read: OrderedDict[GrantKey, tuple[float, Grant]] = OrderedDict()
        self.drops = 0
        """How often something was forgotten: what was read before may be out of date."""

    def get(self, key: GrantKey) -> Grant | None:
        """The grant, if it was put here no longer than `MAX_AGE` seconds ago."""
        with self._lock:
            read_at, grant = self._read.get(key, (0.0, None))
            if grant is None or self._clock() - read_at >= MAX_AGE:
                return None
            self._read.move_to_end(key)
            return grant

    def put(self, grant: Grant) -> Grant:
        """Keep the grant; returns it."""
        with self._lock:
            self._read[grant.key] = (self._clock(), grant)
            self._read.move_to_end(grant.key)
            if len(self._read) > MAX_SIZE:
                self._read.popitem(last=False)
        return grant

    def amend(self, grant: Grant) -> None:
        """Keep this instead of what is kept of the same version, no longer than that."""
        with self._lock:
            read_at, known = self._read.get(grant.key, (0.0, None))
            if known is not None and known.version == grant.version:
                self._read[grant.key] = (read_at, grant)

    def drop(self, key: GrantKey) -> None:
        """Forget it; the next look goes to the store."""
        with self._lock:
            self._read.pop(key, None)
            self.drops += 1
