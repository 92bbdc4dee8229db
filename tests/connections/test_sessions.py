"""How sessions begin, are renewed and end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from starlette.responses import JSONResponse, Response

from langchain_mcp_oauth.connections import connection as connection_module
from langchain_mcp_oauth.errors import ConnectionFailed, ProtocolError, UnknownServerError
from langchain_mcp_oauth.models import GrantKey

from .mcp_servers import SESSION_ERAS, Connect, Example, Peer, Seen, Serve, app_of, is_modern, refuse_modern, refuse_sessions, until

pytestmark = pytest.mark.anyio

session_eras = pytest.mark.parametrize("era", SESSION_ERAS, indirect=True)


def expire(*sessions: str | None) -> Callable[[Seen], Response | None]:
    """A server that no longer knows these sessions (2025-11-25, session management)."""
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}
    return lambda seen: JSONResponse(body, 404) if seen.headers.get("mcp-session-id") in sessions else None


@session_eras
async def test_an_expired_session_is_opened_again_once(peer: Peer) -> None:
    """404 to a session's request: `initialize` anew without the old id, and the request is sent again; the tool runs once."""
    await peer.connection().call_tool(None, "echo", {"text": "one"})
    old = peer.front.seen[-1].headers["mcp-session-id"]
    peer.front.rules.insert(0, expire(old))
    peer.front.forget()
    await peer.connection().call_tool(None, "echo", {"text": "two"})
    assert peer.front.rpcs() == ["tools/call", "initialize", "notifications/initialized", "tools/call"]
    assert "mcp-session-id" not in peer.front.of("initialize")[0].headers
    assert peer.front.seen[-1].headers["mcp-session-id"] != old
    assert peer.example.events == ["echo one", "echo two"]


@session_eras
async def test_calls_that_lose_the_same_session_open_one_new_one(peer: Peer) -> None:
    """Eight calls at once on an expired session: one handshake, and each tool runs once."""
    await peer.connection().call_tool(None, "echo", {"text": "first"})
    peer.front.rules.insert(0, expire(peer.front.seen[-1].headers["mcp-session-id"]))
    peer.front.forget()
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(peer.connection().call_tool, None, "echo", {"text": str(number)})
    assert len(peer.front.of("initialize")) == 1
    assert sorted(peer.example.events) == sorted(["echo first", *(f"echo {number}" for number in range(8))])


