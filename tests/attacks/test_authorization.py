"""R15-R22: what a person is sent to, and who we are there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from langchain_mcp_oauth import DiscoveryError, LoopbackBrowser, MCPServer, RegistrationError, UnsafeURLError
from tests.attacks.conftest import Victim
from tests.attacks.hostile import Hostile, as_json, http
from tests.attacks.steps import asked, call, callback, failure, log_in, query_of
from tests.e2e.conftest import REDIRECT_URI

pytestmark = pytest.mark.anyio

BAD_URLS = [
    "javascript:alert(1)",
    "file:///etc/passwd",
    "https://as.example/$(touch /tmp/x)",
    "https://as.example/$(id)",
    "https://as.example/`id`",
    "https://as.example/';calc'",
    'https://as.example/"&calc',
    "https://as.example/a b",
    "https://as.example/%0d%0aX: y",
    "https://as.example/\u202egpj",
    "https://as.example|calc",
    "https://user:password@as.example/authorize",
    "https://as.example/authorize#fragment",
    "https://0x7f000001/authorize",
    "https:///authorize",
    "https://as.example/" + "a" * 2_000,
]


@pytest.mark.parametrize("url", BAD_URLS)
async def test_r15_no_such_url_reaches_a_browser(victim: Victim, hostile: Hostile, url: str) -> None:
    """An authorization endpoint that a shell, a page or a person could misread is refused before any browser is opened."""
    opened: list[str] = []
    hostile.metadata["authorization_endpoint"] = url
    browser = LoopbackBrowser(open_browser=lambda opening: opened.append(opening) is None, timeout=5.0)
    assert isinstance(await failure(victim(on_auth_required=browser, redirect_uri=None).aget_tools()), UnsafeURLError | DiscoveryError)
    assert opened == []


async def test_r15_a_plain_url_is_opened(victim: Victim, hostile: Hostile) -> None:
    """The control: with an ordinary endpoint the browser opens."""
    urls: list[str] = []
    browser = LoopbackBrowser(open_browser=lambda url: urls.append(url) is None, timeout=0.5)
    await asked(victim(on_auth_required=browser, redirect_uri=None))
    assert [url.partition("?")[0] for url in urls] == [f"{hostile.origin}/authorize"]


@pytest.mark.parametrize("taken", ["state=x", "redirect_uri=https://evil.example/", "client_id=theirs", "code_challenge_method=plain"])
async def test_r16_no_parameter_is_the_endpoints(victim: Victim, hostile: Hostile, taken: str) -> None:
    """An endpoint that brings a parameter of ours is refused; one of its own is kept (control), and ours stand there once each."""
    hostile.says["/register"] = as_json({"client_id": "x&redirect_uri=https://evil.example/", "token_endpoint_auth_method": "none"}, 201)
    hostile.metadata["authorization_endpoint"] = f"{hostile.origin}/authorize?{taken}"
    assert isinstance(await failure(victim().aget_tools()), UnsafeURLError)
    hostile.metadata["authorization_endpoint"] = f"{hostile.origin}/authorize?tenant=7"
    query = query_of((await asked(victim())).authorization_url)
    assert query["tenant"] == ["7"]
    assert query["client_id"] == ["x&redirect_uri=https://evil.example/"]
    assert {name: len(values) for name, values in query.items() if len(values) != 1} == {}
    assert query["redirect_uri"] != ["https://evil.example/"]


@pytest.mark.parametrize("methods", [None, ["plain"], []], ids=str)
async def test_r17_no_pkce_no_login(victim: Victim, hostile: Hostile, methods: Any) -> None:
    """Nobody is sent to a server that does not protect codes. Where the operator says that it does, S256 is sent all the same (control)."""
    hostile.metadata["code_challenge_methods_supported"] = methods
    assert isinstance(await failure(victim().aget_tools()), DiscoveryError)
    assert hostile.at("/register") == []
    hostile.metadata["code_challenge_methods_supported"] = None
    query = query_of((await asked(victim(MCPServer(hostile.url, assume_pkce=True)))).authorization_url)
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["code_challenge"][0]) == 43


async def test_r17_nothing_is_guessed(victim: Victim, hostile: Hostile) -> None:
    """Without metadata no `/authorize` or `/token` is made up."""
    hostile.says["/.well-known/oauth-authorization-server"] = http(404)
    assert isinstance(await failure(victim().aget_tools()), DiscoveryError)
    hostile.says["/.well-known/oauth-protected-resource/mcp"] = http(404)
    assert isinstance(await failure(victim().aget_tools()), DiscoveryError)
    assert hostile.at("/register") == hostile.at("/token") == []


async def test_r18_every_login_has_secrets_of_its_own(victim: Victim, hostile: Hostile) -> None:
    """256 bits for `state` and verifier, nothing of user, server or time in them, and never twice."""
    states, verifiers = [], []
    for user in ("ada", "bob", "eve"):
        toolkit = victim(user_id=user)
        needed = await asked(toolkit)
        states.append(query_of(needed.authorization_url)["state"][0])
        await toolkit.complete_authorization(callback(needed))
        verifiers.append(hostile.at("/token")[-1].form["code_verifier"])
    assert len(set(states + verifiers)) == 6
    assert all(len(secret) >= 43 for secret in states + verifiers)
    assert not any(word in secret for secret in states for word in ("ada", "files", "2026"))


@pytest.mark.parametrize("resource", ["/other", "/mc", "/mcp/deeper", "https://bank.example/mcp"])
async def test_r19_a_token_is_for_this_server(victim: Victim, hostile: Hostile, resource: str) -> None:
    """A server cannot have a token made for another; for itself or its parent it can (control), and says so in every request."""
    hostile.resource["resource"] = resource if "://" in resource else hostile.origin + resource
    assert isinstance(await failure(victim().aget_tools()), DiscoveryError)
    hostile.resource["resource"] = hostile.origin
    hostile.says["/token"] = lambda seen: hostile.token(seen, expires_in=0)
    [read] = await log_in(victim())
    await call(read)
    forms = [seen.form for seen in hostile.at("/token")]
    assert {form["grant_type"] for form in forms} == {"authorization_code", "refresh_token"}
    assert {form["resource"] for form in forms} == {hostile.origin}


@pytest.mark.parametrize("suffix", ["/", "/other", "?x=1"])
async def test_r20_an_issuer_speaks_for_itself(victim: Victim, hostile: Hostile, suffix: str) -> None:
    """Metadata that names another issuer, be it by one slash, is not that issuer's (RFC 8414 §3.3)."""
    hostile.metadata["issuer"] = hostile.origin + suffix
    assert isinstance(await failure(victim().aget_tools()), DiscoveryError)
    hostile.metadata.clear()
    await asked(victim())


