"""Which client asks at which authorization server, when the MCP server names another one or wants more scopes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from pydantic import SecretStr

from langchain_mcp_oauth import AuthRequired, MCPServer, SQLModelTokenStore, TokenRejectedError
from langchain_mcp_oauth.authorizer import Authorizer, Refusal
from langchain_mcp_oauth.models import BearerChallenge, ClientRegistration, Grant, GrantKey, TokenSet
from langchain_mcp_oauth.oauth import Flow

pytestmark = pytest.mark.anyio

T = TypeVar("T")

NOW = datetime.now(UTC)
URL = "https://mcp.example.com/mcp"
OLD, NEW = "https://old.example.com", "https://new.example.com"
REDIRECT_URI = "https://app.example.com/oauth/callback"
KEY = GrantKey("alice", "files", URL)
REFUSED = BearerChallenge(401, scopes=("read",))


def site(issuer: str) -> dict[str, Any]:
    """The documents of an MCP server that this issuer guards, and its registration endpoint."""
    metadata = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "registration_endpoint": f"{issuer}/register",
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    }
    return {
        "https://mcp.example.com/.well-known/oauth-protected-resource/mcp": {"resource": URL, "authorization_servers": [issuer]},
        f"{issuer}/.well-known/oauth-authorization-server": metadata,
        f"{issuer}/register": {"client_id": f"client of {issuer}".replace(" ", "-")},
    }


def make_authorizer(store: SQLModelTokenStore, documents: dict[str, Any], registrations: list[dict[str, Any]] | None = None) -> Authorizer:
    """It sees these documents; what it registers with is appended to `registrations`."""

    async def drive(flow: Flow[T], /) -> T:
        try:
            request = next(flow)
            while True:
                if request.method == "POST" and registrations is not None:
                    registrations.append(json.loads(request.content))
                request = flow.send(httpx2.Response(200, json=documents[str(request.url)]))
        except StopIteration as end:
            result: T = end.value
            return result

    return Authorizer({"files": MCPServer(URL)}, store, drive, redirect_uri=REDIRECT_URI, request_lifetime=timedelta(minutes=10))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLModelTokenStore]:
    store = SQLModelTokenStore(f"sqlite:///{tmp_path / 'tokens.db'}", encryption_key="bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM=")
    yield store
    await store.aclose()


@pytest.fixture
async def new_login(store: SQLModelTokenStore) -> Grant:
    """A login at the old issuer, which the MCP server has never accepted; it cannot be refreshed."""
    tokens = TokenSet(access_token=SecretStr("access"), scopes=("read",), obtained_at=NOW, expires_at=NOW + timedelta(hours=1))
    client = ClientRegistration(issuer=OLD, client_id="client-of-the-old", kind="dynamic", redirect_uri=REDIRECT_URI)
    grant = Grant(
        key=KEY, issuer=OLD, resource=URL, token_endpoint=f"{OLD}/token", client=client, tokens=tokens, scopes_requested=("read",)
    )
    saved = await store.save_grant(grant)
    assert saved is not None
    return saved


async def test_a_new_login_is_refused_because_the_issuer_changed(store: SQLModelTokenStore, new_login: Grant) -> None:
    """The token was good for the issuer of then; the person is asked at the one of now, as a client of its own."""
    authorizer = make_authorizer(store, site(NEW))
    with pytest.raises(AuthRequired) as asked:
        await authorizer.acquire(KEY, Refusal(REFUSED, new_login))
    assert (asked.value.reason, asked.value.issuer, asked.value.scopes) == ("issuer_changed", NEW, ("read",))
    assert "client_id=client-of-https%3A%2F%2Fnew.example.com" in asked.value.authorization_url


async def test_a_new_login_is_refused_though_it_did_not(store: SQLModelTokenStore, new_login: Grant) -> None:
    """Another login at the same issuer would be refused as well: nobody is asked."""
    with pytest.raises(TokenRejectedError):
        await make_authorizer(store, site(OLD)).acquire(KEY, Refusal(REFUSED, new_login))


async def test_a_step_up_beyond_the_registration_registers_anew(store: SQLModelTokenStore, new_login: Grant) -> None:
    """Servers refuse scopes that a client was not registered with; the new one has every user's. A known scope needs none."""
    await store.save_client(replace(new_login.client, scopes=("read", "write")), URL)
    registrations: list[dict[str, Any]] = []
    authorizer = make_authorizer(store, site(OLD), registrations)
    for wanted, clients in (("write", 0), ("admin", 1)):
        with pytest.raises(AuthRequired) as asked:
            await authorizer.acquire(KEY, Refusal(BearerChallenge(403, "insufficient_scope", (wanted,)), new_login))
        assert wanted in asked.value.scopes
        assert len(registrations) == clients
    assert set(registrations[0]["scope"].split()) == {"read", "write", "admin"}
