"""Connections: kept, bounded, never used again after trouble, and no dearer for being many."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import anyio
import httpcore2
import httpx2
import pytest

from langchain_mcp_oauth.http import guarded_client
from langchain_mcp_oauth.http.pool import ConnectionPool

from .web_server import WebServer, ok

pytestmark = pytest.mark.anyio


class Wire:
    """What stand-in connections did."""

    def __init__(self) -> None:
        self.made: list[Stub] = []
        self.looked_at = 0
        self.go_on = anyio.Event()
        self.waiting = False
        self.broken = False

    def connect(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        self.made.append(Stub(self, origin))
        return self.made[-1]

    @property
    def open(self) -> list[Stub]:
        return [stub for stub in self.made if not stub.closed]


class Stub(httpcore2.AsyncConnectionInterface):
    """A connection that answers at once (or when the wire says so), and may have grown stale."""

    def __init__(self, wire: Wire, origin: httpcore2.Origin) -> None:
        self.wire = wire
        self.origin = origin
        self.busy = self.closed = self.stale = False
        self.used = 0

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        assert not self.busy
        assert not self.closed
        self.busy = True
        self.used += 1
        if self.wire.broken:
            raise httpcore2.ReadError
        if self.wire.waiting:
            await self.wire.go_on.wait()
        return httpcore2.Response(200, content=Body(self))

    def is_available(self) -> bool:
        return not self.busy and not self.closed

    def has_expired(self) -> bool:
        self.wire.looked_at += 1
        return self.stale

    async def aclose(self) -> None:
        self.closed = True


class Body:
    def __init__(self, stub: Stub) -> None:
        self.stub = stub

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b""

    async def aclose(self) -> None:
        self.stub.busy = False


async def fetch(pool: ConnectionPool, host: str = "example.com") -> None:
    response = await pool.handle_async_request(httpcore2.Request("GET", f"https://{host}/"))
    await response.aclose()


async def fetch_at_once(pool: ConnectionPool, wire: Wire, number: int, host: str = "example.com") -> None:
    """So many requests, all under way before the first is answered."""
    wire.waiting, wire.go_on = True, anyio.Event()
    before = len(wire.open)
    async with anyio.create_task_group() as tasks:
        for _ in range(number):
            tasks.start_soon(fetch, pool, host)
        while sum(stub.busy for stub in wire.made) < number:
            await anyio.lowlevel.checkpoint()
        wire.go_on.set()
    wire.waiting = False
    assert len(wire.open) >= before


async def test_the_cost_does_not_grow_with_idle_connections() -> None:
    """A request looks at two connections: the one it takes and the one idle longest, of two as of two hundred."""
    looks = []
    for number in (2, 200):
        wire = Wire()
        pool = ConnectionPool(wire.connect)
        await fetch_at_once(pool, wire, number)
        wire.looked_at = 0
        for _ in range(10):
            await fetch(pool)
        looks.append(wire.looked_at)
        assert len(wire.made) == number
    assert looks == [20, 20]


async def test_last_in_first_out() -> None:
    """The connection that came back last is used next, so that the others grow old."""
    wire = Wire()
    pool = ConnectionPool(wire.connect)
    await fetch_at_once(pool, wire, 3)
    for _ in range(4):
        await fetch(pool)
    assert sorted(stub.used for stub in wire.made) == [1, 1, 5]


async def test_a_connection_that_failed_is_closed() -> None:
    """Whatever state it is in; and its turn comes back."""
    wire = Wire()
    pool = ConnectionPool(wire.connect, limit=1, limit_per_origin=1)
    wire.broken = True
    for _ in range(2):
        with pytest.raises(httpcore2.ReadError):
            await fetch(pool)
    assert not wire.open
    wire.broken = False
    await fetch(pool)


async def test_stale_connections_are_not_used() -> None:
    """When the server has closed them all, they are closed here too, and a new one is opened."""
    wire = Wire()
    pool = ConnectionPool(wire.connect)
    await fetch_at_once(pool, wire, 3)
    for stub in wire.made:
        stub.stale = True
    await fetch(pool)
    assert len(wire.open) == 1
    assert len(wire.made) == 4


async def test_connections_to_other_origins_grow_old_too() -> None:
    """Traffic to one origin closes, one by one, the stale connections to origins nobody uses any more."""
    wire = Wire()
    pool = ConnectionPool(wire.connect)
    for number in range(5):
        await fetch(pool, f"{number}.example")
    for stub in wire.made:
        stub.stale = True
    for _ in range(6):
        await fetch(pool)
    assert [str(stub.origin) for stub in wire.open] == ["https://example.com:443"]


async def test_scheme_host_and_port_make_an_origin() -> None:
    """A connection is used for exactly its own."""
    wire = Wire()
    pool = ConnectionPool(wire.connect)
    for url in ("https://a.example/", "https://b.example/", "https://a.example:8443/", "http://a.example:443/"):
        await (await pool.handle_async_request(httpcore2.Request("GET", url))).aclose()
    assert len(wire.made) == 4


async def test_one_origin_cannot_take_everything() -> None:
    """Requests beyond an origin's limit wait for each other; another origin is served meanwhile."""
    wire = Wire()
    pool = ConnectionPool(wire.connect, limit=4, limit_per_origin=2)
    wire.waiting = True
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(fetch, pool, "slow.example")
        await anyio.wait_all_tasks_blocked()
        assert len(wire.made) == 2
        wire.waiting = False
        await fetch(pool, "fast.example")
        wire.go_on.set()
    assert len(wire.made) == 3


