"""The page of connections over HTTP: for the user who is signed in, and changed only by its own forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from langchain_mcp_oauth import ConfigurationError, MCPOAuthToolkit
from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.pages import LIVE_HEADERS
from langchain_mcp_oauth.testing import Person, ProtectedServer
from langchain_mcp_oauth.testing.pages import Page
from langchain_mcp_oauth.testing.serving import ServerThread, listen, origin
from langchain_mcp_oauth.web import StartLinkCookie, connection_routes
from langchain_mcp_oauth.web.forms import is_same_origin

pytestmark = pytest.mark.anyio

APP = "https://app.example"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PATH = "/oauth/connections"
SAME = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer() as running:
        yield running


@pytest.fixture
async def toolkit(server: ProtectedServer, tmp_path: Path) -> AsyncIterator[MCPOAuthToolkit]:
    async with MCPOAuthToolkit(
        {"example": server.url, "gone": "http://127.0.0.1:9/mcp"},
        store=f"sqlite:///{tmp_path / 'tokens.db'}",
        encryption_key=KEY,
        redirect_uri=f"{APP}/oauth/callback",
        allowed_private_hosts=server.allowed_private_hosts,
    ) as toolkit:
        yield toolkit


def browser(toolkit: MCPOAuthToolkit, user: str | None = "ada", **options: Any) -> httpx2.AsyncClient:
    """A browser at the application, signed in as `user`."""

    def get_user(request: Request) -> str | None:
        return request.headers.get("x-user")

    app = Starlette(routes=connection_routes(toolkit, get_user=get_user, **options))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=APP, headers={"x-user": user} if user else {})


async def form(somebody: httpx2.AsyncClient, action: str = "connect", server: str = "example") -> dict[str, str]:
    """The fields of the page's form that does this."""
    page = Page((await somebody.get(PATH)).text)
    forms = [{name: value for _, name, value in form.inputs} for form in page.forms]
    return next((fields for fields in forms if fields["action"] == action and fields["server"] == server), {**forms[0], "action": action})


async def log_in(toolkit: MCPOAuthToolkit, user: str = "ada") -> None:
    needed = await toolkit.begin_authorization("example", user_id=user)
    assert needed
    await needed.complete(await Person(user).aapprove(needed.authorization_url))


async def test_the_page_shows_each_server(toolkit: MCPOAuthToolkit) -> None:
    """Connected, or not answering, with all headers of R28 and a policy; the page is the user's own."""
    await log_in(toolkit)
    async with browser(toolkit) as ada, browser(toolkit, "bob") as bob:
        hers, his = await ada.get(PATH), await bob.get(PATH)
    assert all(hers.headers[name] == value for name, value in LIVE_HEADERS.items())
    assert [name in hers.text for name in (">Connected<", ">Not answering<", ">Not connected<")] == [True, True, False]
    assert [name in his.text for name in (">Connected<", ">Not answering<", ">Not connected<")] == [False, True, True]


async def test_connecting_begins_a_login_and_shows_where_it_leads(toolkit: MCPOAuthToolkit, server: ProtectedServer) -> None:
    """303 to the start page, which names what is asked; pressed twice it is the same login."""
    async with browser(toolkit) as ada:
        fields = await form(ada)
        answers = [await ada.post(PATH, data=fields, headers=SAME) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [303, 303]
        assert answers[0].headers["location"] == answers[1].headers["location"]
        start = await ada.get(answers[0].headers["location"])
    assert start.status_code == 200
    assert server.issuer.removeprefix("http://") in start.text
    assert "<code>tools</code>" in start.text


async def test_disconnecting_forgets_and_revokes(toolkit: MCPOAuthToolkit, server: ProtectedServer) -> None:
    """303 back to the page, where the server is not connected any more."""
    await log_in(toolkit)
    async with browser(toolkit) as ada:
        answer = await ada.post(PATH, data=await form(ada, "disconnect"), headers=SAME)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}#server-1")
        assert ">Not connected<" in (await ada.get(PATH)).text
    assert server.count(path="/revoke", status=200) >= 1


