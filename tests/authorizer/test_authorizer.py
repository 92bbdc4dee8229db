"""Which client asks at which authorization server, when the MCP server names another one or wants more scopes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
import time_machine
from pydantic import SecretStr

from langchain_mcp_oauth import (
    AuthorizationDenied,
    AuthRequired,
    ConnectionFailed,
    MCPServer,
    RequestUsedError,
    ScopeNotGrantedError,
    SQLModelTokenStore,
    TokenRejectedError,
)
from langchain_mcp_oauth.authorizer.authorizer import Authorizer, Refusal
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
ANONYMOUS = Refusal(REFUSED, None)


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


def make_authorizer(
    store: SQLModelTokenStore, documents: dict[str, Any], sent: list[httpx2.Request] | None = None, **options: Any
) -> Authorizer:
    """It sees these documents, responses and failures; its requests are appended to `sent`."""

    async def drive(flow: Flow[T], /) -> T:
        try:
            request = next(flow)
            while True:
                if sent is not None:
                    sent.append(request)
                answer = documents[str(request.url)]
                if isinstance(answer, Exception):
                    raise answer
                request = flow.send(answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, json=answer))
        except StopIteration as end:
            result: T = end.value
            return result

    servers = {"files": MCPServer(URL, **options)}
    return Authorizer(servers, store, drive, redirect_uri=REDIRECT_URI, request_lifetime=timedelta(minutes=10))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLModelTokenStore]:
    store = SQLModelTokenStore(f"sqlite:///{tmp_path / 'tokens.db'}", encryption_key="bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM=")
    yield store
    await store.aclose()


@pytest.fixture
async def new_login(store: SQLModelTokenStore) -> Grant:
    """A login at the old issuer, which the MCP server has never accepted; it cannot be refreshed."""
    now = datetime.now(UTC)
    tokens = TokenSet(access_token=SecretStr("access"), scopes=("read",), obtained_at=now, expires_at=now + timedelta(hours=1))
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
    sent: list[httpx2.Request] = []
    authorizer = make_authorizer(store, site(OLD), sent)
    for wanted, clients in (("write", 0), ("admin", 1)):
        with pytest.raises(AuthRequired) as asked:
            await authorizer.acquire(KEY, Refusal(BearerChallenge(403, "insufficient_scope", (wanted,)), new_login))
        assert wanted in asked.value.scopes
        assert [request.method for request in sent].count("POST") == clients
    assert set(json.loads(sent[-1].content)["scope"].split()) == {"read", "write", "admin"}


async def ask(authorizer: Authorizer, refusal: Refusal = ANONYMOUS) -> AuthRequired:
    with pytest.raises(AuthRequired) as asked:
        await authorizer.acquire(KEY, refusal)
    return asked.value


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def state_of(asked: AuthRequired) -> str:
    return query(asked.authorization_url)["state"]


async def test_a_login_that_came_meanwhile_is_used(store: SQLModelTokenStore, new_login: Grant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's callback is redeemed while we are on our way to ask: nobody is asked, and its token is used."""
    await store.delete_grant(KEY, new_login.version)
    acquire_lease = store.acquire_lease

    async def slow(*args: Any, **options: Any) -> Any:
        await store.save_grant(new_login)
        return await acquire_lease(*args, **options)

    monkeypatch.setattr(store, "acquire_lease", slow)
    authorizer = make_authorizer(store, {})
    used = await authorizer.acquire(KEY, Refusal(REFUSED, None))
    assert used is not None
    assert used.tokens == new_login.tokens
    assert await store.find_open_request(KEY, now=NOW) is None


async def test_a_stale_request_is_replaced_with_its_state(store: SQLModelTokenStore) -> None:
    """While it is fresh the same URL is given again; after that another, and the old answer completes nothing."""
    authorizer = make_authorizer(store, site(OLD))
    first = await ask(authorizer)
    assert (await ask(authorizer)).authorization_url == first.authorization_url
    with time_machine.travel(first.expires_at + timedelta(seconds=1)):
        second = await ask(authorizer)
        assert state_of(second) != state_of(first)
        with pytest.raises(RequestUsedError):
            await authorizer.complete(f"{REDIRECT_URI}?code=c&state={state_of(first)}", "alice")


async def test_an_option_that_was_changed_makes_a_new_url(store: SQLModelTokenStore) -> None:
    """Whoever finds that a login page refuses `resource` need not wait until the URL that did not work has expired."""
    before = await ask(make_authorizer(store, site(OLD)))
    assert query(before.authorization_url)["resource"] == URL
    after = await ask(make_authorizer(store, site(OLD), send_resource=False))
    assert "resource" not in query(after.authorization_url)
    assert after.auth_id != before.auth_id


