"""The operator's own headers on OAuth requests, for gateways that want a key before they let anything through."""

from __future__ import annotations

from langchain_mcp_oauth.oauth import Flow, T
from langchain_mcp_oauth.oauth.urls import origin
from langchain_mcp_oauth.servers import MCPServer

__all__ = ["with_headers"]


def with_headers(flow: Flow[T], server: MCPServer) -> Flow[T]:
    """The same conversation, with `server.oauth_headers` on the requests that go to a configured origin.

    The origins are those of `url`, `issuer` and the endpoints in `authorization_server`: nothing that the network names gets a header.
    What the protocol sets (`Authorization`, `Content-Type`, …) is not replaced.
    """
    headers = {name: value.get_secret_value() for name, value in server.oauth_headers.items()}
    origins = {origin(url) for url in server.configured_urls}
    request = next(flow)
    while True:
        if headers and origin(str(request.url)) in origins:
            request.headers.update({name: value for name, value in headers.items() if name not in request.headers})
        response = yield request
        try:
            request = flow.send(response)
        except StopIteration as end:
            result: T = end.value
            return result
