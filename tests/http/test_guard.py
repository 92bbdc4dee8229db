"""Where a connection goes, and where none ever goes. Resolvers are made up; attempts to connect are counted where they would be made."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import httpcore2
import httpx2
import pytest

from langchain_mcp_oauth.errors import UnsafeURLError
from langchain_mcp_oauth.http import Resolver, guarded_client, host_port, resolve
from langchain_mcp_oauth.http.guard import GuardedBackend

pytestmark = pytest.mark.anyio

PUBLIC, PUBLIC6, INTERNAL = "93.184.216.34", "2606:4700::1111", "10.0.0.1"


def says(*addresses: str) -> Resolver:
    async def resolver(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolver


@pytest.mark.parametrize(
    "addresses",
    [
        [INTERNAL],
        [PUBLIC, INTERNAL],
        [INTERNAL, PUBLIC],
        [PUBLIC] * 5 + [INTERNAL],
        ["169.254.169.254"],
        ["::ffff:127.0.0.66"],
        ["64:ff9b::a9fe:a9fe"],
        ["fe80::1%eth0"],
        ["127.0.0.1"],
    ],
)
async def test_one_internal_answer_refuses_the_name(attempts: list[tuple[str, int]], addresses: list[str]) -> None:
    """All answers must be public, also those that would not be tried; nothing is contacted, and the message names no address."""
    async with guarded_client(resolver=says(*addresses)) as client:
        with pytest.raises(UnsafeURLError, match=r"^evil\.example:443 is not contacted") as caught:
            await client.get("https://evil.example/path?secret=1")
    assert attempts == []
    assert not any(address in str(caught.value) for address in [*addresses, "secret"])


async def libc(host: str, port: int) -> list[str]:
    """What `getaddrinfo` makes of numbers, however they are written."""
    return [socket.inet_ntoa(socket.inet_aton(host))]


@pytest.mark.parametrize(
    ("host", "resolver"),
    [
        ("127.0.0.1", resolve),
        ("localhost", resolve),
        ("[::1]", resolve),
        ("127.1", libc),
        ("2130706433", libc),
        ("0x7f000001", libc),
        ("017700000001", libc),
        ("0", libc),
        ("[::ffff:127.0.0.1]", says("::ffff:127.0.0.1")),
        ("localhost.", says("127.0.0.1")),
    ],
)
async def test_the_text_of_a_host_does_not_matter(attempts: list[tuple[str, int]], host: str, resolver: Resolver) -> None:
    """However loopback is written, the resolver gives an address, and that is refused."""
    async with guarded_client(resolver=resolver) as client:
        with pytest.raises(UnsafeURLError):
            await client.get(f"https://{host}/")
    assert attempts == []


async def test_a_name_that_changes_its_mind(attempts: list[tuple[str, int]]) -> None:
    """DNS rebinding: one resolution for each connection, and the connection goes to what was judged."""
    answers = iter([[PUBLIC], [INTERNAL]])
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    async with guarded_client(resolver=resolver) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("https://rebinding.example/")
        with pytest.raises(UnsafeURLError):
            await client.get("https://rebinding.example/")
    assert attempts == [(PUBLIC, 443)]
    assert asked == ["rebinding.example"] * 2


async def test_addresses_are_tried_in_order(attempts: list[tuple[str, int]]) -> None:
    """Four at most."""
    addresses = [PUBLIC6, PUBLIC, "8.8.8.8", "8.8.4.4", "1.1.1.1"]
    async with guarded_client(resolver=says(*addresses)) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("https://many.example/")
    assert [host for host, _ in attempts] == addresses[:4]


@pytest.mark.parametrize(
    ("allowed", "url", "addresses", "goes"),
    [
        ("10.0.0.1:8443", "https://10.0.0.1:8443/", [INTERNAL], True),
        ("10.0.0.1:8443", "https://10.0.0.1:8444/", [INTERNAL], False),
        ("10.0.0.1:8443", "https://10.0.0.1/", [INTERNAL], False),
        ("10.0.0.1:8443", "https://intranet.example:8443/", [INTERNAL], False),
        ("intranet.example:443", "https://intranet.example/", [INTERNAL], True),
        ("Intranet.Example:443", "https://INTRANET.example/", [INTERNAL], True),
        ("intranet.example:443", "https://other.example/", [INTERNAL], False),
        ("example:443", "https://intranet.example/", [INTERNAL], False),
        ("intranet.example", "https://intranet.example/", [INTERNAL], False),
        ("10.0.0.0/8:443", "https://10.0.0.1/", [INTERNAL], False),
        ("localhost:8000", "http://localhost:8000/", ["::1", "127.0.0.1"], True),
        ("localhost:8000", "http://localhost:8000/", [INTERNAL], False),
        ("localhost:8000", "http://localhost:8000/", [PUBLIC], False),
        ("localhost:8000", "http://127.0.0.1:8000/", ["127.0.0.1"], False),
        ("[::1]:8000", "http://[::1]:8000/", ["::1"], True),
    ],
)
async def test_an_allowed_entry_never_widens(
    attempts: list[tuple[str, int]], allowed: str, url: str, addresses: list[str], goes: bool
) -> None:
    """Exactly this host and port (R3); an entry for loopback is good for loopback addresses only."""
    async with guarded_client(allowed_hosts=frozenset({allowed}), resolver=says(*addresses)) as client:
        with pytest.raises(httpx2.ConnectError if goes else UnsafeURLError):
            await client.get(url)
    assert bool(attempts) == goes


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://127.0.0.1:9/",
        "http://intranet.example:8000/",
        "ftp://example.com/",
        "ws://example.com/",
        "https://user:password@example.com/",
        "https://user@example.com/",
    ],
)
async def test_schemes_and_credentials_in_urls(attempts: list[tuple[str, int]], url: str) -> None:
    """https, and http on allowed loopback only (R4); an allowed private host does not get clear text. No user or password."""
    async with guarded_client(allowed_hosts=frozenset({"intranet.example:8000"}), resolver=says(PUBLIC)) as client:
        with pytest.raises(UnsafeURLError) as caught:
            await client.get(url)
    assert attempts == []
    assert "password@" not in str(caught.value)


async def test_unix_sockets(attempts: list[tuple[str, int]]) -> None:
    """Never."""
    with pytest.raises(UnsafeURLError):
        await GuardedBackend(frozenset(), says(PUBLIC)).connect_unix_socket("/var/run/docker.sock")


@pytest.mark.parametrize("host", ["nobody.invalid", "a" * 70 + ".example", "-.example"])
async def test_names_that_do_not_resolve(host: str) -> None:
    """Not a refusal: the name may resolve tomorrow."""

    async def resolver(host: str, port: int) -> list[str]:
        raise socket.gaierror if len(host) < 64 else UnicodeError

    for one in (resolver, says()):
        async with guarded_client(resolver=one) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.get(f"https://{host}/")


async def test_a_resolver_that_hangs() -> None:
    """Resolving is part of connecting and of its time limit."""

    async def resolver(host: str, port: int) -> list[str]:
        await anyio.sleep(5)
        return [PUBLIC]

    async with guarded_client(resolver=resolver) as client:
        with anyio.fail_after(2), pytest.raises(httpx2.ConnectTimeout):
            await client.get("https://slow.example/", timeout=0.05)


async def test_the_peer_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that ends up elsewhere (a redirecting packet filter, a broken stack) is closed unused."""

    class Elsewhere(httpcore2.AsyncMockStream):
        closed = False

        def get_extra_info(self, info: str) -> Any:
            return ("10.0.0.1", 443)

        async def aclose(self) -> None:
            self.closed = True

    stream = Elsewhere([])

    async def connect_tcp(*_: Any) -> Elsewhere:
        return stream

    backend = GuardedBackend(frozenset(), says(PUBLIC))
    monkeypatch.setattr(backend._network, "connect_tcp", connect_tcp)
    with pytest.raises(UnsafeURLError, match="another address"):
        await backend.connect_tcp("example.com", 443)
    assert stream.closed


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("http://127.0.0.1:8123/mcp", "127.0.0.1:8123"),
        ("http://LOCALHOST/mcp", "localhost:80"),
        ("https://Example.com/mcp?x=1", "example.com:443"),
        ("http://[::1]:8000/mcp", "[::1]:8000"),
    ],
)
def test_host_port(url: str, entry: str) -> None:
    """The exact form of an entry."""
    assert host_port(url) == entry


