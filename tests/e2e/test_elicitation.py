"""Servers that ask a person during a call: as interrupts of `langchain.mcp`'s shape, in both eras."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitRequestURLParams, InputRequiredResult
from pydantic import BaseModel

from langchain_mcp_oauth import auth_interrupts, resume_command
from langchain_mcp_oauth.errors import ProtocolError, UnsafeURLError
from langchain_mcp_oauth.interrupts.eliciting import read_responses, to_payload
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .agents import CONFIG, HELLO, calling, tool_messages
from .conftest import MakeToolkit
from .logins import text_of, tools_of
from .test_catalogue import LISTING

pytestmark = [pytest.mark.anyio, pytest.mark.server(anonymous=LISTING)]


class Sure(BaseModel):
    sure: bool


DONE: list[str] = []


@pytest.fixture(autouse=True)
def deletions() -> list[str]:
    """What was really deleted."""
    DONE.clear()
    return DONE


async def ask(ctx: Context, key: str, message: str, schema: type[BaseModel] = Sure) -> Any:
    """The answer, in either era's way; an `InputRequiredResult` is the tool's to return."""
    if ctx.request_context.protocol_version == "2026-07-28":
        answers = ctx.input_responses or {}
        if key in answers:
            return answers[key]
        form = ElicitRequestFormParams(message=message, requested_schema=schema.model_json_schema())
        return InputRequiredResult(input_requests={key: ElicitRequest(params=form)}, request_state=ctx.request_state or "")
    return await ctx.elicit(message, schema)


async def delete_all(ctx: Context) -> str | InputRequiredResult:
    """Ask, then delete."""
    answer = await ask(ctx, "sure", "Delete everything?")
    if isinstance(answer, InputRequiredResult):
        return answer
    sure = getattr(answer, "data", None) or getattr(answer, "content", None) or {}
    is_sure = sure.sure if isinstance(sure, Sure) else sure.get("sure")
    if answer.action == "accept" and is_sure:
        DONE.append("deleted")
        return "deleted"
    return f"kept ({answer.action})"


@pytest.fixture(autouse=True)
def asking_server(server: ProtectedServer) -> None:
    server.mcp.add_tool(delete_all)


async def agent_of(make_toolkit: MakeToolkit, *calls: str, **options: Any) -> Any:
    tools = await make_toolkit(**options).aget_tools()
    return create_agent(calling(*calls), tools, checkpointer=InMemorySaver())


def question_in(result: Any) -> dict[str, Any]:
    """The one open elicitation."""
    [interrupt] = result["__interrupt__"]
    value: dict[str, Any] = interrupt.value
    assert value["type"] == "mcp_elicitation"
    return value


def answer_to(question: dict[str, Any], action: str, **content: Any) -> Command[Any]:
    responses = {request["key"]: {"action": action, "content": content or None} for request in question["requests"]}
    return Command(resume={"responses": responses})


@pytest.mark.parametrize(
    ("action", "content", "outcome"),
    [("accept", {"sure": True}, "deleted"), ("accept", {"sure": False}, "kept (accept)"), ("decline", {}, "kept (decline)")],
)
async def test_a_login_and_then_a_question(
    make_toolkit: MakeToolkit, alice: Person, deletions: list[str], action: str, content: dict[str, Any], outcome: str
) -> None:
    """Both in one call: the question is really asked, and the login's answer is not taken for its answer (the index shift)."""
    agent = await agent_of(make_toolkit, "demo__delete_all")
    stopped = await agent.ainvoke(HELLO, CONFIG)
    [payload] = auth_interrupts(stopped)
    await make_toolkit().complete_authorization(await alice.aapprove(payload["authorization_url"]))
    asked = await agent.ainvoke(resume_command(stopped), CONFIG)
    assert deletions == []
    question = question_in(asked)
    assert auth_interrupts(asked) == []
    assert (question["server"], question["tool_name"], question["tool_call_id"]) == ("demo", "demo__delete_all", "call-0-demo__delete_all")
    [request] = question["requests"]
    assert (request["mode"], request["message"]) == ("form", "Delete everything?")
    assert request["requested_schema"]["properties"]["sure"]["type"] == "boolean"
    finished = await agent.ainvoke(answer_to(question, action, **content), CONFIG)
    assert tool_messages(finished)["demo__delete_all"].text == outcome
    assert deletions == (["deleted"] if outcome == "deleted" else [])


