"""A person without a browser: opens the URL, reads the pages, fills the forms in and presses the buttons."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TypeAlias
from urllib.parse import parse_qs, urljoin, urlsplit

import anyio.to_thread
import httpx2

from langchain_mcp_oauth.errors import AuthorizationError
from langchain_mcp_oauth.testing.pages import Button, Form, Page

__all__ = ["Person"]

NO = re.compile(r"\b(abort|cancel|decline|deny|refuse|reject)\b", re.IGNORECASE)
"""What the buttons and links say that mean no."""

ON = re.compile(r"^\s*(continue|authorize)\b", re.IGNORECASE)
"""How a link begins that leads on to the authorization server, such as that of a start page."""

MAX_PAGES = 20

Answer: TypeAlias = Callable[[httpx2.Client, httpx2.Response, Page], httpx2.Response]


class Person:
    """Somebody who signs in as `name` and answers consent pages made of plain HTML forms, in any number of steps.

    Cookies are kept from one visit to the next, as a browser would. Nothing is kept open between visits.

    Args:
        name: Typed into every text field.
        password: Typed into every password field.
        refuses: Values of ticked boxes that this person unticks, e.g. scopes.

    Attributes:
        cookies: This person's cookies; a test may put a session of the application among them.

    Raises (every method):
        AuthorizationError: the pages did not lead back to the application; the message names where they ended.
        httpx2.HTTPError: a page could not be fetched.
    """

    def __init__(self, name: str, *, password: str = "password", refuses: Collection[str] = ()) -> None:  # noqa: S107 - nobody's
        self.name = name
        self.cookies = httpx2.Cookies()
        self._password = password
        self._refuses = frozenset(refuses)

    def approve(self, authorization_url: str) -> str:
        """Say yes on every page; return the callback URL that a browser would go to, without going there."""
        with self._browser() as browser:
            return self._walk(browser, authorization_url, self._yes)

    def deny(self, authorization_url: str) -> str:
        """Say no on the first page that allows it; return the callback URL with the error, without going there."""
        with self._browser() as browser:
            return self._walk(browser, authorization_url, self._no)

    def approve_in_app(self, url: str) -> httpx2.Response:
        """Say yes, go on to the application's callback, and return its answer. `url` may be the application's start link."""
        with self._browser() as browser:
            return browser.get(self._walk(browser, url, self._yes))

    async def aapprove(self, authorization_url: str) -> str:
        """`approve`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.approve, authorization_url)

    async def adeny(self, authorization_url: str) -> str:
        """`deny`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.deny, authorization_url)

    async def aapprove_in_app(self, url: str) -> httpx2.Response:
        """`approve_in_app`, in a worker thread."""
        return await anyio.to_thread.run_sync(self.approve_in_app, url)

    def _browser(self) -> httpx2.Client:
        browser = httpx2.Client(trust_env=False, timeout=20.0)
        browser.cookies.jar = self.cookies.jar
        return browser

    def _walk(self, browser: httpx2.Client, url: str, answer: Answer) -> str:
        callback = _callback_in(url)
        response = browser.get(url)
        for _ in range(MAX_PAGES):
            callback = callback or _callback_in(str(response.url))
            if not response.has_redirect_location:
                response = answer(browser, response, _read(response))
                continue
            target = urljoin(str(response.url), response.headers["location"])
            if callback and _place(target) == callback:
                return target
            # The first redirect_uri on the way is the application's; those of authorization servers behind a proxy come later.
            callback = callback or _callback_in(target)
            response = browser.get(target)
        raise AuthorizationError(f"{MAX_PAGES} pages, and none leads back to the application; the last one is {_place(response.url)}.")

    def _yes(self, browser: httpx2.Client, response: httpx2.Response, page: Page) -> httpx2.Response:
        for form in page.forms:
            button = next((button for button in form.buttons if not _says_no(button)), None)
            if button:
                return self._submit(browser, response, form, button)
        for link in page.links:
            if ON.search(link.label):
                return browser.get(urljoin(str(response.url), link.href))
        raise AuthorizationError(f"The page at {_place(response.url)} (HTTP {response.status_code}) has no form to say yes with.")

    def _no(self, browser: httpx2.Client, response: httpx2.Response, page: Page) -> httpx2.Response:
        for form in page.forms:
            button = next(filter(_says_no, form.buttons), None)
            if button:
                return self._submit(browser, response, form, button)
        for link in page.links:
            if NO.search(link.label):
                return browser.get(urljoin(str(response.url), link.href))
        return self._yes(browser, response, page)  # perhaps one has to sign in before one can say no

    def _submit(self, browser: httpx2.Client, response: httpx2.Response, form: Form, button: Button) -> httpx2.Response:
        fields = form.fill(name=self.name, password=self._password, untick=self._refuses)
        if button.name:
            fields[button.name] = [button.value]
        target = urljoin(str(response.url), form.action)
        return browser.post(target, data=fields) if form.method == "post" else browser.get(target, params=fields)


def _read(response: httpx2.Response) -> Page:
    return Page(response.text if "html" in response.headers.get("content-type", "") else "")


def _says_no(button: Button) -> bool:
    return bool(NO.search(f"{button.name} {button.value} {button.label}"))


def _place(url: str | httpx2.URL) -> str:
    """Origin and path: the part of a URL that holds no secret."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"


def _callback_in(url: str) -> str | None:
    values = parse_qs(urlsplit(url).query).get("redirect_uri")
    return _place(values[0]) if values else None
