"""Every way a graph runs: streams, sub-agents, checkpointers, middlewares, event loops, servers' notifications, cancelling."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from threading import Thread
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    ToolErrorMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.middleware.human_in_the_loop import HITLRequest
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.prebuilt.interrupt import HumanInterrupt
from langgraph.types import Command
from mcp.server.mcpserver import Context
from pydantic import TypeAdapter
from sqlalchemy.engine import make_url

from langchain_mcp_oauth import MCPOAuthMiddleware, auth_interrupts, resume_command
from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.databases import ON_POSTGRES, postgres_schema

from .agents import CONFIG, HELLO, as_user, calling, tool_messages
from .conftest import MakeToolkit
from .test_catalogue import LISTING

pytestmark = [pytest.mark.anyio, pytest.mark.server(anonymous=LISTING)]

one_era = pytest.mark.parametrize("server", ["2025-11-25"], indirect=True)
"""For what does not depend on the era."""


async def log_in(make_toolkit: MakeToolkit, person: Person, url: str | None = None) -> None:
    """In another process; by the URL of an interrupt, or before anything needs it."""
    if url is None:
        needed = await make_toolkit(person.name).begin_authorization("demo")
        assert needed is not None
        url = needed.authorization_url
    await make_toolkit(person.name).complete_authorization(await person.aapprove(url))


async def agent_of(make_toolkit: MakeToolkit, *calls: str, saver: Any = None, **options: Any) -> Any:
    return create_agent(calling(*calls), await make_toolkit().aget_tools(), checkpointer=saver or InMemorySaver(), **options)


# Streams ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@one_era
@pytest.mark.parametrize(
    ("mode", "shows"),
    [("updates", True), ("values", True), ("tasks", True), ("debug", True), ("messages", False), ("custom", False), ("checkpoints", False)],
)
async def test_where_an_interrupt_shows(make_toolkit: MakeToolkit, mode: str, shows: bool) -> None:
    """In these stream modes; the state shows it always."""
    agent = await agent_of(make_toolkit, "demo__whoami")
    parts = [part async for part in agent.astream(HELLO, CONFIG, stream_mode=mode, version="v2")]
    assert ("mcp_auth_required" in repr(parts)) is shows
    assert len(auth_interrupts(await agent.aget_state(CONFIG))) == 1


@one_era
@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_results_and_events_of_the_newer_versions(make_toolkit: MakeToolkit) -> None:
    """`ainvoke(version="v2")` gives an output with `interrupts`; the v3 event stream says that it was interrupted."""
    agent = await agent_of(make_toolkit, "demo__whoami")
    assert len(auth_interrupts(await agent.ainvoke(HELLO, CONFIG, version="v2"))) == 1
    other = await agent_of(make_toolkit, "demo__whoami")
    run = await other.astream_events(HELLO, CONFIG, version="v3")
    async for _ in run:
        pass
    assert await run.interrupted()
    assert len(auth_interrupts(list(await run.interrupts()))) == 1


# Graphs in graphs -------------------------------------------------------------------------------------------------------------


@one_era
async def test_a_sub_agents_question_reaches_the_top(make_toolkit: MakeToolkit, alice: Person) -> None:
    """An agent that is a tool of another: its interrupt is the outer run's, and so is the answer."""
    inner = create_agent(calling("demo__whoami"), await make_toolkit().aget_tools())

    @tool
    async def assistant() -> str:
        """Ask the assistant."""
        return str(tool_messages(await inner.ainvoke(HELLO))["demo__whoami"].text)

    outer = create_agent(calling("assistant"), [assistant], checkpointer=InMemorySaver())
    stopped = await outer.ainvoke(HELLO, CONFIG)
    [payload] = auth_interrupts(stopped)
    await log_in(make_toolkit, alice, payload["authorization_url"])
    assert tool_messages(await outer.ainvoke(resume_command(stopped), CONFIG))["assistant"].text == "alice"


