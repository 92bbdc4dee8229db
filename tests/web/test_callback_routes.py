"""The start link and the callback: for the user who started, nobody else, and with nothing of the query in what comes back."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount

from langchain_mcp_oauth import errors
from langchain_mcp_oauth.authorizer.authorizing import CompletedAuthorization
from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, GrantKey, Reason, RequestStatus
from langchain_mcp_oauth.pages import HEADERS, NOT_YOURS, SIGN_IN_FIRST, render
from langchain_mcp_oauth.store.sqlmodel import SQLModelTokenStore
from langchain_mcp_oauth.testing import Person, ProtectedServer
from langchain_mcp_oauth.testing.pages import Page
from langchain_mcp_oauth.testing.serving import listen, origin
from langchain_mcp_oauth.toolkit import MCPOAuthToolkit
from langchain_mcp_oauth.web import GetUser, StartLinkCookie, callback_routes

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
APP = "https://app.example"
REDIRECT_URI = f"{APP}/oauth/callback"
ISSUER = "https://as.example"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
ANSWER = {"code": "CODE", "state": "state-of-request-1", "iss": ISSUER}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLModelTokenStore]:
    store = SQLModelTokenStore(f"sqlite:///{tmp_path / 'tokens.db'}", encryption_key=KEY)
    yield store
    await store.aclose()


@pytest.fixture
async def toolkit(store: SQLModelTokenStore) -> AsyncIterator[MCPOAuthToolkit]:
    async with MCPOAuthToolkit({"linear": "https://mcp.example/mcp"}, store=store, redirect_uri=REDIRECT_URI) as toolkit:
        yield toolkit


@dataclass
class Desk:
    """A toolkit's place taken by one that notes what it is asked and answers as told."""

    answer: Exception | CompletedAuthorization = field(default_factory=lambda: CompletedAuthorization("linear", ("read",), ()))
    redirect_uri: str | None = REDIRECT_URI
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    store: Any = None

    async def complete_authorization(self, callback_url: str, *, user_id: str | None = None) -> CompletedAuthorization:
        self.asked.append((callback_url, user_id))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def signed_in(request: Request) -> str | None:
    """The application's own sign-in, as good as a header is."""
    return request.headers.get("x-user")


def browser(toolkit: Any, get_user: GetUser = signed_in, *, user: str | None = "ada", **options: Any) -> httpx2.AsyncClient:
    """A browser at the application, signed in as `user`."""
    app = Starlette(routes=callback_routes(toolkit, get_user=get_user, **{"now": lambda: NOW, **options}))
    headers = {"x-user": user} if user else {}
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=APP, headers=headers)


def a_request(user: str = "ada", auth_id: str = "request-1", server: str = "linear") -> AuthorizationRequest:
    """A request that has been waiting for its answer since NOW, and will for ten minutes."""
    return AuthorizationRequest(
        auth_id=auth_id,
        key=GrantKey(user, server, "https://mcp.example/mcp"),
        reason=Reason.LOGIN,
        state=SecretStr(f"state-of-{auth_id}"),
        code_verifier=SecretStr("verifier"),
        authorization_url=SecretStr(f"{ISSUER}/authorize?state=state-of-{auth_id}&scope=a+b&q=%7Ex!$*,;:@/?"),
        issuer=ISSUER,
        iss_required=True,
        token_endpoint=f"{ISSUER}/token",
        resource="https://mcp.example/mcp",
        redirect_uri=REDIRECT_URI,
        client=ClientRegistration(issuer=ISSUER, client_id="client", kind="dynamic", redirect_uri=REDIRECT_URI),
        created_at=NOW,
        expires_at=NOW + timedelta(minutes=10),
    )


def is_page(response: httpx2.Response) -> bool:
    """Whether the response has every header that a page must have (R28)."""
    return all(response.headers.get(name) == value for name, value in HEADERS.items())


# The start link -------------------------------------------------------------------------------------------------------------------


