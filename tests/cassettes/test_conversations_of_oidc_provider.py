"""A whole conversation with an authorization server of others, oidc-provider, replayed where there is no Node.js.

`pytest tests/cassettes -k oidc_provider --record-mcp` records it again; that needs what tests marked `node` need.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import time_machine

from langchain_mcp_oauth import AuthorizationDenied, AuthRequired
from langchain_mcp_oauth.testing import Person
from langchain_mcp_oauth.testing.cassettes import CassetteTransport, use_cassette
from tests.conformance.guarded_by_provider import Site, guarded_by_provider
from tests.conformance.node import find_node

from .conftest import AUTH, MCP
from .test_conversations import FOLDER, eras, make_toolkit

pytestmark = pytest.mark.anyio

HOUR = 3600


class Stage:
    """The two servers of a recording; in a replay there are none, and what would be done to them is not done."""

    def __init__(self, era: Any) -> None:
        self._era = era
        self._site: Site | None = None

    @contextmanager
    def open(self) -> Iterator[dict[str, str]]:
        with guarded_by_provider(find_node(), self._era) as self._site:
            yield {MCP: self._site.url.removesuffix("/mcp"), AUTH: self._site.issuer}

    def direct(self, change: Callable[[Site], object]) -> None:
        if self._site is not None:
            change(self._site)


async def live_through_everything(conversation: CassetteTransport, stage: Stage, folder: Path) -> None:
    """A refusal, a login, a call, a refresh with rotation, a call that needs more than was granted, and the end."""
    ada = Person("ada")
    async with make_toolkit(folder) as toolkit:
        with pytest.raises(AuthRequired) as first:
            await toolkit.aget_tools()
        with pytest.raises(AuthorizationDenied) as denied:
            await toolkit.complete_authorization(await conversation.visit(first.value.authorization_url, ada.adeny))
        assert denied.value.oauth_error == "access_denied"

        with pytest.raises(AuthRequired) as login:
            await toolkit.aget_tools()
        assert (login.value.reason, login.value.issuer) == ("login", AUTH)
        completed = await toolkit.complete_authorization(await conversation.visit(login.value.authorization_url, ada.aapprove))
        assert completed.missing_scopes == ()
        tools = {tool.name: tool for tool in await toolkit.aget_tools()}
        assert "ada" in str(await tools["demo__whoami"].ainvoke({}))

        [before] = await toolkit.store.list_grants("alice")
        with time_machine.travel(time.time() + HOUR, tick=True):
            assert "ada" in str(await tools["demo__whoami"].ainvoke({}))
        [after] = await toolkit.store.list_grants("alice")
        assert after.tokens.refresh_token != before.tokens.refresh_token

        stage.direct(lambda site: site.guard.tool_scopes.update(add="math"))
        with pytest.raises(AuthRequired) as step_up:
            await tools["demo__add"].ainvoke({"a": 1, "b": 2})
        assert (step_up.value.reason, {"tools", "math"} <= set(step_up.value.scopes)) == ("step_up", True)
        await toolkit.complete_authorization(await conversation.visit(step_up.value.authorization_url, ada.aapprove))
        assert "3" in str(await tools["demo__add"].ainvoke({"a": 1, "b": 2}))

        assert await toolkit.disconnect("demo")


@eras
async def test_everything(mcp_cassette: Any, era: str, tmp_path: Path) -> None:
    """Discovery, dynamic registration, PKCE, `iss`, resource indicators, rotation, step-up and revocation, as that server does them."""
    stage = Stage(era)
    with mcp_cassette(f"oidc-provider-{era}.yaml", servers=stage.open) as conversation:
        await live_through_everything(conversation, stage, tmp_path)


@pytest.mark.node
@eras
async def test_recording_again_gives_the_same_bytes(era: str, tmp_path: Path) -> None:
    """The cassette that is checked in is what that server, in the version that is pinned, says today."""
    stage = Stage(era)
    with use_cassette(tmp_path / "again.yaml", recording=True, servers=stage.open) as conversation:
        await live_through_everything(conversation, stage, tmp_path)
    assert (tmp_path / "again.yaml").read_bytes() == (FOLDER / f"oidc-provider-{era}.yaml").read_bytes()
