"""The browser on this machine: one window for each login, forgeries ignored, and nothing left open. Real sockets throughout."""

import asyncio
import gc
import logging
import queue
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest

from langchain_mcp_oauth import errors
from langchain_mcp_oauth.errors import AuthRequired
from langchain_mcp_oauth.loopback import LoopbackBrowser
from langchain_mcp_oauth.loopback import browser as module
from langchain_mcp_oauth.pages import NOT_FOUND, NOT_YOURS, ONLY_GET, UNREADABLE, Page, render
from langchain_mcp_oauth.store.sqlmodel import SQLModelTokenStore
from langchain_mcp_oauth.testing import Person, ProtectedServer
from langchain_mcp_oauth.toolkit import MCPOAuthToolkit

pytestmark = pytest.mark.anyio

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


class Windows:
    """Stands for `webbrowser.open`: notes what was opened, and says that it worked."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self._news = threading.Condition()

    def __call__(self, url: str) -> bool:
        with self._news:
            self.opened.append(url)
            self._news.notify_all()
        return True

    async def wait_for(self, number: int) -> None:
        """Until so many windows have been opened."""

        def wait() -> bool:
            with self._news:
                return self._news.wait_for(lambda: len(self.opened) >= number, timeout=5)

        assert await asyncio.to_thread(wait), f"{len(self.opened)} of {number} windows were opened"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def windows() -> Windows:
    return Windows()


@pytest.fixture
def browser(windows: Windows) -> LoopbackBrowser:
    return LoopbackBrowser(port=free_port(), open_browser=windows, timeout=10.0)


async def succeed(_: str) -> None:
    """The toolkit redeems it."""


def a_login(
    browser: LoopbackBrowser, state: str = "STATE", complete: Callable[[str], Awaitable[object]] = succeed, **parameters: str
) -> AuthRequired:
    """What a toolkit raises: its URL leads back to the browser's redirect URI."""
    query = {"client_id": "c", "redirect_uri": browser.redirect_uri, "state": state, **parameters}
    return AuthRequired(
        authorization_url=f"https://as.example/authorize?{urlencode(query)}",
        server="linear",
        resource="https://mcp.example/mcp",
        issuer="https://as.example",
        scopes=(),
        reason="login",
        auth_id=f"id-of-{state}",
        expires_at=datetime(2026, 1, 1, tzinfo=UTC),
        complete=complete,
    )