async def test_the_start_link_leads_to_the_stored_url(toolkit: MCPOAuthToolkit) -> None:
    """By a page that names server, issuer and scopes first; the address is right to the byte, neither cached nor passed on."""
    request = await toolkit.store.open_request(a_request(), now=NOW)
    async with browser(toolkit) as ada:
        response = await ada.get("/oauth/start/request-1")
    assert response.status_code == 200
    [onward] = [link.href for link in Page(response.text).links if link.label.startswith("Continue to")]
    assert onward == request.authorization_url.get_secret_value()
    assert all(name in response.text for name in ("linear", "mcp.example", "as.example"))
    assert is_page(response)
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("auth_id", ["request-1", "request-2"])
async def test_somebody_elses_request_does_not_exist(toolkit: MCPOAuthToolkit, auth_id: str) -> None:
    """Another user's handle and an unknown one get the same answer."""
    await toolkit.store.open_request(a_request("ada"), now=NOW)
    async with browser(toolkit, user="mallory") as mallory:
        response = await mallory.get(f"/oauth/start/{auth_id}")
    assert (response.status_code, response.content) == (403, render(NOT_YOURS))
    assert is_page(response)


@pytest.mark.parametrize("auth_id", ["%00", "a" * 129, "a%20b", "a.b", "ä"])
async def test_what_cannot_be_a_handle_is_not_looked_up(auth_id: str) -> None:
    """The same answer, without the database (there is none here): Postgres would not take a NUL."""
    async with browser(Desk()) as ada:
        response = await ada.get(f"/oauth/start/{auth_id}")
    assert (response.status_code, response.content) == (403, render(NOT_YOURS))


async def test_an_answered_request_is_not_started_again(toolkit: MCPOAuthToolkit) -> None:
    """Its owner is told that it is over."""
    await toolkit.store.open_request(a_request(), now=NOW)
    await toolkit.store.close_request("request-1", RequestStatus.DENIED)
    async with browser(toolkit) as ada:
        assert (await ada.get("/oauth/start/request-1")).status_code == 409


@pytest.mark.parametrize(("seconds", "status"), [(599, 200), (600, 410)])
async def test_a_start_link_expires_with_its_request(toolkit: MCPOAuthToolkit, seconds: int, status: int) -> None:
    """At `expires_at` it is too late."""
    await toolkit.store.open_request(a_request(), now=NOW)
    async with browser(toolkit, now=lambda: NOW + timedelta(seconds=seconds)) as ada:
        assert (await ada.get("/oauth/start/request-1")).status_code == status


# The callback ---------------------------------------------------------------------------------------------------------------------


async def test_the_callback_completes_for_the_user_of_the_browser() -> None:
    """The page says so, naming the server; the toolkit was given the whole query and that user."""
    desk = Desk()
    async with browser(desk) as ada:
        response = await ada.get("/oauth/callback?code=C&state=S%2F%20+&iss=https%3A%2F%2Fas.example")
    assert response.status_code == 200
    assert "Connected to linear" in response.text
    assert is_page(response)
    assert desk.asked == [(f"{REDIRECT_URI}?code=C&state=S%2F%20+&iss=https%3A%2F%2Fas.example", "ada")]


