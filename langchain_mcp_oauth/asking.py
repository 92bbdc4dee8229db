"""How a call asks a person: make the attempt; when it needs somebody, everything is closed by then; ask; make it again.

The conversation is a generator of awaitables, so that the same code runs in async calls (`adrive`) and in sync ones, where awaitables go
to the library's own event loop while `interrupt()` stays on the caller's frame and thread (`drive_sync`).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, cast

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.runnables.config import ensure_config

from langchain_mcp_oauth.errors import AuthorizationDenied, CallbackError, ConfigurationError, PersonRequired
from langchain_mcp_oauth.interrupts import NO_ANSWER, GivenCredentials, Run, current_run, is_interrupt, read_answer, take_answer
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["Asking", "Conversation", "adrive", "drive_sync"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

Conversation: TypeAlias = Generator[Awaitable[Any], Any, T]

LIMIT = 3
"""How often one call asks for one server before it gives up: a person who goes on without having authorized."""

TOLD = frozenset({"type", "version", "server", "issuer", "scopes", "reason", "stage", "tool_name", "tool_call_id", "auth_id", "attempt"})
"""What LangChain's callbacks are given of a question's payload. Not the URL, which may hold a `state`."""

REMEMBERED = timedelta(days=30)
"""How long a sleeping run's questions are remembered."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Where and how a call asks.

    Attributes:
        on_auth_required: Called in the call's own frame; returns to look again (or an awaitable of that), or raises to stop.
        complete: Redeems a callback URL that came back as the answer of an earlier run of the same task.
        save: Keeps the credentials that came back so.
    """

    store: TokenStore
    on_auth_required: Callable[[PersonRequired], Awaitable[None] | None]
    complete: Callable[[str], Awaitable[object]]
    stage: Literal["list_tools", "call_tool"]
    tool_name: str | None = None
    tool_call_id: str | None = None
    limit: int = LIMIT
    save: Callable[[GivenCredentials], Awaitable[object]] | None = None

    def converse(self, attempt: Callable[[], Awaitable[T]]) -> Conversation[T]:
        """Make the attempt until it needs nobody; return its result.

        Raises:
            AuthRequired, CredentialsRequired, GraphInterrupt, …: whatever `on_auth_required` raises.
            AuthorizationDenied: the person refused, or was asked `limit` times in vain.
        """
        run = current_run()
        asked = yield from self._take_earlier_answers(run)
        while True:
            try:
                return cast("T", (yield attempt()))
            except PersonRequired as event:
                needed = event
            if asked >= self.limit:
                raise AuthorizationDenied(f"{needed.server!r} was to be authorized {asked} times and still is not. Ask again later.")
            asked += 1
            self._describe(needed, asked)
            yield from _tell_callbacks(needed)
            yield from self._ask(needed, _place(run, asked))

    def _ask(self, needed: PersonRequired, place: tuple[str, ...] | None) -> Conversation[None]:
        """Ask. If that stops the run, its place among the task's questions is stored first, for `_take_earlier_answers`."""
        try:
            outcome = self.on_auth_required(needed)
            if inspect.isawaitable(outcome):
                yield outcome
        except Exception as stop:
            if place is not None and is_interrupt(stop):
                yield self.store.count(place, now=datetime.now(UTC), window=REMEMBERED)
            raise

    def _take_earlier_answers(self, run: Run | None) -> Conversation[int]:
        """Take the answers to what earlier runs of this task asked, in their places, so that no other question gets them."""
        asked = 0
        if run is None or not run.may_have_answers:
            return asked
        while (place := _place(run, asked + 1)) and (yield self.store.counted(place, now=datetime.now(UTC))):
            answer = take_answer()
            if answer is NO_ANSWER:  # a sibling in the same task asked as well, and one answer came for all
                break
            asked += 1
            yield self._use(read_answer(answer), place)
        return asked

    async def _use(self, brought: str | GivenCredentials | None, place: tuple[str, ...]) -> None:
        """An answer is seen again in every later run of the task. That a URL was used then is no news; that values were is looked up, since
        newer ones may have come meanwhile."""
        if isinstance(brought, str):
            await self._redeem(brought)
        elif brought is not None and self.save is not None:
            used = await self.store.count(("used", *place), now=datetime.now(UTC), window=REMEMBERED)
            if used == 1:
                await self._keep(brought, self.save)

    async def _redeem(self, callback_url: str) -> None:
        """That it was used before is no news: the store decides what is true."""
        with suppress(CallbackError):
            await self.complete(callback_url)

    async def _keep(self, given: GivenCredentials, save: Callable[[GivenCredentials], Awaitable[object]]) -> None:
        """Values that cannot be kept are no values: the person is asked again, the usual number of times."""
        with suppress(ConfigurationError):
            await save(given)

    def _describe(self, needed: PersonRequired, attempt: int) -> None:
        needed.attempt, needed.stage = attempt, self.stage
        if self.tool_name is not None:
            needed.tool_name, needed.tool_call_id = self.tool_name, self.tool_call_id


def _tell_callbacks(needed: PersonRequired) -> Conversation[None]:
    """LangChain's callbacks and `astream_events` hear of it as a custom event; without what only the person may see (R39)."""
    config = ensure_config()
    if not config.get("callbacks"):
        return
    payload = {name: value for name, value in needed.payload().items() if name in TOLD}
    try:
        yield adispatch_custom_event("mcp_auth_required", payload, config=config)
    except Exception as error:  # noqa: BLE001 - who watches a call must not break it
        logger.warning("LangChain's callbacks could not be told of %s (%s).", needed.code, type(error).__name__)


def _place(run: Run | None, number: int) -> tuple[str, ...] | None:
    """The counter that says that this task's interrupt of this number was ours; None where nothing can be resumed."""
    if run is None or run.thread_id is None:
        return None
    return ("asked", run.thread_id, run.task_id, str(number))


async def adrive(conversation: Conversation[T]) -> T:
    """Run a conversation in the caller's own task."""
    resume: Callable[[], Awaitable[Any]] = partial(next, conversation)
    while True:
        try:
            awaitable = resume()
        except StopIteration as end:
            return cast("T", end.value)
        try:
            resume = partial(conversation.send, await awaitable)
        except Exception as error:  # noqa: BLE001 - the conversation decides
            resume = partial(conversation.throw, error)


def drive_sync(conversation: Conversation[T], run_sync: Callable[[Awaitable[Any]], Any]) -> T:
    """Run a conversation on the caller's thread; `run_sync` waits for an awaitable on another thread's event loop."""
    resume: Callable[[], Awaitable[Any]] = partial(next, conversation)
    while True:
        try:
            awaitable = resume()
        except StopIteration as end:
            return cast("T", end.value)
        try:
            resume = partial(conversation.send, run_sync(awaitable))
        except Exception as error:  # noqa: BLE001
            resume = partial(conversation.throw, error)
