"""LangChain agents and LangGraph graphs over a protected server: where the run stops, who answers, how it goes on."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_mcp_oauth import MCPOAuthToolkit, auth_interrupts, resume_command
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import MakeToolkit

LISTING = frozenset({"initialize", "notifications/initialized", "server/discover", "tools/list"})

pytestmark = [pytest.mark.anyio, pytest.mark.server(anonymous=LISTING)]

CONFIG: Any = {"configurable": {"thread_id": "t"}}
HELLO: Any = {"messages": [{"role": "user", "content": "go"}]}


class Scripted(FakeMessagesListChatModel):
    """Calls the tools it was told to and, once they have answered, says "done"."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        reply = self.responses[isinstance(messages[-1], ToolMessage)]
        return ChatResult(generations=[ChatGeneration(message=reply)])


ARGUMENTS: dict[str, dict[str, Any]] = {"demo__add": {"a": 1, "b": 2}, "demo__echo": {"text": "x"}}


def model(*names: str) -> Scripted:
    calls = [ToolCall(name=name, args=ARGUMENTS.get(name, {}), id=f"call-{name}") for name in names]
    return Scripted(responses=[AIMessage("", tool_calls=calls), AIMessage("done")])


@pytest.fixture
def counted() -> tuple[BaseTool, list[str]]:
    """A tool of the application's own, and its runs."""
    runs: list[str] = []

    @tool
    def own() -> str:
        """Count."""
        runs.append("run")
        return "own"

    return own, runs


async def log_in(make_toolkit: MakeToolkit, person: Person, url: str) -> None:
    """The browser comes back to a process that only has the database in common."""
    await make_toolkit(person.name).complete_authorization(await person.aapprove(url))


def agent_of(tools: list[BaseTool], *calls: str, **options: Any) -> Any:
    """An agent whose model makes these calls."""
    return create_agent(model(*calls), tools, checkpointer=InMemorySaver(), **options)


def tool_messages(result: Any) -> dict[str, ToolMessage]:
    return {str(message.name): message for message in result["messages"] if isinstance(message, ToolMessage)}


async def test_parallel_calls_ask_once_and_all_go_on(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, counted: Any
) -> None:
    """Two calls, two interrupts, one authorization; one command answers both; a sibling that was done is not run again."""
    own, runs = counted
    agent = agent_of([*await make_toolkit().aget_tools(), own], "demo__whoami", "demo__add", "own")
    stopped = await agent.ainvoke(HELLO, CONFIG)
    first, second = auth_interrupts(stopped)
    assert first["auth_id"] == second["auth_id"]
    assert {first["tool_name"], second["tool_name"]} == {"demo__whoami", "demo__add"}
    await log_in(make_toolkit, alice, first["authorization_url"])
    finished = await agent.ainvoke(resume_command(stopped), CONFIG)
    messages = tool_messages(finished)
    assert (messages["demo__whoami"].text, messages["demo__add"].artifact["structured_content"]) == ("alice", {"total": 3})
    assert finished["messages"][-1].text == "done"
    assert runs == ["run"]
    assert sorted(call.tool for call in server.calls) == ["add", "whoami"]


async def test_an_answer_to_one_leaves_the_other_with_the_same_url(make_toolkit: MakeToolkit) -> None:
    """A partial resume without a login: the answered call asks again (attempt 2), the other as before; the URL stays."""
    agent = agent_of(await make_toolkit().aget_tools(), "demo__whoami", "demo__echo")
    stopped = await agent.ainvoke(HELLO, CONFIG)
    answered = stopped["__interrupt__"][0]
    again = await agent.ainvoke(Command(resume={answered.id: True}), CONFIG)
    payloads = auth_interrupts(again)
    assert sorted(payload["attempt"] for payload in payloads) == [1, 2]
    assert {payload["authorization_url"] for payload in payloads} == {answered.value["authorization_url"]}


async def test_one_bare_answer_is_enough_for_a_tool_node(make_toolkit: MakeToolkit, alice: Person) -> None:
    """In a graph with a `ToolNode` of its own all calls share a task: one interrupt, one plain resume, both calls made."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(await make_toolkit().aget_tools()))
    graph.add_edge(START, "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())
    stopped = await compiled.ainvoke({"messages": [model("demo__whoami", "demo__echo").responses[0]]}, CONFIG)
    [payload] = auth_interrupts(stopped)
    await log_in(make_toolkit, alice, payload["authorization_url"])
    finished = await compiled.ainvoke(Command(resume=True), CONFIG)
    assert {name: message.text for name, message in tool_messages(finished).items()} == {"demo__whoami": "alice", "demo__echo": "x"}


async def test_the_checkpoint_outlives_the_process(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Run, stop, forget everything; log in elsewhere; build the graph anew from the same files; go on. A second thread asks nobody."""
    path = str(tmp_path / "checkpoints.db")

    async def agent(saver: AsyncSqliteSaver) -> Any:
        return create_agent(model("demo__whoami"), await make_toolkit().aget_tools(), checkpointer=saver)

    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        [payload] = auth_interrupts(await (await agent(saver)).ainvoke(HELLO, CONFIG))
    await log_in(make_toolkit, alice, payload["authorization_url"])
    with caplog.at_level(logging.DEBUG, logger="langgraph.checkpoint.serde"):
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            resumed = await agent(saver)
            finished = await resumed.ainvoke(resume_command(await resumed.aget_state(CONFIG)), CONFIG)
    assert [record for record in caplog.records if record.name.startswith("langgraph.checkpoint.serde")] == []
    assert tool_messages(finished)["demo__whoami"].text == "alice"
    assert [call.tool for call in server.calls] == ["whoami"]
    other = agent_of(await make_toolkit().aget_tools(), "demo__whoami")
    assert "__interrupt__" not in await other.ainvoke(HELLO, CONFIG)


