"""Servers of every kind in one toolkit: no login, the operator's headers, keys that each user supplies, a program, legacy SSE, OAuth."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from starlette.responses import Response

from langchain_mcp_oauth import (
    AuthRequired,
    ConfigurationError,
    CredentialsRequired,
    MCPOAuthMiddleware,
    MCPOAuthToolkit,
    auth_interrupts,
    resume_command,
)
from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.connections.mcp_servers import Example, Front, Seen, serving

from .agents import calling
from .conftest import KEY, REDIRECT_URI
from .logins import message, tools_of
from .test_agents import CONFIG, HELLO, model

pytestmark = pytest.mark.anyio

PROGRAM = str(Path(__file__).parents[1] / "connections" / "program.py")

VALUE = "canary-user-value"


class KeyedServer:
    """An MCP server that wants a key in a header, of those in `keys`, and repeats it to whoever asks."""

    def __init__(self) -> None:
        self.keys = {VALUE}
        self.front = Front(Example().mcp.streamable_http_app(json_response=True))
        self.front.rules.append(self._refuse)
        self.url = ""

    def _refuse(self, seen: Seen) -> Any:
        key = seen.headers.get("authorization", "").removeprefix("Bearer ")
        return None if key in self.keys else Response(status_code=401)


@pytest.fixture
def keyed() -> Iterator[KeyedServer]:
    server = KeyedServer()
    with serving(server.front) as origin:
        server.url = f"{origin}/mcp"
        yield server


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tokens.db'}"


@pytest.fixture
async def toolkit(keyed: KeyedServer, database: str) -> AsyncIterator[MCPOAuthToolkit]:
    servers = {
        "keyed": {
            "url": keyed.url,
            "headers": {"Authorization": "Bearer {{API_KEY}}"},
            "variables": {"API_KEY": "Settings, API keys."},
        }
    }
    async with MCPOAuthToolkit(servers, store=database, encryption_key=KEY, user_id="alice") as made:
        yield made


async def test_a_key_is_asked_for_where_the_tools_are_listed(toolkit: MCPOAuthToolkit, keyed: KeyedServer, database: str) -> None:
    """Nothing is sent before it is there. It is kept sealed, for its user alone, and goes when they disconnect."""
    with pytest.raises(CredentialsRequired) as asked:
        await toolkit.aget_tools()
    assert (asked.value.server, asked.value.names, asked.value.reason, asked.value.stage) == (
        "keyed",
        ("API_KEY",),
        "missing",
        "list_tools",
    )
    assert asked.value.descriptions == ("Settings, API keys.",)
    assert keyed.front.seen == []
    assert not (await toolkit.status())["keyed"].connected

    await toolkit.save_credentials("keyed", {"API_KEY": f" {VALUE}\n"})
    tools = await tools_of(toolkit)
    echoed = await message(tools["echo"], text=f"the key is {VALUE}")
    assert echoed.text == "the key is [redacted]"  # as a token, a key does not come back
    assert (await toolkit.status())["keyed"].connected
    with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as rows:
        assert VALUE not in "\n".join(rows.iterdump())
    with pytest.raises(CredentialsRequired):
        await toolkit.for_user("bob").aget_tools()

    await toolkit.disconnect("keyed")
    with pytest.raises(CredentialsRequired):
        await message(tools["echo"], text="again")


async def test_an_agent_stops_for_a_key_and_goes_on_with_it(toolkit: MCPOAuthToolkit, keyed: KeyedServer) -> None:
    """Refused, it is asked for again, with the reason; kept by the application, it never comes near a checkpoint."""
    await toolkit.save_credentials("keyed", {"API_KEY": VALUE})
    agent = create_agent(scripted({"keyed__echo": {"text": "x"}}), await toolkit.aget_tools(), checkpointer=(saver := InMemorySaver()))
    keyed.keys = {"another-key"}
    stopped = await agent.ainvoke(HELLO, CONFIG)
    [payload] = auth_interrupts(stopped)
    assert (payload["type"], payload["reason"], payload["names"]) == ("mcp_credentials_required", "rejected", ["API_KEY"])
    assert payload["tool_call_id"] == "call-keyed__echo"
    again = await agent.ainvoke(resume_command(stopped), CONFIG)
    assert [payload["attempt"] for payload in auth_interrupts(again)] == [2]
    await toolkit.save_credentials("keyed", {"API_KEY": "another-key"})
    result = await agent.ainvoke(resume_command(again), CONFIG)
    assert [m.text for m in result["messages"] if m.type == "tool"] == ["x"]
    assert "another-key" not in str(saver.storage) + str(saver.writes) + str(saver.blobs)


async def test_an_answer_may_bring_the_key(toolkit: MCPOAuthToolkit, keyed: KeyedServer) -> None:
    """Where the application has no other way; and a refusal is a failed tool message."""
    await toolkit.save_credentials("keyed", {"API_KEY": VALUE})
    agent = create_agent(scripted({"keyed__echo": {"text": "x"}}), await toolkit.aget_tools(), checkpointer=InMemorySaver())
    await toolkit.disconnect("keyed")
    for thread, answer, status in (
        ("1", {"status": "cancelled"}, "error"),
        ("2", {"credentials": {"API_KEY": VALUE}}, "success"),
    ):
        config: Any = {"configurable": {"thread_id": thread}}
        stopped = await agent.ainvoke(HELLO, config)
        result = await agent.ainvoke(resume_command(stopped, answer), config)
        assert [m.status for m in result["messages"] if m.type == "tool"] == [status]


@pytest.fixture
async def both(keyed: KeyedServer, database: str) -> AsyncIterator[Callable[..., MCPOAuthToolkit]]:
    """A server with a login and one with keys, in toolkits that have only the database in common."""
    made: list[MCPOAuthToolkit] = []
    with ProtectedServer() as protected:
        servers = {"keyed": {"url": keyed.url, "headers": {"Authorization": "Bearer {{API_KEY}}"}}, "oauth": protected.url}

        def make(**options: Any) -> MCPOAuthToolkit:
            hosts = protected.allowed_private_hosts
            options = {"redirect_uri": REDIRECT_URI, "allowed_private_hosts": hosts, "user_id": "alice", **options}
            made.append(MCPOAuthToolkit(servers, store=database, encryption_key=KEY, **options))
            return made[-1]

        yield make
        for toolkit in made:
            await toolkit.aclose()


@pytest.mark.parametrize(
    ("policy", "turns", "stage"),
    [("raise", ["oauth__whoami"], "list_tools"), ("placeholder", [["connect_keyed", "connect_oauth"]], "call_tool")],
)
@pytest.mark.parametrize("answered", [False, True], ids=["saved", "in the answer"])
async def test_logins_and_keys_are_asked_for_at_once(
    both: Callable[..., MCPOAuthToolkit], policy: Any, turns: Any, stage: str, answered: bool
) -> None:
    """One interrupt of the middleware has both, before a listing and before a turn's tools; once both are there, the run goes on."""
    middleware = MCPOAuthMiddleware(both(on_unauthorized=policy))
    agent = create_agent(calling(*turns), middleware=[middleware], checkpointer=InMemorySaver())
    stopped = await agent.ainvoke(HELLO, CONFIG)
    [payload] = auth_interrupts(stopped)
    login, keys = payload["requests"]
    assert (login["type"], login["server"], login["stage"]) == ("mcp_auth_required", "oauth", stage)
    assert (keys["type"], keys["server"], keys["stage"], keys["names"]) == ("mcp_credentials_required", "keyed", stage, ["API_KEY"])
    await both().complete_authorization(await Person("alice").aapprove(login["authorization_url"]))
    if not answered:
        await both().save_credentials("keyed", {"API_KEY": VALUE})
    answer = {"credentials": {"API_KEY": VALUE}, "server": "keyed"} if answered else None
    finished = await agent.ainvoke(resume_command(stopped, answer), CONFIG)
    assert {message.status for message in finished["messages"] if message.type == "tool"} == {"success"}