@pytest.mark.standard
@one_era
@pytest.mark.parametrize("way", ["tools", "middleware"])
async def test_a_deep_agent(make_toolkit: MakeToolkit, alice: Person, way: str) -> None:
    """`deepagents`: with the toolkit's tools, or with the middleware."""
    from deepagents import create_deep_agent

    toolkit = make_toolkit()
    options: dict[str, Any] = {"tools": await toolkit.aget_tools()} if way == "tools" else {"middleware": [MCPOAuthMiddleware(toolkit)]}
    agent = create_deep_agent(calling("demo__whoami"), checkpointer=InMemorySaver(), **options)
    stopped = await agent.ainvoke(HELLO, CONFIG)
    [payload] = auth_interrupts(stopped)
    await log_in(make_toolkit, alice, payload["authorization_url"])
    assert tool_messages(await agent.ainvoke(resume_command(stopped), CONFIG))["demo__whoami"].text == "alice"


# Checkpointers ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite", ON_POSTGRES])
async def saver(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Checkpointers of LangGraph's, empty; their serialiser allows no type but primitives (`LANGGRAPH_STRICT_MSGPACK`)."""
    strict = JsonPlusSerializer(allowed_msgpack_modules=None)
    if request.param == "memory":
        yield InMemorySaver(serde=strict)
    elif request.param == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints.db")) as sqlite:
            sqlite.serde = strict
            yield sqlite
    else:
        with postgres_schema() as url:
            address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
            async with AsyncPostgresSaver.from_conn_string(address, serde=strict) as postgres:
                await postgres.setup()
                yield postgres


@one_era
async def test_every_checkpointer_keeps_the_question(
    make_toolkit: MakeToolkit, alice: Person, saver: BaseCheckpointSaver[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Stop, and go on with a graph built anew; nothing in the checkpoint is of a type that its serialiser does not know."""
    with caplog.at_level(logging.DEBUG, logger="langgraph.checkpoint.serde"):
        first = await agent_of(make_toolkit, "demo__whoami", saver=saver)
        [payload] = auth_interrupts(await first.ainvoke(HELLO, CONFIG))
        await log_in(make_toolkit, alice, payload["authorization_url"])
        second = await agent_of(make_toolkit, "demo__whoami", saver=saver)
        finished = await second.ainvoke(resume_command(await second.aget_state(CONFIG)), CONFIG)
    assert tool_messages(finished)["demo__whoami"].text == "alice"
    assert [record.getMessage() for record in caplog.records if record.name.startswith("langgraph.checkpoint.serde")] == []


@one_era
async def test_without_a_checkpointer_the_turn_is_run_again(make_toolkit: MakeToolkit, alice: Person) -> None:
    """Nothing can be resumed; the login is stored all the same, and the next run goes through."""
    agent = create_agent(calling("demo__whoami"), await make_toolkit().aget_tools())
    [payload] = auth_interrupts(await agent.ainvoke(HELLO))
    await log_in(make_toolkit, alice, payload["authorization_url"])
    assert tool_messages(await agent.ainvoke(HELLO))["demo__whoami"].text == "alice"


# Middlewares ------------------------------------------------------------------------------------------------------------------

MIDDLEWARES: dict[str, Callable[[], Any]] = {
    "tool retry": lambda: ToolRetryMiddleware(max_retries=2),
    "model retry": lambda: ModelRetryMiddleware(max_retries=2),
    "fallback": lambda: ModelFallbackMiddleware(calling("demo__whoami")),
    "tool error": lambda: ToolErrorMiddleware(on_error=str),
}


@pytest.mark.slow
@one_era
@pytest.mark.parametrize("other", MIDDLEWARES.values(), ids=MIDDLEWARES)
@pytest.mark.parametrize("outer", [True, False], ids=["around", "within"])
async def test_other_middlewares_let_the_question_through(make_toolkit: MakeToolkit, alice: Person, other: Any, outer: bool) -> None:
    """Neither retried, counted, replaced nor swallowed, outside of ours or inside; and the run goes on afterwards."""
    ours = MCPOAuthMiddleware(make_toolkit(), mode="per_call")
    middleware = [other(), ours] if outer else [ours, other()]
    agent = create_agent(calling("demo__whoami"), middleware=middleware, checkpointer=InMemorySaver())
    stopped = await agent.ainvoke(HELLO, CONFIG)
    [payload] = auth_interrupts(stopped)
    await log_in(make_toolkit, alice, payload["authorization_url"])
    assert tool_messages(await agent.ainvoke(resume_command(stopped), CONFIG))["demo__whoami"].text == "alice"


@one_era
@pytest.mark.parametrize("mode", ["batched", "per_call"])
async def test_a_review_in_front_is_its_own_question(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, mode: Any) -> None:
    """LangChain's review middleware asks for the call, ours for the login; each answer goes to its question."""
    review = HumanInTheLoopMiddleware(interrupt_on={"demo__whoami": True})
    ours = MCPOAuthMiddleware(make_toolkit(), mode=mode)
    agent = create_agent(calling("demo__whoami"), middleware=[review, ours], checkpointer=InMemorySaver())
    result = await agent.ainvoke(HELLO, CONFIG)
    for _ in range(2):
        assert server.calls == []
        if payloads := auth_interrupts(result):
            await log_in(make_toolkit, alice, payloads[0]["authorization_url"])
            result = await agent.ainvoke(resume_command(result), CONFIG)
        else:
            result = await agent.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), CONFIG)
    assert tool_messages(result)["demo__whoami"].text == "alice"
    assert len(server.calls) == 1


# Interfaces -------------------------------------------------------------------------------------------------------------------

INTERFACES: list[tuple[str, Any, Any, Any]] = [
    ("hitl", HITLRequest, {"decisions": [{"type": "approve"}]}, {"decisions": [{"type": "reject", "message": "Not now."}]}),
    ("inbox", list[HumanInterrupt], [{"type": "accept", "args": None}], [{"type": "ignore", "args": None}]),
]


@one_era
@pytest.mark.parametrize(("form", "shown", "done", "refused"), INTERFACES, ids=[form for form, *_ in INTERFACES])
async def test_an_interfaces_own_question_and_answers(
    make_toolkit: MakeToolkit, alice: Person, form: Any, shown: Any, done: Any, refused: Any
) -> None:
    """What the run stops with is of the interface's type, and what its buttons send back is the answer: done, or refused."""
    toolkit = make_toolkit(interrupt_format=form)
    agent = create_agent(calling("demo__whoami"), await toolkit.aget_tools(), checkpointer=InMemorySaver())
    for thread, answer, status in (("1", refused, "error"), ("2", done, "success")):
        stopped = await agent.ainvoke(HELLO, as_user("alice", thread))
        TypeAdapter(shown).validate_python(stopped["__interrupt__"][0].value)
        if status == "success":
            await log_in(make_toolkit, alice, auth_interrupts(stopped)[0]["authorization_url"])
        finished = await agent.ainvoke(Command(resume=answer), as_user("alice", thread))
        assert tool_messages(finished)["demo__whoami"].status == status


# Loops, threads, users --------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_loops() -> Iterator[list[asyncio.AbstractEventLoop]]:
    """Two event loops that run in threads of their own."""
    loops = [asyncio.new_event_loop() for _ in range(2)]
    threads = [Thread(target=loop.run_forever) for loop in loops]
    for thread in threads:
        thread.start()
    yield loops
    for loop, thread in zip(loops, threads, strict=True):
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.slow
@one_era
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what belongs to a loop that has ended goes with it
async def test_one_agent_in_many_loops_and_threads(
    make_toolkit: MakeToolkit, alice: Person, other_loops: list[asyncio.AbstractEventLoop]
) -> None:
    """This loop, two others, threads with a loop of their own for one run, and `invoke` in threads without one, all at once on the same
    graph: nothing shared belongs to a loop."""
    await log_in(make_toolkit, alice)
    async with make_toolkit() as toolkit:
        agent = create_agent(calling("demo__whoami"), await toolkit.aget_tools(), checkpointer=InMemorySaver())
        runs: list[Awaitable[Any]] = []
        for number in range(4):
            there = agent.ainvoke(HELLO, as_user("alice", f"there-{number}"))
            runs.append(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there, other_loops[number % 2])))
            runs.append(asyncio.to_thread(agent.invoke, HELLO, as_user("alice", f"sync-{number}")))
            runs.append(asyncio.to_thread(asyncio.run, agent.ainvoke(HELLO, as_user("alice", f"own-{number}"))))
            runs.append(agent.ainvoke(HELLO, as_user("alice", f"here-{number}")))
        results = await asyncio.gather(*runs)
    gc.collect()
    assert {tool_messages(result)["demo__whoami"].text for result in results} == {"alice"}


