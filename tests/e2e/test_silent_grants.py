"""Servers that nobody has to log in to: the application itself is known there, or it brings the tokens."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from langchain_mcp_oauth import (
    ClientCredentials,
    EnterpriseManaged,
    MCPOAuthToolkit,
    MCPServer,
    ServersFailed,
    TokenEndpointError,
    TokenProvider,
    UserRequiredError,
    WorkloadIdentity,
)
from langchain_mcp_oauth.testing import ProtectedServer
from langchain_mcp_oauth.testing.serving import ServerThread, listen, origin

from .conftest import KEY
from .logins import message, text_of, tools_of

pytestmark = pytest.mark.anyio

SECRET = "of-the-service/canary+7f3a9"


@pytest.fixture
def server() -> Iterator[ProtectedServer]:
    """Of either era: how a token comes about makes no difference to a session."""
    with ProtectedServer() as running:
        yield running


class Tokens:
    """An application's token provider, and what it was asked."""

    def __init__(self, server: ProtectedServer, **more: Any) -> None:
        self.asked: list[tuple[str, str]] = []
        self.more = more
        self.server = server

    async def __call__(self, user_id: str, server: str) -> dict[str, Any]:
        self.asked.append((user_id, server))
        token = self.server.authorization_server.issue_to("the application", user_id, ["tools"])
        return {"access_token": token.access_token, **self.more}


@pytest.fixture
async def make_toolkit(server: ProtectedServer, database: str) -> AsyncIterator[Any]:
    """A toolkit without a redirect URI: nobody could come back. `options` are the server's."""
    made: list[MCPOAuthToolkit] = []

    def make(user_id: str | None = None, **options: Any) -> MCPOAuthToolkit:
        demo = MCPServer(server.url, **options)
        hosts = server.allowed_private_hosts
        made.append(MCPOAuthToolkit({"demo": demo}, store=database, encryption_key=KEY, allowed_private_hosts=hosts, user_id=user_id))
        return made[-1]

    yield make
    for toolkit in made:
        await toolkit.aclose()


@pytest.fixture
def service(server: ProtectedServer) -> dict[str, Any]:
    """The options of an application that is registered at the server's issuer with a secret."""
    server.add_client("reports", redirect_uri="http://127.0.0.1/", client_secret=SECRET, auth_method="client_secret_basic")
    return {"issuer": server.issuer, "client_id": "reports", "client_secret": SECRET, "grant": ClientCredentials()}


async def test_the_application_itself(server: ProtectedServer, service: dict[str, Any], make_toolkit: Any) -> None:
    """No user, no redirect URI, no question: one token request for a listing, twenty calls and another process, as the service."""
    first, second = make_toolkit(**service), make_toolkit(**service)
    tools = await tools_of(first)
    assert await asyncio.gather(*(text_of(tools["whoami"]) for _ in range(20))) == ["reports"] * 20
    assert await text_of((await tools_of(second))["whoami"]) == "reports"
    assert server.count(path="/token") == 1
    assert server.count(path="/register") == server.count(path="/authorize") == 0
    status = (await first.status())["demo"]
    assert (status.connected, status.refreshable, status.issuer) == (True, False, server.issuer)


async def test_what_happens_is_told(server: ProtectedServer, service: dict[str, Any], database: str) -> None:
    """As a refresh is: that nobody was asked, and whether the authorization server refused."""
    told: list[Any] = []
    for secret in (SECRET, "another"):
        demo = MCPServer(server.url, **{**service, "client_secret": secret})
        hosts = server.allowed_private_hosts
        async with MCPOAuthToolkit(
            {"demo": demo}, store="sqlite://", encryption_key=KEY, allowed_private_hosts=hosts, on_event=told.append
        ) as toolkit:
            with suppress(ServersFailed):
                await toolkit.aget_tools()
    happened = [(event.server, event.issuer, event.error) for event in told if event.name == "token.refreshed"]
    assert happened == [("demo", server.issuer, None), ("demo", server.issuer, "invalid_client")]