@pytest.mark.parametrize("server", ["2025-11-25"], indirect=True)
@pytest.mark.parametrize("nonsense", [True, "yes", {"status": "authorized"}, {"decisions": [{"type": "approve"}]}, {"responses": {}}])
async def test_what_answers_no_question_is_no_consent(
    make_toolkit: MakeToolkit, alice: Person, deletions: list[str], nonsense: Any
) -> None:
    """It is asked again, three times; then the model is told, and nothing was done."""
    await login(make_toolkit, alice)
    agent = await agent_of(make_toolkit, "demo__delete_all")
    result = await agent.ainvoke(HELLO, CONFIG)
    for _ in range(3):
        question_in(result)
        result = await agent.ainvoke(Command(resume=nonsense), CONFIG)
    assert tool_messages(result)["demo__delete_all"].status == "error"
    assert deletions == []


async def test_a_login_in_the_middle(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, deletions: list[str]) -> None:
    """The login ends while the question is out: the answer is kept for its question, and the login is asked for first."""
    await login(make_toolkit, alice)
    agent = await agent_of(make_toolkit, "demo__delete_all")
    asked = await agent.ainvoke(HELLO, CONFIG)
    server.revoke_all()
    stopped = await agent.ainvoke(answer_to(question_in(asked), "accept", sure=True), CONFIG)
    [payload] = auth_interrupts(stopped)
    assert (payload["reason"], deletions) == ("expired", [])
    await make_toolkit().complete_authorization(await alice.aapprove(payload["authorization_url"]))
    finished = await agent.ainvoke(resume_command(stopped), CONFIG)
    assert (tool_messages(finished)["demo__delete_all"].text, deletions) == ("deleted", ["deleted"])


async def test_a_sync_agent_is_asked_too(make_toolkit: MakeToolkit, alice: Person, deletions: list[str]) -> None:
    """The same interrupt, from `invoke`."""
    await login(make_toolkit, alice)
    agent = await agent_of(make_toolkit, "demo__delete_all")
    asked = await asyncio.to_thread(agent.invoke, HELLO, CONFIG)
    finished = await asyncio.to_thread(agent.invoke, answer_to(question_in(asked), "accept", sure=True), CONFIG)
    assert tool_messages(finished)["demo__delete_all"].text == "deleted"


async def test_a_handler_of_the_applications_own(make_toolkit: MakeToolkit, alice: Person) -> None:
    """`on_elicitation` answers in the place of an interrupt, also outside graphs."""
    asked: list[dict[str, Any]] = []

    async def answer(question: dict[str, Any]) -> dict[str, Any]:
        asked.append(question)
        return {"action": "accept", "content": {"sure": True}}

    await login(make_toolkit, alice)
    tools = await tools_of(make_toolkit(on_elicitation=answer))
    assert await text_of(tools["delete_all"]) == "deleted"
    assert [request["message"] for request in asked[0]["requests"]] == ["Delete everything?"]


async def test_where_nobody_can_be_asked_the_server_is_told(make_toolkit: MakeToolkit, alice: Person, deletions: list[str]) -> None:
    """Outside a graph, without a handler: the capability is not declared, and nothing is deleted."""
    await login(make_toolkit, alice)
    tools = await tools_of(make_toolkit())
    try:
        outcome = await text_of(tools["delete_all"])
    except ProtocolError as error:
        outcome = str(error)
    assert "deleted" not in outcome
    assert deletions == []


def url_question(url: str) -> InputRequiredResult:
    params = ElicitRequestURLParams(message="Pay first.\u202e", url=url, elicitation_id="e1")
    return InputRequiredResult(input_requests={"pay": ElicitRequest(params=params)})


def test_a_url_is_shown_whole_with_its_host() -> None:
    """And without what a person reading the message would not see."""
    payload = to_payload(url_question("https://pay.example/1?x=2"), server="shop", tool_name="shop__buy", tool_call_id=None)
    assert payload["requests"] == [
        {"key": "pay", "message": "Pay first.", "mode": "url", "url": "https://pay.example/1?x=2", "host": "pay.example"}
    ]