async def test_fewer_scopes_than_asked_are_mentioned_and_not_listed() -> None:
    """Scopes are another server's words."""
    async with browser(Desk(CompletedAuthorization("linear", ("read",), ("CANARY",)))) as ada:
        response = await ada.get("/oauth/callback?code=C&state=S")
    assert response.status_code == 200
    assert "not to all that was asked for" in response.text
    assert "CANARY" not in response.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.CallbackError("CANARY"), 400),
        (errors.UnknownStateError("CANARY"), 403),
        (errors.WrongUserError("CANARY"), 403),
        (errors.IssuerMismatchError("CANARY"), 400),
        (errors.RequestExpiredError("CANARY"), 410),
        (errors.RequestUsedError("CANARY"), 409),
        (errors.AuthorizationDenied("CANARY", oauth_error="access_denied"), 403),
        (errors.TokenEndpointError("CANARY", oauth_error="invalid_grant"), 502),
        (errors.ConnectionFailed("CANARY"), 503),
        (errors.StoreUnavailable("CANARY"), 503),
        (errors.StoreCorruptError("CANARY"), 500),
        (errors.ConfigurationError("CANARY"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_every_failure_is_a_page(error: Exception, status: int) -> None:
    """With its status, all headers, and neither the error's words nor the query's."""
    query = "code=QUERY&state=QUERY&error=QUERY&error_description=QUERY&error_uri=https://evil.example/QUERY"
    async with browser(Desk(error)) as ada:
        response = await ada.get(f"/oauth/callback?{query}")
    assert response.status_code == status
    assert is_page(response)
    assert "CANARY" not in response.text
    assert "QUERY" not in response.text
    assert "location" not in response.headers


async def test_a_bug_is_not_hidden_behind_a_page() -> None:
    """What is not an error of this library goes to the application, which can see to it."""
    async with browser(Desk(ZeroDivisionError())) as ada:
        with pytest.raises(ZeroDivisionError):
            await ada.get("/oauth/callback?code=C&state=S")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=CODE",
        "code=CODE&state=",
        "state=state-of-request-1",
        "code=a&code=b&state=state-of-request-1",
        "&".join(["a=1"] * 21),
        "state=" + "x" * 20_000,
        "code=CODE&state=forged",
        "error=access_denied&state=forged",
        "error=access_denied&state=state-of-request-1",
    ],
    ids=lambda query: query[:40] or "nothing",
)
async def test_a_forged_callback_changes_nothing(toolkit: MCPOAuthToolkit, query: str) -> None:
    """Malformed, of an unknown state, or without the right issuer: 4xx, and the request still waits (R24)."""
    await toolkit.store.open_request(a_request(), now=NOW)
    async with browser(toolkit) as ada:
        response = await ada.get(f"/oauth/callback?{query}")
    assert 400 <= response.status_code < 500
    assert is_page(response)
    assert await toolkit.store.find_open_request(a_request().key, now=NOW)


async def test_another_user_neither_finishes_nor_ends_it(toolkit: MCPOAuthToolkit) -> None:
    """The wrong user gets the page of an unknown state and the request still waits, also for a refusal (R26)."""
    await toolkit.store.open_request(a_request("ada"), now=NOW)
    refusal = {"error": "access_denied", "state": "state-of-request-1", "iss": ISSUER}
    async with browser(toolkit, user="mallory") as mallory:
        for query in (ANSWER, refusal, {**ANSWER, "state": "unknown"}):
            response = await mallory.get("/oauth/callback", params=query)
            assert (response.status_code, response.content) == (403, render(NOT_YOURS))
    assert await toolkit.store.find_open_request(a_request().key, now=NOW)


# Who the browser belongs to ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/oauth/callback?code=C&state=S", "/oauth/start/request-1"])
@pytest.mark.parametrize("nobody", [None, ""])
async def test_nobody_is_told_to_sign_in_first(path: str, nobody: str | None) -> None:
    """401, and neither toolkit nor store is asked."""
    desk = Desk()
    async with browser(desk, lambda _: nobody) as stranger:
        response = await stranger.get(path)
    assert (response.status_code, response.content) == (401, render(SIGN_IN_FIRST))
    assert is_page(response)
    assert desk.asked == []


async def test_the_user_may_have_to_be_waited_for() -> None:
    """`get_user` may be async."""

    async def get_user(request: Request) -> str | None:
        return signed_in(request)

    desk = Desk()
    async with browser(desk, get_user) as ada:
        await ada.get("/oauth/callback?code=C&state=S")
    assert [user for _, user in desk.asked] == ["ada"]


async def test_the_application_may_answer_strangers_itself() -> None:
    """What `get_user` raises is the application's answer, which may need the whole address to come back to."""

    def get_user(request: Request) -> str:
        raise HTTPException(303, headers={"location": f"/sign-in?next={request.url.query}"})

    async with browser(Desk(), get_user) as stranger:
        response = await stranger.get("/oauth/callback?code=C")
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in?next=code=C")


@pytest.mark.parametrize("path", ["/oauth/callback?code=C&state=S", "/oauth/start/request-1"])
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_get_does_anything(method: str, path: str) -> None:
    """A link preview's HEAD must not redeem a code."""
    desk = Desk()
    async with browser(desk) as ada:
        response = await ada.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, "GET")
    assert is_page(response)
    assert desk.asked == []


# Where the routes are ---------------------------------------------------------------------------------------------------------------