KEY_VALUE = "canary-of-the-key"
MAPS = {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer {{API_KEY}}", "X-Region": "{{REGION}}"}}


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[MCPOAuthToolkit]:
    """A server that wants two values of its users', a program that wants one, and a server with the operator's own key."""
    servers = {
        "maps": {**MAPS, "variables": {"API_KEY": "Settings, API keys."}},
        "program": {"command": "nothing", "env": {"TOKEN": "{{TOKEN}}"}},
        "fixed": {"url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer of-the-operator"}},
    }
    redirect_uri = f"{APP}/oauth/callback"
    async with MCPOAuthToolkit(servers, store=f"sqlite:///{tmp_path / 'k.db'}", encryption_key=KEY, redirect_uri=redirect_uri) as toolkit:
        yield toolkit


async def test_a_person_gives_keys_changes_one_and_takes_them_back(keyed: MCPOAuthToolkit) -> None:
    """Each time back to the page, at the server; what was given is shown nowhere; an empty field keeps what there is."""
    async with browser(keyed) as ada:
        given = {**await form(ada, "supply", "maps"), "value-API_KEY": f" {KEY_VALUE} ", "value-REGION": "eu"}
        answer = await ada.post(PATH, data=given, headers=SAME)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}#server-1")
        page = await ada.get(PATH)
        assert KEY_VALUE not in page.text
        await ada.post(PATH, data={**given, "value-API_KEY": "", "value-REGION": "us"}, headers=SAME)
        kept = await keyed.store.load_credentials(GrantKey("ada", "maps", MAPS["url"]))
        assert kept is not None
        assert {name: value.get_secret_value() for name, value in kept.values.items()} == {"API_KEY": KEY_VALUE, "REGION": "us"}
        assert (await keyed.status(user_id="ada"))["maps"].missing == ()
        assert (await keyed.status(user_id="bob"))["maps"].missing == ("API_KEY", "REGION")
        answer = await ada.post(PATH, data=await form(ada, "disconnect", "maps"), headers=SAME)
        assert answer.status_code == 303
    assert await keyed.store.load_credentials(GrantKey("ada", "maps", MAPS["url"])) is None


async def test_where_there_is_no_login_none_is_offered(keyed: MCPOAuthToolkit) -> None:
    """Neither for keys of a person's, nor for the operator's own: pressing it could only fail."""
    async with browser(keyed) as ada:
        page = Page((await ada.get(PATH)).text)
    actions = [next(value for _, name, value in form.inputs if name == "action") for form in page.forms]
    assert actions == ["supply", "supply"]


