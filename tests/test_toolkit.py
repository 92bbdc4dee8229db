"""What a toolkit is when nothing but servers is given, and what its copies share."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest
from langchain_core.tools import BaseToolkit

from langchain_mcp_oauth import LoopbackBrowser, MCPOAuthToolkit, MCPServer, SQLModelTokenStore

pytestmark = pytest.mark.anyio

URL = "https://mcp.example.com/mcp"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a desktop, where nobody has configured anything."""
    for variable, folder in (("XDG_DATA_HOME", "data"), ("XDG_CONFIG_HOME", "config")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    for variable in ("LANGCHAIN_MCP_OAUTH_KEY", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


async def test_the_default_store_is_a_file_of_the_users_own(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Tokens in the data directory, the key in the configuration directory, both for their owner only; one warning says what to set."""
    with caplog.at_level(logging.WARNING, logger="langchain_mcp_oauth"):
        async with MCPOAuthToolkit({"demo": URL}, user_id="me") as toolkit:
            assert not (await toolkit.status())["demo"].connected
    database = home / "data" / "langchain-mcp-oauth" / "tokens.db"
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    [key] = [
        path
        for path in (home / "config").rglob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_size
    ]
    assert key.parent != database.parent
    assert "LANGCHAIN_MCP_OAUTH_KEY" in caplog.text
    async with MCPOAuthToolkit({"demo": URL}, user_id="me") as again:
        assert not (await again.status())["demo"].connected


def test_servers_are_given_in_three_forms() -> None:
    """A URL, a dict and an `MCPServer` are the same."""
    store = SQLModelTokenStore("sqlite://")
    toolkit = MCPOAuthToolkit({"a": URL, "b": {"url": URL}, "c": MCPServer(URL)}, store=store)
    assert isinstance(toolkit, BaseToolkit)
    assert set(toolkit.servers) == {"a", "b", "c"}
    assert len({server.model_dump_json() for server in toolkit.servers.values()}) == 1
    assert toolkit.store is store


def test_the_loopback_browser_brings_its_redirect_uri() -> None:
    """Three lines are enough for a script."""
    browser = LoopbackBrowser()
    assert MCPOAuthToolkit({"a": URL}, store="sqlite://", on_auth_required=browser).redirect_uri == browser.redirect_uri


async def test_a_users_copy_leaves_the_store_open() -> None:
    """`for_user` shares; only the toolkit that opened the store closes it."""
    async with MCPOAuthToolkit({"a": URL}, store="sqlite://") as toolkit:
        async with toolkit.for_user("alice") as alice:
            assert alice.store is toolkit.store
        assert set(await toolkit.status(user_id="alice")) == {"a"}
