"""Somebody at a terminal with an empty home, and a protected server."""

from __future__ import annotations

import json
import os
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from langchain_mcp_oauth.cli import app
from langchain_mcp_oauth.testing import Person, ProtectedServer

KEY = "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM="

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment: everything is kept below a temporary directory."""
    environment = {
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "LANGCHAIN_MCP_OAUTH_KEY": KEY,
        "LANGCHAIN_MCP_OAUTH_USER": "ada",
        "NO_COLOR": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # Tests that run at the same time must not wait for each other's browser at one port.
    first = 18_100 + 10 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    monkeypatch.setattr("langchain_mcp_oauth.loopback.browser.PORTS", range(first, first + 10))
    return environment


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A browser in which ada approves at once; what it was told to open."""
    opened: list[str] = []

    def open_(url: str, *_: object) -> bool:
        opened.append(url)
        threading.Thread(target=Person("ada").approve_in_app, args=[url]).start()
        return True

    monkeypatch.setattr(webbrowser, "open", open_)
    return opened


@pytest.fixture
def run(home: dict[str, str], server: ProtectedServer) -> Run:
    """`run("status", ...)`: a command, in this process, that may contact the authorization server."""

    def command(*arguments: str, allow: bool = True) -> Result:
        allowed = [f"--allow={host}" for host in sorted(server.allowed_private_hosts)] if allow else []
        return CliRunner().invoke(app, [arguments[0], *allowed, *arguments[1:]])

    return command


def document(result: Result) -> Any:
    """What a command printed with --json."""
    return json.loads(result.stdout)
