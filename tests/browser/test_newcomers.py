"""Somebody who has never seen the project gets from the README to a connected server: at a terminal, on a page, in a notebook, in an
application of their own. The README's own commands and blocks, in a new environment, with a real browser.

What stands in for the world: the address in the README is a protected server on loopback, and pip finds this library in a wheel of this
directory. Everything else comes from the registry. Each says how long it took (`pytest -s`), pip and all.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from langchain_mcp_oauth.testing import ProtectedServer
from langchain_mcp_oauth.testing.serving import listen
from tests.cli.terminal import Terminal, at_a_terminal
from tests.docs.pages import ADDRESS, ROOT, read_blocks
from tests.notebooks import Reader, shown

from .conftest import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

BOUND = 300.0
"""Seconds from the first command to a connected server: the five minutes of the first page."""

OPENER = """#!/bin/sh
printf '%s\\n' "$1" >> "$OPENED"
"""
"""The browser that programs are told of (`BROWSER`): it writes down what it is to open, and Chromium goes there."""

SIGN_IN = """
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse


async def sign_in(request):
    request.session["user_id"] = "ada"
    return PlainTextResponse("Welcome.")


app.add_middleware(SessionMiddleware, secret_key="of the reader")
app.add_route("/sign-in", sign_in)
"""
"""What the README's web application leaves to its reader: somebody is signed in."""


class Newcomer:
    """A new environment, an empty home, and a browser."""

    def __init__(self, folder: Path, wheel: Path, page: Page) -> None:
        self.folder = folder
        self.page = page
        self.python = folder / "venv/bin/python"
        self._opened = folder / "opened"
        self._seen = 0
        opener = folder / "browser"
        opener.write_text(OPENER)
        opener.chmod(0o755)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.environment = {
            "PATH": f"{folder / 'venv/bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "BROWSER": f"{opener} %s",
            "OPENED": str(self._opened),
            "PIP_FIND_LINKS": f"{os.environ.get('PIP_FIND_LINKS', '')} {wheel.parent}",
            "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache/pip")),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PS1": "",
        }

    @contextmanager
    def at_a_shell(self) -> Iterator[Terminal]:
        with at_a_terminal(["bash", "--norc", "--noprofile"], self.environment, directory=self.folder) as terminal:
            yield terminal

    def go_where_a_program_leads(self) -> None:
        """In Chromium, as soon as it has opened something."""
        end = time.monotonic() + BOUND
        while len(lines := self._opened.read_text().splitlines() if self._opened.exists() else []) <= self._seen:
            assert time.monotonic() < end, "no browser was opened"
            self.page.wait_for_timeout(50)
        self._seen = len(lines)
        self.page.goto(lines[-1])

    def allow(self) -> None:
        """At the protected server's own page."""
        self.page.get_by_label("Your name").fill("ada")
        self.page.get_by_role("button", name="Allow").click()

    def connect_on_the_page(self) -> None:
        """From the page of connections to the provider and back."""
        self.page.get_by_role("button", name="Connect linear").click()
        self.page.get_by_role("link", name="Continue to").click()
        self.allow()
        self.page.get_by_role("heading", name="Connected to linear").wait_for()
        self.page.get_by_role("link", name="Your connections").click()
        assert self.page.locator(".state").all_inner_texts() == ["Connected"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    [made] = folder.glob("langchain_mcp_oauth-*.whl")
    return made


@pytest.fixture
def linear() -> Iterator[ProtectedServer]:
    with ProtectedServer(one_origin=True) as server:
        yield server


@pytest.fixture
def newcomer(tmp_path: Path, wheel: Path, chromium: Browser) -> Iterator[Newcomer]:
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE)
    yield Newcomer(tmp_path, wheel, context.new_page())
    context.close()