async def test_whoever_resumes_uses_their_own_account(make_toolkit: MakeToolkit, alice: Person, bob: Person) -> None:
    """Stopped as alice, resumed as bob: bob is asked for a login of his own, and nothing of hers is used, even when she has one."""

    class Context(TypedDict):
        user_id: str

    tools = await make_toolkit("anybody").aget_tools()
    toolkit: MCPOAuthToolkit = make_toolkit(user_id=None)
    for one in tools:
        one._caller = toolkit  # type: ignore[attr-defined]  # tools of a graph that serves many users
    agent = agent_of(tools, "demo__whoami", context_schema=Context)
    stopped = await agent.ainvoke(HELLO, CONFIG, context={"user_id": "alice"})
    [hers] = auth_interrupts(stopped)
    await log_in(make_toolkit, alice, hers["authorization_url"])
    asked = await agent.ainvoke(resume_command(stopped), CONFIG, context={"user_id": "bob"})
    [his] = auth_interrupts(asked)
    assert his["auth_id"] != hers["auth_id"]
    await log_in(make_toolkit, bob, his["authorization_url"])
    finished = await agent.ainvoke(resume_command(asked), CONFIG, context={"user_id": "bob"})
    assert tool_messages(finished)["demo__whoami"].text == "bob"


async def test_a_refusal_reaches_the_model(make_toolkit: MakeToolkit, server: ProtectedServer) -> None:
    """Cancelled: the model gets a failed tool message and can go on; the server was never called."""
    agent = agent_of(await make_toolkit().aget_tools(), "demo__whoami")
    stopped = await agent.ainvoke(HELLO, CONFIG)
    finished = await agent.ainvoke(resume_command(stopped, {"status": "cancelled"}), CONFIG)
    failed = tool_messages(finished)["demo__whoami"]
    assert (failed.status, finished["messages"][-1].text) == ("error", "done")
    assert "chose not to authorize" in failed.text
    assert server.calls == []


async def test_the_callback_url_can_be_the_answer(make_toolkit: MakeToolkit, alice: Person) -> None:
    """Pasted into a chat: it is redeemed for the user of the run, and the call is made."""
    agent = agent_of(await make_toolkit().aget_tools(), "demo__whoami")
    stopped = await agent.ainvoke(HELLO, CONFIG)
    callback_url = await alice.aapprove(auth_interrupts(stopped)[0]["authorization_url"])
    finished = await agent.ainvoke(resume_command(stopped, callback_url), CONFIG)
    assert tool_messages(finished)["demo__whoami"].text == "alice"


async def test_retries_let_the_interrupt_through(make_toolkit: MakeToolkit) -> None:
    """A middleware that retries failed tools does not retry, count or swallow a question to a person."""
    agent = agent_of(await make_toolkit().aget_tools(), "demo__whoami", middleware=[ToolRetryMiddleware(max_retries=2)])
    assert len(auth_interrupts(await agent.ainvoke(HELLO, CONFIG))) == 1


async def test_a_sync_agent_in_a_thread(make_toolkit: MakeToolkit, alice: Person) -> None:
    """`invoke` and `get_tools`: the same story without a line of async code."""
    toolkit = make_toolkit()

    def until_the_login() -> tuple[Any, Any]:
        agent = agent_of(toolkit.get_tools(), "demo__whoami")
        return agent, agent.invoke(HELLO, CONFIG)

    agent, stopped = await asyncio.to_thread(until_the_login)
    [payload] = auth_interrupts(stopped)
    await log_in(make_toolkit, alice, payload["authorization_url"])
    finished = await asyncio.to_thread(agent.invoke, resume_command(stopped), CONFIG)
    assert tool_messages(finished)["demo__whoami"].text == "alice"


async def test_the_interrupt_shows_in_a_stream(make_toolkit: MakeToolkit) -> None:
    """`updates` carry it, and `auth_interrupts` finds it there."""
    agent = agent_of(await make_toolkit().aget_tools(), "demo__whoami")
    parts = [part async for part in agent.astream(HELLO, CONFIG, stream_mode="updates")]
    assert len(auth_interrupts(parts)) == 1


async def test_a_start_link_keeps_state_out_of_the_checkpoint(make_toolkit: MakeToolkit) -> None:
    """With the application's start link the interrupt names no URL of the authorization server's."""
    toolkit = make_toolkit(start_url="https://app.example/oauth/start")
    agent = agent_of(await toolkit.aget_tools(), "demo__whoami")
    [payload] = auth_interrupts(await agent.ainvoke(HELLO, CONFIG))
    assert payload["authorization_url"] == f"https://app.example/oauth/start/{payload['auth_id']}"
    assert "state" not in str(payload)
