"""The client-ID metadata document: what it says, where it is, and that a login with it works."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from langchain_mcp_oauth import AuthRequired, ConfigurationError, MCPOAuthToolkit, client_metadata_document, client_metadata_route
from langchain_mcp_oauth.testing import Person, ProtectedServer

pytestmark = pytest.mark.anyio

DOCUMENT_URL = "https://app.example/oauth/client.json"
REDIRECT_URI = "https://app.example/oauth/callback"


def toolkit_of(*urls: str | None, redirect_uri: str | None = REDIRECT_URI) -> MCPOAuthToolkit:
    servers = {f"s{n}": {"url": f"https://mcp{n}.example/mcp", "client_metadata_url": url} for n, url in enumerate(urls)}
    return MCPOAuthToolkit(servers, store="sqlite://", redirect_uri=redirect_uri)


def test_what_it_says() -> None:
    """Its own URL as `client_id`, the toolkit's redirect URI, a public client; and what the operator adds."""
    details = {"client_uri": "https://app.example", "policy_uri": "https://app.example/privacy"}
    document = client_metadata_document(toolkit_of(DOCUMENT_URL, DOCUMENT_URL, None), client_name="Our App", details=details)
    assert document == {
        "client_id": DOCUMENT_URL,
        "client_name": "Our App",
        "redirect_uris": [REDIRECT_URI],
        "application_type": "web",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        **details,
    }


@pytest.mark.parametrize(
    ("redirect_uri", "more", "kind"),
    [
        ("http://127.0.0.1:8917/callback", [], "native"),
        ("http://127.0.0.1:8917/callback", ["http://localhost/callback"], "native"),
        ("http://127.0.0.1:8917/callback", [REDIRECT_URI], "web"),
        (REDIRECT_URI, [REDIRECT_URI, "https://staging.app.example/oauth/callback"], "web"),
    ],
)
def test_redirect_uris(redirect_uri: str, more: list[str], kind: str) -> None:
    """The toolkit's first, each once; SEP-837: `native` where all of them are loopback."""
    document = client_metadata_document(toolkit_of(DOCUMENT_URL, redirect_uri=redirect_uri), client_name="x", more_redirect_uris=more)
    assert document["redirect_uris"] == list(dict.fromkeys([redirect_uri, *more]))
    assert document["application_type"] == kind


@pytest.mark.parametrize(
    ("toolkit", "options", "message"),
    [
        (toolkit_of(DOCUMENT_URL, redirect_uri=None), {}, "redirect_uri"),
        (toolkit_of(None), {}, "there are 0"),
        (toolkit_of(DOCUMENT_URL, "https://app.example/other.json"), {}, "there are 2"),
        (toolkit_of(DOCUMENT_URL), {"more_redirect_uris": ["http://app.example/callback"]}, "https"),
        (toolkit_of(DOCUMENT_URL), {"details": {"client_secret": "x"}}, "client_secret"),
        (toolkit_of(DOCUMENT_URL), {"details": {"redirect_uris": []}}, "redirect_uris"),
        (toolkit_of(DOCUMENT_URL), {"details": {"token_endpoint_auth_method": "client_secret_post"}}, "token_endpoint_auth_method"),
        (toolkit_of(DOCUMENT_URL), {"details": {"logo_uri": "x" * 5_000}}, "5 KiB"),
    ],
)
def test_what_cannot_work(toolkit: MCPOAuthToolkit, options: dict[str, Any], message: str) -> None:
    """A document that authorization servers would refuse is not rendered."""
    with pytest.raises(ConfigurationError, match=message):
        client_metadata_document(toolkit, client_name="x", **options)


@pytest.mark.parametrize("base_url", [None, "https://app.example/oauth"])
async def test_the_route(base_url: str | None) -> None:
    """At the path of its URL, as JSON, cacheable, for everybody."""
    route = client_metadata_route(toolkit_of(DOCUMENT_URL), base_url=base_url, client_name="Our App")
    app = Starlette(routes=[Mount("/oauth", routes=[route])] if base_url else [route])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as client:
        answer = await client.get(DOCUMENT_URL)
    assert (answer.status_code, answer.json()["client_id"]) == (200, DOCUMENT_URL)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("application/json", "max-age=3600")


def test_a_route_elsewhere_is_refused() -> None:
    """It would not be found."""
    with pytest.raises(ConfigurationError):
        client_metadata_route(toolkit_of(DOCUMENT_URL), base_url="https://app.example/other", client_name="x")


async def test_a_login_with_it() -> None:
    """Where the authorization server supports it nothing is registered, and the `client_id` is the document's URL."""
    with ProtectedServer(era="2026-07-28", metadata={"client_id_metadata_document_supported": True}) as server:
        server.add_client(DOCUMENT_URL, redirect_uri=REDIRECT_URI)
        async with MCPOAuthToolkit(
            {"demo": {"url": server.url, "client_metadata_url": DOCUMENT_URL}},
            store="sqlite://",
            redirect_uri=REDIRECT_URI,
            user_id="ada",
            allowed_private_hosts=server.allowed_private_hosts,
        ) as toolkit:
            with pytest.raises(AuthRequired) as asked:
                await toolkit.aget_tools()
            await asked.value.complete(await Person("ada").aapprove(asked.value.authorization_url))
            assert await toolkit.aget_tools()
        assert server.count(path="/register") == 0
