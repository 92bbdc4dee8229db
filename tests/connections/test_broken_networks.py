"""Servers that hang, drip, cut off or never end, on bare sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import anyio
import pytest

from langchain_mcp_oauth.errors import ConnectionFailed, MCPOAuthError, ProtocolError
from langchain_mcp_oauth.models import GrantKey

from .mcp_servers import Connect

pytestmark = pytest.mark.anyio

Behaviour = Callable[[socket.socket, threading.Event], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def bare() -> Iterator[Callable[[Behaviour], str]]:
    """A server of one behaviour for every connection, after it has read something; gives its URL."""
    over = threading.Event()
    listeners: list[socket.socket] = []

    def accept(listener: socket.socket, behaviour: Behaviour) -> None:
        while not over.is_set():
            with suppress(OSError):
                peer, _ = listener.accept()
                threading.Thread(target=serve, args=(peer, behaviour), daemon=True).start()

    def serve(peer: socket.socket, behaviour: Behaviour) -> None:
        with closing(peer), suppress(OSError):
            peer.recv(65_536)
            behaviour(peer, over)

    def start(behaviour: Behaviour) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.05)
        listeners.append(listener)
        threading.Thread(target=accept, args=(listener, behaviour), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"

    yield start
    over.set()
    for listener in listeners:
        listener.close()


def hang(peer: socket.socket, over: threading.Event) -> None:
    over.wait(5)


def hang_in_the_body(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(OK + b"Content-Length: 10\r\n\r\n{")
    over.wait(5)


def drip(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(OK + b"Content-Length: 100000\r\n\r\n")
    while not over.wait(0.02):
        peer.sendall(b" ")


def drip_comments(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(EVENTS)
    while not over.wait(0.02):
        peer.sendall(b"3\r\n:\n\n\r\n")


def close_at_once(peer: socket.socket, over: threading.Event) -> None:
    return


def close_in_the_body(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(OK + b"Content-Length: 10\r\n\r\n{")


def reset(peer: socket.socket, over: threading.Event) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def garbage(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(b"\0\1\2 this is not HTTP\r\n\r\n")


def endless_header(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not over.is_set():
        peer.sendall(b"x" * 65_536)


def endless_body(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while not over.is_set():
        peer.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")


def endless_event(peer: socket.socket, over: threading.Event) -> None:
    peer.sendall(EVENTS)
    while not over.is_set():
        peer.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


@pytest.mark.parametrize(
    ("behaviour", "error", "says"),
    [
        (hang, ConnectionFailed, r"'example' was not done within 0\.5 s"),
        (hang_in_the_body, ConnectionFailed, "not done within"),
        (drip, ConnectionFailed, "not done within"),
        (drip_comments, ConnectionFailed, "not done within"),
        (close_at_once, ConnectionFailed, "broke off the connection"),
        (close_in_the_body, ConnectionFailed, "broke off the connection"),
        (reset, ConnectionFailed, "broke off the connection"),
        (garbage, ConnectionFailed, "broke off the connection"),
        (endless_header, ConnectionFailed, "broke off the connection"),
        (endless_body, ProtocolError, "more than 4,096 KiB"),
        (endless_event, ProtocolError, "more than 1,024 KiB"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_trouble_is_typed_and_soon_over(
    bare: Callable[[Behaviour], str], connect: Connect, behaviour: Behaviour, error: type[MCPOAuthError], says: str
) -> None:
    """Whatever happens on the wire, an operation ends in one of our errors, within its deadline and the second for taking leave."""
    url = bare(behaviour)
    connections = await connect(url, timeout=0.5)
    with anyio.fail_after(3), pytest.raises(error, match=says):
        await connections.get(GrantKey("ada", "example", url)).call_tool(None, "t", {})


async def test_nobody_there(connect: Connect) -> None:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    with pytest.raises(ConnectionFailed, match="could not be reached") as caught:
        await (await connect(url)).get(GrantKey("ada", "example", url)).list_tools(None)
    assert caught.value.retryable
