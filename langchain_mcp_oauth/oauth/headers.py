"""What the operator has to say about OAuth requests: headers of their own on some, and places that some servers may not name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

import httpx2

from langchain_mcp_oauth.errors import UnsafeURLError
from langchain_mcp_oauth.oauth import Flow, T
from langchain_mcp_oauth.oauth.urls import origin
from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["Place", "keeping_out", "with_headers"]

Place: TypeAlias = tuple[str, int]
"""Host and port."""


def with_headers(flow: Flow[T], server: MCPServer) -> Flow[T]:
    """The same conversation, with `server.oauth_headers` on the requests that go to a configured origin.

    For gateways that want a key before they let anything through. The origins are those of `url`, `issuer` and the endpoints in
    `authorization_server`: nothing that the network names gets a header. What the protocol sets (`Authorization`, `Content-Type`, …) is not
    replaced.
    """
    headers = {name: value.get_secret_value() for name, value in server.oauth_headers.items()}
    origins = {origin(url) for url in server.configured_urls}

    def add(request: httpx2.Request) -> None:
        if headers and origin(str(request.url)) in origins:
            request.headers.update({name: value for name, value in headers.items() if name not in request.headers})

    return _on_each(flow, add)


def keeping_out(flow: Flow[T], places: Collection[Place]) -> Flow[T]:
    """The same conversation, which goes to none of these hosts and ports.

    They are other configured servers' on loopback, which need no permission of their own: it is theirs, not that of whoever names them.

    Raises, from the conversation:
        UnsafeURLError: it was about to.
    """

    def check(request: httpx2.Request) -> None:
        _, host, port = origin(str(request.url))
        if (host, port) in places:
            raise UnsafeURLError(
                f"{host}:{port} is not contacted for this server: it is another configured server's. If it is this one's "
                "authorization server too, name exactly this host and port in `allowed_private_hosts`."
            )

    return _on_each(flow, check)


def _on_each(flow: Flow[T], act: Callable[[httpx2.Request], None]) -> Flow[T]:
    request = next(flow)
    while True:
        act(request)
        response = yield request
        try:
            request = flow.send(response)
        except StopIteration as end:
            result: T = end.value
            return result
