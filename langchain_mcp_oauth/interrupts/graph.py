"""The LangGraph edge: `PersonRequired` becomes an `interrupt()`, and answers come back. The only module that imports `langgraph`.

LangGraph matches answers to interrupts by their order within a task and runs the task again from its start. The answer to one of our
interrupts must therefore be taken in its place also when, on the second run, the token is there and nobody has to be asked any more;
else it would be taken for the answer to the task's next question. `asking.converse` sees to that with `Run` and `take_answer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig

from langchain_mcp_oauth.errors import (
    AuthRequired,
    ConfigurationError,
    CredentialsRequired,
    PersonRequired,
    UserRequiredError,
)
from langchain_mcp_oauth.interrupts.answers import GivenCredentials, read_answer
from langchain_mcp_oauth.interrupts.payloads import InterruptFormat, native_payload, shape

if TYPE_CHECKING:
    from langgraph.types import Command

__all__ = [
    "Run",
    "ask_run",
    "auth_interrupts",
    "current_run",
    "interrupt_run",
    "is_auth_interrupt",
    "is_interrupt",
    "raise_auth_required",
    "resume_command",
    "stream_writer",
    "take_answer",
    "user_of_run",
]

NO_ANSWER = object()


@dataclass(frozen=True, slots=True)
class Run:
    """The LangGraph task that we are in. `thread_id` is None without a checkpointer: then nothing can be resumed."""

    thread_id: str | None
    task_id: str
    may_have_answers: bool
    """Whether this run was resumed with answers; false spares a look into the store."""


def current_run() -> Run | None:
    """The task of the running graph, or None outside of one (also inside a tool that a plain program calls)."""
    runtime = _runtime()
    if runtime is None or runtime.execution_info is None:
        return None
    return Run(runtime.execution_info.thread_id, runtime.execution_info.task_id, _may_have_answers())


def interrupt_run(needed: PersonRequired, *, interrupt_format: InterruptFormat = "native") -> Awaitable[None] | None:
    """Stop the graph's run until somebody resumes it; outside a graph, raise `needed`. The default of `on_auth_required`.

    Args:
        needed: What a person has to do.
        interrupt_format: See `MCPOAuthToolkit`.

    Raises:
        GraphInterrupt: to LangGraph, with `needed.payload()` in that format.
        AuthRequired, CredentialsRequired: outside a graph.
        AuthorizationDenied: the run was resumed with a refusal.
    """
    if current_run() is None:
        raise needed
    return _follow(needed, ask_run(shape(needed, interrupt_format)))


def ask_run(payload: Any) -> Any:
    """Stop the graph's run with this interrupt; the answer, if the run was resumed with one."""
    from langgraph.types import interrupt

    return interrupt(payload)


def raise_auth_required(needed: PersonRequired) -> None:
    """Raise `needed` also inside a graph, for an application that catches it itself."""
    raise needed


def take_answer() -> object:
    """The answer at this place in the task's order of interrupts, or `NO_ANSWER` if the run was not resumed with one."""
    from langgraph.errors import GraphInterrupt
    from langgraph.types import interrupt

    try:
        return interrupt(None)
    except GraphInterrupt:
        return NO_ANSWER


