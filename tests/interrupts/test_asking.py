"""How a call asks a person, in and outside LangGraph, proved with real graphs and a stand-in for the login only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from langchain_mcp_oauth.errors import AuthorizationDenied, AuthRequired, ConfigurationError, CredentialsRequired, UserRequiredError
from langchain_mcp_oauth.interrupts import graph
from langchain_mcp_oauth.interrupts.answers import read_answer
from langchain_mcp_oauth.interrupts.asking import Asking, adrive, drive_sync
from langchain_mcp_oauth.interrupts.graph import (
    GivenCredentials,
    auth_interrupts,
    interrupt_run,
    is_auth_interrupt,
    raise_auth_required,
    resume_command,
    user_of_run,
)
from langchain_mcp_oauth.service.loops import run_sync
from langchain_mcp_oauth.store.sqlmodel import SQLModelTokenStore

pytestmark = pytest.mark.anyio


class Login:
    """A login that is there or not, and the events that its absence makes."""

    def __init__(self) -> None:
        self.there = False
        self.attempts = 0
        self.completed: list[str] = []

    async def attempt(self) -> str:
        self.attempts += 1
        if not self.there:
            raise event(self.complete)
        return "done"

    async def complete(self, callback_url: str) -> None:
        self.completed.append(callback_url)
        self.there = True


def event(complete: Callable[[str], Awaitable[None]] | None = None) -> AuthRequired:
    return AuthRequired(
        authorization_url="https://as.example/authorize?state=s",
        server="demo",
        resource="https://mcp.example/mcp",
        issuer="https://as.example",
        scopes=("read",),
        reason="login",
        auth_id="a1",
        expires_at=datetime.now(UTC) + timedelta(minutes=10),
        complete=complete,
    )


class State(TypedDict, total=False):
    out: list[Any]


@pytest.fixture
def login() -> Login:
    return Login()


@pytest.fixture
def store() -> Iterator[SQLModelTokenStore]:
    opened = SQLModelTokenStore("sqlite://")
    yield opened
    run_sync(opened.aclose())


class Anew:
    """A call's way of asking is made anew for each call, and in each run of a node."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def converse(self, attempt: Callable[[], Awaitable[Any]]) -> Any:
        return replace(self._asking).converse(attempt)


@pytest.fixture
def asking(login: Login, store: SQLModelTokenStore) -> Anew:
    return Anew(Asking(store, interrupt_run, login.complete, "call_tool", "demo__tool", "call-1"))


def graph_of(node: Callable[..., Any]) -> Any:
    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile(checkpointer=InMemorySaver())


CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}


async def test_outside_a_graph_the_event_is_raised(asking: Anew, login: Login) -> None:
    """`AuthRequired` itself, not `KeyError` or an exception group."""
    with pytest.raises(AuthRequired) as raised:
        await adrive(asking.converse(login.attempt))
    assert (raised.value.attempt, raised.value.stage, raised.value.tool_name, raised.value.tool_call_id) == (
        1,
        "call_tool",
        "demo__tool",
        "call-1",
    )


async def test_in_a_graph_the_run_stops_and_goes_on(asking: Anew, login: Login) -> None:
    """Interrupt with the flat payload; after the login any answer wakes the run, and the attempt is made once more."""

    async def node(state: State) -> State:
        return {"out": [await adrive(asking.converse(login.attempt))]}

    graph = graph_of(node)
    stopped = await graph.ainvoke({}, CONFIG)
    [payload] = auth_interrupts(stopped)
    assert payload["type"] == "mcp_auth_required"
    assert {type(value) for value in payload.values()} <= {str, int, list}
    login.there = True
    assert (await graph.ainvoke(resume_command(stopped), CONFIG))["out"] == ["done"]
    assert login.attempts == 2


