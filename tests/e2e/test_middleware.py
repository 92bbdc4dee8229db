"""`MCPOAuthMiddleware`: one agent, built before there is a user, over two protected servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_mcp_oauth import (
    AuthRequired,
    ConfigurationError,
    MCPOAuthMiddleware,
    MCPOAuthToolkit,
    UserRequiredError,
    auth_interrupts,
    resume_command,
)
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .agents import HELLO, Scripted, as_user, calling, tool_messages
from .conftest import ERAS, KEY, REDIRECT_URI
from .test_catalogue import LISTING

pytestmark = pytest.mark.anyio

MakeToolkit = Callable[..., MCPOAuthToolkit]

both_eras = pytest.mark.parametrize("servers", ERAS, indirect=True)
"""For the two stories whose turns differ on the wire; the rest does not depend on the era."""

open_listing = pytest.mark.server(anonymous=LISTING)


@pytest.fixture(params=ERAS[1:])
def servers(request: pytest.FixtureRequest) -> Iterator[dict[str, ProtectedServer]]:
    """Two servers, `mail` and `files`; marked `options` go to both."""
    marker = request.node.get_closest_marker("server")
    options = marker.kwargs if marker else {}
    with ProtectedServer(era=request.param, **options) as mail, ProtectedServer(era=request.param, **options) as files:
        yield {"mail": mail, "files": files}


@pytest.fixture
async def make_toolkit(servers: dict[str, ProtectedServer], database: str) -> AsyncIterator[MakeToolkit]:
    made: list[MCPOAuthToolkit] = []

    def make(**options: Any) -> MCPOAuthToolkit:
        hosts = [host for server in servers.values() for host in server.allowed_private_hosts]
        options = {"store": database, "encryption_key": KEY, "redirect_uri": REDIRECT_URI, "allowed_private_hosts": hosts, **options}
        made.append(MCPOAuthToolkit({name: server.url for name, server in servers.items()}, **options))
        return made[-1]

    yield make
    for toolkit in made:
        await toolkit.aclose()


def agent_of(model: Scripted, toolkit: MCPOAuthToolkit, *, tools: Any = (), **options: Any) -> Any:
    return create_agent(model, tools, middleware=[MCPOAuthMiddleware(toolkit, **options)], checkpointer=InMemorySaver())


async def complete(toolkit: MCPOAuthToolkit, person: Person, *payloads: dict[str, Any]) -> None:
    """The browser comes back for each, to another process."""
    for payload in payloads:
        await toolkit.complete_authorization(await person.aapprove(payload["authorization_url"]), user_id=person.name)


@both_eras
@open_listing
async def test_one_interrupt_for_all_servers_of_a_turn(
    make_toolkit: MakeToolkit, alice: Person, servers: dict[str, ProtectedServer]
) -> None:
    """Before any tool runs: one payload, with one for each server; one answer, and every call is made once."""
    runs: list[str] = []

    @tool
    def own() -> str:
        """Count."""
        runs.append("run")
        return "own"

    calls = ["mail__whoami", "files__whoami", "files__echo", "own"]
    agent = agent_of(calling(calls), make_toolkit(), tools=[own])
    stopped = await agent.ainvoke(HELLO, as_user("alice"))
    [payload] = auth_interrupts(stopped)
    assert runs == []
    assert [one["server"] for one in payload["requests"]] == ["mail", "files"]
    assert payload["authorization_url"] == payload["requests"][0]["authorization_url"]
    assert [(one["stage"], one["tool_name"], one["attempt"]) for one in payload["requests"]] == [
        ("call_tool", "mail__whoami", 1),
        ("call_tool", "files__whoami", 1),
    ]
    assert {type(value) for one in payload["requests"] for value in one.values()} <= {str, int, list}
    await complete(make_toolkit(), alice, *payload["requests"])
    finished = await agent.ainvoke(resume_command(stopped), as_user("alice"))
    texts = {name: message.text for name, message in tool_messages(finished).items()}
    assert texts == {"mail__whoami": "alice", "files__whoami": "alice", "files__echo": "x", "own": "own"}
    assert runs == ["run"]
    assert {name: len(server.calls) for name, server in servers.items()} == {"mail": 1, "files": 2}


@open_listing
async def test_resuming_too_early_asks_for_the_rest(make_toolkit: MakeToolkit, alice: Person) -> None:
    """One of two logins is there: the next interrupt is about the other alone."""
    agent = agent_of(calling(["mail__whoami", "files__whoami"]), make_toolkit())
    stopped = await agent.ainvoke(HELLO, as_user("alice"))
    [payload] = auth_interrupts(stopped)
    await complete(make_toolkit(), alice, payload["requests"][1])
    [again] = auth_interrupts(await agent.ainvoke(resume_command(stopped), as_user("alice")))
    assert [(one["server"], one["attempt"]) for one in again["requests"]] == [("mail", 2)]


@open_listing
async def test_a_refusal_fails_only_the_calls_it_is_about(make_toolkit: MakeToolkit, alice: Person) -> None:
    """The server that was connected meanwhile is called; the model is told of the other."""
    agent = agent_of(calling(["mail__whoami", "files__whoami"]), make_toolkit())
    stopped = await agent.ainvoke(HELLO, as_user("alice"))
    [payload] = auth_interrupts(stopped)
    await complete(make_toolkit(), alice, payload["requests"][1])
    finished = await agent.ainvoke(resume_command(stopped, {"status": "cancelled"}), as_user("alice"))
    messages = tool_messages(finished)
    assert (messages["mail__whoami"].status, messages["files__whoami"].text) == ("error", "alice")
    assert finished["messages"][-1].text == "done"


@open_listing
async def test_each_call_asks_for_itself_if_told_to(make_toolkit: MakeToolkit) -> None:
    """`per_call`: as without the middleware."""
    agent = agent_of(calling(["mail__whoami", "files__whoami"]), make_toolkit(), mode="per_call")
    payloads = auth_interrupts(await agent.ainvoke(HELLO, as_user("alice")))
    assert sorted(payload["server"] for payload in payloads) == ["files", "mail"]
    assert not any("requests" in payload for payload in payloads)


async def test_a_listing_that_wants_a_login_asks_first(make_toolkit: MakeToolkit, alice: Person) -> None:
    """At the run's first model call, once for both; then the model sees both servers' tools, and nobody is asked again."""
    model = calling("mail__whoami", "files__whoami")
    agent = agent_of(model, make_toolkit())
    stopped = await agent.ainvoke(HELLO, as_user("alice"))
    [payload] = auth_interrupts(stopped)
    assert [(one["server"], one["stage"]) for one in payload["requests"]] == [("mail", "list_tools"), ("files", "list_tools")]
    assert model.offered == []
    await complete(make_toolkit(), alice, *payload["requests"])
    finished = await agent.ainvoke(resume_command(stopped), as_user("alice"))
    assert {name: message.text for name, message in tool_messages(finished).items()} == {
        "mail__whoami": "alice",
        "files__whoami": "alice",
    }


@both_eras
async def test_a_refused_listing_leaves_a_tool_to_connect(make_toolkit: MakeToolkit, alice: Person) -> None:
    """The run goes on without the server's tools; when the model wants them, the person is asked, and they are there in the next turn."""
    model = calling("connect_mail", "mail__whoami")
    agent = agent_of(model, make_toolkit())
    stopped = await agent.ainvoke(HELLO, as_user("alice"))
    asked = await agent.ainvoke(resume_command(stopped, {"status": "cancelled"}), as_user("alice"))
    assert model.offered == [["connect_mail", "connect_files"]]
    [payload] = auth_interrupts(asked)
    assert (payload["server"], payload["tool_name"]) == ("mail", "connect_mail")
    await complete(make_toolkit(), alice, payload)
    finished = await agent.ainvoke(resume_command(asked), as_user("alice"))
    assert tool_messages(finished)["mail__whoami"].text == "alice"
    assert "mail__whoami" in model.offered[1]
    assert "connect_files" in model.offered[1]


