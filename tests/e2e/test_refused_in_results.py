"""Servers that say "not authorized" in a tool's result, with HTTP 200, where `MCPServer.unauthorized_result` recognises it."""

from __future__ import annotations

import pytest
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent

from langchain_mcp_oauth import AuthRequired
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import MakeToolkit
from .logins import log_in, message, text_of

pytestmark = pytest.mark.anyio


def says_unauthorized(result: CallToolResult) -> bool:
    return any(isinstance(block, TextContent) and "401 Unauthorized" in block.text for block in result.content)


DEMO = {"unauthorized_result": says_unauthorized}


class Upstream:
    """A service behind the MCP server, which accepts some of its tokens."""

    def __init__(self, server: ProtectedServer) -> None:
        self.refused: set[str] = set()
        self.refuses_all = False
        server.mcp.add_tool(self.fetch)

    async def fetch(self) -> str:
        """Fetch something from upstream."""
        token = get_access_token()
        assert token is not None
        if self.refuses_all or token.token in self.refused:
            self.refused.add(token.token)
            raise ToolError("upstream said 401 Unauthorized")
        return "fetched"


@pytest.fixture
def upstream(server: ProtectedServer) -> Upstream:
    return Upstream(server)


async def test_it_is_treated_like_a_401(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, upstream: Upstream) -> None:
    """The token is refreshed and the call made again; the model sees its result only."""
    tools = await log_in(make_toolkit(demo=DEMO), alice)
    grant = (await make_toolkit().store.list_grants("alice"))[0]
    upstream.refused.add(grant.tokens.access_token.get_secret_value())
    assert await text_of(tools["fetch"]) == "fetched"
    assert server.count(grant_type="refresh_token", status=200) == 1


async def test_a_person_is_asked_when_refreshing_does_not_help(make_toolkit: MakeToolkit, alice: Person, upstream: Upstream) -> None:
    """And after their login the call works."""
    tools = await log_in(make_toolkit(demo=DEMO), alice)
    upstream.refuses_all = True
    with pytest.raises(AuthRequired) as asked:
        await text_of(tools["fetch"])
    assert asked.value.reason == "expired"
    upstream.refuses_all = False
    await asked.value.complete(await alice.aapprove(asked.value.authorization_url))
    assert await text_of(tools["fetch"]) == "fetched"


async def test_it_is_no_login_loop(make_toolkit: MakeToolkit, alice: Person, upstream: Upstream) -> None:
    """Refused directly after a new login as well: the model is told that another would not help."""
    tools = await log_in(make_toolkit(demo=DEMO), alice)
    upstream.refuses_all = True
    with pytest.raises(AuthRequired) as asked:
        await text_of(tools["fetch"])
    await asked.value.complete(await alice.aapprove(asked.value.authorization_url))
    failed = await message(tools["fetch"])
    assert (failed.status, "refuses a token" in failed.text) == ("error", True)


@pytest.mark.parametrize("demo", [{}, {"unauthorized_result": lambda _: False}], ids=["no hook", "another error"])
async def test_without_it_is_a_failed_message(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, upstream: Upstream, demo: dict[str, object]
) -> None:
    """The server's own words, and nobody is asked."""
    tools = await log_in(make_toolkit(demo=demo), alice)
    upstream.refuses_all = True
    failed = await message(tools["fetch"])
    assert (failed.status, "upstream said" in failed.text) == ("error", True)
    assert server.count(grant_type="refresh_token") == 0
