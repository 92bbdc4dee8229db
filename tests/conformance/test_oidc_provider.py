"""The stories of the library at an authorization server of others: oidc-provider, which rotates refresh tokens and notices their reuse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import time_machine
from langchain_core.tools import BaseTool

from langchain_mcp_oauth import AuthorizationDenied, AuthRequired, MCPOAuthToolkit
from langchain_mcp_oauth.models import Grant
from langchain_mcp_oauth.testing import Person

from .guarded_by_provider import Site, guarded_by_provider

pytestmark = [pytest.mark.node, pytest.mark.anyio]

KEY = "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM="
HOUR = 3600

MakeToolkit = Callable[[], MCPOAuthToolkit]


@pytest.fixture(params=["2025-11-25", "2026-07-28"])
def site(node: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    with guarded_by_provider(node, request.param) as running:
        yield running


@pytest.fixture
async def make_toolkit(site: Site, tmp_path: Path) -> AsyncIterator[MakeToolkit]:
    """A fresh toolkit on the shared database; all are closed at the end."""
    made: list[MCPOAuthToolkit] = []

    def make() -> MCPOAuthToolkit:
        made.append(
            MCPOAuthToolkit(
                {"demo": site.url},
                store=f"sqlite:///{tmp_path / 'tokens.db'}",
                encryption_key=KEY,
                redirect_uri="http://127.0.0.1:18080/oauth/callback",
                user_id="alice",
                allowed_private_hosts=site.allowed_private_hosts,
            )
        )
        return made[-1]

    yield make
    for toolkit in made:
        await toolkit.aclose()


async def log_in(toolkit: MCPOAuthToolkit) -> dict[str, BaseTool]:
    """Ask, approve, complete, and list: the tools by their MCP names."""
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    await approve(asked.value)
    return {tool.name.removeprefix("demo__"): tool for tool in await toolkit.aget_tools()}


async def approve(asked: AuthRequired) -> None:
    await asked.complete(await Person("alice").aapprove(asked.authorization_url))


async def text_of(tool: BaseTool, **arguments: Any) -> str:
    return str((await tool.ainvoke({"type": "tool_call", "id": "call-1", "name": tool.name, "args": arguments})).text)


async def grant_of(toolkit: MCPOAuthToolkit) -> Grant:
    [grant] = await toolkit.store.list_grants("alice")
    return grant


async def test_a_login_and_a_call(site: Site, make_toolkit: MakeToolkit) -> None:
    """Discovery, dynamic registration, sign-in and consent pages, code, tool; a token for this resource, and a refresh token."""
    toolkit = make_toolkit()
    tools = await log_in(toolkit)
    assert await text_of(tools["whoami"]) == "alice"
    grant = await grant_of(toolkit)
    assert (grant.issuer, grant.resource) == (site.issuer, site.url)
    assert grant.tokens.refresh_token is not None
    assert site.introspect(grant.tokens.access_token.get_secret_value())["aud"] == site.url


async def test_an_expired_token_is_refreshed_once(site: Site, make_toolkit: MakeToolkit) -> None:
    """Many calls on two toolkits: had any refresh token been sent twice, the authorization server would have ended the login."""
    toolkits = [make_toolkit(), make_toolkit()]
    tools = [await log_in(toolkits[0]), {tool.name.removeprefix("demo__"): tool for tool in await toolkits[1].aget_tools()}]
    before = await grant_of(toolkits[0])
    with time_machine.travel(time.time() + HOUR, tick=True):
        assert await asyncio.gather(*(text_of(tools[n % 2]["whoami"]) for n in range(20))) == ["alice"] * 20
        after = await grant_of(toolkits[0])
    assert after.tokens.refresh_token != before.tokens.refresh_token
    with time_machine.travel(time.time() + 2 * HOUR, tick=True):
        assert await text_of(tools[0]["whoami"]) == "alice"


async def test_a_stolen_refresh_token_ends_the_login(site: Site, make_toolkit: MakeToolkit) -> None:
    """RFC 9700 §4.14: whoever sends a spent refresh token ends the family; the person is asked for a new login, which works."""
    toolkit = make_toolkit()
    tools = await log_in(toolkit)
    stolen = await grant_of(toolkit)
    with time_machine.travel(time.time() + HOUR, tick=True):
        assert await text_of(tools["whoami"]) == "alice"
        assert send_refresh_token(stolen).json()["error"] == "invalid_grant"
        with pytest.raises(AuthRequired) as asked:
            await text_of(tools["whoami"])
    assert asked.value.reason == "expired"
    await approve(asked.value)
    assert await text_of(tools["whoami"]) == "alice"


def send_refresh_token(grant: Grant) -> httpx2.Response:
    assert grant.tokens.refresh_token is not None
    assert grant.client.client_secret is not None
    return httpx2.post(
        grant.token_endpoint,
        data={"grant_type": "refresh_token", "refresh_token": grant.tokens.refresh_token.get_secret_value()},
        auth=(grant.client.client_id, grant.client.client_secret.get_secret_value()),
        trust_env=False,
    )


async def test_a_tool_that_needs_more(site: Site, make_toolkit: MakeToolkit) -> None:
    """403 `insufficient_scope`: asked for by union, granted, and the call works."""
    tools = await log_in(make_toolkit())
    site.guard.tool_scopes["add"] = "math"
    with pytest.raises(AuthRequired) as asked:
        await text_of(tools["add"], a=1, b=2)
    assert asked.value.reason == "step_up"
    assert {"tools", "math"} <= set(asked.value.scopes)
    await approve(asked.value)
    assert "3" in await text_of(tools["add"], a=1, b=2)


async def test_a_person_who_says_no(make_toolkit: MakeToolkit) -> None:
    """`access_denied` with the issuer's name (RFC 9207): a typed error; asking again gives another URL."""
    toolkit = make_toolkit()
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    with pytest.raises(AuthorizationDenied) as denied:
        await toolkit.complete_authorization(await Person("alice").adeny(asked.value.authorization_url))
    assert denied.value.oauth_error == "access_denied"
    with pytest.raises(AuthRequired) as again:
        await toolkit.aget_tools()
    assert again.value.auth_id != asked.value.auth_id


async def test_disconnecting(site: Site, make_toolkit: MakeToolkit) -> None:
    """RFC 7009: neither token is good any more, here and there."""
    toolkit = make_toolkit()
    await log_in(toolkit)
    grant = await grant_of(toolkit)
    access_token = grant.tokens.access_token.get_secret_value()
    assert site.introspect(access_token)["active"]
    assert await toolkit.disconnect("demo")
    assert not site.introspect(access_token)["active"]
    assert send_refresh_token(grant).json()["error"] == "invalid_grant"
    with pytest.raises(AuthRequired):
        await toolkit.aget_tools()