class LangGraphUser(dict[str, Any]):
    """As LangGraph Server puts its authenticated user into a run."""

    @property
    def identity(self) -> str:
        return str(self["identity"])


@one_era
async def test_langgraph_servers_user_is_the_runs(make_toolkit: MakeToolkit, alice: Person) -> None:
    """`langgraph_auth_user`, before what a client wrote into `user_id`."""
    await log_in(make_toolkit, alice)
    agent = create_agent(calling("demo__whoami"), middleware=[MCPOAuthMiddleware(make_toolkit(user_id=None))])
    config: Any = {"configurable": {"langgraph_auth_user": LangGraphUser(identity="alice"), "user_id": "mallory"}}
    assert tool_messages(await agent.ainvoke(HELLO, config))["demo__whoami"].text == "alice"


# Notifications and cancelling -------------------------------------------------------------------------------------------------


async def slowly(ctx: Context, steps: int = 2) -> str:
    """Report progress, and log."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
    await ctx.session.send_log_message(level="info", data="nearly done", related_request_id=ctx.request_id)
    return "done"


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_progress_and_logs_are_in_the_stream(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, sync: bool) -> None:
    """`stream_mode="custom"` shows them as they come, with the tool and the call they belong to; logs come until 2025-11-25."""
    server.mcp.add_tool(slowly)
    await log_in(make_toolkit, alice)
    agent = await agent_of(make_toolkit, "demo__slowly")
    if sync:
        parts = await asyncio.to_thread(lambda: list(agent.stream(HELLO, CONFIG, stream_mode="custom")))
    else:
        parts = [part async for part in agent.astream(HELLO, CONFIG, stream_mode="custom")]
    progress = [(part["progress"], part["total"], part["message"]) for part in parts if part["type"] == "mcp_progress"]
    assert progress == [(1, 2, "step 1"), (2, 2, "step 2")]
    assert {(part["server"], part["tool_name"], part["tool_call_id"]) for part in parts} == {
        ("demo", "demo__slowly", "call-0-demo__slowly")
    }
    logs = [(part["level"], part["data"]) for part in parts if part["type"] == "mcp_log"]
    assert logs == ([("info", "nearly done")] if server._guard._era == "2025-11-25" else [])


async def test_cancelling_the_run_cancels_the_call(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """At the server too, in both eras."""
    cancelled = asyncio.Event()
    here = asyncio.get_running_loop()
    started = asyncio.Event()

    async def wait() -> str:
        """Wait until cancelled."""
        here.call_soon_threadsafe(started.set)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            here.call_soon_threadsafe(cancelled.set)
            raise
        return "never"

    server.mcp.add_tool(wait)
    await log_in(make_toolkit, alice)
    agent = await agent_of(make_toolkit, "demo__wait")
    run = asyncio.create_task(agent.ainvoke(HELLO, CONFIG))
    await asyncio.wait_for(started.wait(), 30)
    run.cancel()
    await asyncio.wait_for(cancelled.wait(), 30)
    with pytest.raises(asyncio.CancelledError):
        await run
