"""Which machines may be contacted, judged on the address that the connection really goes to.

A name is resolved once for each connection, every answer is judged, and the connection goes to a judged, numeric address. There is no
second resolution that could answer differently (DNS rebinding), and nothing is sent to a refused address, not even to try it. TLS still
checks the certificate against the *name*: URLs are never rewritten to addresses, so a connection is reused for its own name only.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

import anyio
import httpcore2

from langchain_mcp_oauth.errors import UnsafeURLError
from langchain_mcp_oauth.oauth.urls import is_loopback_host, origin

__all__ = ["GuardedBackend", "Resolver", "check_scheme", "host_port", "is_public", "resolve"]

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to numeric addresses, in the order to try them. Raises `OSError` when there are none."""

MAX_ADDRESSES = 4
"""How many of a name's addresses are tried. All of them are judged."""

SENT_AT_ONCE = 64 * 1024
"""Bytes of a request that are sent together; larger ones go in pieces."""

Address: TypeAlias = IPv4Address | IPv6Address

# Not for the public, though `ipaddress.is_global` says so in some or all Python releases.
_SPECIAL: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's platform services, reachable from every virtual machine
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "64:ff9b:1::/48",  # NAT64 for local use, RFC 8215
        "100:0:0:1::/64",  # dummy prefix, RFC 9780
        "2001::/23",  # IETF protocol assignments, among them Teredo, RFC 2928
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
        "fec0::/10",  # site-local, RFC 3879
    )
)

# IPv6 addresses that carry an IPv4 address in their last 32 bits.
_EMBEDDING = tuple(
    IPv6Network(network)
    for network in (
        "::/96",  # IPv4-compatible, RFC 4291 §2.5.5.1
        "::ffff:0:0/96",  # IPv4-mapped, §2.5.5.2
        "::ffff:0:0:0/96",  # IPv4-translated, RFC 2765
        "64:ff9b::/96",  # NAT64, RFC 6052
    )
)

_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214 §6.1: the upper half of the interface identifier


async def resolve(host: str, port: int) -> list[str]:
    """The system's resolver, in a worker thread: each address once, in the order RFC 6724 prefers."""
    answers = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))


def host_port(url: str) -> str:
    """The form of an entry in `allowed_hosts`: `host:port` in lower case, the port always written, IPv6 in brackets."""
    _, host, port = origin(url)
    return _entry(host, port)


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could be contacted there; an IPv6 address that embeds an IPv4 address is judged by both."""
    embedded = _embedded(address)
    if embedded is not None and not is_public(embedded):
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _SPECIAL)


def check_scheme(scheme: str, host: str, port: int, allowed_hosts: frozenset[str]) -> None:
    """Return for https, and for http to an allowed loopback `host:port`.

    Raises:
        UnsafeURLError: anything else.
    """
    if scheme == "https" or (scheme == "http" and is_loopback_host(host) and _entry(host, port) in allowed_hosts):
        return
    raise UnsafeURLError(
        f"{_entry(host, port)} is not contacted: only https is, and http on loopback if `allowed_private_hosts` names host and port."
    )


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections to public addresses, and to what `allowed_hosts` names.

    An entry is an exact `host:port` in lower case, compared with the text of the URL: it opens no other port, name or address. An entry
    for a loopback name or address is good for loopback addresses only; any other may resolve to whatever the operator's DNS says.
    """

    def __init__(self, allowed_hosts: frozenset[str], resolver: Resolver) -> None:
        self._allowed_hosts = allowed_hosts
        self._resolver = resolver
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, judge, connect; the addresses share `timeout` seconds.

        Raises:
            UnsafeURLError: an answer is neither public nor allowed; nothing was sent.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: no answer, or nobody there.
        """
        addresses = await self._judged(host, port, timeout)
        share = None if timeout is None else timeout / len(addresses)
        failure: Exception = httpcore2.ConnectError("No address.")
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(await _checked_peer(stream, address))
        raise failure

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        """Never.

        Raises:
            UnsafeURLError: always.
        """
        raise UnsafeURLError("Unix sockets are not contacted.")

    async def sleep(self, seconds: float) -> None:
        """Between attempts to connect."""
        await anyio.sleep(seconds)

    async def _judged(self, host: str, port: int, timeout: float | None) -> list[Address]:
        addresses = [ip_address(answer) for answer in await self._resolve(host, port, timeout)]
        if not addresses:
            raise httpcore2.ConnectError("The name has no address.")
        for address in addresses:
            self._judge(host, port, address)
        return addresses[:MAX_ADDRESSES]

    async def _resolve(self, host: str, port: int, timeout: float | None) -> Sequence[str]:
        try:
            with anyio.fail_after(timeout):
                return await self._resolver(host, port)
        except TimeoutError:
            raise httpcore2.ConnectTimeout("The name was not resolved in time.") from None
        except (OSError, UnicodeError):
            raise httpcore2.ConnectError("The name does not resolve.") from None

    def _judge(self, host: str, port: int, address: Address) -> None:
        if not self._permits(host, port, address):
            raise UnsafeURLError(
                f"{_entry(host, port)} is not contacted: it resolves to an address that is not public. "
                "If this is a machine of yours, name exactly this host and port in `allowed_private_hosts`."
            )

    def _permits(self, host: str, port: int, address: Address) -> bool:
        if _entry(host, port) not in self._allowed_hosts:
            return is_public(address)
        return address.is_loopback or not is_loopback_host(host)


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection that sends a small request in one piece, and is closed when its TLS handshake is cancelled.

    httpcore2 writes a request's head and body one after the other, which costs a system call, a TLS record and mostly a packet each. Here
    they wait for each other until the answer is read. And it would lose a connection, with its file descriptor, in that cancellation.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._unsent = b""
        self._socket = stream.get_extra_info("socket")
        self._readable = select.poll() if self._socket is not None and hasattr(select, "poll") else None
        if self._readable is not None:
            self._readable.register(self._socket.fileno(), select.POLLIN)

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._unsent:
            with suppress(httpcore2.WriteError):  # the server may have answered and closed before it had read everything
                await self._send(timeout)
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent += buffer
        if len(self._unsent) > SENT_AT_ONCE:
            await self._send(timeout)

    async def _send(self, timeout: float | None) -> None:
        unsent, self._unsent = self._unsent, b""
        await self._stream.write(unsent, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Whether the server has hung up (`is_readable`) is asked before each request, so its answer is prepared: one system call."""
        if info != "is_readable" or self._readable is None:
            return self._stream.get_extra_info(info)
        return self._socket.fileno() < 0 or bool(self._readable.poll(0))


async def _checked_peer(stream: httpcore2.AsyncNetworkStream, address: Address) -> httpcore2.AsyncNetworkStream:
    """The stream, if its other end is the address that was judged."""
    peer = stream.get_extra_info("server_addr")
    if peer is None or ip_address(peer[0]) != address:
        await stream.aclose()
        raise UnsafeURLError("A connection went to another address than the one that was judged, and was closed.")
    return stream


def _entry(host: str, port: int) -> str:
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").lower()


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 address, if it has one."""
    if isinstance(address, IPv4Address):
        return None
    if address.sixtofour is not None:  # 2002::/16, RFC 3056
        return address.sixtofour
    bits = int(address)
    if (bits >> 32) & 0xFFFFFFFF in _ISATAP or any(address in network for network in _EMBEDDING):
        return IPv4Address(bits & 0xFFFFFFFF)
    return None
