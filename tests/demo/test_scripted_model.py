"""The demo's chat model: the same messages give the same answer, and an agent can use it in every way it uses a real one."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool

from langchain_mcp_oauth.demo import agent as demo_agent
from langchain_mcp_oauth.demo.agent import ScriptedModel, demo_model

pytestmark = pytest.mark.anyio


@tool
def library__search_docs(query: str) -> str:
    """Search."""
    return f"two pages on {query}"


@tool
def library__list_notes() -> str:
    """List."""
    return "no notes"


@tool
def add_note(text: str) -> str:
    """Note."""
    return f"noted {text}"


TOOLS: list[BaseTool] = [library__search_docs, library__list_notes, add_note]


@pytest.mark.parametrize(
    ("question", "name", "arguments"),
    [
        ("How are leases kept?", "library__search_docs", {"query": "How are leases kept?"}),
        ("Show me my notes", "library__list_notes", {}),
        ("Remember that oil is low", "add_note", {"text": "oil is low"}),
        ("read models.py", "library__search_docs", {"query": "read models.py"}),  # read_doc is not among the tools
    ],
)
def test_a_question_calls_a_tool_by_its_listed_name(question: str, name: str, arguments: dict[str, str]) -> None:
    """The tool is found with a server's prefix and without, and only if it is there."""
    reply = ScriptedModel().bind_tools(TOOLS).invoke(question)
    assert [(call["name"], call["args"]) for call in reply.tool_calls] == [(name, arguments)]


def test_without_tools_it_says_so() -> None:
    """No tool, no call."""
    reply = ScriptedModel().invoke("How?")
    assert (reply.text, reply.tool_calls) == ("I have no tool for that.", [])


@pytest.mark.parametrize(("status", "expected"), [("success", "I found: 42"), ("error", "That did not work: 42")])
def test_it_answers_from_the_tools_result(status: Any, expected: str) -> None:
    """The last tool messages are the answer; a failed one is told as such."""
    call = AIMessage("", tool_calls=[{"name": "add_note", "args": {}, "id": "1", "type": "tool_call"}])
    result = ToolMessage("42", tool_call_id="1", status=status)
    assert ScriptedModel().bind_tools(TOOLS).invoke([HumanMessage("?"), call, result]).text == expected


async def test_an_agent_runs_and_streams() -> None:
    """Invoked and streamed, in both colours, the agent calls the tool once and answers; the answer streams word by word."""
    agent = create_agent(ScriptedModel(), TOOLS)
    question = {"messages": [("user", "leases")]}
    for result in (agent.invoke(question), await agent.ainvoke(question)):
        assert result["messages"][-1].text == "I found: two pages on leases"
    pieces = [chunk async for chunk, _ in agent.astream(question, stream_mode="messages") if isinstance(chunk, AIMessageChunk)]
    assert [piece.text for piece in pieces if piece.text] == ["I ", "found: ", "two ", "pages ", "on ", "leases"]
    assert [call["args"] for piece in pieces for call in piece.tool_call_chunks] == ["", '{"query": "leases"}']


def test_a_second_turn_calls_again() -> None:
    """In a longer conversation the newest question counts, and its call has an id of its own."""
    agent = create_agent(ScriptedModel(), TOOLS)
    first = agent.invoke({"messages": [("user", "leases")]})
    second = agent.invoke({"messages": [*first["messages"], HumanMessage("my notes")]})
    ids = [call["id"] for message in second["messages"] if isinstance(message, AIMessage) for call in message.tool_calls]
    assert len(ids) == len(set(ids)) == 2
    assert second["messages"][-1].text == "I found: no notes"


def test_without_a_key_the_model_is_the_scripted_one() -> None:
    """No key, no network."""
    assert isinstance(demo_model({}), ScriptedModel)


def test_with_a_key_the_model_is_a_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key's provider is asked for; where its package is missing, the script it is."""
    real: BaseChatModel = ScriptedModel(metadata={"real": True})
    made: list[str] = []

    def init(name: str) -> BaseChatModel:
        made.append(name)
        if name.startswith("anthropic:"):
            raise ImportError(name)
        return real

    monkeypatch.setattr(demo_agent, "init_chat_model", init)
    assert demo_model({"OPENAI_API_KEY": "k"}) is real
    assert isinstance(demo_model({"ANTHROPIC_API_KEY": "k"}), ScriptedModel)
    assert [name.split(":")[0] for name in made] == ["openai", "anthropic"]
