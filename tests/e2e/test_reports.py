"""Runs and calls that are under way, over every transport: what servers say while they work, and what they hear when a run is cancelled."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from langchain_mcp_oauth import MCPOAuthMiddleware, MCPOAuthToolkit
from tests.connections.mcp_servers import ERAS, Example, add_reporting_tools, app_of, serving, until

from .agents import ARGUMENTS, CONFIG, HELLO, calling, tool_messages
from .conftest import KEY

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]

STEPS = 25

PROGRAM = str(Path(__file__).parents[1] / "connections" / "program.py")

LOGS = {"2025-11-25 events", "sse", "2025-11-25 program"}
"""Where log messages come with a call: until 2025-11-25, and where there is a stream for them."""


WAYS = [
    pytest.param(transport, sync, id=f"{transport} {'sync' if sync else 'async'}", marks=marks)
    for transport in (*ERAS, "sse", "2025-11-25 program", "2026-07-28 program")
    for sync, marks in ((False, []), (True, [pytest.mark.slow] if "program" in transport else []))
]


@pytest.fixture
def example() -> Example:
    return Example()


@pytest.fixture
def server(transport: str, example: Example) -> Iterator[dict[str, Any]]:
    """The same server, over this transport."""
    if transport.endswith("program"):
        yield {"command": sys.executable, "args": [PROGRAM]}
        return
    mcp = add_reporting_tools(example.mcp)
    app = mcp.sse_app() if transport == "sse" else app_of(mcp, transport)
    with serving(app) as origin:
        yield {"url": f"{origin}/sse", "transport": "sse"} if transport == "sse" else {"url": f"{origin}/mcp"}


@pytest.fixture
async def toolkit(server: dict[str, Any], transport: str) -> AsyncIterator[MCPOAuthToolkit]:
    async with MCPOAuthToolkit({"demo": server}, store="sqlite://", encryption_key=KEY, user_id="alice") as made:

        async def know_the_version() -> None:  # else the SDK's server would speak the newer one
            made.service._loops.get().alone._versions["demo"] = "2025-11-25"

        if transport == "2025-11-25 program":
            await know_the_version()
            made.run_sync(know_the_version())
        yield made


@pytest.mark.parametrize(("transport", "sync"), WAYS)
async def test_reports_come_in_order_and_before_the_result(
    toolkit: MCPOAuthToolkit, transport: str, sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them once; progress and logs in the order in which the server sent them."""
    monkeypatch.setitem(ARGUMENTS, "narrate", {"count": STEPS})
    agent = create_agent(calling("demo__narrate"), await toolkit.aget_tools(), checkpointer=InMemorySaver())
    if sync:
        parts = await asyncio.to_thread(lambda: list(agent.stream(HELLO, CONFIG, stream_mode=["custom", "updates"])))
    else:
        parts = [part async for part in agent.astream(HELLO, CONFIG, stream_mode=["custom", "updates"])]
    reports = [part for mode, part in parts if mode == "custom"]
    assert [mode for mode, _ in parts] == ["updates", *["custom"] * len(reports), "updates", "updates"]
    told = [("log", part["data"]) if part["type"] == "mcp_log" else ("progress", part["progress"]) for part in reports]
    kinds = ["progress", "log"] if transport in LOGS else ["progress"]
    assert told == ([(kind, step) for step in range(1, STEPS + 1) for kind in kinds] if transport != "2025-11-25 json" else [])


@pytest.mark.parametrize("transport", ["sse"])
async def test_reports_of_calls_at_once_stay_with_their_calls(toolkit: MCPOAuthToolkit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress says by its token whose it is. Over one stream for all calls, a log message does not: it is nobody's, not another's."""
    monkeypatch.setitem(ARGUMENTS, "narrate", {"count": STEPS})
    model = calling(["demo__narrate", "demo__narrate"])
    first, second = model.responses[0].tool_calls  # type: ignore[attr-defined]
    first["id"], second["id"] = "first", "second"
    second["args"] = {"count": 2 * STEPS}
    agent = create_agent(model, await toolkit.aget_tools(), checkpointer=InMemorySaver())
    parts = [part async for part in agent.astream(HELLO, CONFIG, stream_mode="custom")]
    for name, steps in (("first", STEPS), ("second", 2 * STEPS)):
        told = [part for part in parts if part["tool_call_id"] == name]
        assert [(part["progress"], part["total"]) for part in told if part["type"] == "mcp_progress"] == [
            (step, steps) for step in range(1, steps + 1)
        ]
        logged = [part["data"] for part in told if part["type"] == "mcp_log"]
        assert logged == sorted(set(logged))
    assert not [part for part in parts if part["type"] == "mcp_log" and part["tool_call_id"] == "first" and part["data"] > STEPS]


@pytest.mark.parametrize(
    "transport", ["2025-11-25 events", "2026-07-28", "sse", pytest.param("2025-11-25 program", marks=pytest.mark.slow)]
)
async def test_a_server_that_has_other_tools_now(toolkit: MCPOAuthToolkit) -> None:
    """It says so during a call: the model's next turn has them, though a run's later turns go by the listing of its first."""
    model = calling("demo__grow", "demo__grown")
    agent = create_agent(model, middleware=[MCPOAuthMiddleware(toolkit)], checkpointer=InMemorySaver())
    result = await agent.ainvoke(HELLO, CONFIG)
    assert ["demo__grown" in names for names in model.offered] == [False, True, True]
    assert tool_messages(result)["demo__grown"].text == "grown"


@pytest.mark.parametrize("transport", [*ERAS, "sse"])
async def test_cancelling_the_run_cancels_the_call(toolkit: MCPOAuthToolkit, example: Example) -> None:
    """At the server, where the tool ends; the session, or the stream, stays good for the next call."""
    agent = create_agent(calling("demo__wait"), await toolkit.aget_tools(), checkpointer=InMemorySaver())
    run = asyncio.create_task(agent.ainvoke(HELLO, CONFIG))
    await until(lambda: "waiting" in example.events)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    await until(lambda: "cancelled" in example.events)
    other = create_agent(calling("demo__echo"), await toolkit.aget_tools())
    assert tool_messages(await other.ainvoke(HELLO))["demo__echo"].text == "x"
