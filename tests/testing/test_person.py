"""The person without a browser, at authorization servers of other shapes than ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from langchain_mcp_oauth.errors import AuthorizationError
from langchain_mcp_oauth.testing import Person
from langchain_mcp_oauth.testing.serving import ServerThread, listen, origin

CALLBACK = "http://127.0.0.1:9/callback"

LOGIN = """<form action="/login" method="POST"><input type=hidden name=prompt value=login><input name="login" type="text">
<input name="password" type=password><input name=remember type=checkbox value=yes><button type="submit">Sign-in</button></form>
<a href="/abort">[ Cancel ]</a>"""

CONSENT = """<form action="/confirm" method="post"><input type="hidden" name="prompt" value="consent">
<input type=checkbox name=scope value=read checked><input type=checkbox name=scope value=write checked>
<button type="button">More</button><input type=submit name=no value="Refuse"><input type=submit value="Continue"></form>"""


@dataclass
class TwoSteps:
    """An authorization server that signs in on one page, asks on another, and remembers the browser by a cookie."""

    forms: list[dict[str, list[str]]] = field(default_factory=list)
    callback: str = ""

    async def authorize(self, request: Request) -> Response:
        self.callback = request.query_params["redirect_uri"]
        return RedirectResponse("/consent" if "session" in request.cookies else "login", 303)

    async def page(self, request: Request) -> Response:
        return HTMLResponse(LOGIN if request.url.path == "/login" else CONSENT)

    async def login(self, request: Request) -> Response:
        await self._keep(request)
        response = RedirectResponse("/consent", 303)
        response.set_cookie("session", "1")
        return response

    async def confirm(self, request: Request) -> Response:
        form = await self._keep(request)
        return self._back({"error": "access_denied"} if "no" in form else {"code": "c", "iss": origin_of(request)})

    async def abort(self, request: Request) -> Response:
        return self._back({"error": "access_denied"})

    def _back(self, query: dict[str, str]) -> Response:
        return RedirectResponse(f"{self.callback}?{urlencode(query)}", 302)

    async def _keep(self, request: Request) -> dict[str, list[str]]:
        form = await request.form()
        self.forms.append({name: [str(value) for value in form.getlist(name)] for name in form})
        return self.forms[-1]

    def routes(self) -> list[Route]:
        posts = [Route("/login", self.login, methods=["POST"]), Route("/confirm", self.confirm, methods=["POST"])]
        gets = [Route("/authorize", self.authorize), Route("/abort", self.abort), Route("/login", self.page), Route("/consent", self.page)]
        return [*posts, *gets]


def origin_of(request: Request) -> str:
    return str(request.base_url).rstrip("/")


@contextmanager
def serve(routes: list[Route]) -> Iterator[str]:
    listener = listen()
    thread = ServerThread([(Starlette(routes=routes), listener)])
    thread.start()
    try:
        yield origin(listener)
    finally:
        thread.stop()


@pytest.fixture
def two_steps() -> TwoSteps:
    return TwoSteps()


@pytest.fixture
def issuer(two_steps: TwoSteps) -> Iterator[str]:
    with serve(two_steps.routes()) as address:
        yield address


def authorization_url(issuer: str) -> str:
    return f"{issuer}/authorize?{urlencode({'redirect_uri': CALLBACK, 'state': 's'})}"


def test_yes_on_every_page(two_steps: TwoSteps, issuer: str) -> None:
    """Name and password are typed, hidden fields sent, ticked boxes kept, unticked ones not, and the button is not the one that says no."""
    callback_url = Person("ada", password="pw").approve(authorization_url(issuer))
    assert callback_url == f"{CALLBACK}?{urlencode({'code': 'c', 'iss': issuer})}"
    assert two_steps.forms == [
        {"prompt": ["login"], "login": ["ada"], "password": ["pw"]},
        {"prompt": ["consent"], "scope": ["read", "write"]},
    ]


def test_a_person_unticks_what_they_refuse(two_steps: TwoSteps, issuer: str) -> None:
    """Boxes named in `refuses` are not sent; the others are."""
    Person("ada", refuses=["write"]).approve(authorization_url(issuer))
    assert two_steps.forms[-1]["scope"] == ["read"]


def test_cookies_are_kept_between_visits(two_steps: TwoSteps, issuer: str) -> None:
    """The second visit of one person needs no sign-in; another person's does."""
    ada = Person("ada")
    for person in (ada, ada, Person("bob")):
        person.approve(authorization_url(issuer))
    assert [form["prompt"][0] for form in two_steps.forms] == ["login", "consent", "consent", "login", "consent"]


