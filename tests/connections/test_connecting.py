"""A server that cannot be reached for a moment: connecting is tried again, and nothing that was sent is sent twice."""

from __future__ import annotations

import socket
import ssl

import httpx2
import pytest

from langchain_mcp_oauth.connections import Unauthorized, endpoint
from langchain_mcp_oauth.connections.endpoint import Endpoint
from langchain_mcp_oauth.errors import UnsafeURLError
from langchain_mcp_oauth.http import guarded_client
from tests.http.web_server import WebServer

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoint.CONNECT_PAUSES == (0.5, 1.0)
    monkeypatch.setattr(endpoint, "CONNECT_PAUSES", (0.0, 0.0))


class Names:
    """A resolver that fails so many times, and then knows one address."""

    def __init__(self, failures: int = 0, address: str = "127.0.0.1") -> None:
        self.asked = 0
        self._failures = failures
        self._address = address

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        if self.asked <= self._failures:
            raise OSError("no such name")
        return [self._address]


def answering(status: bytes) -> WebServer:
    def answer(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)

    return WebServer(answer)


async def post(url: str, names: Names, allowed: str = "") -> int:
    async with guarded_client(allowed_hosts=frozenset({allowed} - {""}), resolver=names) as client:
        response = await Endpoint(client, url, headers={}, current_grant=lambda: None).send("POST", {}, b"{}")
        await response.aclose()
        return response.status_code


@pytest.mark.parametrize("failures", [0, 1, 2])
async def test_a_server_that_comes_back_is_reached(failures: int) -> None:
    """At the third attempt at the latest; it has seen one request."""
    names = Names(failures)
    with answering(b"200 OK") as server:
        assert await post(server.url, names, server.entry) == 200
        assert (names.asked, len(server.heads)) == (failures + 1, 1)


async def test_three_attempts_are_enough() -> None:
    """Then the caller is told."""
    names = Names(9)
    with pytest.raises(httpx2.ConnectError):
        await post("http://127.0.0.1:9/", names, "127.0.0.1:9")
    assert names.asked == 3


async def test_a_refusal_ends_the_attempts() -> None:
    """An answer about authorization is an answer: one request, one exception."""
    with answering(b"401 Unauthorized") as server:
        with pytest.raises(Unauthorized):
            await post(server.url, Names(1), server.entry)
        assert len(server.heads) == 1


@pytest.mark.parametrize("status", [b"500 Oops", b"503 Busy", b"429 Slow"])
async def test_what_was_answered_is_not_sent_again(status: bytes) -> None:
    """Trouble at the server is the caller's to judge: the call may have been made."""
    with answering(status) as server:
        assert await post(server.url, Names(), server.entry) == int(status[:3])
        assert len(server.heads) == 1


async def test_what_was_sent_is_not_sent_again() -> None:
    """A connection that breaks after the request went out is no failed attempt to connect."""
    with WebServer(lambda peer, _: peer.shutdown(socket.SHUT_RDWR)) as server:
        with pytest.raises(httpx2.TransportError):
            await post(server.url, Names(), server.entry)
        assert len(server.heads) == 1


async def test_a_certificate_does_not_get_better() -> None:
    """A server that is not who it says is not asked again."""
    attempts: list[str] = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        attempts.append(str(request.url))
        raise httpx2.ConnectError("TLS") from ssl.SSLCertVerificationError("another name")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(refuse)) as client:
        with pytest.raises(httpx2.ConnectError):
            await Endpoint(client, "https://mcp.example.com/", headers={}, current_grant=lambda: None).send("POST", {}, b"{}")
    assert len(attempts) == 1


async def test_an_address_that_may_not_be_contacted_is_not_tried_again() -> None:
    """It will not get any better."""
    names = Names(address="10.0.0.1")
    with pytest.raises(UnsafeURLError):
        await post("https://mcp.example.com/", names)
    assert names.asked == 1