@pytest.mark.parametrize(
    "values", [{"value-API_KEY": "two\nlines"}, {"value-API_KEY": "é"}, {"value-API_KEY": "x" * 8_193}, {"value-OTHER": "x"}]
)
async def test_a_key_that_cannot_be_one(keyed: MCPOAuthToolkit, values: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """400, and nothing is kept, shown or logged of it."""
    async with browser(keyed) as ada:
        answer = await ada.post(PATH, data={**await form(ada, "supply", "maps"), **values}, headers=SAME)
    assert answer.status_code == 400
    assert caplog.text == ""
    assert (await keyed.status(user_id="ada"))["maps"].missing == ("API_KEY", "REGION")


async def test_the_longest_keys_fit(keyed: MCPOAuthToolkit) -> None:
    """Each of a server's values may be as long as values may be, whatever its characters."""
    async with browser(keyed) as ada:
        given = {**await form(ada, "supply", "maps"), "value-API_KEY": "%" * 8_192, "value-REGION": "&" * 8_192}
        assert (await ada.post(PATH, data=given, headers=SAME)).status_code == 303
    assert (await keyed.status(user_id="ada"))["maps"].connected


@pytest.mark.parametrize("changes", [{"token": "0" * 64}, {"token": ""}])
async def test_keys_are_taken_from_our_own_form_alone(keyed: MCPOAuthToolkit, changes: dict[str, str]) -> None:
    """Otherwise another site could make a person's calls with its own key."""
    async with browser(keyed) as ada:
        given = {**await form(ada, "supply", "maps"), "value-API_KEY": "theirs", "value-REGION": "eu"}
        refused = [
            await ada.post(PATH, data={**given, **changes}, headers=SAME),
            await ada.post(PATH, data=given, headers={"sec-fetch-site": "cross-site"}),
        ]
    assert [answer.status_code for answer in refused] == [403, 403]
    assert (await keyed.status(user_id="ada"))["maps"].missing == ("API_KEY", "REGION")


FORGERIES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "another site": ({}, {"sec-fetch-site": "cross-site"}),
    "a neighbour": ({}, {"sec-fetch-site": "same-site"}),
    "an address bar": ({}, {"sec-fetch-site": "none"}),
    "another origin": ({}, {"origin": "https://evil.example"}),
    "no origin": ({}, {}),
    "a null origin": ({}, {"origin": "null"}),
    "no token": ({"token": ""}, SAME),
    "a wrong token": ({"token": "0" * 64}, SAME),
    "no cookie": ({}, {**SAME, "cookie": ""}),
    "another browser's cookie": ({}, {**SAME, "cookie": f"__Host-mcp-oauth-page={'x' * 43}"}),
    "another user": ({}, {**SAME, "x-user": "bob"}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_forms_do_nothing(toolkit: MCPOAuthToolkit, forgery: str) -> None:
    """403 with a page, and the login is still there."""
    changes, headers = FORGERIES[forgery]
    await toolkit.save_token_response(
        "example",
        {"access_token": "a", "token_type": "Bearer", "refresh_token": "r"},
        issuer="https://as.example",
        token_endpoint="https://as.example/token",
        client_id="client",
        user_id="ada",
    )
    async with browser(toolkit) as ada:
        answer = await ada.post(PATH, data={**await form(ada, "disconnect"), **changes}, headers=headers)
    assert answer.status_code == 403
    assert (await toolkit.status(user_id="ada"))["example"].connected


@pytest.mark.parametrize(
    ("site", "origin", "same"),
    [
        ("same-origin", None, True),
        ("same-origin", "null", True),
        ("same-site", APP, False),
        (None, APP, True),
        (None, f"{APP}:444", False),
        (None, None, False),
    ],
)
def test_where_a_form_comes_from(site: str | None, origin: str | None, same: bool) -> None:
    """Fetch Metadata says it; `Origin` only where that is missing."""
    headers = {name: value for name, value in {"sec-fetch-site": site, "origin": origin}.items() if value}
    assert is_same_origin(headers, APP) is same


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"x" * 9_000, "application/x-www-form-urlencoded"),
        (b"action=connect&action=connect", "application/x-www-form-urlencoded"),
        (b"&".join(b"a=1" for _ in range(9)), "application/x-www-form-urlencoded"),
        (b"\xff=1", "application/x-www-form-urlencoded"),
        (b"%ff=1", "application/x-www-form-urlencoded"),
        (b'{"action": "connect"}', "application/json"),
    ],
)
async def test_what_is_no_form_of_ours_is_not_read(toolkit: MCPOAuthToolkit, content: bytes, kind: str) -> None:
    """400, whatever it is."""
    async with browser(toolkit) as ada:
        assert (await ada.post(PATH, content=content, headers={**SAME, "content-type": kind})).status_code == 400


@pytest.mark.parametrize("changes", [{"action": "delete"}, {"server": "nothing"}])
async def test_only_what_the_page_offers_is_done(toolkit: MCPOAuthToolkit, changes: dict[str, str]) -> None:
    """An unknown action or server is a bad request."""
    async with browser(toolkit) as ada:
        assert (await ada.post(PATH, data={**await form(ada), **changes}, headers=SAME)).status_code == 400