@pytest.mark.parametrize("url", ["http://pay.example/", "javascript:alert(1)", "https://bank.example@evil.example/", "file:///etc/passwd"])
def test_a_url_that_nobody_should_open(url: str) -> None:
    """R15, for third parties' URLs as for logins."""
    with pytest.raises(UnsafeURLError):
        to_payload(url_question(url), server="shop", tool_name="shop__buy", tool_call_id=None)


async def pay(ctx: Context) -> str | InputRequiredResult:
    """Send the person to a page, in either era's way, and take their word for it."""
    message, url = "Pay first.", "https://pay.example/1"
    if ctx.request_context.protocol_version == "2026-07-28":
        answers = ctx.input_responses or {}
        if "pay" not in answers:
            params = ElicitRequestURLParams(message=message, url=url, elicitation_id="e1")
            return InputRequiredResult(input_requests={"pay": ElicitRequest(params=params)}, request_state="s")
        return str(answers["pay"].action)
    return str((await ctx.elicit_url(message, url, "e1")).action)


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_a_server_sends_a_person_to_a_page(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, action: str) -> None:
    """URL mode, asked for during the call in both eras: shown with its host, and the server hears what the person did."""
    server.mcp.add_tool(pay)
    await login(make_toolkit, alice)
    agent = await agent_of(make_toolkit, "demo__pay")
    question = question_in(await agent.ainvoke(HELLO, CONFIG))
    assert [(one["mode"], one["message"], one["url"], one["host"]) for one in question["requests"]] == [
        ("url", "Pay first.", "https://pay.example/1", "pay.example")
    ]
    finished = await agent.ainvoke(answer_to(question, action), CONFIG)
    assert tool_messages(finished)["demo__pay"].text == action


@pytest.mark.parametrize("server", ["2025-11-25"], indirect=True)
async def test_urls_first_and_then_the_call(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """2025-11-25's error -32042: an interrupt in URL mode; after it the same call goes through."""
    paid: list[str] = []

    async def buy() -> str:
        """Wants to be paid."""
        if not paid:
            url = {"mode": "url", "message": "Pay first.", "url": "https://pay.example/1", "elicitationId": "p1"}
            raise MCPError(-32042, "URL elicitation required", {"elicitations": [url]})
        return "bought"

    server.mcp.add_tool(buy)
    await login(make_toolkit, alice)
    agent = await agent_of(make_toolkit, "demo__buy")
    question = question_in(await agent.ainvoke(HELLO, CONFIG))
    assert [(one["mode"], one["url"], one["host"]) for one in question["requests"]] == [("url", "https://pay.example/1", "pay.example")]
    paid.append("paid")
    finished = await agent.ainvoke(answer_to(question, "accept"), CONFIG)
    assert tool_messages(finished)["demo__buy"].text == "bought"


QUESTIONS = {"requests": [{"key": "a"}, {"key": "b"}]}


@pytest.mark.parametrize(
    ("questions", "answer", "actions"),
    [
        (QUESTIONS, {"responses": {"a": {"action": "accept", "content": {"x": 1}}, "b": {"action": "decline"}}}, ["accept", "decline"]),
        (QUESTIONS, {"responses": {"a": {"action": "accept"}}}, None),
        (QUESTIONS, {"responses": {"a": {"action": "accept"}, "b": {"action": "perhaps"}}}, None),
        (QUESTIONS, {"responses": {"a": {"action": "accept", "content": {"x": [[1]]}}, "b": {"action": "decline"}}}, None),
        (QUESTIONS, {"action": "cancel"}, ["cancel", "cancel"]),
        (QUESTIONS, {"status": "cancelled"}, ["cancel", "cancel"]),
        (QUESTIONS, {"action": "accept"}, None),
        ({"requests": [{"key": "a"}]}, {"action": "accept", "content": {"x": 1}}, ["accept"]),
        ({"requests": [{"key": "a"}]}, {"status": "authorized"}, None),
        (QUESTIONS, None, None),
    ],
)
def test_what_is_an_answer(questions: Any, answer: Any, actions: list[str] | None) -> None:
    """Every question by its key; one alone also without; consent is never read into anything else."""
    responses = read_responses(questions, answer)
    assert (None if responses is None else [response.action for response in responses.values()]) == actions


async def login(make_toolkit: MakeToolkit, person: Person) -> None:
    needed = await make_toolkit().begin_authorization("demo")
    assert needed is not None
    await make_toolkit().complete_authorization(await person.aapprove(needed.authorization_url))