async def test_a_run_goes_on_without_an_answer_when_the_login_came(asking: Anew, login: Login) -> None:
    """`ainvoke(None)` is enough: the store is the truth, an answer is only a wake-up."""

    async def node(state: State) -> State:
        return {"out": [await adrive(asking.converse(login.attempt))]}

    graph = graph_of(node)
    await graph.ainvoke({}, CONFIG)
    login.there = True
    assert (await graph.ainvoke(None, CONFIG))["out"] == ["done"]


@pytest.mark.parametrize("value", [True, False, "", "done", 0, [], {"status": "authorized"}, {"anything": "else"}], ids=repr)
async def test_whatever_wakes_a_run_lets_it_go_on(asking: Anew, login: Login, value: Any) -> None:
    """As LangGraph delivers it, also what is false: the login decides."""

    async def node(state: State) -> State:
        return {"out": [await adrive(asking.converse(login.attempt))]}

    graph = graph_of(node)
    await graph.ainvoke({}, CONFIG)
    login.there = True
    assert (await graph.ainvoke(Command(resume=value), CONFIG))["out"] == ["done"]


async def test_an_empty_answer_answers_nothing(asking: Anew, login: Login) -> None:
    """LangGraph takes `{}` for answers by id, of which there are none: the question stays as it was."""

    async def node(state: State) -> State:
        return {"out": [await adrive(asking.converse(login.attempt))]}

    graph = graph_of(node)
    stopped = await graph.ainvoke({}, CONFIG)
    again = await graph.ainvoke(Command(resume={}), CONFIG)
    assert [found["attempt"] for found in auth_interrupts(again)] == [1]
    assert again["__interrupt__"][0].id == stopped["__interrupt__"][0].id


async def test_resuming_too_early_asks_again_and_in_the_end_gives_up(asking: Anew, login: Login) -> None:
    """Attempts 1, 2, 3, each its own interrupt; the fourth time the call ends with an error it can show the model."""

    async def node(state: State) -> State:
        try:
            return {"out": [await adrive(asking.converse(login.attempt))]}
        except AuthorizationDenied as denied:
            return {"out": [str(denied)]}

    graph = graph_of(node)
    result = await graph.ainvoke({}, CONFIG)
    seen = []
    for _ in range(3):
        [payload] = auth_interrupts(result)
        seen.append((payload["attempt"], result["__interrupt__"][0].id))
        result = await graph.ainvoke(Command(resume=True), CONFIG)
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert len({interrupt_id for _, interrupt_id in seen}) == 3
    assert "3 times" in result["out"][0]


@pytest.mark.parametrize("woken_by", [Command(resume=True), None], ids=["an answer", "nothing"])
async def test_no_other_question_gets_the_answer(asking: Anew, login: Login, woken_by: Any) -> None:
    """A question after the login is really asked, whatever woke the run: LangGraph matches answers by their order alone."""

    async def node(state: State) -> State:
        await adrive(asking.converse(login.attempt))
        return {"out": [interrupt("Delete everything?")]}

    graph = graph_of(node)
    await graph.ainvoke({}, CONFIG)
    login.there = True
    asked = await graph.ainvoke(woken_by, CONFIG)
    assert [one.value for one in asked["__interrupt__"]] == ["Delete everything?"]
    if woken_by is not None:
        assert (await graph.ainvoke(Command(resume="no"), CONFIG))["out"] == ["no"]


async def test_a_way_to_ask_that_does_not_stop_the_run_takes_no_answer(login: Login, store: SQLModelTokenStore) -> None:
    """A login that was waited for on the spot is no question of the graph's: the next question's answer is its own."""

    async def browser(needed: AuthRequired) -> None:
        await needed.complete("https://app.example/cb?code=c&state=s")

    asking = Anew(Asking(store, browser, login.complete, "call_tool"))

    async def node(state: State) -> State:
        await adrive(asking.converse(login.attempt))
        return {"out": [interrupt("Really?")]}

    graph = graph_of(node)
    await graph.ainvoke({}, CONFIG)
    assert (await graph.ainvoke(Command(resume="yes"), CONFIG))["out"] == ["yes"]


