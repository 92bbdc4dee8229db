"""People at the page of connections, in Chromium, with oidc-provider's own sign-in and consent pages behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import time_machine
from playwright.sync_api import Page, expect

from langchain_mcp_oauth.models import GrantKey, Reason
from tests.conformance.guarded_by_provider import Site
from tests.web.samples import a_grant, a_request

from .conftest import PATIENCE, App, Visitor

pytestmark = pytest.mark.browser

expect.set_options(timeout=PATIENCE)

Shoot = Callable[[Page, str], None]


def card(page: Page, server: str = "library") -> str:
    """Where the page says that the login stands."""
    return page.locator("li", has=page.get_by_role("heading", name=server)).locator(".state").inner_text()


def connect(page: Page) -> None:
    page.get_by_role("button", name="Connect library").click()


def sign_in_at_the_provider(page: Page, name: str = "ada") -> None:
    page.get_by_role("link", name="Continue to").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()


def allow(page: Page) -> None:
    page.get_by_role("button", name="Continue").click()


def log_in(page: Page) -> None:
    connect(page)
    sign_in_at_the_provider(page)
    allow(page)
    expect(page.get_by_role("heading", name="Connected to library")).to_be_visible()


def test_connecting(visit: Visitor, app: App, site: Site, shoot: Shoot) -> None:
    """From the page to the provider and back: each page says where one is and what comes next, and the login is this user's."""
    page = visit("ada")
    assert [card(page), card(page, "archive")] == ["Not connected", "Not answering"]
    connect(page)
    expect(page.get_by_role("heading", name="Connect library?")).to_be_visible()
    main = page.get_by_role("main")
    for part in (site.issuer.removeprefix("http://"), site.url.split("/")[2], "Use its tools", "tools"):
        expect(main).to_contain_text(part)
    shoot(page, "start")
    sign_in_at_the_provider(page)
    allow(page)
    expect(page.get_by_role("heading", name="Connected to library")).to_be_visible()
    shoot(page, "connected")
    page.get_by_role("link", name="Your connections").click()
    assert card(page) == "Connected"
    assert app.do(app.toolkit.status(user_id="ada"))["library"].connected
    assert not app.do(app.toolkit.status(user_id="bob"))["library"].connected


def test_declining(visit: Visitor, app: App, shoot: Shoot) -> None:
    """The person says no at the provider: nothing is connected, and the page says what to do to change one's mind."""
    page = visit("ada")
    connect(page)
    sign_in_at_the_provider(page)
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("heading", name="Access was not given")).to_be_visible()
    shoot(page, "declined")
    page.get_by_role("link", name="Your connections").click()
    assert card(page) == "Not connected"


def test_another_user_can_neither_open_nor_finish_it(visit: Visitor, app: App) -> None:
    """Not with the start link, and not with an answer of their own to its request; ada's stays open."""
    ada, mallory = visit("ada"), visit("mallory")
    connect(ada)
    expect(ada.get_by_role("link", name="Continue to")).to_be_visible()
    onward = ada.get_by_role("link", name="Continue to").get_attribute("href")
    mallory.goto(ada.url)
    expect(mallory.get_by_role("heading", name="This cannot be completed here")).to_be_visible()
    assert onward
    mallory.goto(onward)
    mallory.locator("input[name=login]").fill("mallory")
    mallory.locator("input[name=password]").fill("any")
    mallory.get_by_role("button", name="Sign-in").click()
    allow(mallory)
    expect(mallory.get_by_role("heading", name="This cannot be completed here")).to_be_visible()
    statuses = [app.do(app.toolkit.status(user_id=user))["library"] for user in ("ada", "mallory")]
    assert [status.connected for status in statuses] == [False, False]
    assert statuses[0].waiting


def test_a_link_that_has_expired(visit: Visitor) -> None:
    """It says so, and the way to a new one is a click away."""
    page = visit("ada")
    connect(page)
    expect(page.get_by_role("heading", name="Connect library?")).to_be_visible()
    with time_machine.travel(time.time() + 1_200, tick=True):
        page.reload()
        expect(page.get_by_role("heading", name="This link has expired")).to_be_visible()
        page.get_by_role("link", name="Your connections").click()
        connect(page)
        expect(page.get_by_role("heading", name="Connect library?")).to_be_visible()


def test_disconnecting_with_the_keyboard_alone(visit: Visitor, app: App, site: Site, shoot: Shoot) -> None:
    """The question comes first; then the login is gone here and at the provider."""
    page = visit("ada")
    log_in(page)
    page.get_by_role("link", name="Your connections").press("Enter")
    grant = app.do(app.toolkit.store.load_grant(GrantKey("ada", "library", site.url)))
    assert grant
    token = grant.tokens.access_token.get_secret_value()
    assert site.introspect(token)["active"]
    expect(page.get_by_role("button", name="Yes, disconnect library")).to_be_hidden()
    reach(page, "Disconnect library")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes, disconnect library")).to_be_visible()
    shoot(page, "disconnect")
    reach(page, "Yes, disconnect library")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Connect library")).to_be_visible()
    assert card(page) == "Not connected"
    assert not site.introspect(token)["active"]