def test_no_by_a_link(two_steps: TwoSteps, issuer: str) -> None:
    """The first page that allows it is enough: here a link on the sign-in page."""
    assert Person("ada").deny(authorization_url(issuer)) == f"{CALLBACK}?error=access_denied"
    assert two_steps.forms == []


def test_no_by_a_button(two_steps: TwoSteps, issuer: str) -> None:
    """Signed in already, the button that says no is pressed."""
    ada = Person("ada")
    ada.approve(authorization_url(issuer))
    assert ada.deny(authorization_url(issuer)) == f"{CALLBACK}?error=access_denied"
    assert two_steps.forms[-1]["no"] == ["Refuse"]


@pytest.mark.anyio
async def test_the_async_twins_do_the_same(issuer: str) -> None:
    """`aapprove` and `adeny` give what `approve` and `deny` give."""
    assert (await Person("ada").aapprove(authorization_url(issuer))).startswith(f"{CALLBACK}?code=")
    assert await Person("ada").adeny(authorization_url(issuer)) == f"{CALLBACK}?error=access_denied"


def test_the_applications_callback_is_visited(issuer: str) -> None:
    """`approve_in_app` starts at the application's own link, and brings its session cookie to the callback."""
    seen: list[tuple[str, str | None]] = []

    async def start(request: Request) -> Response:
        back = origin_of(request) + "/callback"
        response = RedirectResponse(f"{issuer}/authorize?{urlencode({'redirect_uri': back})}")
        response.set_cookie("app", "ada")
        return response

    async def callback(request: Request) -> Response:
        seen.append((request.query_params["code"], request.cookies.get("app")))
        return Response("done")

    with serve([Route("/start", start), Route("/callback", callback)]) as app:
        assert Person("ada").approve_in_app(f"{app}/start").text == "done"
    assert seen == [("c", "ada")]


def test_a_proxys_own_callback_is_followed(issuer: str) -> None:
    """With an authorization server behind another one, only the application's callback is the end of the way."""

    async def authorize(request: Request) -> Response:
        return RedirectResponse(f"{issuer}/authorize?{urlencode({'redirect_uri': origin_of(request) + '/upstream'})}")

    async def upstream(request: Request) -> Response:
        return RedirectResponse(f"{CALLBACK}?code=proxied")

    with serve([Route("/authorize", authorize), Route("/upstream", upstream)]) as proxy:
        assert Person("ada").approve(authorization_url(proxy)) == f"{CALLBACK}?code=proxied"


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (lambda request: Response("no", 500), r"/authorize \(HTTP 500\) has no form"),
        (lambda request: RedirectResponse(str(request.url)), "none leads back"),
    ],
    ids=["an error page", "a loop"],
)
def test_pages_that_lead_nowhere(respond: Callable[[Request], Response], message: str) -> None:
    """A dead end is an error that says where, without the query: that holds `state`."""

    async def authorize(request: Request) -> Response:
        return respond(request)

    with serve([Route("/authorize", authorize)]) as issuer:
        with pytest.raises(AuthorizationError, match=message) as caught:
            Person("ada").approve(authorization_url(issuer))
        assert "state" not in str(caught.value)
