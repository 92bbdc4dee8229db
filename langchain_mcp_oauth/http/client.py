"""The one client through which everything leaves the process."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache, lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from urllib.parse import urlsplit

import httpcore2
import httpx2

from langchain_mcp_oauth.errors import ConfigurationError, ProtocolError, UnsafeURLError
from langchain_mcp_oauth.http.guard import GuardedBackend, Resolver, check_scheme, host_port, resolve
from langchain_mcp_oauth.http.pool import Connection, ConnectionPool
from langchain_mcp_oauth.oauth.urls import DEFAULT_PORTS, is_loopback_host

__all__ = ["GuardedTransport", "check_proxy", "guarded_client", "user_agent"]

KEEP_ALIVE = 300.0
"""Seconds an idle connection is kept: a model's turn and a person's login are longer than the usual five."""

CONNECT_TIMEOUT = 10.0
"""Seconds for a name's resolution, its addresses together, and again for the TLS handshake."""


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """httpx2's own transport over our network backend and pool.

    It sends only to public addresses and to `allowed_hosts` (exact `host:port`), by https except on allowed loopback, asks for bodies
    without compression and refuses others, so that a size limit counts what arrives.

    Raises:
        UnsafeURLError: the URL or its address is refused; nothing was sent.
        ProtocolError: the server compressed its answer though it was asked not to.
    """

    def __init__(self, *, allowed_hosts: frozenset[str], resolver: Resolver, ssl_context: ssl.SSLContext, proxy: str | None) -> None:
        super().__init__(verify=ssl_context, trust_env=False)
        allowed_hosts = frozenset(entry.lower() for entry in allowed_hosts)
        backend = GuardedBackend(allowed_hosts, resolver)

        @lru_cache(maxsize=1_000)  # the answer to one target never changes; a refusal is an exception and not kept
        def check_target(scheme: str, host: str, port: int | None) -> None:
            check_scheme(scheme, host, port or DEFAULT_PORTS.get(scheme, 0), allowed_hosts)

        self._check_target = check_target

        def connect(origin: httpcore2.Origin) -> httpcore2.AsyncHTTPConnection:
            return httpcore2.AsyncHTTPConnection(origin, ssl_context, keepalive_expiry=KEEP_ALIVE, network_backend=backend)

        through = _tunnels(proxy, resolver, ssl_context) if proxy else connect

        def connect_or_tunnel(origin: httpcore2.Origin) -> Connection:
            """This machine's loopback is not the proxy's."""
            return (connect if is_loopback_host(origin.host.decode()) else through)(origin)

        # httpx2 offers no argument for its pool. The transport is still httpx2's, so that tools which patch it go on working.
        self._pool = ConnectionPool(connect_or_tunnel)  # type: ignore[assignment]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; no redirect is followed."""
        url = request.url
        self._check_target(url.scheme, url.host, url.port)
        if url.userinfo:
            raise UnsafeURLError(f"A URL of {url.host} is not contacted: it holds a user or password.")
        request.headers["Accept-Encoding"] = "identity"
        request.headers.setdefault("User-Agent", user_agent())
        response = await super().handle_async_request(request)
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            await response.aclose()
            raise ProtocolError(f"{url.host} compressed its answer, though it was asked not to.")
        return response


def guarded_client(
    *,
    allowed_hosts: frozenset[str] = frozenset(),
    resolver: Resolver = resolve,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | None = None,
) -> httpx2.AsyncClient:
    """A client for one event loop, to be shared by all users and servers, and closed by its maker.

    It keeps no cookies, follows no redirects, reads no proxy settings from the environment, and keeps idle connections for five minutes.
    Connecting takes at most 10 s; reading has no limit of its own: whoever sends sets a deadline (`drive`, `Connections`).

    Args:
        allowed_hosts: What may be contacted besides the public internet, each an exact `host:port`, e.g. `127.0.0.1:8123`.
        resolver: Host and port to numeric addresses.
        ssl_context: For trust anchors of your own. Default: the system's (or `SSL_CERT_FILE`), loaded once for the process.
        proxy: See `check_proxy`. Default: none; the environment's are not read.
    """
    tls = ssl_context or _tls()
    return httpx2.AsyncClient(
        transport=GuardedTransport(allowed_hosts=allowed_hosts, resolver=resolver, ssl_context=tls, proxy=proxy),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT),
        trust_env=False,
    )


def check_proxy(url: str) -> str:
    """The URL of an egress proxy, http or https, perhaps with a user and password for it.

    Everything but loopback goes through it (CONNECT, RFC 9110 §9.3.6), TLS ends at the server and not there. It resolves the names, so
    which addresses may be reached is the proxy's to decide (R14).

    Raises:
        ConfigurationError: it is none that could be used.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:  # its text may hold a password
        raise ConfigurationError('proxy must be the http or https URL of a proxy, such as "http://proxy.internal:3128".')
    return url


def _tunnels(proxy: str, resolver: Resolver, ssl_context: ssl.SSLContext) -> Callable[[httpcore2.Origin], Connection]:
    """How to connect through the proxy; the connection to the proxy itself may go nowhere else."""
    parsed = httpx2.Proxy(proxy)
    return httpcore2.AsyncHTTPProxy(
        str(parsed.url),
        proxy_auth=parsed.raw_auth,
        ssl_context=ssl_context,
        proxy_ssl_context=ssl_context if parsed.url.scheme == "https" else None,
        keepalive_expiry=KEEP_ALIVE,
        network_backend=GuardedBackend(frozenset({host_port(str(parsed.url))}), resolver),
    ).create_connection


@cache
def user_agent() -> str:
    """`langchain-mcp-oauth/<version>`."""
    return f"langchain-mcp-oauth/{version('langchain-mcp-oauth')}"


@cache
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
