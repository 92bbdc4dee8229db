"""A reader of the documentation, and what stands at the address in its examples."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_mcp_oauth.loopback import browser
from langchain_mcp_oauth.testing import Person, ProtectedServer


@pytest.fixture
def linear() -> Iterator[ProtectedServer]:
    """What stands at the address in the examples. Its authorization server is at the same origin, so it needs no permission."""
    with ProtectedServer(one_origin=True, anonymous={"server/discover", "initialize", "notifications/initialized", "tools/list"}) as server:
        yield server


@pytest.fixture(autouse=True)
def _a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody with an empty home, who says yes in the browser that opens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", "A" * 43 + "=")

    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    monkeypatch.setattr(browser, "PORTS", range(8930 + worker, 8931 + worker))  # other processes open the usual ones
    monkeypatch.setattr(webbrowser, "open", lambda url: Person("ada").approve_in_app(url).is_success)