async def test_placeholders_instead_of_a_question(make_toolkit: MakeToolkit) -> None:
    """`on_unauthorized="placeholder"`: the run starts at once."""
    model = calling()
    finished = await agent_of(model, make_toolkit(on_unauthorized="placeholder")).ainvoke(HELLO, as_user("alice"))
    assert (finished["messages"][-1].text, model.offered) == ("done", [["connect_mail", "connect_files"]])


async def test_tools_appear_as_soon_as_their_server_is_connected(make_toolkit: MakeToolkit, alice: Person) -> None:
    """Also when that happens elsewhere, such as on the page of connections, while the run is at something else."""
    elsewhere = make_toolkit()

    @tool
    async def own() -> str:
        """Take a while, in which alice connects her mail."""
        needed = await elsewhere.begin_authorization("mail", user_id="alice")
        assert needed is not None
        await complete(elsewhere, alice, needed.payload())
        return "own"

    model = calling("own", "mail__whoami")
    agent = agent_of(model, make_toolkit(on_unauthorized="placeholder"), tools=[own])
    result = await agent.ainvoke(HELLO, as_user("alice"))
    assert model.offered[:2] == [
        ["own", "connect_mail", "connect_files"],
        ["own", *[name for name in model.offered[1] if name.startswith("mail__")], "connect_files"],
    ]
    assert tool_messages(result)["mail__whoami"].text == "alice"