async def visit(url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """What a browser does, with no proxy in between."""
    async with httpx2.AsyncClient(trust_env=False, timeout=5.0) as client:
        return await client.request(method, url, headers=headers)


def answer_to(browser: LoopbackBrowser, state: str = "STATE", **parameters: str) -> str:
    """The callback URL of an authorization server."""
    return f"{browser.redirect_uri}?{urlencode({'code': 'CODE', 'state': state, **parameters})}"


def is_free(port: int) -> bool:
    """Whether one can listen there."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def port_of(browser: LoopbackBrowser) -> int:
    return httpx2.URL(browser.redirect_uri).port or 0


# The way it should go ---------------------------------------------------------------------------------------------------------------


async def test_a_login(browser: LoopbackBrowser, windows: Windows) -> None:
    """The URL is opened, the whole callback is redeemed, the person sees it, the call goes on and the port is free."""
    redeemed: list[str] = []

    async def complete(url: str) -> None:
        redeemed.append(url)

    needed = a_login(browser, complete=complete)
    assert is_free(port_of(browser))
    call = asyncio.create_task(browser(needed))
    await windows.wait_for(1)
    assert not is_free(port_of(browser))
    response = await visit(answer_to(browser, iss="https://as.example"))
    assert await call is None
    assert response.status_code == 200
    assert "Connected to linear" in response.text
    assert windows.opened == [needed.authorization_url]
    assert redeemed == [answer_to(browser, iss="https://as.example")]
    assert is_free(port_of(browser))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_every_loopback_host(host: str, windows: Windows) -> None:
    """Each is reached under the name that the redirect URI has."""
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    browser = LoopbackBrowser(host=host, port=free_port(), open_browser=windows, timeout=10.0)
    call = asyncio.create_task(browser(a_login(browser)))
    await windows.wait_for(1)
    assert (await visit(answer_to(browser))).status_code == 200
    await call


async def test_it_works_in_one_event_loop_after_another(browser: LoopbackBrowser, windows: Windows) -> None:
    """As in a script that calls `asyncio.run` twice, with logins in parallel each time; a run that is cancelled leaves nothing behind."""

    async def two_logins() -> None:
        before = len(windows.opened)
        calls = [asyncio.create_task(browser(a_login(browser, state))) for state in ("A", "B")]
        await windows.wait_for(before + 2)
        for state in ("A", "B"):
            await visit(answer_to(browser, state))
        await asyncio.gather(*calls)

    async def abandoned() -> None:
        before = len(windows.opened)
        call = asyncio.create_task(browser(a_login(browser)))
        await windows.wait_for(before + 1)
        call.cancel()
        await asyncio.wait([call])

    for run in (two_logins, abandoned, two_logins):
        await asyncio.to_thread(asyncio.run, run())
    assert is_free(port_of(browser))


# What does not belong ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "headers", "page"),
    [
        ("/oauth/callback?code=x&state=forged", "GET", {}, NOT_YOURS),
        ("/oauth/callback?error=access_denied&state=forged", "GET", {}, NOT_YOURS),
        ("/oauth/callback?error=access_denied", "GET", {}, NOT_YOURS),
        ("/oauth/callback?code=x&state=STATE&state=STATE", "GET", {}, NOT_YOURS),
        ("/oauth/callback", "GET", {}, NOT_YOURS),
        ("/oauth/callback?code=x&state=STATE", "GET", {"host": "evil.example"}, UNREADABLE),
        ("/oauth/callback?code=x&state=STATE", "POST", {}, ONLY_GET),
        ("/callback?code=x&state=STATE", "GET", {}, NOT_FOUND),
        ("/favicon.ico", "GET", {}, NOT_FOUND),
    ],
)
async def test_a_forgery_is_refused_and_ends_nothing(
    browser: LoopbackBrowser, windows: Windows, path: str, method: str, headers: dict[str, str], page: Page
) -> None:
    """It never reaches the toolkit; the true answer that comes after it does (R24, R29)."""
    redeemed: list[str] = []

    async def complete(url: str) -> None:
        redeemed.append(url)

    call = asyncio.create_task(browser(a_login(browser, complete=complete)))
    await windows.wait_for(1)
    response = await visit(str(httpx2.URL(browser.redirect_uri).join(path)), method, **headers)
    assert (response.status_code, response.content) == (page.status, render(page))
    assert 400 <= response.status_code < 500
    assert not call.done()
    assert (await visit(answer_to(browser))).status_code == 200
    await call
    assert redeemed == [answer_to(browser)]


@pytest.mark.parametrize(
    "error",
    [errors.CallbackError, errors.UnknownStateError, errors.IssuerMismatchError, errors.RequestUsedError, errors.WrongUserError],
)
async def test_what_the_toolkit_will_not_redeem_is_ignored(
    browser: LoopbackBrowser, windows: Windows, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """A callback that completes nothing is answered with 4xx; the listener goes on waiting, and the log does not repeat it."""
    caplog.set_level(logging.DEBUG, "langchain_mcp_oauth")

    async def complete(url: str) -> None:
        if "TRUE" not in url:
            raise error("CANARY")

    call = asyncio.create_task(browser(a_login(browser, complete=complete)))
    await windows.wait_for(1)
    response = await visit(answer_to(browser, code="FORGED"))
    assert 400 <= response.status_code < 500
    assert "CANARY" not in response.text
    await visit(answer_to(browser, code="TRUE"))
    await call
    assert len(caplog.messages) == 1
    assert not any(word in caplog.text for word in ("FORGED", "STATE", "CANARY"))


# How it can end ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.AuthorizationDenied("no", oauth_error="access_denied"), 403),
        (errors.RequestExpiredError("late"), 410),
        (errors.TokenEndpointError("refused"), 502),
        (errors.StoreKeyError("key"), 500),
        (ZeroDivisionError(), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_a_final_failure_is_the_calls(browser: LoopbackBrowser, windows: Windows, error: Exception, status: int) -> None:
    """The very error comes out of the call, and the person sees its page."""

    async def complete(_: str) -> None:
        raise error

    call = asyncio.create_task(browser(a_login(browser, complete=complete)))
    await windows.wait_for(1)
    response = await visit(answer_to(browser))
    assert response.status_code == status
    with pytest.raises(type(error)) as raised:
        await call
    assert raised.value is error
    assert is_free(port_of(browser))


async def test_the_person_may_try_again(browser: LoopbackBrowser, windows: Windows) -> None:
    """While the token endpoint is down the page says so; loading it again later finishes the login."""
    outcomes: list[Exception | None] = [errors.ConnectionFailed("down"), errors.StoreUnavailable("locked"), None]

    async def complete(_: str) -> None:
        if outcome := outcomes.pop(0):
            raise outcome

    call = asyncio.create_task(browser(a_login(browser, complete=complete)))
    await windows.wait_for(1)
    assert [(await visit(answer_to(browser))).status_code for _ in range(3)] == [503, 503, 200]
    await call


async def test_trouble_is_raised_if_nobody_tries_again(windows: Windows) -> None:
    """In the end the call says what was wrong, not just that nobody came."""
    browser = LoopbackBrowser(port=free_port(), open_browser=windows, timeout=0.5)
    trouble = errors.ConnectionFailed("down")

    async def complete(_: str) -> None:
        raise trouble

    call = asyncio.create_task(browser(a_login(browser, complete=complete)))
    await windows.wait_for(1)
    assert (await visit(answer_to(browser))).status_code == 503
    with pytest.raises(errors.ConnectionFailed) as raised:
        await call
    assert raised.value is trouble


async def test_nobody_answers(windows: Windows) -> None:
    """After the time-out the event itself is raised, so that the application can do what it likes with it. The port is free."""
    browser = LoopbackBrowser(port=free_port(), open_browser=windows, timeout=0.05)
    needed = a_login(browser)
    with pytest.raises(AuthRequired) as raised:
        await browser(needed)
    assert raised.value is needed
    assert is_free(port_of(browser))


# Several at once --------------------------------------------------------------------------------------------------------------------


async def test_calls_for_one_request_share_one_window(browser: LoopbackBrowser, windows: Windows) -> None:
    """Ten parallel tool calls that need the same login bother the person once."""
    calls = [asyncio.create_task(browser(a_login(browser))) for _ in range(10)]
    await windows.wait_for(1)
    await visit(answer_to(browser))
    await asyncio.gather(*calls)
    assert len(windows.opened) == 1


async def test_a_denial_reaches_everybody_who_waits_for_it(browser: LoopbackBrowser, windows: Windows) -> None:
    """And nobody else."""

    async def deny(_: str) -> None:
        raise errors.AuthorizationDenied("no")

    denied = [asyncio.create_task(browser(a_login(browser, "A", deny))) for _ in range(3)]
    other = asyncio.create_task(browser(a_login(browser, "B")))
    await windows.wait_for(2)
    await visit(answer_to(browser, "A"))
    outcomes = await asyncio.gather(*denied, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [errors.AuthorizationDenied] * 3
    assert not other.done()
    await visit(answer_to(browser, "B"))
    await other


async def test_different_requests_share_the_port(browser: LoopbackBrowser, windows: Windows) -> None:
    """Two servers' logins are open at once; each answer goes to its own, in whatever order they come."""
    redeemed: dict[str, str] = {}

    def completing(name: str) -> Callable[[str], Awaitable[object]]:
        async def complete(url: str) -> None:
            redeemed[name] = url

        return complete

    calls = {name: asyncio.create_task(browser(a_login(browser, name, completing(name)))) for name in ("A", "B")}
    await windows.wait_for(2)
    for name in ("B", "A"):
        assert (await visit(answer_to(browser, name))).status_code == 200
        await calls[name]
    assert redeemed == {name: answer_to(browser, name) for name in ("A", "B")}


async def test_cancelling_one_call_leaves_the_others(browser: LoopbackBrowser, windows: Windows) -> None:
    """Also when it is the one that opened the window."""
    calls = [asyncio.create_task(browser(a_login(browser))) for _ in range(2)]
    await windows.wait_for(1)
    calls[0].cancel()
    await asyncio.wait([calls[0]])
    assert (await visit(answer_to(browser))).status_code == 200
    await calls[1]
    assert calls[0].cancelled()


async def test_cancelling_the_last_call_closes_the_port(browser: LoopbackBrowser, windows: Windows) -> None:
    """Nothing keeps listening for somebody who is no longer waited for."""
    call = asyncio.create_task(browser(a_login(browser)))
    await windows.wait_for(1)
    call.cancel()
    await asyncio.wait([call])
    assert is_free(port_of(browser))


async def test_an_answer_that_nobody_waits_for_any_more(
    browser: LoopbackBrowser, windows: Windows, caplog: pytest.LogCaptureFixture
) -> None:
    """The call gave up while the answer was being redeemed: the person still gets their page, and no exception is lost in a future."""
    redeeming, go_on = asyncio.Event(), asyncio.Event()

    async def complete(_: str) -> None:
        redeeming.set()
        await go_on.wait()
        raise errors.AuthorizationDenied("no")

    call = asyncio.create_task(browser(a_login(browser, complete=complete)))
    await windows.wait_for(1)
    visited = asyncio.create_task(visit(answer_to(browser)))
    await redeeming.wait()
    call.cancel()
    while not is_free(port_of(browser)):  # noqa: ASYNC110 - the call has left when it closes the port; there is no event for that
        await asyncio.sleep(0)
    go_on.set()
    assert (await visited).status_code == 403
    await asyncio.wait([call])
    del call  # its traceback holds the future
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_login_again_opens_a_window_again(browser: LoopbackBrowser, windows: Windows) -> None:
    """Nothing of an ended wait is left over."""
    for number in (1, 2):
        call = asyncio.create_task(browser(a_login(browser)))
        await windows.wait_for(number)
        await visit(answer_to(browser))
        await call


# The port ---------------------------------------------------------------------------------------------------------------------------


async def test_the_redirect_uri_is_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the client registered with it is found again; only if another program has the port is it the next one."""
    first, second = free_port(), free_port()
    monkeypatch.setattr(module, "PORTS", (first, second))
    assert [LoopbackBrowser().redirect_uri for _ in range(2)] == [f"http://127.0.0.1:{first}/oauth/callback"] * 2
    with socket.create_server(("127.0.0.1", first)):
        assert LoopbackBrowser().redirect_uri == f"http://127.0.0.1:{second}/oauth/callback"
        with socket.create_server(("127.0.0.1", second)), pytest.raises(errors.ConfigurationError, match="port"):
            LoopbackBrowser()


async def test_a_given_port_is_the_port(windows: Windows) -> None:
    """A client registered beforehand knows no other; if it is taken when it is needed, the error says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        browser = LoopbackBrowser(port=port, open_browser=windows)
        assert browser.redirect_uri == f"http://127.0.0.1:{port}/oauth/callback"
        with pytest.raises(errors.ConfigurationError, match=f"Port {port} on 127.0.0.1 is taken"):
            await browser(a_login(browser))
    assert windows.opened == []
    call = asyncio.create_task(browser(a_login(browser)))
    await windows.wait_for(1)
    await visit(answer_to(browser))
    await call


@pytest.mark.parametrize(
    "options", [{"host": "0.0.0.0"}, {"host": "example.com"}, {"host": ""}, {"port": 0}, {"port": 65536}, {"port": -1}]
)
async def test_only_loopback_and_real_ports(options: dict[str, Any]) -> None:
    """Nobody else's machine may reach the listener (R29)."""
    with pytest.raises(errors.ConfigurationError):
        LoopbackBrowser(**options)


# Opening ----------------------------------------------------------------------------------------------------------------------------


def no_browser(_: str) -> bool:
    return False


def broken_browser(_: str) -> bool:
    raise OSError("CANARY")


@pytest.mark.parametrize("open_browser", [no_browser, broken_browser])
async def test_without_a_browser_the_url_is_shown(open_browser: Callable[[str], bool], caplog: pytest.LogCaptureFixture) -> None:
    """In a terminal without a display the person gets the URL to open; the log does not."""
    caplog.set_level(logging.DEBUG, "langchain_mcp_oauth")
    shown: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    browser = LoopbackBrowser(
        port=free_port(), open_browser=open_browser, show=lambda text: loop.call_soon_threadsafe(shown.put_nowait, text), timeout=10.0
    )
    needed = a_login(browser)
    call = asyncio.create_task(browser(needed))
    assert needed.authorization_url in await asyncio.wait_for(shown.get(), 5)
    await visit(answer_to(browser))
    await call
    assert "STATE" not in caplog.text
    assert "CANARY" not in caplog.text


async def test_a_browser_that_blocks_delays_nobody() -> None:
    """Some `webbrowser` controllers return only when the browser is closed."""
    opened, closed = threading.Event(), threading.Event()

    def blocking(_: str) -> bool:
        opened.set()
        return closed.wait(10)

    browser = LoopbackBrowser(port=free_port(), open_browser=blocking, timeout=10.0)
    call = asyncio.create_task(browser(a_login(browser)))
    try:
        await asyncio.to_thread(opened.wait, 5)
        await visit(answer_to(browser))
        await call
        assert not closed.is_set()
    finally:
        closed.set()


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "-version",
        "http://as.example/authorize?state=STATE",
        "https://as.example/$(id)?state=S",
    ],
)
async def test_only_a_plain_web_address_is_opened(browser: LoopbackBrowser, windows: Windows, url: str) -> None:
    """Whatever made the event, nothing else reaches the operating system (R15, R29)."""
    needed = a_login(browser)
    needed.authorization_url = url
    with pytest.raises(errors.UnsafeURLError):
        await browser(needed)
    assert windows.opened == []