async def test_r21_nothing_widens_configured_scopes(victim: Victim, hostile: Hostile) -> None:
    """Neither challenge nor metadata; without configured ones the challenge decides (control)."""
    hostile.says["/mcp"] = lambda seen: hostile.challenge(', scope="admin delete"')
    hostile.resource["scopes_supported"] = ["root"]
    hostile.metadata["scopes_supported"] = ["offline_access"]
    configured = await asked(victim(MCPServer(hostile.url, scopes=("read",))))
    assert (configured.scopes, query_of(configured.authorization_url)["scope"]) == (("read",), ["read"])
    assert set((await asked(victim(user_id="bob"))).scopes) == {"admin", "delete", "offline_access"}
    hostile.says["/mcp"] = lambda seen: hostile.challenge(f', scope="{"x" * 2_000}"')
    assert "x" * 2_000 not in (await asked(victim(user_id="eve"))).scopes


@pytest.mark.parametrize(
    "answer",
    [
        {"client_id": "x" * 513},
        {"client_id": "b\u00e4d"},
        {"client_id": "a\nb"},
        {"client_id": ""},
        {"client_id": "x", "token_endpoint_auth_method": "client_secret_basic"},
        {"client_id": "x", "token_endpoint_auth_method": "private_key_jwt"},
    ],
    ids=str,
)
async def test_r22_a_registration_is_checked(victim: Victim, hostile: Hostile, answer: dict[str, Any]) -> None:
    """No id that is none, no method that we cannot do; and the answer replaces no redirect URI of ours (control)."""
    hostile.says["/register"] = as_json({"token_endpoint_auth_method": "none", **answer}, 201)
    assert isinstance(await failure(victim().aget_tools()), RegistrationError)
    evil = {"client_id": "x", "token_endpoint_auth_method": "none", "redirect_uris": ["https://evil.example/"]}
    hostile.says["/register"] = as_json(evil, 201)
    assert query_of((await asked(victim())).authorization_url)["redirect_uri"] == [REDIRECT_URI]


async def test_r22_a_secret_is_shown_to_its_issuer_only(victim: Victim, hostile: Hostile, inside: Hostile) -> None:
    """A server that names another authorization server than the secret's gets neither the secret nor a login; the right one does."""
    client = {"url": hostile.url, "client_id": "ours", "client_secret": SecretStr("canary-client-secret"), "issuer": hostile.origin}
    inside_too = {"allowed_private_hosts": [inside.entry]}
    hostile.resource["authorization_servers"] = [inside.origin]
    assert isinstance(await failure(victim(client, **inside_too).aget_tools()), DiscoveryError)
    assert inside.opened == 0
    hostile.resource.clear()
    toolkit = victim(client, **inside_too)
    await log_in(toolkit)
    assert len(hostile.at("/token")) == 1
