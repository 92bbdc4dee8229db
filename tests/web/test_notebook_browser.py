"""A login in a notebook: one card for each login, the cell goes on by itself, and no link stays behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import httpx2
import pytest

from langchain_mcp_oauth import AuthorizationDenied, MCPOAuthToolkit
from langchain_mcp_oauth.errors import AuthRequired
from langchain_mcp_oauth.loopback import NotebookBrowser
from langchain_mcp_oauth.pages import authorize_card
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .test_loopback_browser import KEY, free_port

pytestmark = pytest.mark.anyio


class Output:
    """A cell's output, where a person finds the link and opens it."""

    def __init__(self, visit: Callable[[str], object]) -> None:
        self.shown: list[str] = []
        self._visit = visit

    def __call__(self, html: str) -> Callable[[str], object]:
        self.shown.append(html)
        place = len(self.shown) - 1
        [link] = re.findall(r'href="([^"]+)"', html)
        self._visiting = asyncio.get_running_loop().run_in_executor(None, self._visit, unescape(link))
        return lambda other: self.shown.__setitem__(place, other)


@pytest.fixture
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer() as running:
        yield running


def toolkit_with(output: Output, server: ProtectedServer, folder: Path) -> MCPOAuthToolkit:
    return MCPOAuthToolkit(
        {"example": server.url},
        user_id="me",
        store=f"sqlite:///{folder / 'tokens.db'}",
        encryption_key=KEY,
        on_auth_required=NotebookBrowser(port=free_port(), show=output, timeout=30),
        allowed_private_hosts=server.allowed_private_hosts,
    )


async def test_the_cell_goes_on_when_the_login_is_done(server: ProtectedServer, tmp_path: Path) -> None:
    """Two calls at once show one card between them; afterwards it says that the server is connected, and its link is gone."""
    output = Output(Person("ada").approve_in_app)
    async with toolkit_with(output, server, tmp_path) as toolkit:
        first, second = await asyncio.gather(toolkit.aget_tools(), toolkit.aget_tools())
    assert [tool.name for tool in first] == [tool.name for tool in second]
    [card] = output.shown
    assert "example</strong> is connected." in card
    assert "href" not in card


async def test_a_refusal_is_raised_and_shown(server: ProtectedServer, tmp_path: Path) -> None:
    """The card says what to do next."""
    output = Output(lambda url: httpx2.get(Person("ada").deny(url), trust_env=False))
    async with toolkit_with(output, server, tmp_path) as toolkit:
        with pytest.raises(AuthorizationDenied):
            await toolkit.aget_tools()
    [card] = output.shown
    assert "run the cell again" in card
    assert "href" not in card


def an_event(name: str, user_code: str | None = None) -> AuthRequired:
    return AuthRequired(
        authorization_url='https://as.example/authorize?a="b"&c=d',
        server=name,
        resource="https://mcp.example",
        issuer=name,
        scopes=(name,),
        reason="login",
        auth_id="1",
        expires_at=datetime(2026, 1, 1, tzinfo=UTC),
        user_code=user_code,
    )


def test_a_code_to_enter_elsewhere_is_shown() -> None:
    """And what to do then: nobody comes back from there (RFC 8628 §3.3)."""
    card = authorize_card(an_event("example", "WDJB-MJHT"))
    assert "Enter the code <strong>WDJB-MJHT</strong> there, then run this cell again." in card
    assert "by itself" not in card


def test_what_others_have_named_is_escaped() -> None:
    """A server's, an issuer's or a scope's name is text, whatever is in it."""
    hostile = "<script>alert(1)</script>"
    card = authorize_card(an_event(hostile))
    assert "<script" not in card
    assert 'href="https://as.example/authorize?a=&quot;b&quot;&amp;c=d"' in card
    assert 'rel="noopener noreferrer"' in card