async def test_the_callback_url_is_the_configured_one() -> None:
    """Whatever a proxy or an attacker makes of scheme, Host and forwarding headers."""
    desk = Desk()
    async with browser(desk) as ada:
        forged = {"host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example;proto=http"}
        await ada.get("http://evil.example/oauth/callback?state=S", headers=forged)
    assert [url for url, _ in desk.asked] == [f"{REDIRECT_URI}?state=S"]


@pytest.mark.parametrize(
    ("redirect_uri", "base_url", "paths"),
    [
        (REDIRECT_URI, None, ["/oauth/callback", "/oauth/start/{auth_id}"]),
        (f"{APP}/mcp/done?tenant=1", None, ["/mcp/done", "/mcp/start/{auth_id}"]),
        (f"{APP}/back%20here/cb", None, ["/back here/cb", "/back here/start/{auth_id}"]),
        (f"{APP}/api/oauth/callback", f"{APP}/api", ["/oauth/callback", "/oauth/start/{auth_id}"]),
        (f"{APP}/api/oauth/callback", f"{APP}/api/", ["/oauth/callback", "/oauth/start/{auth_id}"]),
        (None, APP, ["/oauth/callback", "/oauth/start/{auth_id}"]),
        (None, f"{APP}/api", ["/oauth/callback", "/oauth/start/{auth_id}"]),
    ],
)
async def test_the_paths_follow_from_the_configuration(redirect_uri: str | None, base_url: str | None, paths: list[str]) -> None:
    """Relative to where the routes are mounted; the start link is beside the callback."""
    routes = callback_routes(Desk(redirect_uri=redirect_uri), get_user=signed_in, base_url=base_url)
    assert [route.path for route in routes] == paths


async def test_the_routes_can_be_mounted() -> None:
    """Below a prefix, the callback URL still is the public one."""
    desk = Desk(redirect_uri=f"{APP}/api/oauth/callback")
    app = Starlette(routes=[Mount("/api", routes=callback_routes(desk, get_user=signed_in, base_url=f"{APP}/api"))])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=APP, headers={"x-user": "ada"}) as ada:
        assert (await ada.get("/api/oauth/callback?state=S")).status_code == 200
    assert desk.asked == [(f"{APP}/api/oauth/callback?state=S", "ada")]


async def test_a_query_of_the_redirect_uri_comes_back_once() -> None:
    """The authorization server keeps it (RFC 6749 §3.1.2), so it is in the request's query and not added again."""
    desk = Desk(redirect_uri=f"{REDIRECT_URI}?tenant=1")
    async with browser(desk) as ada:
        await ada.get("/oauth/callback?tenant=1&state=S")
    assert [url for url, _ in desk.asked] == [f"{REDIRECT_URI}?tenant=1&state=S"]


@pytest.mark.parametrize(
    ("redirect_uri", "base_url"),
    [(None, None), (REDIRECT_URI, "https://other.example"), (REDIRECT_URI, f"{APP}/api"), (REDIRECT_URI, f"{APP}/oa")],
)
async def test_an_address_that_cannot_be_right_is_refused_at_once(redirect_uri: str | None, base_url: str | None) -> None:
    """When the routes are made, not when the first person comes back."""
    with pytest.raises(errors.ConfigurationError, match="redirect_uri"):
        callback_routes(Desk(redirect_uri=redirect_uri), get_user=signed_in, base_url=base_url)


# Without a sign-in ------------------------------------------------------------------------------------------------------------------


async def test_the_browser_that_opened_the_start_link_finishes_it(store: SQLModelTokenStore) -> None:
    """The request's user is taken; the cookie is for this host, this request, this long, and no script."""
    await store.open_request(a_request("ada"), now=NOW)
    desk = Desk(store=store)
    async with browser(desk, StartLinkCookie(desk), user=None) as somebody:
        started = await somebody.get("/oauth/start/request-1")
        # The client's clock is not ours, so the cookie is brought back by hand.
        name, _, attributes = started.headers["set-cookie"].partition("=1; ")
        finished = await somebody.get("/oauth/callback", params=ANSWER, headers={"cookie": f"{name}=1"})
    assert started.status_code == 200
    assert name == "__Host-mcp-oauth-request-1"
    expiry = "expires=Fri, 02 Jan 2026 03:14:05 GMT"
    assert sorted(attributes.split("; ")) == sorted([expiry, "Path=/", "Secure", "HttpOnly", "SameSite=lax"])
    assert finished.status_code == 200
    assert [user for _, user in desk.asked] == ["ada"]