async def test_a_refusal_is_one_for_all(both: Callable[..., MCPOAuthToolkit]) -> None:
    """Each of the calls becomes a failed tool message, once."""
    middleware = MCPOAuthMiddleware(both(on_unauthorized="placeholder"))
    agent = create_agent(calling(["connect_keyed", "connect_oauth"]), middleware=[middleware], checkpointer=InMemorySaver())
    stopped = await agent.ainvoke(HELLO, CONFIG)
    finished = await agent.ainvoke(resume_command(stopped, {"status": "cancelled"}), CONFIG)
    failed = [(message.name, message.status) for message in finished["messages"] if message.type == "tool"]
    assert sorted(failed) == [("connect_keyed", "error"), ("connect_oauth", "error")]


def scripted(arguments: dict[str, dict[str, Any]]) -> Any:
    made = model(*arguments)
    for call in made.responses[0].tool_calls:  # type: ignore[attr-defined]
        call["args"] = arguments[call["name"]]
    return made


async def test_the_operators_own_credentials(keyed: KeyedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment; when they are wrong nobody is asked, and nobody is sent to log in."""
    monkeypatch.setenv("KEYED_TOKEN", VALUE)
    server = {"url": keyed.url, "headers": {"Authorization": "Bearer ${KEYED_TOKEN}"}}
    async with MCPOAuthToolkit({"keyed": server}, store="sqlite://", encryption_key=KEY, user_id="alice") as toolkit:
        tools = await tools_of(toolkit)
        keyed.keys = set()
        refused = await message(tools["echo"], text="x")
        assert (refused.status, "refuses the credentials" in refused.text) == ("error", True)
        with pytest.raises(ConfigurationError, match="has no login"):
            await toolkit.begin_authorization("keyed")
        assert {seen.path for seen in keyed.front.seen} == {"/mcp"}
        assert (await toolkit.status())["keyed"].connected


async def test_all_kinds_in_one_toolkit(keyed: KeyedServer, database: str) -> None:
    """One list of tools; each server by its own way; what one of them needs does not hold up the others."""
    with ProtectedServer() as protected, ExitStack() as stack:
        sse = stack.enter_context(serving(Example().mcp.sse_app()))
        open_server = stack.enter_context(serving(Front(Example().mcp.streamable_http_app())))
        servers = {
            "oauth": protected.url,
            "keyed": {"url": keyed.url, "headers": {"Authorization": "Bearer {{API_KEY}}"}},
            "old": {"url": f"{sse}/sse", "transport": "sse"},
            "open": f"{open_server}/mcp",
            "program": {"command": sys.executable, "args": [PROGRAM]},
        }
        async with MCPOAuthToolkit(
            servers,
            store=database,
            encryption_key=KEY,
            user_id="alice",
            redirect_uri="http://127.0.0.1:18080/oauth/callback",
            allowed_private_hosts=protected.allowed_private_hosts,
        ) as toolkit:
            with pytest.raises(AuthRequired) as asked:
                await toolkit.aget_tools()
            await toolkit.complete_authorization(await Person("alice").aapprove(asked.value.authorization_url))
            await toolkit.save_credentials("keyed", {"API_KEY": VALUE})
            tools = {tool.name: tool for tool in await toolkit.aget_tools()}
            for server in servers:
                assert (await message(tools[f"{server}__echo"], text=server)).text == server
            connected = {name for name, status in (await toolkit.status()).items() if status.connected}
            assert connected == {"oauth", "keyed", "program"}  # the others want nothing, so there is nothing to have