async def test_all_users_are_one_service(server: ProtectedServer, service: dict[str, Any], make_toolkit: Any) -> None:
    """Users of the application share the service's token; each has a session of their own."""
    toolkit = make_toolkit(**service)
    for user in ("ada", "bob"):
        assert await text_of((await tools_of(toolkit.for_user(user)))["whoami"]) == "reports"
    assert server.count(path="/token") == 1
    assert await toolkit.disconnect("demo", user_id="ada")
    assert not (await toolkit.status(user_id="bob"))["demo"].connected
    assert await text_of((await tools_of(toolkit.for_user("bob")))["whoami"]) == "reports"
    assert server.count(path="/token") == 2


async def test_an_expired_token_is_replaced_once(server: ProtectedServer, service: dict[str, Any], make_toolkit: Any) -> None:
    """401 with an unexpired token: one new one for all that wait, over two processes, and no discovery beyond the first."""
    toolkits = [make_toolkit(**service), make_toolkit(**service)]
    tools = [await tools_of(toolkit) for toolkit in toolkits]
    server.expire_tokens()
    assert await asyncio.gather(*(text_of(tools[n % 2]["whoami"]) for n in range(20))) == ["reports"] * 20
    assert server.count(path="/token") == 2


async def test_a_service_that_is_not_wanted(server: ProtectedServer, service: dict[str, Any], make_toolkit: Any) -> None:
    """The MCP server refuses every token: a typed error for the model, and an end."""
    tools = await tools_of(make_toolkit(**service))
    server.reject_tokens()
    failed = await message(tools["whoami"])
    assert failed.status == "error"
    assert "refuses a token" in failed.text
    assert server.count(path="/token") <= 3


async def test_a_secret_that_is_wrong(server: ProtectedServer, service: dict[str, Any], make_toolkit: Any) -> None:
    """`invalid_client` is the caller's to know; nothing is tried again."""
    with pytest.raises(ServersFailed) as failed:
        await make_toolkit(**{**service, "client_secret": "another"}).aget_tools()
    refusal = failed.value.errors["demo"]
    assert isinstance(refusal, TokenEndpointError)
    assert refusal.oauth_error == "invalid_client"
    assert server.count(path="/token") == 1


async def test_more_scopes_are_asked_for_once(server: ProtectedServer, service: dict[str, Any], make_toolkit: Any) -> None:
    """403 `insufficient_scope`: a token with what is needed as well, without anybody; what is not given is not asked for again."""
    tools = await tools_of(make_toolkit(**service))
    server.require_scope("add", "math")
    assert "3" in await text_of(tools["add"], a=1, b=2)
    assert await text_of(tools["whoami"]) == "reports"
    assert server.count(path="/token") == 2
    server._guard.tool_scopes["add"] = "never given"
    assert (await message(tools["add"], a=1, b=2)).status == "error"
    assert server.count(path="/token") <= 3


@pytest.mark.parametrize("curve", ["P-256", "P-384"])
async def test_a_private_key(server: ProtectedServer, make_toolkit: Any, curve: Any) -> None:
    """RFC 7523 §2.2: each token request is signed anew, for the issuer; the secret is nowhere."""
    key = ECKey.generate_key(curve, {"kid": "1"})
    server.silent_grants.client_keys["reports"] = KeySet([ECKey.import_key(key.as_dict(private=False))])
    options = {"issuer": server.issuer, "client_id": "reports", "grant": ClientCredentials()}
    tools = await tools_of(make_toolkit(**options, private_key=key.as_pem(private=True).decode()))
    assert await text_of(tools["whoami"]) == "reports"
    server.expire_tokens()
    assert await text_of(tools["whoami"]) == "reports"
    assert server.count(path="/token", status=200) == 2


async def test_tokens_from_the_application(server: ProtectedServer, make_toolkit: Any) -> None:
    """Asked once for each user, whoever calls how often in which process; each is themselves."""
    tokens = Tokens(server)
    for user in ("ada", "bob", "ada"):
        tools = await tools_of(make_toolkit(user, grant=TokenProvider(tokens)))
        assert await asyncio.gather(*(text_of(tools["whoami"]) for _ in range(5))) == [user] * 5
    assert (await make_toolkit("ada", grant=TokenProvider(tokens)).status())["demo"].connected
    assert not (await make_toolkit("ada").status())["demo"].connected  # a server that is configured anew needs a login of its own
    assert tokens.asked == [("ada", "demo"), ("bob", "demo")]
    assert server.count(path="/token") == server.count(path="/.well-known/oauth-authorization-server") == 0