async def test_the_limit_of_all_closes_idle_ones() -> None:
    """At the limit, the connection of the origin unused longest makes room."""
    wire = Wire()
    pool = ConnectionPool(wire.connect, limit=3, limit_per_origin=3)
    for number in range(5):
        await fetch(pool, f"{number}.example")
    assert [str(stub.origin) for stub in wire.open] == [f"https://{number}.example:443" for number in (2, 3, 4)]


@pytest.mark.parametrize("host", ["example.com", "other.example"])
async def test_waiting_can_be_cancelled(host: str) -> None:
    """A request that is cancelled while it waits, for its origin's turn or for one at all, takes nobody's turn with it."""
    wire = Wire()
    pool = ConnectionPool(wire.connect, limit=1, limit_per_origin=1)
    wire.waiting = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fetch, pool)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.01):
            await fetch(pool, host)
        wire.go_on.set()
    for _ in range(3):
        await fetch(pool, host)
    assert not pool._turns_of


async def test_closing_closes_everything() -> None:
    """Idle connections and those in use."""
    wire = Wire()
    pool = ConnectionPool(wire.connect)
    await fetch(pool, "idle.example")
    await pool.handle_async_request(httpcore2.Request("GET", "https://busy.example/"))
    await pool.aclose()
    assert not wire.open


# With real sockets ----------------------------------------------------------------------------------------------------------------


def client_of(server: WebServer) -> httpx2.AsyncClient:
    return guarded_client(allowed_hosts=frozenset({server.entry}))


async def test_one_connection_for_all() -> None:
    """Requests one after another use one connection."""
    with WebServer() as server:
        async with client_of(server) as client:
            for _ in range(5):
                assert (await client.get(server.url)).text == "ok"
        assert server.opened == 1


async def test_a_server_that_hung_up() -> None:
    """Its connection is not used again, without an error for the caller."""
    with WebServer() as server:
        async with client_of(server) as client:
            await client.get(server.url)
            server.hang_up()
            await until_closed(server, remaining=0)
            assert (await client.get(server.url)).text == "ok"
        assert server.opened == 2


async def until_closed(server: WebServer, remaining: int) -> None:
    with anyio.fail_after(5):
        while len(server.peers) > remaining:  # noqa: ASYNC110 - it happens in another thread
            await anyio.sleep(0.005)


async def test_a_cancelled_request_is_never_answered_to_somebody_else() -> None:
    """Its connection is closed; the late answer cannot be taken for the next request's."""
    late = threading.Event()

    def answer(peer: socket.socket, head: bytes) -> None:
        if b"/late" in head:
            late.wait(5)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        else:
            ok(peer, head)

    with WebServer(answer) as server:
        async with client_of(server) as client:
            with anyio.move_on_after(0.1):
                await client.get(f"{server.url}late")
            late.set()
            assert (await client.get(server.url)).text == "ok"
            await until_closed(server, remaining=1)
        assert server.opened == 2


@pytest.mark.parametrize("leave", ["unread", "half read", "cancelled while reading"])
async def test_a_body_not_read_to_its_end(leave: str) -> None:
    """Closes its connection, which would otherwise carry the rest of it to the next request."""

    def half(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhal")

    with WebServer(half) as server:
        async with client_of(server) as client:
            response = await client.send(httpx2.Request("GET", server.url), stream=True)
            if leave == "half read":
                await anext(response.aiter_raw())
            elif leave == "cancelled while reading":
                with anyio.move_on_after(0.05):
                    await response.aread()
            await response.aclose()
            await until_closed(server, remaining=0)
            server.answer = ok
            assert (await client.get(server.url)).text == "ok"
        assert server.opened == 2


def slowly(peer: socket.socket, head: bytes) -> None:
    """Head and body come late, one after the other, so that there is a moment for each."""
    for part in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\n", b"ok"):
        time.sleep(0.001)
        peer.sendall(part)


async def in_a_task_of_its_own(request: Coroutine[Any, Any, Any]) -> Any:
    """As LangChain runs a tool: anyio cancels this task at every step that it takes, and its shields do not know of it."""
    return await asyncio.create_task(request)


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.002, 0.004])
@pytest.mark.parametrize("run", [in_a_task_of_its_own, lambda request: request], ids=["in a task of its own", "in the caller's task"])
async def test_cancelling_at_any_moment_loses_no_connection(run: Callable[..., Awaitable[Any]], moment: float) -> None:
    """Whenever requests are cancelled, nothing stays open behind the pool's back, and all turns come back."""
    with WebServer(slowly) as server:
        async with client_of(server) as client:
            for _ in range(20):
                with anyio.move_on_after(moment):
                    await run(client.get(server.url))
            assert (await client.get(server.url)).text == "ok"
            pool: Any = client._transport._pool  # type: ignore[attr-defined]
            await until_closed(server, remaining=1)
            assert not pool._turns_of


async def test_each_event_loop_has_a_client_of_its_own() -> None:
    """Two loops in two threads, two clients, one process: both work."""
    outcomes: list[str] = []

    async def fetch_there(url: str, make: Callable[[], httpx2.AsyncClient]) -> None:
        async with make() as client:
            outcomes.append((await client.get(url)).text)

    with WebServer() as server:
        threads = [threading.Thread(target=lambda: anyio.run(fetch_there, server.url, lambda: client_of(server))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
    assert outcomes == ["ok", "ok"]
