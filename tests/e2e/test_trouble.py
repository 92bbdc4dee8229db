"""Machines in trouble: databases, servers, names and clocks. Nothing is lost, nobody is asked, errors say whether to try again."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import time_machine
from sqlalchemy import Engine, create_engine, event

from langchain_mcp_oauth import AuthRequired, ConnectionFailed, MCPOAuthError, MCPOAuthToolkit, SQLModelTokenStore, StoreUnavailable
from langchain_mcp_oauth.authorizer import saving
from langchain_mcp_oauth.http import driving
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import KEY, REDIRECT_URI
from .logins import log_in, text_of, tools_of

pytestmark = pytest.mark.anyio

Trouble = bytes | None
"""What a request is answered with before the connection ends; None: never."""


class Unreliable:
    """Stands before a server and passes requests on, but for those that there is trouble for, which never reach it."""

    def __init__(self) -> None:
        self.troubles: list[Trouble] = []
        self.target: tuple[str, int] = ("127.0.0.1", 0)
        self._over = Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                peer, _ = self._listener.accept()
                Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with closing(peer), suppress(OSError):
            request = _whole(peer)
            if self.troubles:
                answer = self.troubles.pop(0)
                if answer is None:
                    self._over.wait(30)
                else:
                    peer.sendall(answer)
                return
            with closing(socket.create_connection(self.target)) as server:
                server.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                while chunk := server.recv(65_536):
                    peer.sendall(chunk)


def _whole(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += peer.recv(65_536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def endpoint() -> Iterator[Unreliable]:
    standing = Unreliable()
    yield standing
    standing.close()


@pytest.fixture
def server(endpoint: Unreliable) -> Iterator[ProtectedServer]:
    """Its token endpoint is behind `endpoint`."""
    with ProtectedServer(era="2026-07-28", metadata={"token_endpoint": f"http://{endpoint.address}/token"}) as running:
        host, port = running.issuer.removeprefix("http://").split(":")
        endpoint.target = (host, int(port))
        yield running


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'tokens.db'}?timeout=0.1")
    yield made
    made.dispose()


@pytest.fixture
async def toolkit(server: ProtectedServer, endpoint: Unreliable, engine: Engine) -> AsyncIterator[MCPOAuthToolkit]:
    store = SQLModelTokenStore(engine, encryption_key=KEY)
    hosts = {*server.allowed_private_hosts, endpoint.address}
    options: Any = {"user_id": "alice", "redirect_uri": REDIRECT_URI, "allowed_private_hosts": hosts}
    async with MCPOAuthToolkit({"demo": server.url}, store=store, **options) as made:
        yield made


BODY = b'{"access_token": "half", "token_type": "Bea'

ANSWERS: dict[str, tuple[Trouble, float | None]] = {
    "429": (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 7.0),
    "503": (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", 3.0),
    "500": (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", None),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n" + BODY, None),
    "no answer": (b"", None),
    "hangs": (None, None),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_token_endpoint_in_trouble_loses_nothing(
    kind: str,
    toolkit: MCPOAuthToolkit,
    server: ProtectedServer,
    endpoint: Unreliable,
    alice: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While refreshing, and while redeeming: a retryable error, with the seconds the server gave; then all goes on and nobody is asked."""
    monkeypatch.setattr(driving.drive, "__kwdefaults__", {"deadline": 2.0})
    answer, retry_after = ANSWERS[kind]
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    callback_url = await alice.aapprove(asked.value.authorization_url)
    endpoint.troubles.append(answer)
    with pytest.raises(ConnectionFailed) as redeeming:
        await toolkit.complete_authorization(callback_url)
    with time_machine.travel(time.time() + 31, tick=True):  # the claim of the attempt that failed has ended
        await toolkit.complete_authorization(callback_url)
        whoami = (await tools_of(toolkit))["whoami"]
        assert await text_of(whoami) == "alice"
        server.expire_tokens()
        endpoint.troubles.append(answer)
        with pytest.raises(ConnectionFailed) as refreshing:
            await text_of(whoami)
        assert await text_of(whoami) == "alice"
    for error in (redeeming.value, refreshing.value):
        assert (error.retryable, error.retry_after) == (True, retry_after)
    assert server.count(path="/authorize", method="GET") == 1
    assert server.authorization_server.reuses == 0


