"""Steps of a story in operating-system processes of their own, which can be killed at any database write or HTTP request.

Processes are forked from a server that has imported the library once (`forkserver`), so one costs a fraction of a second.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import httpx2
import time_machine

from langchain_mcp_oauth import AuthRequired, MCPOAuthToolkit, SQLModelTokenStore
from langchain_mcp_oauth.http.client import GuardedTransport

WRITES = (
    "save_grant",
    "mark_accepted",
    "delete_grant",
    "disconnect",
    "open_request",
    "claim_request",
    "grant_request",
    "close_request",
    "save_client",
    "delete_client",
    "acquire_lease",
    "release_lease",
)

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
    """What it passed, in order: before and after each write and request."""
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

    def __init__(self, step: Step, *arguments: Any, kill_at: int | None = None, later: float = 0.0) -> None:
        """Start it.

        Args:
            kill_at: The number of the point at which it kills itself with SIGKILL; None: it lives.
            later: Seconds its clock is ahead.
        """
        self._receiving, sending = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_child, args=(sending, step, arguments, kill_at, later))
        self._process.start()
        sending.close()

    def wait(self) -> Ended:
        """How it ended."""
        points: list[str] = []
        result, error = None, None
        try:
            while True:
                kind, value = self._receiving.recv()
                if kind == "point":
                    points.append(value)
                elif kind == "result":
                    result = value
                else:
                    error = value
        except EOFError:
            self._process.join()
            self._receiving.close()
        return Ended(tuple(points), self._process.exitcode == -signal.SIGKILL, result, error)


def run(step: Step, *arguments: Any, kill_at: int | None = None, later: float = 0.0) -> Ended:
    """Run a step in a process of its own to its end."""
    return Running(step, *arguments, kill_at=kill_at, later=later).wait()


def _child(sending: Connection, step: Step, arguments: tuple[Any, ...], kill_at: int | None, later: float) -> None:
    passed = 0

    def point(name: str) -> None:
        nonlocal passed
        sending.send(("point", name))
        if passed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    for method in WRITES:
        _watch(SQLModelTokenStore, method, point, lambda *_, name=method: name)
    _watch(GuardedTransport, "handle_async_request", point, _describe)
    with time_machine.travel(time.time() + later, tick=True):
        try:
            sending.send(("result", asyncio.run(step(*arguments))))
        except BaseException as error:  # noqa: BLE001
            sending.send(("error", error))
    sending.close()


def _describe(request: httpx2.Request) -> str:
    """`refresh` for what spends a refresh token; all others are a `request`."""
    return "refresh" if b"grant_type=refresh_token" in request.content else "request"


def _watch(owner: type, method: str, point: Callable[[str], None], describe: Callable[..., str]) -> None:
    original = getattr(owner, method)

    @functools.wraps(original)
    async def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        point(f"before {describe(*args)}")
        result = await original(self, *args, **kwargs)
        point(f"after {describe(*args)}")
        return result

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


async def call(story: Story, times: int = 1) -> list[str]:
    """Who the server says we are, from many calls at once."""
    async with story.toolkit() as toolkit:
        [whoami] = [tool for tool in await toolkit.aget_tools() if tool.name == "demo__whoami"]
        answers = await asyncio.gather(*(whoami.ainvoke({}) for _ in range(times)))
        return [answer[0]["text"] for answer in answers]