@session_eras
async def test_a_late_404_does_not_end_the_new_session(peer: Peer) -> None:
    """A call that hears of the old session's end when the new one is already there uses that one."""
    await peer.connection().call_tool(None, "echo", {"text": "first"})
    expired = expire(peer.front.seen[-1].headers["mcp-session-id"])

    async def later(scope: Any, receive: Any, send: Any) -> None:
        await until(lambda: len(peer.front.of("tools/call")) == 4)
        await Response(status_code=404)(scope, receive, send)

    peer.front.rules.insert(0, lambda seen: expired(seen) and (later if seen.params["arguments"]["text"] == "late" else expired(seen)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.connection().call_tool, None, "echo", {"text": "late"})
        await until(lambda: len(peer.front.of("tools/call")) == 2)
        tasks.start_soon(peer.connection().call_tool, None, "echo", {"text": "early"})
    assert len(peer.front.of("initialize")) == 2
    assert sorted(peer.example.events) == ["echo early", "echo first", "echo late"]


@session_eras
async def test_a_server_that_forgets_at_once(peer: Peer) -> None:
    """A second 404 is an error; the call was tried twice, not for ever."""
    peer.front.rules.insert(0, lambda seen: Response(status_code=404) if seen.rpc == "tools/call" else None)
    with pytest.raises(ProtocolError, match="forgets its sessions"):
        await peer.connection().call_tool(None, "echo", {"text": "lost"})
    assert len(peer.front.of("tools/call")) == 2


async def test_the_second_user_is_not_an_experiment(peer: Peer, era: str) -> None:
    """What one session has found out about the server's revision saves the next one its probe; nothing else is shared."""
    await peer.connection("ada").call_tool(None, "echo", {"text": "ada"})
    peer.front.forget()
    await peer.connection("bob").call_tool(None, "echo", {"text": "bob"})
    opening = [] if era == "2026-07-28" else ["initialize", "notifications/initialized"]
    assert peer.front.rpcs() == [*opening, "tools/call"]


async def test_a_server_that_has_learned_a_new_revision(serve: Serve, connect: Connect) -> None:
    """A remembered 2025-11-25 server that now speaks only 2026-07-28 is negotiated with anew within the same operation."""
    front = app_of(Example().mcp, "2025-11-25 json")
    url = f"{serve(front)}/mcp"
    connections = await connect(url)
    await connections.get(GrantKey("ada", "example", url)).list_tools(None)
    front.rules[:] = [refuse_sessions]
    listed = await connections.get(GrantKey("bob", "example", url)).list_tools(None)
    assert listed.protocol_version == "2026-07-28"


async def test_a_server_that_has_gone_back(serve: Serve, connect: Connect) -> None:
    """A remembered 2026-07-28 server that now speaks only 2025-11-25 fails one call, which it did not carry out, and then works."""
    example = Example()
    front = app_of(example.mcp, "2026-07-28")
    url = f"{serve(front)}/mcp"
    connection = (await connect(url)).get(GrantKey("ada", "example", url))
    await connection.call_tool(None, "echo", {"text": "before"})
    front.rules[:] = [refuse_modern]
    with pytest.raises(Exception, match="Unsupported protocol version"):
        await connection.call_tool(None, "echo", {"text": "between"})
    await connection.call_tool(None, "echo", {"text": "after"})
    assert example.events == ["echo before", "echo after"]


@pytest.mark.parametrize("status", [400, 404, 405, 500, 501])
@session_eras
async def test_bare_statuses_mean_an_earlier_era(peer: Peer, status: int) -> None:
    """Servers that know nothing of `server/discover` refuse it in all kinds of ways; each leads to the handshake."""
    peer.front.rules.insert(0, lambda seen: Response("no", status) if is_modern(seen) else None)
    assert (await peer.connection().list_tools(None)).protocol_version == "2025-11-25"


@session_eras
async def test_closing_tells_the_server(peer: Peer) -> None:
    """One DELETE with the session's id and revision; whatever the server answers."""
    await peer.connection().call_tool(None, "echo", {"text": "hello"})
    session = peer.front.seen[-1].headers["mcp-session-id"]
    peer.front.rules.insert(0, lambda seen: Response(status_code=405) if seen.method == "DELETE" else None)
    await peer.connections.close(peer.key())
    await peer.connections.close(peer.key())
    last = peer.front.seen[-1]
    assert peer.front.rpcs().count("DELETE") == 1
    assert (last.headers["mcp-session-id"], last.headers["mcp-protocol-version"]) == (session, "2025-11-25")


@pytest.mark.parametrize("era", ["2026-07-28"], indirect=True)
async def test_there_is_nothing_to_close_in_2026(peer: Peer) -> None:
    """No session, no id, no DELETE."""
    await peer.connection().call_tool(None, "echo", {"text": "hello"})
    await peer.connections.close(peer.key())
    assert peer.front.rpcs() == ["server/discover", "tools/call"]
    assert all("mcp-session-id" not in seen.headers for seen in peer.front.seen)


@session_eras
async def test_closing_all(peer: Peer) -> None:
    """Every user's session is ended, and a server that does not answer holds nobody up for more than a second or so."""
    for user in ("ada", "bob", "eve"):
        await peer.connection(user).call_tool(None, "echo", {"text": user})
    peer.front.rules.insert(0, lambda seen: _hanging if seen.method == "DELETE" else None)
    with anyio.fail_after(3):
        await peer.connections.aclose()
    assert peer.front.rpcs().count("DELETE") == 3


async def _hanging(scope: object, receive: object, send: object) -> None:
    await anyio.sleep(1.5)


@session_eras
async def test_idle_sessions_end_at_the_next_use(serve: Serve, connect: Connect, era: str) -> None:
    """After fifteen minutes without a call, at somebody's next call; a session in use is never idle."""
    now = 0.0
    example = Example()
    front = app_of(example.mcp, era)
    url = f"{serve(front)}/mcp"
    connections = await connect(url, clock=lambda: now)
    keys = {user: GrantKey(user, "example", url) for user in ("ada", "bob", "eve")}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connections.get(keys["ada"]).call_tool, None, "wait", {})
        await until(lambda: example.events)
        await connections.get(keys["bob"]).call_tool(None, "echo", {"text": "bob"})
        now = 14 * 60
        await connections.get(keys["eve"]).call_tool(None, "echo", {"text": "eve"})
        assert "DELETE" not in front.rpcs()
        now = 16 * 60
        await connections.get(keys["eve"]).call_tool(None, "echo", {"text": "eve"})
        assert "DELETE" not in front.rpcs(), "ada's call is under way, and she is first in line"
        tasks.cancel_scope.cancel()
    now = 40 * 60
    await connections.get(keys["eve"]).call_tool(None, "echo", {"text": "eve"})
    assert front.rpcs().count("DELETE") == 2


@session_eras
async def test_the_number_of_sessions_is_bounded(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the session unused longest ends."""
    monkeypatch.setattr(connection_module, "MAX_SESSIONS", 3)
    for number in range(5):
        await peer.connection(f"user {number}").call_tool(None, "echo", {"text": str(number)})
    ended = [seen.headers["mcp-session-id"] for seen in peer.front.seen if seen.method == "DELETE"]
    assert ended == [seen.headers["mcp-session-id"] for seen in peer.front.of("tools/call")][:2]


@session_eras
async def test_a_user_who_disconnects_while_connecting(peer: Peer) -> None:
    """The session that comes about all the same is ended, and the call says so."""

    async def slowly(scope: object, receive: object, send: object) -> None:
        await anyio.sleep(0.2)
        await peer.front.app(scope, receive, send)  # type: ignore[arg-type]

    peer.front.rules.insert(0, lambda seen: slowly if seen.rpc == "initialize" else None)  # type: ignore[arg-type,return-value]

    async def call() -> None:
        with pytest.raises(ConnectionFailed, match="disconnected"):
            await peer.connection().call_tool(None, "echo", {"text": "late"})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await until(lambda: peer.front.of("initialize"))
        await peer.connections.close(peer.key())
    assert peer.example.events == []
    assert peer.front.rpcs()[-1] == "DELETE"


async def test_an_operation_has_one_deadline(serve: Serve, connect: Connect, era: str) -> None:
    """It covers everything, opening included; the call is cancelled at the server, and the next one works."""
    example = Example()
    front = app_of(example.mcp, era)
    url = f"{serve(front)}/mcp"
    connection = (await connect(url, timeout=1.0)).get(GrantKey("ada", "example", url))
    with anyio.fail_after(3), pytest.raises(ConnectionFailed, match=r"not done within 1 s"):
        await connection.call_tool(None, "wait", {})
    await until(lambda: "cancelled" in example.events)
    await connection.call_tool(None, "echo", {"text": "again"})


async def test_unknown_servers(connect: Connect) -> None:
    """A name that is not configured is a typed error."""
    connections = await connect("http://127.0.0.1:9/mcp")
    with pytest.raises(UnknownServerError):
        connections.get(GrantKey("ada", "nobody", "http://127.0.0.1:9/mcp"))
