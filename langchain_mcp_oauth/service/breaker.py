"""Leaves a server alone that fails one user again and again: three failed rounds in two minutes, then 30 seconds, doubling to five minutes.

It spares whoever waits for an answer that will not come, and the server. Nothing here is a failure of the login: nobody is asked for
anything, and another user's calls to the same server go on, since what fails for one (a broken account, a quota) may work for others.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from langchain_mcp_oauth.errors import ServerPaused
from langchain_mcp_oauth.models import GrantKey

__all__ = ["Breaker", "Trouble", "after_failure"]

LIMIT = 3
WINDOW = 120.0
"""Seconds; also how long after a pause a further failure still counts as the same trouble."""

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds."""

DOUBLINGS = 4
"""So many bring the first pause to the longest; there is no need to count further."""

MAX_SIZE = 10_000
"""Users and servers in trouble at once; beyond that the oldest trouble is forgotten."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What has gone wrong lately for one user at one server. Times are monotonic seconds."""

    failures: tuple[float, ...] = ()
    """When rounds failed, the last one last."""
    pauses: int = 0
    until: float = 0.0
    """When the last pause is over."""


def after_failure(trouble: Trouble, began: float, now: float) -> Trouble:
    """The trouble after a round that began then and has failed now. Rounds that were under way at the last failure are the same one."""
    if trouble.failures and began < trouble.failures[-1]:
        return trouble
    if trouble.pauses and now - trouble.until > WINDOW:
        trouble = Trouble()
    failures = (*(time for time in trouble.failures if now - time <= WINDOW), now)[-LIMIT:]
    if not trouble.pauses and len(failures) < LIMIT:
        return Trouble(failures)
    pause = min(FIRST_PAUSE * 2**trouble.pauses, LONGEST_PAUSE)
    return Trouble(failures, min(trouble.pauses + 1, DOUBLINGS), now + pause)


class Breaker:
    """The troubles of one process, usable from any thread.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._troubles: OrderedDict[GrantKey, Trouble] = OrderedDict()

    def begin(self, key: GrantKey) -> float:
        """Begin a round; when it began, for `failed`.

        Raises:
            ServerPaused: it has failed too often lately. `retry_after` says when to come again.
        """
        with self._lock:
            trouble = self._troubles.get(key)
        now = self._clock()
        if trouble is not None and now < trouble.until:
            left = trouble.until - now
            raise ServerPaused(
                f"{key.server!r} has failed again and again and is left alone for another {left:.0f} s; try again then.", retry_after=left
            )
        return now

    def failed(self, key: GrantKey, began: float) -> None:
        """A round has failed: the server could not be reached, was not done in time, or answered 429 or 5xx."""
        with self._lock:
            self._troubles[key] = after_failure(self._troubles.get(key, Trouble()), began, self._clock())
            self._troubles.move_to_end(key)
            if len(self._troubles) > MAX_SIZE:
                self._troubles.popitem(last=False)

    def clear(self, key: GrantKey) -> None:
        """A round has succeeded, or the user has logged in or out: whatever was, is over."""
        if self._troubles:
            with self._lock:
                self._troubles.pop(key, None)
