"""An egress proxy: everything but loopback goes through it, and nobody in between reads what is said. A real proxy and real TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress

import httpx2
import pytest

from langchain_mcp_oauth import ConfigurationError, MCPOAuthToolkit
from langchain_mcp_oauth.http import guarded_client

from .test_guard import tls_server
from .web_server import WebServer

__all__ = ["tls_server"]

pytestmark = pytest.mark.anyio

TLSServer = tuple[int, ssl.SSLContext, list[object]]


class Names:
    """The resolver of this process: knows the proxy alone, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return ["127.0.0.1"]


@pytest.fixture
def proxy(tls_server: TLSServer) -> Iterator[WebServer]:
    """Leads every tunnel to the one server there is: names are the proxy's to resolve."""

    def tunnel(peer: socket.socket, head: bytes) -> None:
        with socket.create_connection(("127.0.0.1", tls_server[0])) as server:
            peer.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=pour, args=(server, peer), daemon=True).start()
            pour(peer, server)

    with WebServer(tunnel) as running:
        yield running


def pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65_536):
            target.sendall(part)


async def test_everything_goes_through_it(proxy: WebServer, tls_server: TLSServer) -> None:
    """One tunnel for several requests; the name is not resolved here; TLS ends at the server."""
    names = Names()
    async with guarded_client(resolver=names, ssl_context=tls_server[1], proxy=f"http://proxy.internal:{port_of(proxy)}") as client:
        for _ in range(3):
            assert (await client.get("https://a.example/secret")).text == "ok"
    assert [head.split(b"\r\n")[0] for head in proxy.heads] == [b"CONNECT a.example:443 HTTP/1.1"]
    assert names.asked == ["proxy.internal"]


async def test_the_certificate_is_the_servers(proxy: WebServer, tls_server: TLSServer) -> None:
    """A proxy that leads elsewhere is found out."""
    async with guarded_client(ssl_context=tls_server[1], proxy=proxy.url) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("https://b.example/")


async def test_its_password_is_for_it_alone(proxy: WebServer, tls_server: TLSServer) -> None:
    """Sent to open the tunnel (RFC 9110 §11.7.1)."""
    async with guarded_client(ssl_context=tls_server[1], proxy=proxy.url.replace("://", "://user:canary@")) as client:
        answer = await client.get("https://a.example/")
    assert answer.text == "ok"
    assert b"proxy-authorization: basic " + b64encode(b"user:canary").lower() in proxy.heads[0].lower()
    assert "proxy-authorization" not in answer.request.headers


async def test_a_refusal_is_no_answer() -> None:
    """What the proxy says is not the server's."""

    def refuse(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with WebServer(refuse) as running:
        async with guarded_client(proxy=running.url) as client:
            with pytest.raises(httpx2.ProxyError):
                await client.get("https://a.example/")


async def test_loopback_is_this_machines(proxy: WebServer) -> None:
    """What is allowed there is contacted from here: the proxy's loopback is another."""
    with WebServer() as here:
        async with guarded_client(allowed_hosts=frozenset({here.entry}), proxy=proxy.url) as client:
            assert (await client.get(here.url)).text == "ok"
    assert proxy.opened == 0


@pytest.mark.parametrize("url", ["socks5://user:canary@proxy:1080", "proxy:3128", "http://", "https://[", "ftp://user:canary@proxy"])
def test_what_cannot_be_one_is_refused_at_once(url: str) -> None:
    """When the toolkit is made, and without its password."""
    with pytest.raises(ConfigurationError, match="proxy must be") as refused:
        MCPOAuthToolkit({}, store="sqlite://", proxy=url)
    assert "canary" not in str(refused.value)


def port_of(server: WebServer) -> str:
    return server.entry.rpartition(":")[2]
