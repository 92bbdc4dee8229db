"""The library's own conversations, whole, with a server of each era: `pytest tests/cassettes --record-mcp` records them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from langchain_mcp_oauth import AuthorizationDenied, AuthRequired, MCPOAuthToolkit
from langchain_mcp_oauth.testing import Person, ProtectedServer
from langchain_mcp_oauth.testing.cassettes import CassetteError, CassetteTransport, use_cassette

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[2] / "cassettes"
KEY = Fernet.generate_key().decode()

eras = pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])


class Stage:
    """The server of a recording; in a replay there is none, and what would be done to it is not done."""

    def __init__(self, era: Any, on_stage: Any) -> None:
        self._era = era
        self._on_stage = on_stage
        self._server: ProtectedServer | None = None

    @contextmanager
    def open(self) -> Iterator[dict[str, str]]:
        self._server = ProtectedServer(era=self._era)
        with self._on_stage(self._server) as names:
            yield names

    def direct(self, change: Callable[[ProtectedServer], object]) -> None:
        if self._server is not None:
            change(self._server)


@pytest.fixture
def stage(era: str, on_stage: Any) -> Stage:
    return Stage(era, on_stage)


def make_toolkit(folder: Path) -> MCPOAuthToolkit:
    return MCPOAuthToolkit(
        {"demo": "https://mcp.example.com/mcp"},
        store=f"sqlite:///{folder / 'tokens.db'}",
        redirect_uri="https://app.example.com/oauth/callback",
        user_id="alice",
        encryption_key=KEY,
    )


async def live_through_everything(conversation: CassetteTransport, stage: Stage, folder: Path) -> None:
    """A login, a listing, calls, a token that is no longer accepted, a call that needs more than was granted, and the end."""
    ada = Person("ada")
    async with make_toolkit(folder) as toolkit:
        with pytest.raises(AuthRequired) as login:
            await toolkit.aget_tools()
        assert (login.value.reason, login.value.scopes) == ("login", ("tools",))
        await toolkit.complete_authorization(await conversation.visit(login.value.authorization_url, ada.aapprove))
        tools = {tool.name: tool for tool in await toolkit.aget_tools()}
        assert "ada" in str(await tools["demo__whoami"].ainvoke({}))

        stage.direct(lambda server: server.expire_tokens())
        assert "ada" in str(await tools["demo__whoami"].ainvoke({}))

        stage.direct(lambda server: server.require_scope("add", "math"))
        with pytest.raises(AuthRequired) as step_up:
            await tools["demo__add"].ainvoke({"a": 1, "b": 2})
        assert (step_up.value.reason, step_up.value.scopes) == ("step_up", ("tools", "math"))
        await toolkit.complete_authorization(await conversation.visit(step_up.value.authorization_url, ada.aapprove))
        assert "3" in str(await tools["demo__add"].ainvoke({"a": 1, "b": 2}))

        assert await toolkit.disconnect("demo")


async def refuse(conversation: CassetteTransport, stage: Stage, folder: Path) -> None:
    """The person says no; the next attempt has a URL of its own, and the person says yes."""
    async with make_toolkit(folder) as toolkit:
        with pytest.raises(AuthRequired) as first:
            await toolkit.aget_tools()
        with pytest.raises(AuthorizationDenied):
            await toolkit.complete_authorization(await conversation.visit(first.value.authorization_url, Person("ada").adeny))
        with pytest.raises(AuthRequired) as second:
            await toolkit.aget_tools()
        assert second.value.auth_id != first.value.auth_id
        await toolkit.complete_authorization(await conversation.visit(second.value.authorization_url, Person("ada").aapprove))
        assert await toolkit.aget_tools()


@eras
async def test_everything(mcp_cassette: Any, stage: Stage, era: str, tmp_path: Path) -> None:
    """Story by story, as with the server that was recorded; with the network cut off."""
    with mcp_cassette(f"everything-{era}.yaml", servers=stage.open) as conversation:
        await live_through_everything(conversation, stage, tmp_path)


@eras
async def test_a_refusal(mcp_cassette: Any, stage: Stage, era: str, tmp_path: Path) -> None:
    """A no is told apart from trouble, and is not for ever."""
    with mcp_cassette(f"refusal-{era}.yaml", servers=stage.open) as conversation:
        await refuse(conversation, stage, tmp_path)


@eras
def test_synchronous_code(stage: Stage, tmp_path: Path) -> None:
    """What the library does on its own event loop, in its own thread, is recorded and replayed as well."""
    for options in ({"recording": True, "servers": stage.open}, {}):
        toolkit = make_toolkit(tmp_path / ("recorded" if options else "replayed"))
        with use_cassette(tmp_path / "it.yaml", **options), pytest.raises(AuthRequired):
            toolkit.get_tools()
        toolkit.run_sync(toolkit.aclose())


@eras
async def test_recording_again_gives_the_same_bytes(stage: Stage, tmp_path: Path) -> None:
    """Other ports, tokens and times: the same file, so that a diff shows what has changed."""
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        with use_cassette(tmp_path / f"{name}.yaml", recording=True, servers=stage.open) as conversation:
            await live_through_everything(conversation, stage, tmp_path / name)
    assert (tmp_path / "once.yaml").read_bytes() == (tmp_path / "again.yaml").read_bytes()


@pytest.mark.slow
@eras
async def test_no_interaction_can_be_missing(stage: Stage, era: str, tmp_path: Path) -> None:
    """Cut any one out of the cassette and the replay fails, also where the library is patient with its server."""
    whole = yaml.safe_load((FOLDER / f"everything-{era}.yaml").read_text())
    for index, cut in enumerate(whole["interactions"]):
        (tmp_path / f"{index}").mkdir()
        path = tmp_path / f"{index}" / "cut.yaml"
        path.write_text(yaml.safe_dump({**whole, "interactions": [each for each in whole["interactions"] if each is not cut]}))
        with pytest.raises(Exception) as failure, use_cassette(path) as conversation:
            await live_through_everything(conversation, stage, path.parent)
        told = "\n".join([str(failure.value), *getattr(failure.value, "__notes__", [])])
        assert "was not recorded" in told, f"{cut['request']['method']} {cut['request']['uri']}: {told}"


@eras
async def test_nothing_can_be_added(stage: Stage, era: str, tmp_path: Path) -> None:
    """One more request than was recorded fails."""

    async def live_twice(conversation: CassetteTransport) -> None:
        await live_through_everything(conversation, stage, tmp_path)
        await live_through_everything(conversation, stage, tmp_path)

    with pytest.raises(CassetteError, match="has been replayed already"), use_cassette(FOLDER / f"everything-{era}.yaml") as conversation:
        await live_twice(conversation)
