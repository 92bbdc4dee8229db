"""The page of connections and the start page: true, readable by everybody, harmless whatever servers are called."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from langchain_mcp_oauth.authorizer.status import LoginState, ServerStatus, status_of
from langchain_mcp_oauth.models import AuthorizationRequest, Grant, Reason
from langchain_mcp_oauth.pages import HEADERS, LIVE_HEADERS, Card, connections_page, frame, start_page
from langchain_mcp_oauth.pages.words import in_words

from .samples import NOW, URL, a_grant, a_request

EVIL = """<script>alert(1)</script>"'&"""

STATES: list[tuple[Grant | None, AuthorizationRequest | None, LoginState, str]] = [
    (None, None, LoginState.NOT_CONNECTED, "Connect"),
    (None, a_request(), LoginState.NOT_CONNECTED, "Connect"),
    (None, a_request(reason=Reason.EXPIRED), LoginState.EXPIRED, "Reconnect"),
    (None, a_request(reason=Reason.CLIENT_REJECTED), LoginState.EXPIRED, "Reconnect"),
    (a_grant(), None, LoginState.CONNECTED, "Reconnect"),
    (a_grant(), a_request(), LoginState.CONNECTED, "Reconnect"),
    (a_grant(), a_request(reason=Reason.STEP_UP, scopes=("more",)), LoginState.NEEDS_SCOPES, "Allow more"),
    (a_grant(), a_request(reason=Reason.ISSUER_CHANGED), LoginState.EXPIRED, "Reconnect"),
    (a_grant(lives=-timedelta(hours=1)), None, LoginState.CONNECTED, "Reconnect"),
    (a_grant(refresh=False), None, LoginState.CONNECTED, "Reconnect"),
    (a_grant(refresh=False, lives=-timedelta(hours=1)), None, LoginState.EXPIRED, "Reconnect"),
]


