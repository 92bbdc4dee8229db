"""Servers that ask a person: one form for both eras, an `InputRequiredResult` and its answers with the next call."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ElicitResult, InputRequiredResult
from starlette.responses import JSONResponse

from langchain_mcp_oauth.connections import ToolResult
from langchain_mcp_oauth.errors import ProtocolError
from langchain_mcp_oauth.models import GrantKey

from .mcp_servers import ERAS, SESSION_ERAS, Connect, Example, Peer, Seen, Serve, app_of, fake, reply, until

pytestmark = pytest.mark.anyio

events_only = pytest.mark.parametrize("era", ["2025-11-25 events"], indirect=True)


def question(result: ToolResult) -> tuple[str, str]:
    """The one question's key and message."""
    assert isinstance(result, InputRequiredResult)
    assert result.input_requests is not None
    ((key, request),) = result.input_requests.items()
    return key, request.params.message  # type: ignore[union-attr]


def accept(**content: Any) -> ElicitResult:
    return ElicitResult(action="accept", content=content)


@events_only
async def test_questions_inside_a_call(peer: Peer) -> None:
    """2025-11-25: each question cancels the call; made again, it is given the answers so far as they are asked for."""
    connection, grant = peer.connection(), peer.grant()
    result = await connection.call_tool(grant, "greet", {})
    first, message = question(result)
    assert message == "Your name?"
    await until(lambda: len(peer.front.of("notifications/cancelled")) == 1)
    result = await connection.call_tool(grant, "greet", {}, input_responses={first: accept(name="Ada")}, request_state=result.request_state)
    second, message = question(result)
    assert message == "Your other name?"
    assert second != first
    answers = {second: ElicitResult(action="decline")}
    result = await connection.call_tool(grant, "greet", {}, input_responses=answers, request_state=result.request_state)
    assert isinstance(result, CallToolResult)
    assert result.content[0].text == "Ada decline"  # type: ignore[union-attr]
    assert peer.example.events == ["greeted ['Ada', 'decline']"]
    assert len(peer.front.of("tools/call")) == 3


@events_only
async def test_a_question_has_the_same_key_in_every_run(peer: Peer) -> None:
    """A graph that runs its node again from the start asks the same question under the same key."""
    keys = {question(await peer.connection().call_tool(peer.grant(), "greet", {}))[0] for _ in range(2)}
    assert len(keys) == 1


@events_only
async def test_the_same_question_twice_is_two_questions(peer: Peer) -> None:
    """The first answer is not taken for the second."""
    result = await peer.connection().call_tool(None, "insist", {})
    first, _ = question(result)
    answers = {first: accept(name="Ada")}
    result = await peer.connection().call_tool(None, "insist", {}, input_responses=answers, request_state=result.request_state)
    second, _ = question(result)
    answers = {second: accept(name="Grace")}
    result = await peer.connection().call_tool(None, "insist", {}, input_responses=answers, request_state=result.request_state)
    assert isinstance(result, CallToolResult)
    assert result.content[0].text == "Ada Grace"  # type: ignore[union-attr]


@pytest.mark.parametrize("era", ["2026-07-28"], indirect=True)
async def test_questions_as_results(peer: Peer) -> None:
    """2026-07-28: what asks nothing is repeated for the caller; what asks is returned; `request_state` goes back unread."""
    connection, grant = peer.connection(), peer.grant()
    result = await connection.call_tool(grant, "greet_modern", {})
    key, message = question(result)
    assert (key, message) == ("who", "Your name?")
    result = await connection.call_tool(
        grant, "greet_modern", {}, input_responses={key: accept(name="Ada")}, request_state=result.request_state
    )
    assert isinstance(result, CallToolResult)
    assert result.content[0].text == "round 2: Ada"  # type: ignore[union-attr]


@pytest.mark.parametrize("era", ERAS, indirect=True)
async def test_a_client_that_asks_nobody(serve: Serve, connect: Connect, era: str) -> None:
    """Without `elicitation` it is not declared; a server that asks all the same gets a refusal, or its caller an error."""
    front = app_of(Example().mcp, era)
    url = f"{serve(front)}/mcp"
    connection = (await connect(url)).get(GrantKey("ada", "example", url))
    if era == "2026-07-28":
        with pytest.raises(ProtocolError, match="told that there is nobody"):
            await connection.call_tool(None, "greet_modern", {})
    else:
        with pytest.raises(MCPError, match=r"not supported|no back-channel"):
            await connection.call_tool(None, "greet", {})
    assert "elicitation" not in str([seen.message for seen in front.seen if seen.rpc in {"initialize", "server/discover"}])


async def test_a_server_that_never_gets_ready(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times "not yet" are an error."""
    monkeypatch.setattr("langchain_mcp_oauth.connections.session.NOT_YET", 0.0)
    not_yet = {"resultType": "input_required", "requestState": "s"}
    front = fake(tools_call=lambda seen: reply(seen, not_yet))
    url = f"{serve(front)}/mcp"
    with pytest.raises(ProtocolError, match="put a call off 10 times"):
        await (await connect(url)).get(GrantKey("ada", "example", url)).call_tool(None, "t", {})
    assert [seen.params.get("requestState") for seen in front.of("tools/call")] == [None] + ["s"] * 9


URL_REQUIRED = {"elicitations": [{"mode": "url", "message": "Pay first.", "url": "https://pay.example/1", "elicitationId": "p1"}]}


@pytest.mark.parametrize(("data", "asked"), [(URL_REQUIRED, True), ({"elicitations": "all"}, False), (None, False)])
async def test_urls_that_a_person_must_open_first(serve: Serve, connect: Connect, data: Any, asked: bool) -> None:
    """2025-11-25: error -32042 (elicitation, URL mode) is a question like the others; the same call goes through afterwards."""

    def refuse(seen: Seen) -> JSONResponse:
        error = {"code": -32042, "message": "URL elicitation required", "data": data}
        return JSONResponse({"jsonrpc": "2.0", "id": seen.message["id"], "error": error})

    url = f"{serve(fake('2025-11-25', tools_call=refuse))}/mcp"
    connection = (await connect(url, elicitation=True)).get(GrantKey("ada", "example", url))
    if not asked:
        with pytest.raises(MCPError):
            await connection.call_tool(None, "t", {})
        return
    result = await connection.call_tool(None, "t", {})
    assert question(result)[1] == "Pay first."


@pytest.mark.parametrize("era", [SESSION_ERAS[0]], indirect=True)
async def test_answers_that_are_not_answers(peer: Peer) -> None:
    """What did not come from an `InputRequiredResult` of this call is refused before anything is sent."""
    await peer.connection().call_tool(None, "echo", {"text": "open"})
    peer.front.forget()
    with pytest.raises(ProtocolError, match="do not belong"):
        await peer.connection().call_tool(None, "greet", {}, request_state="{")
    assert peer.front.seen == []
