"""Before the first login, and after it ended: what a toolkit shows while nobody can be asked."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server.caching import CacheHint

from langchain_mcp_oauth import AuthRequired, ConfigurationError, MCPOAuthToolkit, UserRequiredError
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import MakeToolkit
from .logins import log_in, message, text_of, tools_of

pytestmark = pytest.mark.anyio

LISTING = frozenset({"initialize", "notifications/initialized", "server/discover", "tools/list"})
open_listing = pytest.mark.server(anonymous=LISTING)


def listings(server: ProtectedServer) -> int:
    """How often it really listed."""
    return server.count(rpc="tools/list", status=200)


async def names(toolkit: MCPOAuthToolkit) -> set[str]:
    return {tool.name for tool in await toolkit.aget_tools()}


async def test_a_placeholder_stands_in_until_the_login(make_toolkit: MakeToolkit, alice: Person) -> None:
    """Its call asks; after the login it says what there is, and the real tools are listed."""
    toolkit = make_toolkit(on_unauthorized="placeholder")
    [connect] = await toolkit.aget_tools()
    assert (connect.name, connect.args) == ("connect_demo", {})
    with pytest.raises(AuthRequired) as asked:
        await connect.ainvoke({})
    assert (asked.value.tool_name, asked.value.stage) == ("connect_demo", "call_tool")
    await asked.value.complete(await alice.aapprove(asked.value.authorization_url))
    assert "demo__whoami" in await text_of(connect)
    assert "demo__whoami" in await names(toolkit)
    assert "connect_demo" not in await names(toolkit)
    await toolkit.disconnect("demo")
    assert await names(toolkit) == {"connect_demo"}


async def test_a_graph_is_built_before_there_is_a_user(make_toolkit: MakeToolkit, alice: Person) -> None:
    """Placeholders need no user; called in a run, they connect the run's."""
    toolkit = make_toolkit(user_id=None, on_unauthorized="placeholder")
    [connect] = await toolkit.aget_tools()
    await log_in(make_toolkit(), alice)
    assert "demo__whoami" in str(await connect.ainvoke({}, {"configurable": {"user_id": "alice"}}))
    with pytest.raises(UserRequiredError):
        await connect.ainvoke({})


@open_listing
@pytest.mark.parametrize("policy", ["cached", "placeholder"])
async def test_what_anybody_may_list_needs_no_user(make_toolkit: MakeToolkit, alice: Person, policy: str) -> None:
    """A server that lists anonymously gives a graph its real tools; each call goes by the run's user."""
    await log_in_by_calling(make_toolkit(), alice)
    tools = await tools_of(make_toolkit(user_id=None, on_unauthorized=policy))
    assert "alice" in str(await tools["whoami"].ainvoke({}, {"configurable": {"user_id": "alice"}}))


@pytest.mark.slow
@open_listing
async def test_a_server_that_is_down_is_listed_from_the_catalogue(make_toolkit: MakeToolkit, server: ProtectedServer) -> None:
    """`cached`, with and without a user: what it told anybody last is shown, though it cannot be reached now."""
    known = await names(make_toolkit())
    server.__exit__(None, None, None)
    assert await names(make_toolkit(on_unauthorized="cached")) == known
    assert await names(make_toolkit(user_id=None, on_unauthorized="cached")) == known


async def test_what_was_listed_to_a_login_outlives_its_end(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """`cached`: the login has ended, the tools are still there, and their call asks. Nobody else is shown them."""
    known = set(await log_in(make_toolkit(), alice))
    server.revoke_all()
    tools = await tools_of(make_toolkit(on_unauthorized="cached"))
    assert set(tools) == known
    with pytest.raises(AuthRequired):
        await message(tools["whoami"])
    with pytest.raises(AuthRequired):
        await make_toolkit("bob", on_unauthorized="cached").aget_tools()
    with pytest.raises(UserRequiredError, match="placeholder"):
        await make_toolkit(user_id=None, on_unauthorized="cached").aget_tools()


async def test_a_listing_in_date_needs_no_network(make_toolkit: MakeToolkit, alice: Person, bob: Person, server: ProtectedServer) -> None:
    """As long as the server said (2026-07-28), in every process, for its user alone; a login that ends takes it along."""
    server.mcp._lowlevel_server.cache_hints["tools/list"] = CacheHint(ttl_ms=60_000, scope="public")
    hinted = server._guard._era == "2026-07-28"
    await log_in(make_toolkit(), alice)
    for _ in range(3):
        await names(make_toolkit())
    assert listings(server) == (1 if hinted else 4)
    await log_in(make_toolkit("bob"), bob)
    assert listings(server) == (2 if hinted else 5)
    await make_toolkit().disconnect("demo")
    with pytest.raises(AuthRequired):
        await make_toolkit().aget_tools()
    await names(make_toolkit("bob"))
    assert listings(server) == (2 if hinted else 6)


async def test_without_a_user_nothing_is_listed_by_default(make_toolkit: MakeToolkit) -> None:
    """A shared identity is never assumed."""
    with pytest.raises(UserRequiredError):
        await make_toolkit(user_id=None).aget_tools()


def test_an_option_that_does_not_exist() -> None:
    """The message names it and what there is."""
    option: Any = "ask"
    with pytest.raises(ConfigurationError, match="on_unauthorized must be one of 'raise', 'cached', 'placeholder', not 'ask'"):
        MCPOAuthToolkit({}, store="sqlite://", on_unauthorized=option)


async def log_in_by_calling(toolkit: MCPOAuthToolkit, person: Person) -> None:
    with pytest.raises(AuthRequired) as asked:
        await message((await tools_of(toolkit))["whoami"])
    await asked.value.complete(await person.aapprove(asked.value.authorization_url))