async def test_a_refused_token_is_asked_for_once_more(server: ProtectedServer, make_toolkit: Any) -> None:
    """401: asked again exactly once in that call; then a typed error. Its own lifetime is kept to."""
    tokens = Tokens(server)
    tools = await tools_of(make_toolkit("ada", grant=TokenProvider(tokens)))
    server.expire_tokens()
    assert await text_of(tools["whoami"]) == "ada"
    assert len(tokens.asked) == 2
    server.reject_tokens()
    failed = await message(tools["whoami"])
    assert failed.status == "error"
    assert len(tokens.asked) == 3
    server.reject_tokens(False)
    tokens.more = {"expires_in": 0}
    server.expire_tokens()
    assert await text_of(tools["whoami"]) == "ada"
    assert await text_of(tools["whoami"]) == "ada"
    assert len(tokens.asked) == 5


# Assertions -------------------------------------------------------------------------------------------------------------------

PLATFORM, IDP_ID = "https://platform.example.com", "the-application"


def sign(key: ECKey, issuer: str, audience: str, subject: str, **claims: Any) -> str:
    now = int(time.time())
    standard = {"iss": issuer, "aud": audience, "sub": subject, "iat": now, "exp": now + 60, "jti": secrets.token_hex(8)}
    return jwt.encode({"alg": "ES256"}, {**standard, **claims}, key)


@pytest.fixture
def platform(server: ProtectedServer) -> ECKey:
    """The key of an issuer that the authorization server trusts."""
    key = ECKey.generate_key("P-256")
    server.silent_grants.trusted[PLATFORM] = KeySet([ECKey.import_key(key.as_dict(private=False))])
    return key


async def test_the_platform_vouches(server: ProtectedServer, platform: ECKey, make_toolkit: Any) -> None:
    """RFC 7523: an assertion for each token, for the issuer that gives it; one service, whoever calls; only the issuer is configured."""
    asked: list[tuple[str, str]] = []

    async def assertion(issuer: str, resource: str) -> str:
        asked.append((issuer, resource))
        return sign(platform, PLATFORM, issuer, "spiffe://example/agent")

    tools = await tools_of(make_toolkit(issuer=server.issuer, grant=WorkloadIdentity(assertion)))
    assert await asyncio.gather(*(text_of(tools["whoami"]) for _ in range(5))) == ["spiffe://example/agent"] * 5
    server.expire_tokens()
    assert await text_of(tools["whoami"]) == "spiffe://example/agent"
    assert asked == [(server.issuer, server.url)] * 2


async def test_an_assertion_that_is_not_good(server: ProtectedServer, platform: ECKey, make_toolkit: Any) -> None:
    """For somebody else: `invalid_grant`, sent once, and nothing else is tried (SEP-1933)."""

    async def assertion(issuer: str, resource: str) -> str:
        return sign(platform, PLATFORM, "https://somebody.example", "spiffe://example/agent")

    with pytest.raises(ServersFailed) as failed:
        await make_toolkit(issuer=server.issuer, grant=WorkloadIdentity(assertion)).aget_tools()
    assert failed.value.errors["demo"].oauth_error == "invalid_grant"  # type: ignore[attr-defined]
    assert server.count(path="/token") == 1
    assert server.count(path="/authorize") == 0


class IdentityProvider:
    """A company's: exchanges the ID tokens it gave the application for assertions about the same users (RFC 8693)."""

    def __init__(self, key: ECKey, server: ProtectedServer) -> None:
        self.key, self.server = key, server
        self.revoked: set[str] = set()
        listener = listen()
        self.origin = origin(listener)
        self.thread = ServerThread([(Starlette(routes=[Route("/token", self.token, methods=["POST"])]), listener)])

    async def id_token(self, user_id: str) -> str:
        return sign(self.key, self.origin, IDP_ID, f"{user_id}@example.com")

    async def token(self, request: Request) -> JSONResponse:
        form = await request.form()
        user = jwt.decode(str(form["subject_token"]), self.key).claims
        if user["aud"] != IDP_ID or form["client_id"] != IDP_ID or user["sub"] in self.revoked:
            return JSONResponse({"error": "access_denied"}, 400)
        assertion = sign(self.key, PLATFORM, str(form["audience"]), user["sub"], client_id="reports", resource=form["resource"])
        kind = "urn:ietf:params:oauth:token-type:id-jag"
        return JSONResponse({"access_token": assertion, "issued_token_type": kind, "token_type": "N_A"})