@pytest.mark.parametrize("cookie", ["", "__Host-mcp-oauth-request-2=1", "mcp-oauth-request-1=1", "x=__Host-mcp-oauth-request-1"])
async def test_another_browser_does_not(store: SQLModelTokenStore, cookie: str) -> None:
    """Also not one that started another request of the same user, nor one that has a cookie a subdomain could have set."""
    await store.open_request(a_request("ada"), now=NOW)
    await store.open_request(a_request("ada", "request-2", "github"), now=NOW)
    desk = Desk(store=store)
    async with browser(desk, StartLinkCookie(desk), user=None) as somebody:
        response = await somebody.get("/oauth/callback", params=ANSWER, headers={"cookie": cookie})
    assert (response.status_code, response.content) == (403, render(NOT_YOURS))
    assert desk.asked == []


@pytest.mark.parametrize(
    ("path", "status"), [("/oauth/start/none", 403), ("/oauth/callback", 400), ("/oauth/callback?code=C&state=x", 403)]
)
async def test_a_link_that_names_no_request_starts_and_finishes_nothing(store: SQLModelTokenStore, path: str, status: int) -> None:
    """As with a sign-in."""
    desk = Desk(store=store)
    async with browser(desk, StartLinkCookie(desk), user=None) as somebody:
        response = await somebody.get(path)
    assert response.status_code == status
    assert is_page(response)
    assert desk.asked == []


# In the whole -----------------------------------------------------------------------------------------------------------------------


async def test_from_the_start_link_to_the_tools(
    store: SQLModelTokenStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real servers: the person goes through the start link, and the tools are theirs. No log holds a code or a state (R39)."""
    caplog.set_level(logging.DEBUG, "uvicorn.access")
    caplog.set_level(logging.DEBUG, "langchain_mcp_oauth")
    listener = listen()
    app_url = origin(listener)
    with ProtectedServer() as server:
        monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", True)  # which the test server has just switched off
        toolkit = MCPOAuthToolkit(
            {"example": server.url},
            store=store,
            redirect_uri=f"{app_url}/oauth/callback",
            start_url=f"{app_url}/oauth/start",
            allowed_private_hosts=server.allowed_private_hosts,
        )
        app = Starlette(routes=callback_routes(toolkit, get_user=lambda request: request.cookies.get("user")))
        async with toolkit, serving(app, listener):
            with pytest.raises(errors.AuthRequired) as needed:
                await toolkit.aget_tools(user_id="ada")
            assert needed.value.authorization_url == f"{app_url}/oauth/start/{needed.value.auth_id}"

            mallory, ada = Person("mallory"), Person("ada")
            mallory.cookies.set("user", "mallory")
            ada.cookies.set("user", "ada")
            stored = await store.load_request(needed.value.auth_id)
            assert stored
            answer = await mallory.aapprove(stored.authorization_url.get_secret_value())  # sends their own answer to ada's request
            async with httpx2.AsyncClient(trust_env=False, cookies={"user": "mallory"}) as foreign:
                assert (await foreign.get(answer)).status_code == 403

            response = await ada.aapprove_in_app(needed.value.authorization_url)
            assert response.status_code == 200
            assert "Connected to example" in response.text
            assert "whoami" in " ".join(tool.name for tool in await toolkit.aget_tools(user_id="ada"))
            async with httpx2.AsyncClient(trust_env=False, cookies={"user": "ada"}) as again:
                assert (await again.get(str(response.url))).status_code == 200
    ours = [line for line in caplog.messages if "/oauth/" in line and "/authorize" not in line]  # the test server logs its own URLs
    assert any('"GET /oauth/callback HTTP/1.1" 200' in line for line in ours)
    assert [line for line in ours if "?" in line or stored.state.get_secret_value() in line] == []


@asynccontextmanager
async def serving(app: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    """The application at work, with an access log as servers write it by default."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=True, lifespan="off", ws="none"))
    running = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
