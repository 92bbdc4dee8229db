"""`drive`: a conversation's requests, answers and limits."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable

import anyio
import httpx2
import pytest

from langchain_mcp_oauth.errors import ConnectionFailed, DiscoveryError, ProtocolError, UnsafeURLError
from langchain_mcp_oauth.http import drive, guarded_client
from langchain_mcp_oauth.oauth import Flow

from .web_server import WebServer

pytestmark = pytest.mark.anyio

SECRET = "?code=secret-code"


def client_of(*servers: WebServer) -> httpx2.AsyncClient:
    return guarded_client(allowed_hosts=frozenset(server.entry for server in servers))


class Conversation:
    """A flow of `number` requests that tells what it got and whether it was closed."""

    def __init__(self, url: str, number: int = 1) -> None:
        self.url = url
        self.number = number
        self.got: list[httpx2.Response] = []
        self.closed = False

    def __call__(self) -> Flow[str]:
        try:
            for _ in range(self.number):
                self.got.append((yield httpx2.Request("GET", self.url)))
            return "result"
        finally:
            self.closed = True


async def test_a_conversation() -> None:
    """Requests go out in order, answers come back whole, the result is returned."""

    def answer(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 4\r\nX-Y: z\r\n\r\nbody")

    with WebServer(answer) as server:
        conversation = Conversation(server.url, 3)
        async with client_of(server) as client:
            assert await drive(conversation(), client) == "result"
        assert server.opened == 1
    assert [(got.status_code, got.content, got.headers["x-y"]) for got in conversation.got] == [(302, b"body", "z")] * 3
    assert conversation.got[0].request.url == server.url


async def test_a_conversation_without_requests() -> None:
    """A flow may know the answer."""
    async with guarded_client() as client:
        assert await drive(Conversation("https://example.com", 0)(), client) == "result"


def hang(peer: socket.socket, head: bytes) -> None:
    threading.Event().wait(2)


def hang_in_the_body(peer: socket.socket, head: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
    threading.Event().wait(2)


def close(peer: socket.socket, head: bytes) -> None:
    peer.shutdown(socket.SHUT_RDWR)


def endless(peer: socket.socket, head: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")


def compressed(peer: socket.socket, head: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx")


def too_large(peer: socket.socket, head: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n" + b"x" * 262_145)


def just_fits(peer: socket.socket, head: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\n" + b"x" * 262_144)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (hang, ConnectionFailed, r"did not answer within 0\.3 s"),
        (hang_in_the_body, ConnectionFailed, "did not answer within"),
        (close, ConnectionFailed, "broke off the connection"),
        (endless, ProtocolError, "more than 256 KiB"),
        (too_large, ProtocolError, "more than 256 KiB"),
        (compressed, ProtocolError, "compressed"),
    ],
)
async def test_trouble(answer: Callable[[socket.socket, bytes], None], error: type[Exception], says: str) -> None:
    """It ends the conversation: typed, with the origin and no more of the URL, without a cause, the flow closed."""
    with WebServer(answer) as server:
        conversation = Conversation(server.url + SECRET)
        async with client_of(server) as client:
            with anyio.fail_after(2), pytest.raises(error, match=says) as caught:
                await drive(conversation(), client, deadline=0.3)
    assert conversation.closed
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_the_largest_document() -> None:
    """256 KiB are accepted."""
    with WebServer(just_fits) as server:
        conversation = Conversation(server.url)
        async with client_of(server) as client:
            await drive(conversation(), client)
    assert len(conversation.got[0].content) == 262_144


async def test_the_deadline_is_one_for_all_requests() -> None:
    """A server that is always just in time does not get longer (R9)."""

    def slow(peer: socket.socket, head: bytes) -> None:
        threading.Event().wait(0.1)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with WebServer(slow) as server:
        async with client_of(server) as client:
            with anyio.fail_after(1), pytest.raises(ConnectionFailed):
                await drive(Conversation(server.url, 20)(), client, deadline=0.35)
        assert len(server.heads) <= 4


async def test_the_number_of_requests_is_bounded() -> None:
    """24 (R11); the 25th is not sent."""
    with WebServer() as server:
        async with client_of(server) as client:
            assert await drive(Conversation(server.url, 24)(), client) == "result"
            server.heads.clear()
            conversation = Conversation(server.url, 25)
            with pytest.raises(ProtocolError, match="more than 24 requests"):
                await drive(conversation(), client)
        assert len(server.heads) == 24
    assert conversation.closed


async def test_refused_urls() -> None:
    """They come out as what they are, not as trouble on the way."""
    conversation = Conversation("https://127.0.0.1:9/")
    async with guarded_client() as client:
        with pytest.raises(UnsafeURLError):
            await drive(conversation(), client)
    assert conversation.closed


async def test_the_flows_own_errors() -> None:
    """They pass through."""

    def flow() -> Flow[None]:
        yield httpx2.Request("GET", server.url)
        raise DiscoveryError("mine")

    with WebServer() as server:
        async with client_of(server) as client:
            with pytest.raises(DiscoveryError, match="mine"):
                await drive(flow(), client)


async def test_a_certificate_for_another_name(certificate: Callable[[str], tuple[ssl.SSLContext, ssl.SSLContext]]) -> None:
    """Says so: waiting will not help, and the operator should know."""
    serving, trusting = certificate("other.example")

    def handshake(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, pytest.raises(ssl.SSLError):
            serving.wrap_socket(peer, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=handshake, args=(listener,))
        thread.start()
        entry = f"127.0.0.1:{listener.getsockname()[1]}"
        async with guarded_client(allowed_hosts=frozenset({entry}), ssl_context=trusting) as client:
            with pytest.raises(ConnectionFailed, match="no certificate that this machine trusts"):
                await drive(Conversation(f"https://{entry}/")(), client)
        thread.join()