# TLS ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls_server(certificate: Callable[..., tuple[ssl.SSLContext, ssl.SSLContext]]) -> Iterator[tuple[int, ssl.SSLContext, list[object]]]:
    """A TLS server for `a.example`: its port, a context that trusts it, and the connections it got."""
    serving, trusting = certificate("a.example")
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[object] = []

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            accepted.append(peer)
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    def answer(peer: socket.socket) -> None:
        with suppress(OSError), serving.wrap_socket(peer, server_side=True) as secure:
            while secure.recv(65_536):
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], trusting, accepted
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


async def test_certificates_are_checked_against_the_name(tls_server: tuple[int, ssl.SSLContext, list[object]]) -> None:
    """Two names on one address: a connection verified for one is not used for the other, whose certificate is not there."""
    port, trusting, accepted = tls_server
    allowed = frozenset({f"a.example:{port}", f"b.example:{port}"})
    async with guarded_client(allowed_hosts=allowed, resolver=says("127.0.0.1"), ssl_context=trusting) as client:
        for _ in range(3):
            assert (await client.get(f"https://a.example:{port}/")).text == "ok"
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"https://b.example:{port}/")
    assert len(accepted) == 2


async def test_a_cancelled_handshake_leaves_nothing_open() -> None:
    """A server that accepts and then says nothing gets its connection closed when the caller gives up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        port = listener.getsockname()[1]
        async with guarded_client(allowed_hosts=frozenset({f"127.0.0.1:{port}"})) as client:
            with anyio.move_on_after(0.1):
                await client.get(f"https://127.0.0.1:{port}/")
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(5)
                while await anyio.to_thread.run_sync(peer.recv, 65_536):
                    pass