async def test_a_name_that_does_not_resolve_loses_nothing(
    toolkit: MCPOAuthToolkit, server: ProtectedServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS fails while a token is to be refreshed: retryable, nobody is asked, the login stays."""
    await log_in(toolkit, alice)
    look_up = socket.getaddrinfo

    def fails(host: Any, *arguments: Any, **options: Any) -> Any:
        if host in {"as.invalid", b"as.invalid"}:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    answer = {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expires_in": 0}
    await toolkit.save_token_response("demo", answer, issuer=server.issuer, token_endpoint="https://as.invalid/token", client_id="c")
    with pytest.raises(MCPOAuthError) as unreachable:
        await toolkit.aget_tools()
    assert unreachable.value.retryable
    assert (await toolkit.status())["demo"].refreshable


# Databases ------------------------------------------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path, engine: Engine) -> Iterator[None]:
    """Another process is writing and does not end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def set_on_every_connection(engine: Engine, pragma: str) -> Iterator[None]:
    def set_it(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "checkout", set_it)
    yield
    event.remove(engine, "checkout", set_it)
    engine.dispose()


@contextmanager
def read_only(path: Path, engine: Engine) -> Iterator[None]:
    """As a file system is after an error of its disk."""
    with set_on_every_connection(engine, "query_only = 1"):
        yield


@contextmanager
def full(path: Path, engine: Engine) -> Iterator[None]:
    """No page can be added, and the last one of the leases is full."""
    with set_on_every_connection(engine, "max_page_count = 1"):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA max_page_count = 1")
            for size in (1_000, 10):
                with suppress(sqlite3.OperationalError):
                    for number in count():
                        other.execute("INSERT INTO mcp_oauth_leases VALUES (?, ?, '2000-01-01')", (f"x{size}-{number}", "x" * size))
        yield
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DELETE FROM mcp_oauth_leases WHERE name LIKE 'x%'")


@contextmanager
def gone(path: Path, engine: Engine) -> Iterator[None]:
    """The disk that it is on is not mounted."""
    engine.dispose()
    path.rename(path.with_suffix(".elsewhere"))
    path.mkdir()
    yield
    engine.dispose()
    path.rmdir()
    path.with_suffix(".elsewhere").rename(path)


DATABASES: dict[str, Callable[[Path, Engine], AbstractContextManager[None]]] = {
    "locked": locked,
    "read-only": read_only,
    "full": full,
    "gone": gone,
}


@pytest.mark.parametrize("kind", DATABASES)
async def test_a_database_in_trouble_loses_nothing(
    kind: str, toolkit: MCPOAuthToolkit, server: ProtectedServer, alice: Person, engine: Engine, tmp_path: Path
) -> None:
    """Calls with a good token go on; a refresh or a callback fails before anything is spent, retryable; afterwards all is as it was."""
    tools = await log_in(toolkit, alice)
    assert await text_of(tools["whoami"]) == "alice"
    refreshes = server.count(path="/token")
    with DATABASES[kind](tmp_path / "tokens.db", engine):
        assert await text_of(tools["whoami"]) == "alice"
        server.expire_tokens()
        with pytest.raises(StoreUnavailable) as refused:
            await text_of(tools["whoami"])
        assert refused.value.retryable
        assert server.count(path="/token") == refreshes
    assert await text_of(tools["whoami"]) == "alice"
    assert server.count(path="/authorize", method="GET") == 1


async def test_tokens_outlive_a_database_that_is_away_for_a_moment(
    toolkit: MCPOAuthToolkit, server: ProtectedServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refresh token is spent, and only then the database is away: what came is saved when it is back. Nobody is asked."""
    tools = await log_in(toolkit, alice)
    server.expire_tokens()
    save, failures = toolkit.store.save_grant, [StoreUnavailable("gone"), StoreUnavailable("gone")]

    async def away_at_first(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await save(*arguments, **options)

    monkeypatch.setattr(toolkit.store, "save_grant", away_at_first)
    assert await text_of(tools["whoami"]) == "alice"
    assert (server.count(path="/authorize", method="GET"), server.authorization_server.reuses) == (1, 0)


@pytest.mark.parametrize("method", ["save_grant", "grant_request"])
async def test_tokens_outlive_a_database_that_is_away_for_long(
    method: str, toolkit: MCPOAuthToolkit, server: ProtectedServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh token, or a code, is spent, and only then the database goes away, for longer than anybody waits: a retryable error, each
    time. Later, when every lease and claim has ended and it is back, what came is saved. Nothing was sent twice, and nobody is asked."""
    monkeypatch.setattr(saving, "PATIENCE", 0.2)
    monkeypatch.setattr(saving, "LONGEST_PAUSE", 0.02)
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    callback_url = await alice.aapprove(asked.value.authorization_url)
    whoami: Any = None

    async def do() -> Any:
        return await (text_of(whoami) if whoami else toolkit.complete_authorization(callback_url))

    if method == "save_grant":
        await do()
        whoami = (await tools_of(toolkit))["whoami"]
        server.expire_tokens()
    write, away = getattr(toolkit.store, method), True

    async def perhaps(*arguments: Any, **options: Any) -> Any:
        if away:
            raise StoreUnavailable("gone")
        return await write(*arguments, **options)

    monkeypatch.setattr(toolkit.store, method, perhaps)
    spent = server.count(path="/token")
    for later in (0, 31, 62):
        with time_machine.travel(time.time() + later, tick=True), pytest.raises(StoreUnavailable) as refused:
            await do()
        assert refused.value.retryable
    away = False
    await do()
    assert await text_of((await tools_of(toolkit))["whoami"]) == "alice"
    assert server.count(path="/token") == spent + 1
    assert (server.count(path="/authorize", method="GET"), server.authorization_server.reuses) == (1, 0)


async def test_an_answer_survives_whoever_brought_it(toolkit: MCPOAuthToolkit, server: ProtectedServer, alice: Person) -> None:
    """Whoever redeems it is cancelled while the code is exchanged: the login is completed all the same."""
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    gate = server.hold_token_endpoint()
    callback_url = await alice.aapprove(asked.value.authorization_url)
    redeeming = asyncio.create_task(toolkit.complete_authorization(callback_url))
    await gate.await_entered(timeout=60)
    redeeming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await redeeming
    gate.open()
    await toolkit.complete_authorization(callback_url)
    assert await text_of((await tools_of(toolkit))["whoami"]) == "alice"
    assert (server.count(path="/token"), server.authorization_server.reuses) == (1, 0)


async def test_a_database_that_saves_and_cannot_say_so(
    toolkit: MCPOAuthToolkit, server: ProtectedServer, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes away between its COMMIT and the answer: what is saved is found, and not given back as if somebody else had come first."""
    for name in ("save_grant", "grant_request"):
        method, failures = getattr(toolkit.store, name), [StoreUnavailable("gone")]

        async def silent_once(*arguments: Any, method: Any = method, failures: Any = failures, **options: Any) -> Any:
            saved = await method(*arguments, **options)
            if failures:
                raise failures.pop()
            return saved

        monkeypatch.setattr(toolkit.store, name, silent_once)
    tools = await log_in(toolkit, alice)
    server.expire_tokens()
    assert await text_of(tools["whoami"]) == "alice"
    assert server.count(path="/revoke") == 0


# Clocks ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shift", [timedelta(hours=2), timedelta(days=40), timedelta(days=-1)], ids=["two hours on", "days on", "a day back"]
)
async def test_a_clock_that_moves_asks_nobody(toolkit: MCPOAuthToolkit, server: ProtectedServer, alice: Person, shift: timedelta) -> None:
    """There and back again, with calls at each time: refreshed where needed, nobody asked."""
    whoami = (await log_in(toolkit, alice))["whoami"]
    for moved in (shift, timedelta(0), shift):
        with time_machine.travel(time.time() + moved.total_seconds(), tick=True):
            assert await asyncio.gather(*(text_of(whoami) for _ in range(5))) == ["alice"] * 5
            server.expire_tokens()
            assert await text_of(whoami) == "alice"
    assert (server.count(path="/authorize", method="GET"), server.authorization_server.reuses) == (1, 0)