@pytest.mark.parametrize("parameters", [{"redirect_uri": "https://app.example/oauth/callback"}, {"redirect_uri": ""}, {"state": ""}])
async def test_a_login_that_leads_elsewhere_is_not_waited_for(
    browser: LoopbackBrowser, windows: Windows, parameters: dict[str, str]
) -> None:
    """A toolkit with another redirect URI, or a start link: better told at once than after five minutes."""
    with pytest.raises(errors.ConfigurationError, match="does not lead back"):
        await browser(a_login(browser, **parameters))
    assert windows.opened == []


# In the whole -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer() as server:
        yield server


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLModelTokenStore]:
    store = SQLModelTokenStore(f"sqlite:///{tmp_path / 'tokens.db'}", encryption_key=KEY)
    yield store
    await store.aclose()


async def test_from_nothing_to_the_tools(server: ProtectedServer, store: SQLModelTokenStore) -> None:
    """With real servers: the tools come back from one `await`, with the person's browser in between."""
    seen: queue.Queue[int] = queue.Queue()

    def person(url: str) -> bool:
        seen.put(Person("ada").approve_in_app(url).status_code)
        return True

    browser = LoopbackBrowser(port=free_port(), open_browser=person, timeout=10.0)
    async with a_toolkit(server, store, browser) as toolkit:
        assert toolkit.redirect_uri == browser.redirect_uri
        assert "whoami" in " ".join(tool.name for tool in await toolkit.aget_tools())
    assert seen.get(timeout=5) == 200