def stream_writer() -> Callable[[Any], None] | None:
    """What writes into the running graph's stream (`stream_mode="custom"`); None outside of one."""
    writer: Callable[[Any], None] | None = getattr(_runtime(), "stream_writer", None)
    return writer


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception is LangGraph stopping the run."""
    from langgraph.errors import GraphInterrupt

    return isinstance(error, GraphInterrupt)


def auth_interrupts(source: object) -> list[dict[str, Any]]:
    """The payloads of all open interrupts of this library, in order: `type` is `mcp_auth_required`, or `mcp_credentials_required` where a
    server is configured to need values of the user's own.

    Args:
        source: What `invoke`/`ainvoke` returned (v1 dict or v2 output), a state snapshot, a `__interrupt__` tuple, one `Interrupt`, or a
            LangGraph server's thread.
    """
    return [value for _, value in _auth_values(source)]


def resume_command(source: object, value: Any = None) -> Command[Any]:
    """The command that answers every open interrupt of this library in `source`, of however many parallel tool calls, at once.

    Args:
        source: As for `auth_interrupts`.
        value: The answer to each; by default `{"status": "authorized"}`. It carries no authority: the run goes on if, and only if, the
            login (or the values asked for) is stored by then. `{"status": "cancelled"}` gives the model a failed tool message instead.

    Raises:
        ConfigurationError: there is no open authorization interrupt in `source`.
    """
    from langgraph.types import Command

    answer = {"status": "authorized"} if value is None else value
    answers = {interrupt_id: answer for interrupt_id, _ in _auth_values(source)}
    if not answers:
        raise ConfigurationError("There is no open interrupt of this library in this result or state; nothing to resume.")
    return Command(resume=answers)


def is_auth_interrupt(value: object) -> bool:
    """Whether an interrupt, or its value, is one of ours, in whichever `interrupt_format`."""
    return native_payload(getattr(value, "value", value)) is not None


def user_of_run(config: RunnableConfig | None) -> str | None:
    """The user that the running graph, or the call's config, names; None if neither does. Never a model's or a tool's word.

    Order: `runtime.context.user_id` (attribute or key), LangGraph's authenticated user, `configurable["langgraph_auth_user"]`,
    `configurable["langgraph_auth_user_id"]`, `configurable["user_id"]`.

    Raises:
        UserRequiredError: the context names somebody else than LangGraph Server has authenticated: whoever starts a run there writes its
            context. (LangGraph Studio's own user is a developer, who may be anybody.)
    """
    runtime, configurable = _runtime(), (config or {}).get("configurable", {})
    stated = _field(getattr(runtime, "context", None), "user_id")
    authenticated = [user for user in _authenticated_users(runtime, configurable) if user]
    if stated and not _is_developer(runtime, configurable) and any(str(user) != str(stated) for user in authenticated):
        raise UserRequiredError(
            "The run's context names another user than the one that LangGraph Server has authenticated, so nobody's account is used. "
            "Leave `user_id` out of the context, or authenticate the user whose accounts the run is to use."
        )
    return next((str(user) for user in (stated, *authenticated, configurable.get("user_id")) if user), None)


def _authenticated_users(runtime: Any, configurable: Mapping[str, Any]) -> Iterable[object]:
    yield _field(getattr(getattr(runtime, "server_info", None), "user", None), "identity")
    yield _field(configurable.get("langgraph_auth_user"), "identity")
    yield configurable.get("langgraph_auth_user_id")


def _is_developer(runtime: Any, configurable: Mapping[str, Any]) -> bool:
    users = (getattr(getattr(runtime, "server_info", None), "user", None), configurable.get("langgraph_auth_user"))
    return any("StudioUser" in {type(user).__name__, _field(user, "kind")} for user in users)


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _runtime() -> Any:
    try:
        from langgraph.runtime import get_runtime

        return get_runtime()
    except (ImportError, KeyError, RuntimeError):  # not installed; no graph; no runnable at all
        return None


def _may_have_answers() -> bool:
    """LangGraph has no public sign of a resumed task. Where its private one is missing, say yes: that costs a look, nothing else."""
    from langgraph.config import get_config

    scratchpad: Any = get_config().get("configurable", {}).get("__pregel_scratchpad")
    try:
        return bool(scratchpad.resume) or scratchpad.get_null_resume(False) is not None  # noqa: FBT003 - its own signature
    except AttributeError:
        return True


def _follow(needed: PersonRequired, answer: object) -> Awaitable[None] | None:
    brought = read_answer(answer)
    for one in needed.requests or (needed,):
        if isinstance(one, AuthRequired) and isinstance(brought, str):
            return one.complete(brought)
        if isinstance(one, CredentialsRequired) and isinstance(brought, GivenCredentials) and brought.server in {None, one.server}:
            return one.save(brought.values)
    return None


def _auth_values(source: object) -> Iterable[tuple[str, dict[str, Any]]]:
    seen = set()
    for found in _interrupts(source):
        interrupt_id, value = _field(found, "id"), _field(found, "value")
        payload = native_payload(value)
        if payload is not None and interrupt_id not in seen:
            seen.add(interrupt_id)
            yield str(interrupt_id), payload


def _interrupts(source: Any) -> Iterable[object]:
    """Whatever LangGraph shows interrupts in, flattened."""
    if isinstance(source, Mapping):
        if "value" in source and "id" in source:
            return [source]
        found = source.get("__interrupt__", source.get("interrupts", ()))
        return [one for part in (found.values() if isinstance(found, Mapping) else [found]) for one in _as_list(part)]
    if isinstance(source, (list, tuple)) and not hasattr(source, "interrupts"):
        return [one for part in source for one in _interrupts(part)]
    if hasattr(source, "interrupts"):
        return list(source.interrupts)
    return [source] if hasattr(source, "value") and hasattr(source, "id") else []


def _as_list(value: Any) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
