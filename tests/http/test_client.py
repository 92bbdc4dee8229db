"""What the client sends, keeps and refuses."""

from __future__ import annotations

import socket

import httpcore2
import httpx2
import pytest

from langchain_mcp_oauth.errors import ProtocolError
from langchain_mcp_oauth.http import GuardedTransport, guarded_client
from langchain_mcp_oauth.http import client as client_module
from langchain_mcp_oauth.http.pool import ConnectionPool

from .web_server import WebServer, ok

pytestmark = pytest.mark.anyio


def client_of(server: WebServer) -> httpx2.AsyncClient:
    return guarded_client(allowed_hosts=frozenset({server.entry}))


def answering(text: bytes, body: bytes = b"ok") -> WebServer:
    def answer(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (text, len(body)) + body)

    return WebServer(answer)


async def test_what_is_on_every_request() -> None:
    """No compression is asked for, also by requests that were not built by the client, and we say who we are."""
    with answering(b"200 OK") as server:
        async with client_of(server) as client:
            await client.send(httpx2.Request("GET", server.url, headers={"Accept-Encoding": "gzip"}))
        (head,) = server.heads
    assert b"accept-encoding: identity\r\n" in head.lower()
    assert b"user-agent: langchain-mcp-oauth/" in head.lower()


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"GZIP, identity", b"x"])
async def test_compressed_answers_are_refused(encoding: bytes) -> None:
    """A limit on what arrives must be one on what it becomes; the connection is not used again."""
    with answering(b"200 OK\r\nContent-Encoding: " + encoding) as server:
        async with client_of(server) as client:
            for _ in range(2):
                with pytest.raises(ProtocolError, match="compressed"):
                    await client.get(server.url)
            assert not client._transport._pool._open  # type: ignore[attr-defined]
        assert server.opened == 2


@pytest.mark.parametrize("encoding", [b"identity", b"Identity", b""])
async def test_identity_is_no_compression(encoding: bytes) -> None:
    """Servers may say so."""
    with answering(b"200 OK\r\nContent-Encoding: " + encoding) as server:
        async with client_of(server) as client:
            assert (await client.get(server.url)).text == "ok"


async def test_cookies_are_not_kept() -> None:
    """What a server wants remembered for one user would be sent for another."""
    with answering(b"200 OK\r\nSet-Cookie: who=ada; Path=/") as server:
        async with client_of(server) as client:
            for _ in range(2):
                await client.get(server.url)
            assert not client.cookies.jar
        assert not any(b"cookie" in head.lower() for head in server.heads)


async def test_redirects_are_not_followed() -> None:
    """They are the caller's to judge."""
    with answering(b"302 Found\r\nLocation: /elsewhere") as server:
        async with client_of(server) as client:
            assert (await client.get(server.url)).status_code == 302
        assert len(server.heads) == 1


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve names itself, beyond our judgement (R14)."""
    with answering(b"200 OK") as server, answering(b"200 OK", b"proxy") as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with client_of(server) as client:
            assert (await client.get(server.url)).text == "ok"
        assert proxy.opened == 0


def test_trust_anchors_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading them costs 18 ms and 0.9 MB: once for the process, however many loops and clients there are."""
    loaded: list[object] = []
    load = httpx2.create_ssl_context
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda: loaded.append(load()) or loaded[-1])
    client_module._tls.cache_clear()
    for _ in range(3):
        guarded_client()
    assert len(loaded) == 1


def test_our_pool_is_the_one_in_use() -> None:
    """httpx2 has no argument for it; should its private attribute change its name or kind, this fails."""
    assert isinstance(httpx2.AsyncHTTPTransport()._pool, httpcore2.AsyncConnectionPool)
    transport = guarded_client()._transport
    assert isinstance(transport, GuardedTransport)
    assert isinstance(transport._pool, ConnectionPool)


async def test_tools_that_patch_httpx2_see_our_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cassette recorders replace the transport's method; ours goes through it."""

    async def replay(self: object, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, text=f"recorded {request.url.host}")

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "handle_async_request", replay)
    async with guarded_client() as client:
        assert (await client.get("https://mcp.example.com/")).text == "recorded mcp.example.com"


async def test_a_small_request_is_sent_in_one_piece() -> None:
    """Head and body together: one system call, one TLS record, one packet."""
    with answering(b"200 OK") as server:
        async with client_of(server) as client:
            for _ in range(3):
                await client.post(server.url, content=b"the body")
        assert all(head.endswith(b"\r\n\r\nthe body") for head in server.heads)
        assert server.opened == 1


async def test_a_large_request_arrives_whole() -> None:
    """In order, whatever the pieces."""
    body = bytes(range(256)) * 4_096
    received = bytearray()

    def answer(peer: socket.socket, head: bytes) -> None:
        received.extend(head.partition(b"\r\n\r\n")[2])
        while len(received) < len(body):
            received.extend(peer.recv(65_536))
        ok(peer, head)

    with WebServer(answer) as server:
        async with client_of(server) as client:
            assert (await client.post(server.url, content=body)).text == "ok"
    assert received == body


async def test_a_server_that_answers_before_it_has_read() -> None:
    """Its answer counts, also when it closes the connection under our hands."""

    def answer(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        peer.shutdown(socket.SHUT_WR)

    with WebServer(answer) as server:
        async with client_of(server) as client:
            assert (await client.post(server.url, content=b"x" * 200_000)).status_code == 413
