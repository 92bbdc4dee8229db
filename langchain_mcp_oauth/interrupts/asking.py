"""How a call asks a person: make the attempt; when it needs somebody, everything is closed by then; ask; make it again.

The conversation is a generator of awaitables, so that the same code runs in async calls (`adrive`) and in sync ones, where awaitables go
to the library's own event loop while `interrupt()` stays on the caller's frame and thread (`drive_sync`).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.runnables.config import ensure_config

from langchain_mcp_oauth.errors import AuthorizationDenied, CallbackError, ConfigurationError, PersonRequired
from langchain_mcp_oauth.interrupts.answers import GivenCredentials, read_answer
from langchain_mcp_oauth.interrupts.eliciting import Responses, fingerprint_of, read_responses
from langchain_mcp_oauth.interrupts.graph import NO_ANSWER, Run, ask_run, current_run, is_interrupt, take_answer
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["Asking", "Conversation", "adrive", "drive_sync"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

OnElicitation: TypeAlias = Callable[[dict[str, Any]], Any]
"""Takes a server's questions, in the shape of the interrupt's payload; returns, or awaits, the answers."""

Conversation: TypeAlias = Generator[Awaitable[Any], Any, T]

LIMIT = 3
"""How often one call asks for one server before it gives up: a person who goes on without having authorized."""

LOGIN, QUESTION = "asked", "elicited"
"""What a place in a task's order of interrupts was for."""
TOLD = frozenset({"type", "version", "server", "issuer", "scopes", "reason", "stage", "tool_name", "tool_call_id", "auth_id", "attempt"})
"""What LangChain's callbacks are given of a question's payload. Not the URL, which may hold a `state`."""

REMEMBERED = timedelta(days=30)
"""How long a sleeping run's questions are remembered."""


@dataclass(slots=True)
class Asking:
    """Where and how one call asks, and what has become of it so far.

    Attributes:
        on_auth_required: Called in the call's own frame; returns to look again (or an awaitable of that), or raises to stop.
        complete: Redeems a callback URL that came back as the answer of an earlier run of the same task.
        save: Keeps the credentials that came back so.
        on_elicitation: Answers a server's questions, in the place of an interrupt.
    """

    store: TokenStore
    on_auth_required: Callable[[PersonRequired], Awaitable[None] | None]
    complete: Callable[[str], Awaitable[object]]
    stage: str
    tool_name: str | None = None
    tool_call_id: str | None = None
    limit: int = LIMIT
    save: Callable[[GivenCredentials], Awaitable[object]] | None = None
    on_elicitation: OnElicitation | None = None

    _begun: bool = field(init=False, default=False)
    _places: int = field(init=False, default=0)
    """How many of this task's interrupts were ours."""
    _asked: int = field(init=False, default=0)
    """How many of those were for a login, or for credentials."""
    _answers: list[tuple[int, object]] = field(init=False, default_factory=list)
    """The others' answers, with their places: to a server's questions, which it has yet to ask again."""

    def converse(self, attempt: Callable[[], Awaitable[T]]) -> Conversation[T]:
        """Make the attempt until it needs nobody; return its result.

        Raises:
            AuthRequired, CredentialsRequired, GraphInterrupt, …: whatever `on_auth_required` raises.
            AuthorizationDenied: the person refused, or was asked `limit` times in vain.
        """
        run = current_run()
        yield from self._take_earlier_answers(run)
        while True:
            try:
                return cast("T", (yield attempt()))
            except PersonRequired as event:
                needed = event
            if self._asked >= self.limit:
                raise AuthorizationDenied(f"{needed.server!r} was to be authorized {self._asked} times and still is not. Ask again later.")
            self._asked += 1
            self._describe(needed, self._asked)
            yield from _tell_callbacks(needed)
            yield from self._ask(partial(self.on_auth_required, needed), _place(run, self._places + 1, LOGIN))

    def elicit(self, questions: Mapping[str, Any]) -> Conversation[Responses | None]:
        """Ask a person what a server asks, and wait for an answer that is one; None if there was none after a few times.

        Args:
            questions: From `eliciting.to_payload`.

        Raises:
            GraphInterrupt: in a graph, until it is resumed.
        """
        for _ in range(LIMIT):
            responses = read_responses(questions, (yield from self._answer_to(questions)))
            if responses is not None:
                return responses
        return None

    def _answer_to(self, questions: Mapping[str, Any]) -> Conversation[object]:
        """The answer that came to this very question in an earlier run of the task, else to the interrupt that asks it now."""
        run, fingerprint = current_run(), fingerprint_of(questions)
        for index, (number, answer) in enumerate(self._answers):
            place = _place(run, number, fingerprint)
            if place is not None and (yield self.store.counted(place, now=datetime.now(UTC))):
                del self._answers[index]
                return answer
        places = (_place(run, self._places + 1, what) for what in (QUESTION, fingerprint))
        return (yield from self._ask(partial(self.on_elicitation or ask_run, dict(questions)), *places))

    def _ask(self, ask: Callable[[], Any], *places: tuple[str, ...] | None) -> Conversation[Any]:
        """Ask. If that stops the run, its place among the task's questions is stored first, for `_take_earlier_answers`."""
        try:
            outcome = ask()
            answer = (yield outcome) if inspect.isawaitable(outcome) else outcome
            self._places += 1
            return answer
        except Exception as stop:
            for place in places if is_interrupt(stop) else ():
                if place is not None:
                    yield self.store.count(place, now=datetime.now(UTC), window=REMEMBERED)
            raise

    def _take_earlier_answers(self, run: Run | None) -> Conversation[None]:
        """Take the answers to what earlier runs of this task asked, in their places, so that no other question gets them."""
        if self._begun or run is None or not run.may_have_answers:
            return
        self._begun = True
        while kind := (yield from self._kind_of(run, self._places + 1)):
            answer = take_answer()
            if answer is NO_ANSWER:  # a sibling in the same task asked as well, and one answer came for all
                break
            self._places += 1
            if kind == LOGIN:
                self._asked += 1
                yield self._use(read_answer(answer), (LOGIN, str(run.thread_id), run.task_id, str(self._places)))
            else:
                self._answers.append((self._places, answer))

    def _kind_of(self, run: Run, number: int) -> Conversation[str | None]:
        """What earlier runs of the task asked at this place."""
        for kind in (LOGIN, QUESTION):
            place = _place(run, number, kind)
            if place is not None and (yield self.store.counted(place, now=datetime.now(UTC))):
                return kind
        return None

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


def _place(run: Run | None, number: int, what: str) -> tuple[str, ...] | None:
    """The counter that says what this task's interrupt of this number asked; None where nothing can be resumed."""
    if run is None or run.thread_id is None:
        return None
    return (what, run.thread_id, run.task_id, str(number))


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