@pytest.fixture
def timed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails beyond the bound, and says how long it took."""
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    print(f"\n{request.node.name}: {seconds:.0f} s")
    assert seconds < BOUND


def readme_commands(after: str) -> list[str]:
    """The commands of the first block of bash after these words, without their comments."""
    text = (ROOT / "README.md").read_text()
    line = text.count("\n", 0, text.index(after))
    block = next(block for block in read_blocks("README.md") if block.language == "bash" and block.line > line)
    return [command.partition("  #")[0].strip() for command in block.text.splitlines()]


def type_in(shell: Terminal, command: str) -> Callable[[], None]:
    """Type it; what is returned waits until it has ended well."""
    begins_at = len(shell.shown)
    shell.type(command)
    shell.type("echo status=$?")

    def wait() -> None:
        ended = shell.wait_for(r"\bstatus=(\d+)", after=begins_at, patience=BOUND)
        assert ended[1] == "0", shell.shown[begins_at:]

    return wait


def run(shell: Terminal, command: str) -> None:
    """Type it, and wait until it has ended well."""
    type_in(shell, command)()


def test_at_a_terminal(newcomer: Newcomer, linear: ProtectedServer, timed: None) -> None:
    """The README's four commands: installed, logged in with the browser, the tools, and what the doctor says."""
    install, login, tools, doctor = (line.replace(ADDRESS, linear.url) for line in readme_commands("**At a terminal**"))
    with newcomer.at_a_shell() as shell:
        run(shell, install)
        logged_in = type_in(shell, login)
        newcomer.go_where_a_program_leads()
        newcomer.allow()
        newcomer.page.get_by_role("heading", name="Connected to linear").wait_for()
        logged_in()
        run(shell, tools)
        run(shell, doctor)
    for text in ("Connected to linear", "whoami", "It registers clients by itself"):
        assert text in shell.shown


def test_on_the_page(newcomer: Newcomer, linear: ProtectedServer, timed: None) -> None:
    """The README's command opens the page; one connects on it, and it says so."""
    install, *_ = readme_commands("**At a terminal**")
    [serve] = (line.replace(ADDRESS, linear.url) for line in readme_commands("**On a page**"))
    with newcomer.at_a_shell() as shell:
        run(shell, install)
        shell.type(serve)
        newcomer.go_where_a_program_leads()
        newcomer.connect_on_the_page()
    assert linear.count(grant_type="authorization_code", status=200) == 1


def test_in_an_application(newcomer: Newcomer, linear: ProtectedServer, timed: None) -> None:
    """The README's web application, with a sign-in of the reader's, under uvicorn; the login is in the database that it names."""
    listener = listen()
    here = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    [block] = [block.text for block in read_blocks("README.md") if "connection_routes(" in block.text]
    (newcomer.folder / "web.py").write_text(block.replace(ADDRESS, linear.url).replace("https://app.example", here) + SIGN_IN)
    with newcomer.at_a_shell() as shell:
        run(shell, 'pip install "langchain-mcp-oauth[web]" uvicorn itsdangerous')
        shell.type(f"uvicorn web:app --port {here.rpartition(':')[2]}")
        shell.wait_for("Uvicorn running on")
        newcomer.page.goto(f"{here}/sign-in")
        newcomer.page.goto(f"{here}/oauth/connections")
        newcomer.connect_on_the_page()
    assert (newcomer.folder / "logins.db").exists()


def test_in_a_notebook(newcomer: Newcomer, timed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first notebook in a new kernel: the card's button is followed in the browser, and the notebook goes on to its end."""
    notebook = nbformat.read(ROOT / "cookbook/01_quickstart.ipynb", as_version=4)
    [install] = [line for line in notebook.cells[0].source.splitlines() if line.startswith("pip install")]
    with newcomer.at_a_shell() as shell:
        run(shell, f"{install} ipykernel")  # the reader's Jupyter
    links: queue.Queue[str] = queue.Queue()
    monkeypatch.setenv("JUPYTER_PATH", str(a_kernel(newcomer.python, newcomer.environment, newcomer.folder)))
    reader = Reader(notebook, press=links.put, kernel="newcomer")
    executed = threading.Thread(target=lambda: asyncio.run(reader.async_execute()), daemon=True)
    executed.start()
    newcomer.page.goto(links.get(timeout=BOUND))
    newcomer.allow()
    newcomer.page.get_by_role("heading", name="Connected to example").wait_for()
    executed.join(BOUND)
    outputs = shown(notebook)
    for text in ("example__whoami", "'text': 'ada'", "revoked: True"):
        assert text in outputs


def a_kernel(python: Path, environment: Mapping[str, str], folder: Path) -> Path:
    """Where Jupyter finds a kernel of that Python, called `newcomer`."""
    spec = folder / "jupyter/kernels/newcomer/kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Newcomer", "language": "python", "env": dict(environment)}))
    return folder / "jupyter"