def reach(page: Page, name: str) -> None:
    """Press Tab until the control of this name has the focus."""
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
        if page.evaluate(focused) == name:
            return
    raise AssertionError(f"The keyboard does not reach {name!r}.")


def test_two_tabs(visit: Visitor) -> None:
    """A login that is finished in one tab shows in the other, without a reload; it is announced, and the focus stays where it was."""
    first = visit("ada")
    second = first.context.new_page()
    second.goto("/oauth/connections")
    first.evaluate("window.notReloaded = true")
    reach(first, "Connect calendar")
    log_in(second)
    expect(first.locator("#server-1 .state")).to_have_text("Connected")
    expect(first.get_by_role("status")).to_have_text("library: Connected")
    assert first.evaluate("window.notReloaded")
    assert first.evaluate("document.activeElement.id") == "connect-2"


@pytest.mark.parametrize("app", ["no keys"], indirect=True)
def test_without_javascript(visit: Visitor) -> None:
    """Everything works; the page looks for news by loading itself again while a login is open."""
    first = visit("ada", java_script_enabled=False)
    connect(first)
    expect(first.get_by_role("heading", name="Connect library?")).to_be_visible()
    waiting = first.context.new_page()
    waiting.goto("/oauth/connections")
    expect(waiting.locator("#server-1")).to_contain_text("A login is open until")
    sign_in_at_the_provider(first)
    allow(first)
    expect(first.get_by_role("heading", name="Connected to library")).to_be_visible()
    expect(waiting.locator("#server-1 .state")).to_have_text("Connected")


@pytest.mark.parametrize("script", [True, False], ids=["with a script", "without"])
def test_giving_a_key(visit: Visitor, app: App, script: bool) -> None:
    """By the keyboard; it is nowhere to be seen afterwards, can be changed, and is gone when the person says so."""
    page = visit("ada", java_script_enabled=script)
    page.get_by_label("MAPS_KEY").fill("canary-of-the-key")
    page.get_by_label("MAPS_KEY").press("Enter")
    expect(page.locator("#server-6 .state")).to_have_text("Connected")
    assert "canary" not in page.content()
    assert app.do(app.toolkit.status(user_id="ada"))["maps"].connected
    assert not app.do(app.toolkit.status(user_id="bob"))["maps"].connected
    page.get_by_text("Change keys").click()
    expect(page.get_by_label("MAPS_KEY")).to_have_value("")
    page.locator("#disconnect-6 summary").click()
    page.get_by_role("button", name="Yes, disconnect maps").click()
    expect(page.locator("#server-6 .state")).to_have_text("Needs your keys")


def test_what_is_being_typed_is_not_lost_to_news(visit: Visitor) -> None:
    """A login that ends in another tab shows once the person is done here."""
    first = visit("ada")
    first.get_by_label("MAPS_KEY").fill("half a k")
    second = first.context.new_page()
    second.goto("/oauth/connections")
    log_in(second)
    with first.expect_response("**/oauth/connections"):
        pass
    first.evaluate("() => new Promise((done) => setTimeout(done))")
    expect(first.get_by_label("MAPS_KEY")).to_have_value("half a k")
    first.get_by_label("MAPS_KEY").fill("")
    expect(first.locator("#server-1 .state")).to_have_text("Connected")


def test_every_state_at_a_glance(visit: Visitor, app: App, site: Site, shoot: Shoot) -> None:
    """What a person with some history sees, in words that a screen reader reads out too."""
    now = datetime.now(UTC)
    login = partial(a_grant, user="grace", now=now)
    for grant in (
        login("library", site.url, scopes=("tools", "offline_access")),
        login("calendar", site.url, scopes=("calendar:read",)),
        login("documents", site.url, scopes=("documents:read",), refresh=False, now=now - timedelta(days=2)),
        login("archive", "http://127.0.0.1:9/mcp", scopes=("archive:search",)),
    ):
        app.do(app.toolkit.store.save_grant(grant))
    asked = a_request("calendar", site.url, user="grace", now=now, reason=Reason.STEP_UP, scopes=("calendar:read", "calendar:write"))
    app.do(app.toolkit.store.open_request(asked, now=now))
    page = visit("grace")
    assert page.locator(".state").all_inner_texts() == [
        "Connected",
        "Needs more access",
        "Expired",
        "Not connected",
        "Not answering",
        "Needs your keys",
    ]
    shoot(page, "connections")
    heard = page.get_by_role("main").aria_snapshot()
    for line in (
        '- heading "Connections" [level=1]',
        '- heading "calendar" [level=2]',
        '- button "Allow more calendar"',
        '- button "Connect wiki"',
        '- textbox "MAPS_KEY"',
        '- button "Save for maps"',
        "- status",
    ):
        assert line in heard