async def test_the_same_in_synchronous_code_inside_a_running_loop(server: ProtectedServer, store: SQLModelTokenStore) -> None:
    """A notebook cell that calls `get_tools()` while its own event loop runs."""

    def person(url: str) -> bool:
        return Person("ada").approve_in_app(url).is_success

    async with a_toolkit(server, store, LoopbackBrowser(port=free_port(), open_browser=person, timeout=10.0)) as toolkit:
        assert "whoami" in " ".join(tool.name for tool in toolkit.get_tools())


async def test_a_person_who_says_no(server: ProtectedServer, store: SQLModelTokenStore) -> None:
    """The refusal comes out of the call; the browser shows that nothing was connected."""
    seen: queue.Queue[int] = queue.Queue()

    def person(url: str) -> bool:
        seen.put(httpx2.get(Person("ada").deny(url), trust_env=False).status_code)
        return True

    async with a_toolkit(server, store, LoopbackBrowser(port=free_port(), open_browser=person, timeout=10.0)) as toolkit:
        with pytest.raises(errors.AuthorizationDenied):
            await toolkit.aget_tools()
    assert seen.get(timeout=5) == 403


def a_toolkit(server: ProtectedServer, store: SQLModelTokenStore, browser: LoopbackBrowser) -> MCPOAuthToolkit:
    """A script's toolkit, for one person."""
    return MCPOAuthToolkit(
        {"example": server.url}, store=store, user_id="ada", on_auth_required=browser, allowed_private_hosts=server.allowed_private_hosts
    )


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