async def test_an_answer_for_an_issuer_of_before(store: SQLModelTokenStore) -> None:
    """The server moves while a request is open: the old answer goes to the issuer that was asked, and to no other."""
    sent: list[httpx2.Request] = []
    token = {"access_token": "old", "token_type": "Bearer", "expires_in": 600}
    asked = await ask(make_authorizer(store, site(OLD)))
    moved = make_authorizer(store, site(NEW) | {f"{OLD}/token": token}, sent)
    await moved.complete(f"{REDIRECT_URI}?code=c&state={state_of(asked)}", "alice")
    assert [str(request.url) for request in sent] == [f"{OLD}/token"]
    grant = await store.load_grant(KEY)
    assert grant is not None
    assert grant.issuer == OLD


async def test_options_reach_every_request(store: SQLModelTokenStore) -> None:
    """Of discovery, registration, exchange, refresh and revocation, for the operator's headers; of both token requests, for the rest."""
    documents = site(OLD) | {f"{OLD}/token": {"access_token": "a", "refresh_token": "r", "token_type": "Bearer", "expires_in": 0}}
    documents[f"{OLD}/.well-known/oauth-authorization-server"]["revocation_endpoint"] = f"{OLD}/revoke"
    documents[f"{OLD}/revoke"] = {}
    sent: list[httpx2.Request] = []
    options = {
        "issuer": OLD,
        "send_resource": False,
        "authorization_parameters": {"audience": "https://api"},
        "token_parameters": {"tenant": "7"},
        "oauth_headers": {"X-Key": "gateway"},
    }
    authorizer = make_authorizer(store, documents, sent, **options)
    asked = query((await ask(authorizer)).authorization_url)
    assert asked["audience"] == "https://api"
    await authorizer.complete(f"{REDIRECT_URI}?code=c&state={asked['state']}", "alice")
    refreshed = await authorizer.acquire(KEY)
    assert refreshed is not None
    assert await authorizer.revoke(refreshed)
    tokens = [parse_qsl(request.content.decode()) for request in sent if str(request.url) == f"{OLD}/token"]
    assert [dict(form)["grant_type"] for form in tokens] == ["authorization_code", "refresh_token"]
    assert all(("tenant", "7") in form and "resource" not in dict(form) for form in tokens)
    assert len(sent) == 7, [str(request.url) for request in sent]
    assert {request.headers.get("x-key") for request in sent} == {"gateway"}


async def test_scopes_that_are_not_granted_can_be_asked_for_again_later(store: SQLModelTokenStore, new_login: Grant) -> None:
    """After two answers without the scope no process asks again; ten minutes later they do, since somebody may have granted it."""
    wants_more = Refusal(BearerChallenge(403, "insufficient_scope", ("admin",)), new_login)
    for _ in range(2):
        asked = await ask(make_authorizer(store, site(OLD)), wants_more)
        with pytest.raises(AuthorizationDenied):
            await make_authorizer(store, {}).complete(f"{REDIRECT_URI}?error=access_denied&state={state_of(asked)}", "alice")
    with pytest.raises(ScopeNotGrantedError):
        await make_authorizer(store, site(OLD)).acquire(KEY, wants_more)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=11)):
        assert (await ask(make_authorizer(store, site(OLD)), wants_more)).reason == "step_up"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (ConnectionFailed("https://old.example.com did not answer within 15 s; try again later."), ConnectionFailed),
        (httpx2.Response(503, json={"error": "invalid_grant"}), ConnectionFailed),
        (httpx2.Response(429), ConnectionFailed),
        (httpx2.Response(200, text="<html>maintenance"), AuthRequired),
        (httpx2.Response(400, json={"error": "invalid_request"}), AuthRequired),
    ],
    ids=["a time-out", "503", "429", "garbage", "a refusal of another kind"],
)
async def test_refreshing_in_vain_keeps_the_login(
    store: SQLModelTokenStore, new_login: Grant, answer: httpx2.Response | Exception, error: type[Exception]
) -> None:
    """Only `invalid_grant` says that a refresh token is dead; a machine in trouble is no reason to ask a person."""
    tokens = replace(new_login.tokens, refresh_token=SecretStr("r"), obtained_at=NOW - timedelta(hours=2), expires_at=NOW)
    stale = await store.save_grant(replace(new_login, tokens=tokens))
    with pytest.raises(error):
        await make_authorizer(store, site(OLD) | {f"{OLD}/token": answer}).acquire(KEY)
    assert await store.load_grant(KEY) == stale


async def test_a_dead_refresh_token_is_forgotten(store: SQLModelTokenStore, new_login: Grant) -> None:
    """`invalid_grant`: it is never sent again, and the person is asked."""
    tokens = replace(new_login.tokens, refresh_token=SecretStr("r"), obtained_at=NOW - timedelta(hours=2), expires_at=NOW)
    await store.save_grant(replace(new_login, tokens=tokens))
    refusal = httpx2.Response(400, json={"error": "invalid_grant"})
    with pytest.raises(AuthRequired) as asked:
        await make_authorizer(store, site(OLD) | {f"{OLD}/token": refusal}).acquire(KEY)
    assert asked.value.reason == "expired"
    assert await store.load_grant(KEY) is None
