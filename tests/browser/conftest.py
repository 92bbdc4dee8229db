"""A web application with the library's pages in it, oidc-provider with its own, and a real Chromium between them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from langchain_mcp_oauth import MCPOAuthToolkit, connection_routes
from langchain_mcp_oauth.testing.serving import ServerThread, listen, origin
from tests.conformance.conftest import node  # noqa: F401 - a fixture
from tests.conformance.guarded_by_provider import Site, guarded_by_provider

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

T = TypeVar("T")

if find_spec("playwright") is None:  # `pip install -e ".[browser]"` brings it; without it there is nothing here to run
    collect_ignore_glob = ["test_*.py"]

KEY = "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM="

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-dev-shm-usage"]
"""What Chromium needs as root and in a small container, and not to talk to anybody else."""

SIZES = {"desktop": {"width": 1100, "height": 820}, "phone": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")

ALWAYS_THE_SAME = """(names) => {
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    for (const [host, name] of Object.entries(names)) texts.currentNode.data = texts.currentNode.data.replaceAll(host, name);
  for (const time of document.querySelectorAll("time"))
    time.textContent = time.textContent.replace(/^\\d+ \\w+ \\d+/, "2 January 2026").replace(/\\d\\d:\\d\\d/, "09:30");
}"""
"""Ports and times are those of the run; in the pictures, which are kept, they are always the same."""

PATIENCE = 30_000.0
"""Milliseconds for whatever a page is waited for; everything takes a fraction of a second where nothing else runs."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser. Without it the tests fail: whoever asks for them wants to know."""
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if shutil.which(program) is None:
        pytest.fail(f"There is no Chromium at {program}; CHROMIUM names another place.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(node: str) -> Iterator[Site]:  # noqa: F811
    with guarded_by_provider(node, "2026-07-28") as running:
        yield running


MAPS = {"headers": {"Authorization": "Bearer {{MAPS_KEY}}"}, "variables": {"MAPS_KEY": "Your own, from Settings → Keys."}}
"""A server that wants a key of each user's own."""


@dataclass
class App:
    """The application: `url` is its origin; the toolkit behind it can be used from the test's own thread by `do`."""

    url: str
    toolkit: MCPOAuthToolkit

    def do(self, awaitable: Awaitable[T]) -> T:
        """Wait for something that the toolkit does."""
        result: T = self.toolkit.run_sync(awaitable)
        return result


@pytest.fixture
def app(site: Site, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[App]:
    """Signed in is who has been at `/sign-in/NAME`. With the parameter `no keys`, no server wants anything but logins."""
    listener = listen()
    url = origin(listener)
    toolkit = MCPOAuthToolkit(
        {
            **dict.fromkeys(("library", "calendar", "documents", "wiki"), site.url),
            "archive": "http://127.0.0.1:9/mcp",
            **({"maps": MAPS | {"url": site.url}} if getattr(request, "param", "keys") == "keys" else {}),
        },
        store=f"sqlite:///{tmp_path / 'tokens.db'}",
        encryption_key=KEY,
        redirect_uri=f"{url}/oauth/callback",
        start_url=f"{url}/oauth/start",
        allowed_private_hosts=site.allowed_private_hosts,
    )
    served = Starlette(
        routes=[
            Route("/sign-in/{name}", _sign_in),
            Route("/favicon.ico", _nothing),
            *connection_routes(toolkit, get_user=lambda request: request.cookies.get("user"), scope_words={"tools": "Use its tools"}),
        ]
    )
    thread = ServerThread([(served, listener)])
    thread.start()
    yield App(url, toolkit)
    toolkit.run_sync(toolkit.aclose())
    thread.stop()


async def _sign_in(request: Request) -> Response:
    response = PlainTextResponse("Welcome.")
    response.set_cookie("user", request.path_params["name"], httponly=True, samesite="lax")
    return response


async def _nothing(_: Request) -> Response:
    return Response(status_code=204)


Visitor = Callable[..., "Page"]


@pytest.fixture
def visit(chromium: Browser, app: App) -> Iterator[Visitor]:
    """`visit(name)`: a browser of that user's own, signed in, at the page of connections. No page of ours may break its own policy."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def make(name: str, path: str = "/oauth/connections", **options: Any) -> Page:
        context = chromium.new_context(base_url=app.url, viewport=SIZES["desktop"], **options)
        context.set_default_timeout(PATIENCE)
        context.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        contexts.append(context)
        page = context.new_page()
        page.goto(f"/sign-in/{name}")
        page.goto(path)
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def shoot(tmp_path: Path, site: Site) -> Callable[[Page, str], None]:
    """`shoot(page, name)`: the page at both sizes in both colour schemes, as `name-SIZE-SCHEME.png`."""
    folder = Path(os.environ.get("LANGCHAIN_MCP_OAUTH_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.evaluate(ALWAYS_THE_SAME, {site.issuer.removeprefix("http://"): "login.example", site.url.split("/")[2]: "mcp.example"})
        for size, viewport in SIZES.items():
            page.set_viewport_size(viewport)  # type: ignore[arg-type]
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.screenshot(path=folder / f"{name}-{size}-{scheme}.png", full_page=True, animations="disabled")
                width = page.evaluate("document.documentElement.scrollWidth")
                assert width <= viewport["width"], f"{name} is wider than a {size}"
        page.set_viewport_size(SIZES["desktop"])  # type: ignore[arg-type]

    return take
