"""Steps of a story in operating-system processes of their own, which can be killed, or stand still, before any database write or HTTP
request. (Dying after one and before the next leaves the same behind as dying before the next.)

Processes are forked from a server that has imported the library once (`forkserver`), so one costs a fraction of a second.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypedDict
from urllib.parse import parse_qs

import httpx2
import time_machine
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph

from langchain_mcp_oauth import AuthRequired, MCPOAuthToolkit, SQLModelTokenStore, auth_interrupts, resume_command
from langchain_mcp_oauth.authorizer import refreshing
from langchain_mcp_oauth.http.client import GuardedTransport
from langchain_mcp_oauth.models import Lease
from langchain_mcp_oauth.store import _resealing

WRITES = (
    "save_grant",
    "mark_accepted",
    "delete_grant",
    "disconnect",
    "claim_revocations",
    "end_revocation",
    "open_request",
    "claim_request",
    "grant_request",
    "close_request",
    "save_client",
    "delete_client",
    "save_listings",
    "outdate_listing",
    "pin_tools",
    "repin_tools",
    "acquire_lease",
    "lease_grant",
    "release_lease",
    "count",
    "purge",
)

LAPSED = 60.0
"""Seconds after which every lease and claim of a dead process has ended."""

_context = get_context("forkserver")
_context.set_forkserver_preload([__name__])

Step = Callable[..., Any]


@dataclass(frozen=True)
class Story:
    """What the processes of one story have in common."""

    server_url: str
    allowed_private_hosts: frozenset[str]
    database: str
    key: str
    redirect_uri: str
    user_id: str = "alice"

    def toolkit(self) -> MCPOAuthToolkit:
        return MCPOAuthToolkit(
            {"demo": self.server_url},
            store=self.database,
            encryption_key=self.key,
            redirect_uri=self.redirect_uri,
            user_id=self.user_id,
            allowed_private_hosts=self.allowed_private_hosts,
        )


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    points: tuple[str, ...]
    """What it came to, in order: each write, each request, and its end."""
    killed: bool
    result: Any = None
    error: BaseException | None = None

    def value(self) -> Any:
        assert not self.killed, self.points
        if self.error is not None:
            raise self.error
        return self.result


class Running:
    """A process under way."""

    def __init__(
        self, step: Step, *arguments: Any, kill_at: int | None = None, stop_at: str | None = None, asleep: float = 0.0, later: float = 0.0
    ) -> None:
        """Start it.

        Args:
            kill_at: The number of the point at which it kills itself with SIGKILL; None: it lives.
            stop_at: The point at which all of it stands still, the first time, until `go_on()`.
            asleep: Seconds that have passed by its clock when it goes on.
            later: Seconds its clock is ahead from the start.
        """
        self.points: list[str] = []
        self._connection, theirs = _context.Pipe()
        self._process = _context.Process(target=_child, args=(theirs, step, arguments, kill_at, stop_at, asleep, later))
        self._process.start()
        theirs.close()

    def reach(self, point: str) -> None:
        """Return when it has come to this point."""
        while point not in self.points:
            kind, value = self._connection.recv()
            assert kind == "point", (value, self.points)
            self.points.append(value)

    def go_on(self) -> None:
        """Let it leave the point at which it stands."""
        self._connection.send("go on")

    def wait(self) -> Ended:
        """How it ended."""
        result, error = None, None
        try:
            while True:
                kind, value = self._connection.recv()
                if kind == "point":
                    self.points.append(value)
                elif kind == "result":
                    result = value
                else:
                    error = value
        except EOFError:
            self._process.join()
            self._connection.close()
        assert self._process.exitcode in {0, -signal.SIGKILL}, self.points
        return Ended(tuple(self.points), self._process.exitcode == -signal.SIGKILL, result, error)


def run(step: Step, *arguments: Any, kill_at: int | None = None, later: float = 0.0) -> Ended:
    """Run a step in a process of its own to its end."""
    return Running(step, *arguments, kill_at=kill_at, later=later).wait()


point: Callable[[str], None] = lambda name: None  # noqa: E731 - each process has its own
"""Say that this process has come to a point."""


def _child(
    connection: Connection,
    step: Step,
    arguments: tuple[Any, ...],
    kill_at: int | None,
    stop_at: str | None,
    asleep: float,
    later: float,
) -> None:
    global point
    passed: list[str] = []

    with time_machine.travel(time.time() + later, tick=True) as traveller:

        def at(name: str) -> None:
            connection.send(("point", name))
            if len(passed) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == stop_at and name not in passed:
                connection.recv()
                traveller.shift(asleep)
            passed.append(name)

        point = at
        for method in WRITES:
            _watch(SQLModelTokenStore, method, lambda *_, name=method: name)
        for saver, method in product((AsyncSqliteSaver, AsyncPostgresSaver), ("aput", "aput_writes")):
            _watch(saver, method, lambda *_: "checkpoint")
        _watch(GuardedTransport, "handle_async_request", _purpose)
        try:
            outcome = ("result", asyncio.run(step(*arguments)))
        except BaseException as error:  # noqa: BLE001
            outcome = ("error", error)
        at("end")
        connection.send(outcome)
    connection.close()


def _purpose(request: httpx2.Request) -> str:
    """What a request is for, in words that the documentation uses too."""
    path = request.url.path
    if path == "/mcp":
        return f"MCP {json.loads(request.content)['method']}" if request.content else f"MCP {request.method}"
    if path == "/token":
        return {"authorization_code": "code exchange", "refresh_token": "refresh"}[parse_qs(request.content.decode())["grant_type"][0]]
    return path.removeprefix("/.well-known").removesuffix("/mcp").strip("/")


def _watch(owner: type, method: str, describe: Callable[..., str]) -> None:
    original = getattr(owner, method)

    @functools.wraps(original)
    async def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        point(describe(*args))
        return await original(self, *args, **kwargs)

    setattr(owner, method, watched)


# The steps ------------------------------------------------------------------------------------------------------------------


async def ask(story: Story) -> tuple[str, str] | None:
    """List: the authorization URL and handle that a person is asked with, or None if nobody is."""
    async with story.toolkit() as toolkit:
        try:
            await toolkit.aget_tools()
        except AuthRequired as needed:
            return needed.authorization_url, needed.auth_id
    return None


async def ask_many(story: Story, times: int) -> set[tuple[str, str]]:
    """The same from many tasks at once."""
    async with story.toolkit() as toolkit:
        outcomes = await asyncio.gather(*(toolkit.aget_tools() for _ in range(times)), return_exceptions=True)
    return {(needed.authorization_url, needed.auth_id) for needed in outcomes if isinstance(needed, AuthRequired)}


async def complete(story: Story, callback_url: str) -> str:
    """Redeem a callback."""
    async with story.toolkit() as toolkit:
        return (await toolkit.complete_authorization(callback_url)).server


async def complete_many(story: Story, callback_url: str, times: int) -> list[str]:
    """Redeem the same callback from many tasks at once, when all processes are ready."""
    async with story.toolkit() as toolkit:
        point("ready")
        completed = await asyncio.gather(*(toolkit.complete_authorization(callback_url) for _ in range(times)))
    return [each.server for each in completed]


async def call(story: Story, times: int = 1, *, tool: str = "whoami", **arguments: Any) -> list[str]:
    """Who the server says we are, from many calls at once; first the tools are listed, and the process says that it is ready."""
    async with story.toolkit() as toolkit:
        [found] = [each for each in await toolkit.aget_tools() if each.name == f"demo__{tool}"]
        point("ready")
        answers = await asyncio.gather(*(found.ainvoke(arguments) for _ in range(times)))
        return [answer[0]["text"] for answer in answers]


async def call_without_lease(story: Story, times: int) -> int:
    """The negative control: the same with nothing between the processes. How many calls were lost."""

    async def at_once(_take: Any, **_: Any) -> Lease:
        return Lease(("refresh",), "nobody", datetime.now(UTC) + timedelta(hours=1))

    refreshing.wait_for_lease = at_once  # type: ignore[assignment]
    async with story.toolkit() as toolkit:
        [whoami] = [each for each in await toolkit.aget_tools() if each.name == "demo__whoami"]
        point("ready")
        outcomes = await asyncio.gather(*(whoami.ainvoke({}) for _ in range(times)), return_exceptions=True)
        return sum(isinstance(outcome, BaseException) for outcome in outcomes)


async def call_as_each(story: Story, users: tuple[str, ...] = ("alice",)) -> list[str]:
    """One application, many users: each lists and calls in turn."""
    async with story.toolkit() as toolkit:
        answers = []
        for user in users:
            [whoami] = [each for each in await toolkit.aget_tools(user_id=user) if each.name == "demo__whoami"]
            answers.append((await whoami.ainvoke({}))[0]["text"])
        return answers


async def call_until_asked(story: Story) -> tuple[int, float]:
    """One call after the other until a person is asked: how many were answered, and for how many seconds."""
    async with story.toolkit() as toolkit:
        [whoami] = [each for each in await toolkit.aget_tools() if each.name == "demo__whoami"]
        point("ready")
        started, calls = time.monotonic(), 0
        with suppress(AuthRequired):
            while time.monotonic() - started < 120:
                await whoami.ainvoke({})
                calls += 1
                await asyncio.sleep(0.1)
        return calls, time.monotonic() - started


async def add(story: Story) -> str:
    """A call that needs a scope of its own."""
    async with story.toolkit() as toolkit:
        [found] = [each for each in await toolkit.aget_tools() if each.name == "demo__add"]
        return str((await found.ainvoke({"a": 1, "b": 2}))[0]["text"])


async def disconnect(story: Story) -> bool:
    """Whether the issuer was told."""
    async with story.toolkit() as toolkit:
        return await toolkit.disconnect("demo")


async def rotate(story: Story, keys: list[str]) -> int:
    """Seal everything with the first of these keys, row by row; before each transaction it comes to the point `reseal`."""
    _resealing.AT_ONCE = 1
    store = SQLModelTokenStore(story.database, encryption_key=keys)
    write = store._database.write

    def reseal(work: Callable[[Any], Any]) -> Any:
        point("reseal")
        return write(work)

    store._database.write = reseal  # type: ignore[method-assign]
    try:
        return await store.rotate()
    finally:
        await store.aclose()


class _State(TypedDict, total=False):
    who: str


@asynccontextmanager
async def _saver(database: str) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """LangGraph's own checkpointer: in a file beside the logins, or in the same Postgres."""
    if database.startswith("sqlite:///"):
        async with AsyncSqliteSaver.from_conn_string(database.removeprefix("sqlite:///") + ".graph") as in_file:
            yield in_file
    else:
        async with AsyncPostgresSaver.from_conn_string(database.replace("+psycopg", "")) as on_postgres:
            await on_postgres.setup()
            yield on_postgres


async def run_graph(story: Story) -> Any:
    """Whatever is next in a graph that makes one call: the interrupt's payload, or the call's answer."""

    async def work(_: _State) -> _State:
        async with story.toolkit() as toolkit:
            [whoami] = [each for each in await toolkit.aget_tools() if each.name == "demo__whoami"]
            return {"who": (await whoami.ainvoke({}))[0]["text"]}

    graph = StateGraph(_State).add_node("work", work).add_edge(START, "work")
    config: Any = {"configurable": {"thread_id": "t", "user_id": story.user_id}}
    async with _saver(story.database) as saver:
        compiled = graph.compile(checkpointer=saver)
        state = await compiled.aget_state(config)
        if state.interrupts:
            next_input: Any = resume_command(state)
        else:
            next_input = None if state.created_at else {"who": ""}
        if not state.values.get("who"):  # `state.next` is empty too between a task's own writes and the checkpoint that has them
            await compiled.ainvoke(next_input, config, durability="sync")
        state = await compiled.aget_state(config)
        return auth_interrupts(state)[0] if state.interrupts else state.values["who"]