async def test_the_company_decides(server: ProtectedServer, platform: ECKey, service: dict[str, Any], database: str) -> None:
    """SEP-990: each user is themselves, nobody is sent to the server's login, and the company can say no."""
    company = IdentityProvider(platform, server)
    grant = EnterpriseManaged(id_token=company.id_token, idp_token_endpoint=f"{company.origin}/token", idp_client_id=IDP_ID)
    demo = MCPServer(server.url, **{**service, "grant": grant})
    hosts = server.allowed_private_hosts | {company.origin.removeprefix("http://")}
    company.thread.start()
    try:
        async with MCPOAuthToolkit({"demo": demo}, store=database, encryption_key=KEY, allowed_private_hosts=hosts) as toolkit:
            for user in ("ada", "bob"):
                assert await text_of((await tools_of(toolkit.for_user(user)))["whoami"]) == f"{user}@example.com"
            company.revoked.add("bob@example.com")
            server.expire_tokens()
            assert await text_of((await tools_of(toolkit.for_user("ada")))["whoami"]) == "ada@example.com"
            with pytest.raises(ServersFailed) as failed:
                await toolkit.aget_tools(user_id="bob")
            assert failed.value.errors["demo"].oauth_error == "access_denied"  # type: ignore[attr-defined]
    finally:
        company.thread.stop()
    assert server.count(path="/authorize") == server.count(path="/register") == 0


# The application's own errors -------------------------------------------------------------------------------------------------


async def test_what_the_provider_raises(make_toolkit: Any) -> None:
    """The application's own error comes back to the application."""

    async def broken(user_id: str, server: str) -> str:
        raise LookupError(f"{user_id} is not known to the broker")

    with pytest.raises(LookupError, match="ada is not known"):
        await make_toolkit("ada", grant=TokenProvider(broken)).aget_tools()


async def test_tokens_from_the_application_need_a_user(server: ProtectedServer, make_toolkit: Any) -> None:
    """Only where every server takes the application itself for its user can the user be left out."""
    with pytest.raises(UserRequiredError):
        await make_toolkit(grant=TokenProvider(Tokens(server))).aget_tools()


async def test_nothing_is_kept_in_clear(server: ProtectedServer, service: dict[str, Any], make_toolkit: Any, tmp_path: Any) -> None:
    """Neither the secret nor a token is in the database file; the secret is not even sealed there."""
    seen: list[str] = []

    async def provide(user_id: str, name: str) -> str:
        seen.append(server.authorization_server.issue_to("the application", user_id, ["tools"]).access_token)
        return seen[-1]

    await tools_of(make_toolkit("ada", grant=TokenProvider(provide)))
    toolkit = make_toolkit(**service)
    await tools_of(toolkit)
    [grant] = await toolkit.store.list_grants("")
    assert grant.client.client_secret is None
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (SECRET, *seen, grant.tokens.access_token.get_secret_value()):
        assert secret.encode() not in written


async def test_a_login_is_not_used_for_a_service(server: ProtectedServer, service: dict[str, Any], make_toolkit: Any) -> None:
    """What came about under another configuration is not used: neither another grant's token nor another client's."""
    await tools_of(make_toolkit("ada", grant=TokenProvider(Tokens(server))))
    assert await text_of((await tools_of(make_toolkit("ada", **service)))["whoami"]) == "reports"
    other = {**service, "client_id": "billing"}
    server.add_client("billing", redirect_uri="http://127.0.0.1/", client_secret=SECRET, auth_method="client_secret_basic")
    assert await text_of((await tools_of(make_toolkit("ada", **other)))["whoami"]) == "billing"
