"""A user disconnects while something is under way: nothing comes back, and nobody goes on with the token for longer than is promised."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_mcp_oauth import AuthRequired
from langchain_mcp_oauth.authorizer.grant_cache import MAX_AGE
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import KEY, REDIRECT_URI, MakeToolkit
from .logins import log_in, text_of
from .processes import Running, Story, ask, call_until_asked, complete, disconnect


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ProtectedServer]:
    """One era is enough here; marked `options` go to it."""
    marker = request.node.get_closest_marker("server")
    with ProtectedServer(era="2026-07-28", **(marker.kwargs if marker else {})) as running:
        yield running


@pytest.mark.anyio
async def test_disconnecting_while_a_refresh_is_asked_for(make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer) -> None:
    """The call that waited for the refresh asks; nothing is stored."""
    tools = await log_in(make_toolkit(), alice)
    server.expire_tokens()
    gate = server.hold_token_endpoint()
    calling = asyncio.create_task(text_of(tools["whoami"]))
    await gate.await_entered(timeout=60)
    await make_toolkit().disconnect("demo")
    gate.open()
    with pytest.raises(AuthRequired):
        await calling
    assert not (await make_toolkit().status())["demo"].connected


@pytest.mark.anyio
async def test_disconnecting_before_a_refresh_is_saved(
    make_toolkit: MakeToolkit, alice: Person, server: ProtectedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that have come for a login that has gone meanwhile are given back, not kept; the call asks."""
    toolkit = make_toolkit()
    tools = await log_in(toolkit, alice)
    server.expire_tokens()
    save, revoked = toolkit.store.save_grant, [0]

    async def save_late(*arguments: Any, **options: Any) -> Any:
        await make_toolkit().disconnect("demo")
        revoked[0] = server.count(path="/revoke")
        return await save(*arguments, **options)

    monkeypatch.setattr(toolkit.store, "save_grant", save_late)
    with pytest.raises(AuthRequired):
        await text_of(tools["whoami"])
    assert server.count(path="/revoke") > revoked[0] > 0
    assert not (await toolkit.status())["demo"].connected


@pytest.mark.slow
@pytest.mark.server(metadata={"revocation_endpoint": None})
def test_other_processes_stop_within_the_promised_time(server: ProtectedServer, tmp_path: Path) -> None:
    """Where the issuer cannot revoke, another process with open sessions goes on for `MAX_AGE` seconds at most, then asks."""
    story = Story(server.url, server.allowed_private_hosts, f"sqlite:///{tmp_path / 'tokens.db'}", KEY, REDIRECT_URI)
    asked: Any = asyncio.run(ask(story))
    asyncio.run(complete(story, Person("alice").approve(asked[0])))
    other = Running(call_until_asked, story, stop_at="ready")
    other.reach("ready")
    assert asyncio.run(disconnect(story)) is False
    other.go_on()
    calls, seconds = other.wait().value()
    assert calls > 0
    assert seconds <= MAX_AGE + 5, "and a little, on a busy machine"