async def test_the_answers_places_survive_the_process(tmp_path: Any, login: Login) -> None:
    """Another process, with only the database in common, takes the answer in its place too."""

    opened: list[SQLModelTokenStore] = []

    def asking() -> Asking:
        opened.append(SQLModelTokenStore(f"sqlite:///{tmp_path}/t.db", encryption_key="A" * 43 + "="))
        return Asking(opened[-1], interrupt_run, login.complete, "call_tool")

    async def node(state: State) -> State:
        await adrive(asking().converse(login.attempt))
        return {"out": [interrupt("Really?")]}

    graph = graph_of(node)
    stopped = await graph.ainvoke({}, CONFIG)
    login.there = True
    asked = await graph.ainvoke(resume_command(stopped), CONFIG)
    assert [one.value for one in asked["__interrupt__"]] == ["Really?"]
    for store in opened:
        await store.aclose()


async def test_a_pasted_callback_url_is_redeemed(asking: Anew, login: Login) -> None:
    """The answer may bring the callback URL, as from a notebook or chat."""

    async def node(state: State) -> State:
        return {"out": [await adrive(asking.converse(login.attempt))]}

    graph = graph_of(node)
    await graph.ainvoke({}, CONFIG)
    url = "https://app.example/cb?code=c&state=s"
    assert (await graph.ainvoke(Command(resume=url), CONFIG))["out"] == ["done"]
    assert login.completed == [url]


async def test_a_refusal_ends_the_call(asking: Anew, login: Login) -> None:
    """A cancelled interrupt becomes `AuthorizationDenied`, which a tool shows the model."""

    async def node(state: State) -> State:
        with pytest.raises(AuthorizationDenied):
            await adrive(asking.converse(login.attempt))
        return {"out": ["refused"]}

    graph = graph_of(node)
    await graph.ainvoke({}, CONFIG)
    assert (await graph.ainvoke(Command(resume={"status": "cancelled"}), CONFIG))["out"] == ["refused"]
    assert login.attempts == 1


def test_a_sync_graph_asks_the_same(asking: Anew, login: Login) -> None:
    """`invoke` in a thread without an event loop: the same conversation, the awaitables on the library's own loop."""

    def node(state: State) -> State:
        return {"out": [drive_sync(asking.converse(login.attempt), run_sync)]}

    graph = graph_of(node)
    stopped = graph.invoke({}, CONFIG)
    assert len(auth_interrupts(stopped)) == 1
    login.there = True
    assert graph.invoke(resume_command(stopped), CONFIG)["out"] == ["done"]


async def test_a_way_to_ask_that_returns_is_looked_at_again(login: Login, store: SQLModelTokenStore) -> None:
    """`on_auth_required` may wait for the login itself, as a browser on loopback does."""

    async def browser(needed: AuthRequired) -> None:
        await needed.complete("https://app.example/cb?code=c&state=s")

    asking = Asking(store, browser, login.complete, "call_tool")
    assert await adrive(asking.converse(login.attempt)) == "done"
    assert login.attempts == 2


async def test_a_way_to_ask_that_never_helps_is_bounded(login: Login, store: SQLModelTokenStore) -> None:
    """Three times, then an error."""
    asking = Asking(store, lambda needed: None, login.complete, "call_tool")
    with pytest.raises(AuthorizationDenied, match="3 times"):
        await adrive(asking.converse(login.attempt))


async def test_an_application_can_have_the_exception_inside_a_graph(login: Login, store: SQLModelTokenStore) -> None:
    """`raise_auth_required` does not interrupt."""
    asking = Asking(store, raise_auth_required, login.complete, "call_tool")

    async def node(state: State) -> State:
        with pytest.raises(AuthRequired):
            await adrive(asking.converse(login.attempt))
        return {"out": ["caught"]}

    assert (await graph_of(node).ainvoke({}, CONFIG))["out"] == ["caught"]