class Elements(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def a_page(*cards: Card, user: str = "ada") -> bytes:
    return connections_page(cards, user=user, action="/oauth/connections", token="TOKEN", words={})


def a_card(grant: Grant | None, request: AuthorizationRequest | None = None, *, server: str = "linear", reachable: bool = True) -> Card:
    return Card(status_of(server, grant, request, NOW), URL, reachable)


@pytest.mark.parametrize(("grant", "request_", "state", "button"), STATES)
def test_the_state_is_that_of_what_is_stored(
    grant: Grant | None, request_: AuthorizationRequest | None, state: LoginState, button: str
) -> None:
    """One table: the grant, the open request, what it comes to, and what the person can do about it."""
    card = a_card(grant, request_)
    assert card.status.state is state
    assert f'aria-label="{button} linear"' in a_page(card).decode()


def test_who_is_signed_in_and_what_a_server_may() -> None:
    """The user, the server's host, the issuer's host, every scope with its own name, and since when."""
    text = Elements(a_page(a_card(a_grant(scopes=("files:read", "x9"))))).text
    for part in ("Signed in as ada", "mcp.example", "as.example", "Read files", "files:read", "x9", "2 January 2026, 03:04 UTC"):
        assert part in text


def test_a_step_up_names_what_is_new() -> None:
    """Not what was allowed before."""
    card = a_card(a_grant(scopes=("files:read",)), a_request(reason=Reason.STEP_UP, scopes=("files:read", "files:write")))
    assert re.search(r"Also needed</dt><dd><ul><li>Change files <code>files:write</code></li></ul>", a_page(card).decode())


def test_a_server_that_is_away_is_said_to_be() -> None:
    """With the login kept; one can still disconnect."""
    page = Elements(a_page(a_card(a_grant(), reachable=False)))
    assert "Not answering" in page.text
    assert "Yes, disconnect linear" in page.text


def test_a_server_without_logins_of_people_offers_none() -> None:
    """The application gets its tokens by itself: there is nothing to press."""
    page = Elements(a_page(Card(status_of("reports", None, None, NOW), URL, has_logins=False)))
    assert "No login needed" in page.text
    assert not page.all("form")


KEYS = {"API_KEY": "Settings, API keys.", "REGION": ""}


@pytest.mark.parametrize(
    ("missing", "state", "required", "disconnect"),
    [(("API_KEY", "REGION"), "Needs your keys", 2, False), (("REGION",), "Needs your keys", 1, True), ((), "Connected", 0, True)],
)
def test_what_a_person_gives_a_server(missing: tuple[str, ...], state: str, required: int, disconnect: bool) -> None:
    """A field for each, named and described, that neither browser nor page remembers; only what is missing is required."""
    status = ServerStatus("maps", connected=not missing, missing=missing)
    page = Elements(a_page(Card(status, URL, has_logins=False, keys=KEYS)))
    fields = [field for field in page.all("input") if field["type"] != "hidden"]
    assert [field["name"] for field in fields] == ["value-API_KEY", "value-REGION"]
    assert {(field["type"], field["autocomplete"], "value" in field) for field in fields} == {("password", "off", False)}
    assert sum("required" in field for field in fields) == required
    assert [label["for"] for label in page.all("label")] == [field["id"] for field in fields]
    described = {paragraph.get("id") for paragraph in page.all("p")}
    assert all(field["aria-describedby"] in described for field in fields if "aria-describedby" in field)
    assert ("Settings, API keys." in page.text, state in page.text) == (True, True)
    assert any(details["id"] == "disconnect-1" for details in page.all("details")) is disconnect
    assert not [button for button in page.all("button") if "connect-1" in str(button.get("id"))]


def test_a_login_and_keys_on_one_card() -> None:
    """A server may want both: the state says what is missing, and each has its form."""
    status = replace(status_of("maps", a_grant("maps"), None, NOW), missing=("API_KEY",))
    page = Elements(a_page(Card(status, URL, keys=KEYS)))
    assert "Needs your keys" in page.text
    actions = [field["value"] for field in page.all("input") if field["name"] == "action"]
    assert actions == ["supply", "connect", "disconnect"]


def test_a_page_that_is_typed_into_is_not_reloaded() -> None:
    """Without a script that would throw away what was typed."""
    card = Card(ServerStatus("maps", connected=False, missing=("API_KEY",)), URL, has_logins=False, keys=KEYS)
    assert b"http-equiv" not in a_page(card, a_card(None, a_request()))


def test_disconnecting_is_offered_only_where_there_is_a_login() -> None:
    """And the question is asked before."""
    assert "disconnect" not in Elements(a_page(a_card(None))).text.lower()
    assert Elements(a_page(a_card(a_grant()))).all("details")


def test_it_looks_for_news_only_while_a_login_is_open() -> None:
    """Without a script, by reloading."""
    assert b"http-equiv" not in a_page(a_card(a_grant()))
    assert b'<noscript><meta http-equiv="refresh"' in a_page(a_card(None, a_request()))


def test_without_a_server_it_says_so() -> None:
    """An empty page would look broken."""
    assert "No servers are configured" in Elements(a_page()).text


def test_a_code_to_enter_elsewhere_is_shown() -> None:
    """Before the person leaves, and as long as the login is open: the page there may not know it (RFC 8628 §3.3)."""
    asked = a_request(user_code="WDJB-MJHT")
    shown = (a_page(a_card(None, asked)), start_page(asked, words={}, back=None))
    assert [Elements(page).text.count("WDJB-MJHT") for page in shown] == [1, 1]
    assert b"in the other tab" not in shown[0]


def test_the_version_changes_exactly_when_a_server_does() -> None:
    """So that the script replaces the list only when there is news."""

    def version(page: bytes) -> bytes:
        found = re.search(rb'data-version="([0-9a-f]+)"', page)
        assert found
        return found[1]

    assert version(a_page(a_card(None))) == version(a_page(a_card(None)))
    assert version(a_page(a_card(None))) != version(a_page(a_card(a_grant())))


def pages() -> list[bytes]:
    card = Card(status_of(EVIL, a_grant(EVIL, scopes=(EVIL,)), a_request(EVIL, reason=Reason.STEP_UP, scopes=(EVIL, "b")), NOW), URL)
    keyed = Card(ServerStatus(EVIL, connected=False, missing=("KEY",)), URL, has_logins=False, keys={"KEY": EVIL, "OTHER": ""})
    return [
        a_page(card, a_card(None), keyed, user=EVIL),
        start_page(a_request(EVIL, scopes=(EVIL, "openid")), words={}, back="/oauth/connections"),
    ]


@pytest.mark.parametrize("page", pages(), ids=["connections", "start"])
def test_names_are_text_never_markup(page: bytes) -> None:
    """Servers, users and scopes may be called anything; the only script is ours."""
    assert b"alert(1)</script>" not in page
    assert page.count(b"<script") == (1 if b"Connections" in page else 0)
    assert EVIL in Elements(page).text


@pytest.mark.parametrize("page", pages(), ids=["connections", "start"])
def test_a_page_can_be_read_by_everybody(page: bytes) -> None:
    """One main with one first heading, headings in order, unique ids, no style or handler in an attribute, buttons with names."""
    elements = Elements(page)
    names = [tag for tag, _ in elements.seen]
    assert [names.count(name) for name in ("title", "main", "h1")] == [1, 1, 1]
    ids = [attributes["id"] for _, attributes in elements.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not [name for _, attributes in elements.seen for name in attributes if name.startswith("on") or name == "style"]
    assert not {"link", "img", "iframe", "base", "object"} & set(names)
    assert all("lang" in attributes for attributes in elements.all("html"))


def test_news_are_announced() -> None:
    """A polite live region, there from the start so that screen readers watch it (WCAG 2.2 §4.1.3)."""
    assert {"id": "news", "class": "small", "role": "status", "aria-live": "polite"} in Elements(a_page(a_card(None))).all("p")


def test_the_policies_allow_exactly_what_the_pages_hold() -> None:
    """Our style, on the live page our script, which may ask our own origin; forms go to our own origin; nobody frames anything."""
    policy = dict(part.split(" ", 1) for part in LIVE_HEADERS["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "style-src": frame._hash(frame.STYLE),
        "script-src": frame._hash(frame.SCRIPT),
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert "script-src" not in HEADERS["Content-Security-Policy"]
    live = a_page(a_card(None)).decode()
    assert re.findall(r"<script>(.*?)</script>", live, re.DOTALL) == [frame.SCRIPT]
    assert re.findall(r"<style>(.*?)</style>", live, re.DOTALL) == [frame.STYLE]


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("openid", "Know who you are"),
        ("offline_access", "Stay connected until you disconnect"),
        ("files:read", "Read files"),
        ("read:user", "Read user"),
        ("mail.send", "Send mail"),
        ("https://www.example.com/auth/calendar.readonly", "Read calendar"),
        ("issues_write", "Change issues"),
        ("repo", None),
        ("read", None),
        ("a1:read", None),
        ("<b>:read", None),
        ("mine", "Do as I say"),
    ],
)
def test_scopes_in_words(scope: str, words: str | None) -> None:
    """Standard ones, the application's own, and those whose name tells; no guess about the others."""
    assert in_words(scope, {"mine": "Do as I say"}) == words