async def test_strangers_and_other_methods(toolkit: MCPOAuthToolkit) -> None:
    """401 without a user, 405 for what is neither GET nor POST."""
    async with browser(toolkit, None) as stranger, browser(toolkit) as ada:
        assert (await stranger.get(PATH)).status_code == 401
        assert (await stranger.post(PATH)).status_code == 401
        refused = await ada.delete(PATH)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")


async def test_a_server_that_cannot_be_reached_is_a_page_with_a_way_back(toolkit: MCPOAuthToolkit) -> None:
    """503; nothing was begun."""
    async with browser(toolkit) as ada:
        answer = await ada.post(PATH, data=await form(ada, server="gone"), headers=SAME)
    assert answer.status_code == 503
    assert f'href="{PATH}"' in answer.text


async def test_a_server_that_needs_no_login_says_so(tmp_path: Path) -> None:
    """It answers strangers and names nobody to ask: nothing is begun, and the page says that there is nothing to do."""

    async def answer(request: Request) -> Response:
        known = request.method == "POST" and request.url.path == "/mcp"
        return JSONResponse({"jsonrpc": "2.0", "id": 1, "result": {}}) if known else Response(status_code=404)

    listener = listen()
    thread = ServerThread([(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])]), listener)])
    thread.start()
    store = f"sqlite:///{tmp_path / 'open.db'}"
    async with MCPOAuthToolkit(
        {"open": f"{origin(listener)}/mcp"}, store=store, encryption_key=KEY, redirect_uri=f"{APP}/oauth/callback"
    ) as toolkit:
        assert await toolkit.begin_authorization("open", user_id="ada") is None
        async with browser(toolkit) as ada:
            answered = await ada.post(PATH, data=await form(ada, server="open"), headers=SAME)
    thread.stop()
    assert (answered.status_code, "No login is needed" in answered.text) == (200, True)


async def test_the_cookie_is_the_browsers_own(toolkit: MCPOAuthToolkit) -> None:
    """Set once; for this host, and no script."""
    async with browser(toolkit) as ada:
        first, second = await ada.get(PATH), await ada.get(PATH)
    assert first.headers["set-cookie"].startswith("__Host-mcp-oauth-page=")
    assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(first.headers["set-cookie"].split("; "))
    assert "set-cookie" not in second.headers


async def test_the_routes_can_be_mounted_anywhere(toolkit: MCPOAuthToolkit) -> None:
    """Below a prefix, with `base_url`; every link leads to the public address."""
    routes = connection_routes(toolkit, get_user=lambda _: "ada", base_url=f"{APP}/oauth")
    app = Starlette(routes=[Mount("/oauth", routes=routes)])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=APP) as ada:
        assert 'action="/oauth/connections"' in (await ada.get(PATH)).text


async def test_a_start_links_cookie_is_no_sign_in(toolkit: MCPOAuthToolkit) -> None:
    """It knows one link, not who somebody is."""
    with pytest.raises(ConfigurationError, match="StartLinkCookie"):
        connection_routes(toolkit, get_user=StartLinkCookie(toolkit))


async def test_beginning_again_asks_for_what_there_was(toolkit: MCPOAuthToolkit, server: ProtectedServer) -> None:
    """While the login there is stays good; the new one takes its place."""
    await log_in(toolkit)
    before = await toolkit.store.load_grant(GrantKey("ada", "example", server.url))
    needed = await toolkit.begin_authorization("example", user_id="ada")
    assert needed
    assert (needed.reason, needed.scopes) == ("login", ("tools",))
    assert (await toolkit.status(user_id="ada"))["example"].connected
    await needed.complete(await Person("ada").aapprove(needed.authorization_url))
    after = await toolkit.store.load_grant(GrantKey("ada", "example", server.url))
    assert before
    assert after
    assert before.version != after.version