async def test_interrupts_are_found_wherever_langgraph_shows_them(asking: Anew, login: Login) -> None:
    """Results of both versions, state snapshots, stream parts and single interrupts."""

    async def node(state: State) -> State:
        return {"out": [await adrive(asking.converse(login.attempt))]}

    graph = graph_of(node)
    shown: list[Any] = [await graph.ainvoke({}, CONFIG), await graph.aget_state(CONFIG)]
    shown.append(await graph.ainvoke(None, CONFIG, version="v2"))
    shown.extend([shown[0]["__interrupt__"], shown[0]["__interrupt__"][0], [part async for part in graph.astream(None, CONFIG)]])
    shown.append({"interrupts": {"task": [{"id": i.id, "value": i.value} for i in shown[0]["__interrupt__"]]}, "status": "interrupted"})
    for source in shown:
        assert [found["auth_id"] for found in auth_interrupts(source)] == ["a1"], source
        assert isinstance(resume_command(source), Command)
    assert is_auth_interrupt(shown[0]["__interrupt__"][0])


@pytest.mark.parametrize("source", [{}, {"__interrupt__": []}, None, {"interrupts": {}}, [], "text"])
def test_nothing_to_resume_is_said(source: Any) -> None:
    """An empty command would be taken as a new input."""
    assert auth_interrupts(source) == []
    with pytest.raises(ConfigurationError, match="nothing to resume"):
        resume_command(source)


@pytest.mark.parametrize(
    "answer", [True, False, "", "ok", {}, {"status": "authorized"}, {"decisions": [{"type": "approve"}]}, [{"type": "accept"}], 1]
)
def test_an_answer_of_any_shape_is_a_wake_up(answer: Any) -> None:
    """Nothing in it gives authority; whether the login is there decides."""
    assert read_answer(answer) is None


@pytest.mark.parametrize(
    "answer",
    [{"status": "cancelled"}, {"action": "decline"}, {"action": "cancel"}, {"decisions": [{"type": "reject"}]}, [{"type": "ignore"}]],
)
def test_refusals_of_every_shape_are_understood(answer: Any) -> None:
    """This library's, MCP elicitation's, the human-in-the-loop middleware's and Agent Inbox's."""
    with pytest.raises(AuthorizationDenied):
        read_answer(answer)


@pytest.mark.parametrize(
    "answer", ["https://a.example/cb?code=c&state=s", " /cb?error=access_denied&state=s\n", {"callback_url": "https://x/?code=c&state=s"}]
)
def test_a_callback_url_is_recognised(answer: Any) -> None:
    """A URL with `state` and something else, alone or under `callback_url`."""
    assert "state=s" in str(read_answer(answer))


class User:
    identity = "server-user"


@pytest.mark.parametrize(
    ("configurable", "user"),
    [
        ({"langgraph_auth_user": {"identity": "u1"}, "user_id": "u2"}, "u1"),
        ({"langgraph_auth_user": User(), "user_id": "u2"}, "server-user"),
        ({"langgraph_auth_user_id": "u3"}, "u3"),
        ({"user_id": "u2"}, "u2"),
        ({}, None),
    ],
)
def test_the_run_says_who_it_is(configurable: dict[str, Any], user: str | None) -> None:
    """The authenticated user before what the caller wrote; nobody is nobody."""
    assert user_of_run({"configurable": configurable}) == user


async def test_the_runs_context_says_it_first() -> None:
    """`context=` of the run, as an object or a dict."""

    class Context(TypedDict):
        user_id: str

    async def node(state: State, config: RunnableConfig) -> State:
        return {"out": [user_of_run(config)]}

    graph = StateGraph(State, context_schema=Context)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    result = await graph.compile().ainvoke({}, {"configurable": {"user_id": "other"}}, context={"user_id": "alice"})
    assert result["out"] == ["alice"]


class StudioUser(User):
    pass