@pytest.mark.slow
@open_listing
async def test_a_thousand_users_of_one_graph(make_toolkit: MakeToolkit, servers: dict[str, ProtectedServer]) -> None:
    """Built once, before any of them was known; fifty run at any time, and every call is made as its own user."""
    toolkit, issuer = make_toolkit(), servers["mail"].authorization_server
    agent = agent_of(calling("mail__whoami"), toolkit)
    turn = asyncio.Semaphore(50)

    async def run(name: str) -> None:
        async with turn:
            login = issuer.issue_to("app", name, ["tools"]).model_dump(exclude_none=True)
            endpoint = f"{servers['mail'].issuer}/token"
            await toolkit.save_token_response(
                "mail", login, issuer=servers["mail"].issuer, token_endpoint=endpoint, client_id="app", user_id=name
            )
            result = await agent.ainvoke(HELLO, as_user(name, name))
            assert tool_messages(result)["mail__whoami"].text == name

    await asyncio.gather(*(run(f"user-{number}") for number in range(1_000)))
    assert sorted(call.user for call in servers["mail"].calls if call.user) == sorted(f"user-{number}" for number in range(1_000))


@open_listing
async def test_users_of_one_agent_never_mix(make_toolkit: MakeToolkit, alice: Person, bob: Person) -> None:
    """Twenty runs of two users at once: each call carries its own user's token; whoever is not connected is asked."""
    toolkit = make_toolkit()
    for person in (alice, bob):
        needed = [await toolkit.begin_authorization("mail", user_id=person.name)]
        assert isinstance(needed[0], AuthRequired)
        await complete(toolkit, person, needed[0].payload())
    agent = agent_of(calling("mail__whoami"), toolkit)
    runs = [agent.ainvoke(HELLO, as_user(("alice", "bob")[n % 2], f"t-{n}")) for n in range(20)]
    results = await asyncio.gather(*runs, agent.ainvoke(HELLO, as_user("carol", "carol")))
    assert [tool_messages(result)["mail__whoami"].text for result in results[:-1]] == ["alice", "bob"] * 10
    assert len(auth_interrupts(results[-1])) == 1


@open_listing
async def test_a_sync_agent(make_toolkit: MakeToolkit, alice: Person) -> None:
    """`invoke`, without a line of async code."""
    agent = agent_of(calling(["mail__whoami", "files__whoami"]), make_toolkit())
    stopped = await asyncio.to_thread(agent.invoke, HELLO, as_user("alice"))
    [payload] = auth_interrupts(stopped)
    await complete(make_toolkit(), alice, *payload["requests"])
    finished = await asyncio.to_thread(agent.invoke, resume_command(stopped), as_user("alice"))
    assert {message.text for message in tool_messages(finished).values()} == {"alice"}


@open_listing
async def test_servers_are_listed_once_in_a_run(make_toolkit: MakeToolkit, servers: dict[str, ProtectedServer]) -> None:
    """Though they give no hint: the turns after the first, and the calls, go by the first turn's listing."""

    @tool
    def own() -> str:
        """Nothing."""
        return "own"

    agent = agent_of(calling("own", "own", "own"), make_toolkit(), tools=[own])
    await agent.ainvoke(HELLO, as_user("alice"))
    assert [server.count(rpc="tools/list") for server in servers.values()] == [1, 1]


@open_listing
async def test_names_that_are_taken(make_toolkit: MakeToolkit) -> None:
    """`create_agent` would take the last of two tools with one name, without a word."""
    toolkit = make_toolkit()
    agent = agent_of(calling(), toolkit, tools=await toolkit.aget_tools(user_id="alice"))
    with pytest.raises(ConfigurationError, match="mail__whoami"):
        await agent.ainvoke(HELLO, as_user("alice"))


@open_listing
async def test_a_run_without_a_user(make_toolkit: MakeToolkit) -> None:
    """A shared identity is never assumed."""
    with pytest.raises(UserRequiredError):
        await agent_of(calling(), make_toolkit()).ainvoke(HELLO, {"configurable": {"thread_id": "t"}})


def test_a_mode_that_does_not_exist() -> None:
    """The message names those there are."""
    mode: Any = "together"
    with pytest.raises(ConfigurationError, match="'batched' or 'per_call'"):
        MCPOAuthMiddleware(MCPOAuthToolkit({}, store="sqlite://"), mode=mode)
