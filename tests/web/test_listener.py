"""The loopback port: what is let through, and what a stubborn or hostile client can do to it. Real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from langchain_mcp_oauth.loopback import listener as module
from langchain_mcp_oauth.loopback.listener import CONNECTIONS, HEAD_LIMIT, Listener, bind, read_callback
from langchain_mcp_oauth.pages import NOT_FOUND, ONLY_GET, UNREADABLE, Page, connected_page

pytestmark = pytest.mark.anyio

URI = "http://127.0.0.1:8917/oauth/callback"
GET = "GET /oauth/callback?code=c&state=s HTTP/1.1\r\n"
HOST = "Host: 127.0.0.1:8917\r\n"


@pytest.mark.parametrize(
    ("head", "read"),
    [
        (GET + HOST, f"{URI}?code=c&state=s"),
        (GET + "Accept: */*\r\nHOST:127.0.0.1:8917 \r\n", f"{URI}?code=c&state=s"),
        ("GET /oauth/callback HTTP/1.0\r\n" + HOST, f"{URI}?"),
        (GET, UNREADABLE),
        (GET + "Host: localhost:8917\r\n", UNREADABLE),
        (GET + "Host: 127.0.0.1\r\n", UNREADABLE),
        (GET + "Host: evil.example\r\n", UNREADABLE),
        (GET + HOST + "Host: evil.example\r\n", UNREADABLE),
        (GET + "Host : 127.0.0.1:8917\r\n", UNREADABLE),
        ("GET http://127.0.0.1:8917/oauth/callback?state=s HTTP/1.1\r\n" + HOST, UNREADABLE),
        ("GET  /oauth/callback HTTP/1.1\r\n" + HOST, UNREADABLE),
        ("GET /oauth/callback?x=\xe9 HTTP/1.1\r\n" + HOST, UNREADABLE),
        ("GET /oauth/callback HTTP/2\r\n" + HOST, UNREADABLE),
        ("\x16\x03\x01\x02", UNREADABLE),
        ("", UNREADABLE),
        ("GET / HTTP/1.1\r\n" + HOST, NOT_FOUND),
        ("GET /oauth/callback/ HTTP/1.1\r\n" + HOST, NOT_FOUND),
        ("GET /oauth/../oauth/callback?state=s HTTP/1.1\r\n" + HOST, NOT_FOUND),
        ("GET /oauth/%63allback?state=s HTTP/1.1\r\n" + HOST, NOT_FOUND),
        ("GET //oauth/callback?state=s HTTP/1.1\r\n" + HOST, NOT_FOUND),
        ("GET /favicon.ico HTTP/1.1\r\n" + HOST, NOT_FOUND),
        ("POST /oauth/callback?state=s HTTP/1.1\r\n" + HOST, ONLY_GET),
        ("HEAD /oauth/callback?state=s HTTP/1.1\r\n" + HOST, ONLY_GET),
        ("OPTIONS /oauth/callback?state=s HTTP/1.1\r\n" + HOST, ONLY_GET),
    ],
)
async def test_only_a_get_of_the_very_address_is_a_callback(head: str, read: str | Page) -> None:
    """Exact path, exact Host, GET; everything else is a page that refuses (R29)."""
    assert read_callback(head.encode("latin-1"), URI) == read


@pytest.mark.parametrize("uri", ["http://[::1]:8917/oauth/callback", "http://localhost:8917/oauth/callback"])
async def test_host_is_that_of_the_redirect_uri(uri: str) -> None:
    """Whatever name the redirect URI has, Host must have the same."""
    assert read_callback(f"{GET}Host: {urlsplit(uri).netloc}\r\n".encode(), uri) == f"{uri}?code=c&state=s"
    assert read_callback((GET + HOST).encode(), uri) == UNREADABLE


async def test_a_callback_is_answered_with_a_page() -> None:
    """The whole callback URL goes in, the page comes out with its headers, and the connection ends."""
    async with listening() as (port, seen):
        answer = await ask(port, f"GET /oauth/callback?code=c HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    for field in (b"\r\nConnection: close\r\n", b"\r\nCache-Control: no-store\r\n", b"\r\nReferrer-Policy: no-referrer\r\n"):
        assert field in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert seen == [f"http://127.0.0.1:{port}/oauth/callback?code=c"]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET /oauth/callback", 400), ("GET / HTTP/1.1", 404), ("POST /oauth/callback HTTP/1.1", 405)],
)
async def test_what_is_refused_reaches_nobody(request_line: str, status: int) -> None:
    """A page with a 4xx, and nothing is called."""
    async with listening() as (port, seen):
        answer = await ask(port, f"{request_line}\r\nHost: 127.0.0.1:{port}\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert seen == []


async def test_a_head_without_end_is_refused() -> None:
    """Nobody can make us remember more than 64 KiB."""
    async with listening() as (port, seen):
        answer = await ask(port, "GET /oauth/callback HTTP/1.1\r\nCookie: " + "x" * 2 * HEAD_LIMIT)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
        assert (await ask(port, f"GET /oauth/callback? HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert len(seen) == 1


async def test_a_slow_client_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing, or says it slowly, ends by itself; others are served meanwhile."""
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.2)
    async with listening() as (port, seen), asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /oauth/callback?slow HTTP/1.1\r\nHost: ")
        assert (await ask(port, f"GET /oauth/callback?fast HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.read() == b""
        writer.close()
    assert [url.partition("?")[2] for url in seen] == ["fast"]


async def test_connections_are_bounded() -> None:
    """One too many is closed unanswered; when the others have gone there is room again."""
    async with listening() as (port, _), asyncio.timeout(5):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        for _, other in [*idle, (reader, writer)]:
            other.close()
            await other.wait_closed()
        answer = b""
        while not answer:
            answer = await ask(port, f"GET /oauth/callback? HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_closing_waits_for_the_page_and_not_for_idle_connections() -> None:
    """Whoever brought the answer sees how it went; a browser's spare connection delays nothing. The port is free afterwards."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: str) -> Page:
        asked.set()
        await go_on.wait()
        return connected_page("example")

    socket = bind("127.0.0.1", 0)
    port = socket.getsockname()[1]
    listener = Listener(socket, f"http://127.0.0.1:{port}/oauth/callback", slowly)
    async with asyncio.timeout(5):
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        question = asyncio.create_task(ask(port, f"GET /oauth/callback?code=c HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"))
        await asked.wait()
        closing = asyncio.create_task(listener.aclose())
        assert await idle_reader.read() == b""
        assert not closing.done()
        go_on.set()
        assert (await question).startswith(b"HTTP/1.1 200 ")
        await closing
        idle_writer.close()
    bind("127.0.0.1", port).close()


async def answer_with_success(_: str) -> Page:
    return connected_page("example")


@asynccontextmanager
async def listening(answer: Callable[[str], Awaitable[Page]] = answer_with_success) -> AsyncIterator[tuple[int, list[str]]]:
    """A listener on a free port, and the callback URLs that it lets through."""
    seen: list[str] = []

    async def remember(url: str) -> Page:
        seen.append(url)
        return await answer(url)

    socket = bind("127.0.0.1", 0)
    port = socket.getsockname()[1]
    listener = Listener(socket, f"http://127.0.0.1:{port}/oauth/callback", remember)
    try:
        yield port, seen
    finally:
        await listener.aclose()


async def ask(port: int, text: str) -> bytes:
    """Send the text, return everything that comes back; a connection that was reset has said nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text.encode("latin-1"))
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
