"""The recorder, proved with the MCP SDK's own client: streams in both directions, both eras, a whole login in each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from mcp.server.mcpserver import Context
from mcp.types import ElicitResult, ToolListChangedNotification
from pydantic import BaseModel

from langchain_mcp_oauth.testing import ProtectedServer
from langchain_mcp_oauth.testing.cassettes import CassetteTransport, use_cassette

pytestmark = pytest.mark.anyio

Converse = Callable[..., Any]
MODES = ["legacy", "2026-07-28", "auto"]


@pytest.fixture
def converse(sdk_client: Any) -> Converse:
    """List, call, and follow the progress of a call; return what the client saw."""

    async def talk(conversation: CassetteTransport, mode: str) -> list[Any]:
        steps: list[str | None] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            steps.append(message)

        async with sdk_client(conversation, mode=mode) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            who = await client.call_tool("whoami", {})
            await client.call_tool("slow", {"steps": 3}, progress_callback=progress)
            return [names, who.content[0].text, steps]

    return talk


@pytest.fixture
def record(converse: Converse, on_stage: Any) -> Converse:
    async def record_to(path: Path, mode: str) -> list[Any]:
        with use_cassette(path, recording=True, servers=lambda: on_stage(ProtectedServer())) as conversation:
            return await converse(conversation, mode)

    return record_to


@pytest.mark.parametrize("mode", MODES)
async def test_a_conversation_is_replayed_with_the_servers_gone(tmp_path: Path, record: Converse, converse: Converse, mode: str) -> None:
    """The client sees the same: login, list, call and progress."""
    seen = await record(tmp_path / "it.yaml", mode)
    assert seen[1:] == ["ada", ["step 1", "step 2", "step 3"]]
    with use_cassette(tmp_path / "it.yaml") as conversation:
        assert await converse(conversation, mode) == seen


@pytest.mark.parametrize("mode", MODES)
async def test_recording_again_gives_the_same_bytes(tmp_path: Path, record: Converse, mode: str) -> None:
    """Other ports, other tokens, another day: the same file."""
    await record(tmp_path / "once.yaml", mode)
    await record(tmp_path / "again.yaml", mode)
    assert (tmp_path / "once.yaml").read_bytes() == (tmp_path / "again.yaml").read_bytes()


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_no_interaction_can_be_missing(tmp_path: Path, record: Converse, converse: Converse, mode: str) -> None:
    """Cut any one out of the cassette, and the replay fails; also one whose failure the client swallows (a GET stream, a DELETE)."""
    await record(tmp_path / "it.yaml", mode)
    whole = yaml.safe_load((tmp_path / "it.yaml").read_text())
    for index in range(len(whole["interactions"])):
        cut = {**whole, "interactions": whole["interactions"][:index] + whole["interactions"][index + 1 :]}
        (tmp_path / "cut.yaml").write_text(yaml.safe_dump(cut))
        with pytest.raises(Exception) as failure, use_cassette(tmp_path / "cut.yaml") as conversation:
            await converse(conversation, mode)
        said = [str(failure.value), *getattr(failure.value, "__notes__", [])]
        missing = whole["interactions"][index]["request"]
        assert any(f"{missing['method']} {missing['uri']} was not recorded" in text for text in said), said


class Answer(BaseModel):
    """What the server asks for."""

    city: str


async def ask(ctx: Context) -> str:
    """Ask in the middle of a call, on the call's own stream."""
    answer = await ctx.elicit("Where?", Answer)
    return answer.data.city


async def rename(ctx: Context) -> str:
    """Say on the GET stream that the tools have changed, then go on."""
    await ctx.session.send_tool_list_changed()
    return "renamed"


async def test_what_a_server_asks_and_tells_comes_when_its_cause_has_come(tmp_path: Path, sdk_client: Any, on_stage: Any) -> None:
    """A question in a call's stream is answered before the call's answer is replayed; a notification comes after its call was made."""

    async def talk(conversation: CassetteTransport) -> list[str]:
        events: list[str] = []
        told = anyio.Event()

        async def answer(_context: object, _params: object) -> ElicitResult:
            events.append("asked")
            return ElicitResult(action="accept", content={"city": "Paris"})

        async def hear(message: object) -> None:
            if isinstance(message, ToolListChangedNotification):
                events.append("told")
                told.set()

        async with sdk_client(conversation, mode="legacy", elicitation_callback=answer, message_handler=hear) as client:
            events.append((await client.call_tool("ask", {})).content[0].text)
            events.append("renaming")
            await client.call_tool("rename", {})
            with anyio.fail_after(10):
                await told.wait()
        return events

    server = ProtectedServer()
    server.mcp.add_tool(ask)
    server.mcp.add_tool(rename)
    with use_cassette(tmp_path / "it.yaml", recording=True, servers=lambda: on_stage(server)) as conversation:
        assert await talk(conversation) == ["asked", "Paris", "renaming", "told"]
    with use_cassette(tmp_path / "it.yaml") as conversation:
        assert await talk(conversation) == ["asked", "Paris", "renaming", "told"]
