"""A listing that comes again is recognised; one that is another is not."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.types import ListToolsResult

from langchain_mcp_oauth.connections.listings import ListedTools, RecognisingDispatcher, Repeated

pytestmark = pytest.mark.anyio


class Answers:
    """A dispatcher that answers what it is told to."""

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}

    async def run(self, *_: Any, **__: Any) -> None: ...

    async def notify(self, *_: Any, **__: Any) -> None: ...

    async def send_raw_request(self, *_: Any) -> dict[str, Any]:
        return self.result


def answer_of(description: str) -> dict[str, Any]:
    return {"tools": [{"name": "say", "description": description, "inputSchema": {"type": "object"}}], "_meta": {"made for": "this test"}}


async def listed(dispatcher: RecognisingDispatcher, instructions: str = "") -> ListedTools:
    """What a session does: take the known page, or read the new one."""
    try:
        page = ListToolsResult.model_validate(await dispatcher.send_raw_request("tools/list", None))
    except Repeated as repeated:
        page = repeated.page
    return dispatcher.recognise(ListedTools(tuple(page.tools), instructions=instructions, page=page))


@pytest.mark.parametrize(
    ("again", "instructions", "same"),
    [(answer_of("a"), "", True), (answer_of("b"), "", False), (answer_of("a"), "other words about itself", False)],
    ids=["the same", "another tool", "another word of the server's"],
)
async def test_equal_bytes_mean_equal_tools(again: dict[str, Any], instructions: str, *, same: bool) -> None:
    """Two users who were told the same have one listing between them; whoever was told something else has another."""
    one, other = Answers(), Answers()
    one.result, other.result = answer_of("a"), again
    first = await listed(RecognisingDispatcher(one))  # type: ignore[arg-type]
    second = await listed(RecognisingDispatcher(other), instructions)  # type: ignore[arg-type]
    assert (second is first) is same
    assert second.tools[0].description == again["tools"][0]["description"]


async def test_nothing_is_known_that_nobody_uses() -> None:
    """The first listing is gone with its last user: the server's answer is read anew."""
    answers = Answers()
    answers.result = answer_of("gone")
    await listed(RecognisingDispatcher(answers))  # type: ignore[arg-type]
    assert await RecognisingDispatcher(answers).send_raw_request("tools/list", None) == answers.result  # type: ignore[arg-type]


async def test_only_listings_are_looked_at() -> None:
    """The same bytes as the result of a call are a result."""
    answers = Answers()
    answers.result = answer_of("a")
    kept = await listed(RecognisingDispatcher(answers))  # type: ignore[arg-type]
    assert kept.page is not None
    assert await RecognisingDispatcher(answers).send_raw_request("tools/call", None) == answers.result  # type: ignore[arg-type]
