"""What a tool returns, from a real server to an agent's messages: each kind of content, in both eras."""

from __future__ import annotations

import asyncio

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from mcp.server.mcpserver import Audio
from mcp.types import CallToolResult

from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.tools.result_samples import RESULTS, SOUND

from .agents import CONFIG, HELLO, calling, tool_messages
from .conftest import MakeToolkit
from .test_catalogue import LISTING
from .test_everywhere import log_in

pytestmark = [pytest.mark.anyio, pytest.mark.server(anonymous=LISTING)]


async def everything() -> CallToolResult:
    """One of each, with structured content beside it."""
    return CallToolResult(content=[content for content, _ in RESULTS.values()], structured_content={"count": 8}, _meta={"kind": "all"})


async def sound() -> Audio:
    """A sound alone."""
    return Audio(data=SOUND, format="wav")


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_every_kind_of_result_arrives(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, sync: bool) -> None:
    """As blocks, in order, byte for byte, also out of the checkpoint; structured content and `_meta` are the artifact."""
    server.mcp.add_tool(everything)
    server.mcp.add_tool(sound)
    await log_in(make_toolkit, alice)
    toolkit = make_toolkit()
    agent = create_agent(calling(["demo__everything", "demo__sound"]), await toolkit.aget_tools(), checkpointer=InMemorySaver())
    result = await asyncio.to_thread(agent.invoke, HELLO, CONFIG) if sync else await agent.ainvoke(HELLO, CONFIG)
    kept = await agent.aget_state(CONFIG)
    for messages in (tool_messages(result), tool_messages(kept.values)):
        message = messages["demo__everything"]
        assert message.content == [block for _, block in RESULTS.values()]
        assert (message.status, message.artifact["structured_content"]) == ("success", {"count": 8})
        assert message.artifact["meta"]["kind"] == "all"  # beside what a server of 2026-07-28 says of itself
        assert messages["demo__sound"].content == [RESULTS["audio"][1]]