@pytest.mark.parametrize(
    ("configurable", "context", "user"),
    [
        ({"langgraph_auth_user": User()}, {}, "server-user"),
        ({"langgraph_auth_user": User()}, {"user_id": "server-user"}, "server-user"),
        ({"langgraph_auth_user": User()}, {"user_id": "victim"}, None),
        ({"langgraph_auth_user": {"identity": "server-user"}}, {"user_id": "victim"}, None),
        ({"langgraph_auth_user_id": "server-user"}, {"user_id": "victim"}, None),
        ({"langgraph_auth_user": StudioUser()}, {"user_id": "anybody"}, "anybody"),
        ({"langgraph_auth_user": StudioUser()}, {}, "server-user"),
    ],
)
def test_a_run_cannot_name_another_than_was_authenticated(
    configurable: dict[str, Any], context: dict[str, Any], user: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On LangGraph Server whoever starts a run writes its context; only a developer in Studio may say whose accounts to use."""
    monkeypatch.setattr(graph, "_runtime", lambda: SimpleNamespace(context=context, server_info=None))
    if user is not None:
        assert user_of_run({"configurable": configurable}) == user
        return
    with pytest.raises(UserRequiredError):
        user_of_run({"configurable": configurable})


def needs_key(**options: Any) -> CredentialsRequired:
    return CredentialsRequired(server="demo", names=("KEY", "REGION"), descriptions=("from your settings", ""), reason="missing", **options)


def test_credentials_are_asked_for_by_the_same_mechanism() -> None:
    """One flat payload that names the server and what is missing; it is found and answered like that of a login."""
    payload = needs_key().payload()
    assert payload["type"] == "mcp_credentials_required"
    assert (payload["server"], payload["names"], payload["descriptions"]) == ("demo", ["KEY", "REGION"], ["from your settings", ""])
    assert {type(value) for value in payload.values()} <= {str, int, list, type(None)}
    assert "KEY (from your settings); REGION" in payload["message"]
    assert is_auth_interrupt(payload)
    assert auth_interrupts({"value": payload, "id": "1"}) == [payload]


@pytest.mark.parametrize(
    ("answer", "server"), [({"credentials": {"KEY": "k"}}, None), ({"credentials": {"KEY": "k"}, "server": "other"}, "other")]
)
def test_an_answer_may_bring_credentials(answer: object, server: str | None) -> None:
    """And say whose they are, where several servers were asked for."""
    assert read_answer(answer) == GivenCredentials({"KEY": "k"}, server)
    assert "'k'" not in repr(read_answer(answer))


async def test_credentials_in_an_answer_are_kept_once(store: SQLModelTokenStore) -> None:
    """The task runs again for its next question and sees the answer again, but newer values may have come meanwhile. What cannot be kept
    is asked for again."""
    kept: list[GivenCredentials] = []

    async def attempt() -> str:
        if not kept:
            raise needs_key()
        return "done"

    async def save(given: GivenCredentials) -> None:
        if given.values["KEY"] == "bad\n":
            raise ConfigurationError("no such key")
        kept.append(given)

    asking = Anew(Asking(store, interrupt_run, nothing, "call_tool", save=save))

    async def node(state: State) -> State:
        done = await adrive(asking.converse(attempt))
        return {"out": [done, interrupt("sure?")]}

    graph = graph_of(node)
    stopped = await graph.ainvoke({}, CONFIG)
    stopped = await graph.ainvoke(resume_command(stopped, {"credentials": {"KEY": "bad\n"}}), CONFIG)
    assert [payload["attempt"] for payload in auth_interrupts(stopped)] == [2]
    stopped = await graph.ainvoke(resume_command(stopped, {"credentials": {"KEY": "good"}}), CONFIG)
    assert stopped["__interrupt__"][0].value == "sure?"
    result = await graph.ainvoke(Command(resume="yes"), CONFIG)
    assert result["out"] == ["done", "yes"]
    assert kept == [GivenCredentials({"KEY": "good"})]


async def nothing(callback_url: str) -> None: ...
