"""Nothing secret is written anywhere: the whole story is run, everything that was secret in it is collected, and all output searched."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_mcp_oauth import AuthRequired, MCPOAuthError, auth_interrupts, resume_command
from langchain_mcp_oauth.http import drive
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.service import service
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import MakeToolkit
from .logins import message, text_of, tools_of
from .spellings import spellings
from .test_agents import CONFIG, HELLO, LISTING, model

T = TypeVar("T")

pytestmark = [pytest.mark.anyio, pytest.mark.server(anonymous=LISTING, optional_scopes=("math",))]

FORM_SECRETS = {"code", "code_verifier", "refresh_token", "client_secret", "token"}
ANSWER_SECRETS = {"access_token", "refresh_token", "client_secret", "registration_access_token"}

OURS = ("langchain_mcp_oauth", "sqlalchemy", "langgraph", "langchain")
"""Loggers that are this library's to keep clean at every level. `httpx2` prints URLs at INFO; see SECURITY.md."""


class Secrets:
    """Every secret that passed over the wire."""

    def __init__(self) -> None:
        self.values: set[str] = set()

    def watch(self, flow: Flow[T]) -> Flow[T]:
        """The same conversation, looked at."""
        request = next(flow)
        while True:
            response = yield request
            self.collect(request, response)
            try:
                request = flow.send(response)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    def collect(self, request: httpx2.Request, response: httpx2.Response) -> None:
        form = parse_qs(request.content.decode(errors="replace")) if request.method == "POST" else {}
        self.values.update(value for name in FORM_SECRETS & form.keys() for value in form[name])
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        self.values.update({credentials} - {""})
        if scheme.lower() == "basic":
            self.values.update(base64.b64decode(credentials).decode().split(":")[1:])
        if response.headers.get("content-type", "").startswith("application/json"):
            answer = response.json()
            self.values.update(str(answer[name]) for name in ANSWER_SECRETS & answer.keys())

    def found_in(self, text: bytes | str) -> list[str]:
        """Those that stand in `text` as they are, quoted, in hexadecimal or in base64."""
        data = text.encode(errors="replace") if isinstance(text, str) else text
        return [value for value in self.values if any(form in data for form in spellings(value))]


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    found = Secrets()
    monkeypatch.setattr(service, "drive", lambda flow, client: drive(found.watch(flow), client))
    return found


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """Every record of every logger, at every level."""
    kept: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    keep, root = Keep(level=logging.NOTSET), logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in OURS}
    root.addHandler(keep)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield kept
    root.removeHandler(keep)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


async def everything_that_can_happen(
    make_toolkit: MakeToolkit, server: ProtectedServer, alice: Person, checkpoints: str
) -> tuple[list[BaseException], list[Any], set[str]]:
    """A story with every kind of trouble; the errors, the objects people print, and the states."""
    errors: list[BaseException] = []
    states: set[str] = set()

    async def expect(awaitable: Any) -> BaseException:
        with pytest.raises(MCPOAuthError) as raised:
            await awaitable
        errors.append(raised.value)
        return raised.value

    async def agent(saver: AsyncSqliteSaver) -> Any:
        from langchain.agents import create_agent

        toolkit = make_toolkit(start_url="https://app.example/oauth/start")
        return create_agent(model("demo__whoami"), await toolkit.aget_tools(), checkpointer=saver)

    async with AsyncSqliteSaver.from_conn_string(checkpoints) as saver:
        running = await agent(saver)
        stopped = await running.ainvoke(HELLO, CONFIG)
        assert len(auth_interrupts(stopped)) == 1
        tools = await tools_of(make_toolkit())
        needed = await expect(message(tools["whoami"]))
        assert isinstance(needed, AuthRequired)
        callback_url = await alice.aapprove(needed.authorization_url)
        states.update(parse_qs(urlsplit(needed.authorization_url).query)["state"])
        await expect(make_toolkit().complete_authorization(callback_url, user_id="mallory"))
        await expect(make_toolkit().complete_authorization(callback_url.replace("iss=", "iss=x")))
        await make_toolkit().complete_authorization(callback_url)
        await running.ainvoke(resume_command(stopped), CONFIG)
    server.expire_tokens()
    server.fail_token_endpoint(503)
    await expect(message(tools["whoami"]))
    assert await text_of(tools["whoami"]) == "alice"
    server.require_scope("add", "math")
    more = await expect(message(tools["add"], a=1, b=1))
    assert isinstance(more, AuthRequired)
    states.update(parse_qs(urlsplit(more.authorization_url).query)["state"])
    await expect(make_toolkit().complete_authorization(await alice.adeny(more.authorization_url)))
    server.revoke_all()
    server.fail_token_endpoint(400, error="invalid_grant")
    await expect(message(tools["whoami"]))
    toolkit = make_toolkit()
    await toolkit.disconnect("demo")
    return errors, [toolkit, *tools.values(), toolkit.store, needed, needed.payload() | {"authorization_url": ""}], states


async def test_nothing_secret_is_written(
    make_toolkit: MakeToolkit,
    server: ProtectedServer,
    alice: Person,
    secrets: Secrets,
    records: list[logging.LogRecord],
    tmp_path: Path,
) -> None:
    """Not in logs, exceptions with their causes, `repr`s, metadata, the token database, its journals, or checkpoints; nor is `state`."""
    errors, objects, states = await everything_that_can_happen(make_toolkit, server, alice, str(tmp_path / "checkpoints.db"))
    await asyncio.to_thread(gc.collect)
    assert len(secrets.values) >= 8, "the story shows fewer secrets than it has; nothing would be found"
    secrets.values |= states

    logged = "\n".join(f"{r.getMessage()} {r.args!r} {r.exc_text}" for r in records if r.name.startswith(OURS))
    assert "langchain_mcp_oauth" in {r.name.split(".")[0] for r in records}, "nothing was logged at all"
    assert secrets.found_in(logged) == []
    for error in errors:
        assert secrets.found_in("".join(traceback.format_exception(error)) + repr(error)) == [], type(error)
    for one in objects:
        assert secrets.found_in(f"{one!r} {one!s} {getattr(one, 'metadata', '')}") == [], type(one)
    files = list(tmp_path.glob("*.db*"))  # noqa: ASYNC240 - a test may wait
    assert {path.name for path in files} >= {"tokens.db", "checkpoints.db"}
    for path in files:
        assert secrets.found_in(path.read_bytes()) == [], path.name


async def test_the_search_finds_what_is_there() -> None:
    """A control: the same search finds a secret that was written, however it was spelled."""
    secrets = Secrets()
    secrets.values = {"tok/en+1"}
    for spelled in ("a tok/en+1", "tok%2Fen%2B1", b"tok/en+1".hex(), base64.b64encode(b"tok/en+1").decode()):
        assert secrets.found_in(spelled) == ["tok/en+1"], spelled
    assert secrets.found_in("tok/en-1") == []
