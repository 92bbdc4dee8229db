"""What a user of a connection sees is the same in both eras; what is on the wire is each era's own."""

from __future__ import annotations

import anyio
import pytest

from langchain_mcp_oauth.connections import ListedTools, dispatcher

from .mcp_servers import Peer, until

pytestmark = pytest.mark.anyio


async def test_a_listing_tells_what_the_server_says_of_itself(peer: Peer, era: str) -> None:
    """Tools, server info, instructions and revision arrive, in every era and mode, and for the second user as for the first."""

    async def list_as(user: str) -> ListedTools:
        return await peer.connection(user).list_tools(peer.grant(user=user))

    first, second = await list_as("ada"), await list_as("bob")
    names = ["echo", "add", "fail", "steps", "wait", "greet", "insist", "greet_modern"]
    assert [tool.name for tool in first.tools] == names
    assert (first.server_info and first.server_info.version, first.protocol_version) == ("7", era[:10])
    assert second.tools == first.tools
    assert second.server_info == first.server_info
    assert peer.front.rpcs().count("server/discover") == 1


async def test_instructions_are_asked_for_by_whoever_wants_them(peer: Peer, era: str) -> None:
    """Whoever's session has heard them is not told again; a 2026-07-28 server that was known and not greeted is asked once."""
    said = [await peer.connection(user).how_to_use(peer.grant(user=user)) for user in ("ada", "ada", "bob", "bob")]
    assert said == ["Be kind."] * 4
    assert peer.front.rpcs().count("server/discover") == (2 if era == "2026-07-28" else 1)


async def test_results(peer: Peer) -> None:
    """Text, structured content and a tool's own failure come back as results."""
    connection, grant = peer.connection(), peer.grant()
    await connection.list_tools(grant)
    assert (await connection.call_tool(grant, "echo", {"text": "grüße"})).content[0].text == "grüße"
    assert (await connection.call_tool(grant, "add", {"a": 1, "b": 2})).structured_content == {"total": 3}
    assert (await connection.call_tool(grant, "fail", {})).is_error


async def test_a_call_is_one_request_on_a_kept_connection(peer: Peer) -> None:
    """After the first call, a call costs exactly one HTTP request and no new TCP connection, also with structured results."""
    connection, grant = peer.connection(), peer.grant()
    await connection.list_tools(grant)
    await connection.call_tool(grant, "echo", {"text": "first"})
    before = peer.front.connections()
    requests = len(peer.front.seen)
    for number in range(20):
        await connection.call_tool(grant, "add", {"a": number, "b": 1})
    assert peer.front.rpcs()[requests:] == ["tools/call"] * 20
    assert peer.front.connections() == before


async def test_parallel_calls_run_in_parallel(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen calls at once use at most sixteen connections, and so do the next sixteen."""
    monkeypatch.setattr(dispatcher, "END_OF_ANSWER", 5.0)  # a server on a busy machine may be slow to end its streams
    connection, grant = peer.connection(), peer.grant()
    answers: list[str] = []

    async def call(number: int) -> None:
        result = await connection.call_tool(grant, "echo", {"text": str(number)})
        answers.append(result.content[0].text)

    async def sixteen() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(16):
                tasks.start_soon(call, number)

    await sixteen()
    await sixteen()
    assert sorted(answers) == sorted([str(number) for number in range(16)] * 2)
    assert peer.front.connections() <= 16


async def test_the_session_is_opened_once_for_all_who_wait(peer: Peer, era: str) -> None:
    """Calls that come while the session is being opened wait for it, and do not open another."""
    connection, grant = peer.connection(), peer.grant()
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(connection.call_tool, grant, "echo", {"text": "hello"})
    opening = ["server/discover"] if era == "2026-07-28" else ["server/discover", "initialize", "notifications/initialized"]
    assert peer.front.rpcs() == opening + ["tools/call"] * 8


async def test_progress_comes_while_the_call_runs(peer: Peer, era: str) -> None:
    """Progress notifications reach the caller's function in order; one that raises does not end the call."""
    seen: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))
        raise LookupError("mine")

    result = await peer.connection().call_tool(peer.grant(), "steps", {"count": 3}, on_progress=on_progress)
    assert result.content[0].text == "done"
    steps = [(1.0, 3.0, "step 1"), (2.0, 3.0, "step 2"), (3.0, 3.0, "step 3")]
    assert seen == ([] if era == "2025-11-25 json" else steps)  # a JSON answer has no room for progress


async def test_cancelling_the_caller_cancels_at_the_server(peer: Peer, era: str) -> None:
    """The tool is cancelled (2025-11-25 by a notification, 2026-07-28 by the closed connection); the session goes on."""
    connection, grant = peer.connection(), peer.grant()
    await connection.call_tool(grant, "echo", {"text": "open"})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.call_tool, grant, "wait", {})
        await until(lambda: "waiting" in peer.example.events)
        tasks.cancel_scope.cancel()
    await until(lambda: "cancelled" in peer.example.events)
    assert len(peer.front.of("notifications/cancelled")) == (0 if era == "2026-07-28" else 1)
    assert (await connection.call_tool(grant, "echo", {"text": "still here"})).content[0].text == "still here"
