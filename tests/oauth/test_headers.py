"""The operator's own headers: to the origins that were configured, and to no other."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.headers import with_headers
from langchain_mcp_oauth.servers.remote import MCPServer

URL = "https://mcp.example.com/mcp"
ISSUER = "https://as.example.com"
METADATA = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/a", "token_endpoint": "https://tokens.example.com/t"}


def ask_twice(url: str) -> Flow[str]:
    first = yield httpx2.Request("POST", url, headers={"Authorization": "Basic ours", "Content-Type": "text/plain"})
    second = yield httpx2.Request("GET", f"{url}?{first.text}")
    return second.text


@pytest.mark.parametrize(
    ("options", "url", "sent"),
    [
        ({}, URL, True),
        ({}, "https://mcp.example.com:443/.well-known/oauth-protected-resource", True),
        ({}, ISSUER, False),
        ({"issuer": ISSUER}, f"{ISSUER}/token", True),
        ({"issuer": ISSUER}, "https://as.example.com:8443/token", False),
        ({"issuer": ISSUER}, "https://as.example.com.evil.example/token", False),
        ({"authorization_server": METADATA}, "https://tokens.example.com/t", True),
        ({"authorization_server": METADATA}, "https://other.example.com/t", False),
    ],
)
def test_where_they_go(options: dict[str, Any], url: str, sent: bool) -> None:
    """What the network names gets none; the conversation is otherwise the same, to its result."""
    flow = with_headers(ask_twice(url), MCPServer(URL, oauth_headers={"X-Key": "k", "content-type": "text/html"}, **options))
    request = next(flow)
    assert request.headers.get("x-key") == ("k" if sent else None)
    assert (request.headers["authorization"], request.headers["content-type"]) == ("Basic ours", "text/plain")
    request = flow.send(httpx2.Response(200, text="one"))
    assert (str(request.url), request.headers.get("x-key")) == (f"{httpx2.URL(url)}?one", "k" if sent else None)
    with pytest.raises(StopIteration) as end:
        flow.send(httpx2.Response(200, text="two"))
    assert end.value.value == "two"
