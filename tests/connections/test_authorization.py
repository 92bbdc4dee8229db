"""Bearer tokens: where they go, and what a server's refusal becomes."""

from __future__ import annotations

import re
from collections.abc import Callable

import anyio
import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response

from langchain_mcp_oauth.connections import Unauthorized
from langchain_mcp_oauth.errors import ConfigurationError, ProtocolError
from langchain_mcp_oauth.grants.client_credentials import ClientCredentials
from langchain_mcp_oauth.models import BearerChallenge, GrantKey

from .mcp_servers import Connect, Example, Front, Peer, Seen, Serve, app_of, make_grant

pytestmark = pytest.mark.anyio

INVALID = {"WWW-Authenticate": 'Bearer error="invalid_token", scope="files:read"'}
INSUFFICIENT = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="files:write"'}


def refuse(status: int, headers: dict[str, str], *, rpc: str | None = None, token: str | None = None) -> Callable[[Seen], Response | None]:
    """Answer requests of that method, or with that token, with this status."""

    def rule(seen: Seen) -> Response | None:
        concerned = (rpc is None or seen.rpc == rpc) and (token is None or seen.headers.get("authorization") == f"Bearer {token}")
        return JSONResponse({"error": "no"}, status, headers) if concerned else None

    return rule


async def test_the_token_is_on_every_request(peer: Peer, era: str) -> None:
    """MCP authorization, token requirements: every HTTP request has it, also the handshake, notifications and the leave-taking."""
    connection, grant = peer.connection(), peer.grant("access-token-1")
    await connection.list_tools(grant)
    await connection.call_tool(grant, "echo", {"text": "hello"})
    await peer.connections.close(peer.key())
    assert {seen.headers.get("authorization") for seen in peer.front.seen} == {"Bearer access-token-1"}
    assert peer.front.rpcs()[-1] == ("tools/call" if era == "2026-07-28" else "DELETE")


SERVICE = {"issuer": "https://as.example.com", "client_id": "reports", "client_secret": "of-the-service"}


@pytest.mark.parametrize("declared", [(), ("io.modelcontextprotocol/oauth-client-credentials",)])
async def test_the_extension_of_a_grant_is_declared(era: str, serve: Serve, connect: Connect, declared: tuple[str, ...]) -> None:
    """SEP-1046: by its identifier, in the handshake of 2025-11-25 and in every request of 2026-07-28; and only where it is used."""
    front = app_of(Example().mcp, era)
    url = f"{serve(front)}/mcp"
    connections = await connect(url, server={**SERVICE, "grant": ClientCredentials()} if declared else {})
    key = GrantKey("ada", "example", url)
    await connections.get(key).list_tools(make_grant(key, "access-token-1"))
    sent = [seen.params for seen in front.of("initialize" if era.startswith("2025-11-25") else "tools/list")]
    assert sent
    for params in sent:
        meta = params.get("_meta", {})
        capabilities = params.get("capabilities") or meta.get("io.modelcontextprotocol/clientCapabilities") or {}
        assert tuple(capabilities.get("extensions") or {}) == declared


async def test_a_call_without_a_grant_is_anonymous(peer: Peer) -> None:
    """No grant, no header; and an earlier caller's token is not used again."""
    connection = peer.connection()
    await connection.call_tool(peer.grant(), "echo", {"text": "with"})
    peer.front.forget()
    await connection.call_tool(None, "echo", {"text": "without"})
    assert [seen.headers.get("authorization") for seen in peer.front.seen] == [None]


async def test_a_session_survives_a_new_token(peer: Peer) -> None:
    """The grant comes with each call; a refresh opens no new session."""
    connection = peer.connection()
    await connection.call_tool(peer.grant("access-token-1"), "echo", {"text": "one"})
    peer.front.forget()
    await connection.call_tool(peer.grant("access-token-2"), "echo", {"text": "two"})
    assert [(seen.rpc, seen.headers["authorization"]) for seen in peer.front.seen] == [("tools/call", "Bearer access-token-2")]


async def test_a_401_is_raised_in_the_callers_frame(peer: Peer) -> None:
    """With the parsed challenge and the grant it was sent with; the call is not repeated, and the session goes on with a new token."""
    connection, old, new = peer.connection(), peer.grant("access-token-1"), peer.grant("access-token-2")
    await connection.call_tool(old, "echo", {"text": "open"})
    peer.front.rules.insert(0, refuse(401, INVALID, token="access-token-1"))
    peer.front.forget()
    with pytest.raises(Unauthorized) as caught:
        await connection.call_tool(old, "echo", {"text": "refused"})
    assert caught.value.challenge == BearerChallenge(401, "invalid_token", ("files:read",))
    assert caught.value.grant is old
    await connection.call_tool(new, "echo", {"text": "accepted"})
    assert peer.front.rpcs() == ["tools/call", "tools/call"]
    assert peer.example.events == ["echo open", "echo accepted"]


async def test_a_step_up_is_raised_too(peer: Peer) -> None:
    """403 `insufficient_scope` (RFC 6750 §3.1) names the scopes."""
    peer.front.rules.insert(0, refuse(403, INSUFFICIENT, rpc="tools/call"))
    with pytest.raises(Unauthorized) as caught:
        await peer.connection().call_tool(peer.grant(), "echo", {"text": "more"})
    assert caught.value.challenge == BearerChallenge(403, "insufficient_scope", ("files:write",))


@pytest.mark.parametrize("headers", [{}, {"WWW-Authenticate": 'Bearer error="invalid_token"'}])
async def test_another_403_is_not_about_authorization(peer: Peer, headers: dict[str, str]) -> None:
    """A plain 403 leads to nobody's login."""
    peer.front.rules.insert(0, refuse(403, headers, rpc="tools/call"))
    with pytest.raises(ProtocolError, match="answered 403"):
        await peer.connection().call_tool(peer.grant(), "echo", {"text": "no"})


async def test_siblings_of_a_refused_call_notice_nothing(peer: Peer) -> None:
    """While one call is answered 401, the others on the same session run on and succeed."""
    connection = peer.connection()
    good, bad = peer.grant("good-token-1"), peer.grant("bad-token-1")
    await connection.call_tool(good, "echo", {"text": "open"})
    peer.front.rules.insert(0, refuse(401, INVALID, token="bad-token-1"))
    outcomes: list[str] = []

    async def call(number: int) -> None:
        try:
            result = await connection.call_tool(bad if number % 4 == 0 else good, "echo", {"text": str(number)})
        except Unauthorized:
            outcomes.append("401")
        else:
            outcomes.append(result.content[0].text)

    async with anyio.create_task_group() as tasks:
        for number in range(16):
            tasks.start_soon(call, number)
    assert sorted(outcomes) == sorted(["401"] * 4 + [str(number) for number in range(16) if number % 4])


async def test_a_401_says_nothing_about_the_era(peer: Peer, era: str) -> None:
    """A server that wants a token for its first request gets no second one of another era, and is negotiated with afterwards."""
    peer.front.rules.insert(0, refuse(401, INVALID, token="bad-token-1"))
    with pytest.raises(Unauthorized):
        await peer.connection().list_tools(peer.grant("bad-token-1"))
    assert peer.front.rpcs() == ["server/discover"]
    listed = await peer.connection().list_tools(peer.grant("good-token-1"))
    assert listed.protocol_version == era[:10]


async def test_a_401_at_the_handshake(peer: Peer, era: str) -> None:
    """A server that is anonymous up to `initialize` or its notification asks for the token there."""
    for rpc in ("initialize", "notifications/initialized"):
        peer.front.rules.insert(0, refuse(401, INVALID, rpc=rpc))
        if era == "2026-07-28":
            await peer.connection().list_tools(None)
        else:
            with pytest.raises(Unauthorized):
                await peer.connection().list_tools(None)
        peer.front.rules.pop(0)


async def test_taking_leave_asks_nobody(peer: Peer) -> None:
    """The DELETE and the cancellation may be answered 401; nothing is raised."""
    await peer.connection().call_tool(peer.grant(), "echo", {"text": "open"})
    peer.front.rules.insert(0, lambda seen: Response(status_code=401) if seen.rpc != "tools/call" else None)
    with anyio.move_on_after(0.2):
        await peer.connection().call_tool(peer.grant(), "wait", {"seconds": 0.5})
    await peer.connections.close(peer.key())


async def test_the_operators_headers(serve: Serve, connect: Connect, era: str) -> None:
    """They are on every request, and change nothing that the protocol or the login sets."""
    front = app_of(Example().mcp, era)
    url = f"{serve(front)}/mcp"
    headers = {"X-Api-Key": "operator-key", "Accept": "text/plain", "Content-Type": "text/plain"}
    connections = await connect(url, server={"headers": headers})
    key = GrantKey("ada", "example", url)
    await connections.get(key).call_tool(make_grant(key, "access-token-1"), "echo", {"text": "hello"})
    await connections.close(key)
    assert {seen.headers["x-api-key"] for seen in front.seen} == {"operator-key"}
    assert {seen.headers["accept"] for seen in front.seen} == {"application/json, text/event-stream"}
    assert {seen.headers["authorization"] for seen in front.seen} == {"Bearer access-token-1"}
    assert {seen.headers["content-type"] for seen in front.seen} == {"application/json"}


async def test_a_grant_of_somebody_else_is_not_sent(peer: Peer) -> None:
    """A mix-up of users, servers or URLs is found before anything leaves."""
    for key in (GrantKey("bob", "example", peer.url), GrantKey("ada", "other", peer.url), GrantKey("ada", "example", peer.url + "2")):
        with pytest.raises(ConfigurationError):
            await peer.connection().list_tools(make_grant(key, "access-token-1"))
    with pytest.raises(ConfigurationError):
        peer.connections.get(GrantKey("ada", "example", peer.url + "2"))
    assert peer.front.seen == []


async def test_users_share_nothing(peer: Peer, era: str) -> None:
    """Two users have two sessions; no session id, token or cookie of one is on a request of the other."""
    for user, token in (("ada", "token-of-ada"), ("bob", "token-of-bob")):
        await peer.connection(user).call_tool(peer.grant(token, user), "echo", {"text": user})
        await peer.connection(user).call_tool(peer.grant(token, user), "echo", {"text": user})
    sessions: dict[str, set[str | None]] = {"token-of-ada": set(), "token-of-bob": set()}
    for seen in peer.front.of("tools/call"):
        sessions[seen.headers["authorization"].removeprefix("Bearer ")].add(seen.headers.get("mcp-session-id"))
    ada, bob = sessions.values()
    assert (ada == bob == {None}) if era == "2026-07-28" else (len(ada), len(bob), ada & bob) == (1, 1, set())
    assert all("cookie" not in seen.headers for seen in peer.front.seen)


async def test_redirects_stay_within_the_origin(serve: Serve, connect: Connect, era: str) -> None:
    """308 to another path of the origin is followed with token and body; to another origin it is not, and that origin hears nothing."""
    front, elsewhere = app_of(Example().mcp, era), Front()
    base, other = serve(front), serve(elsewhere)
    front.rules.insert(0, lambda seen: RedirectResponse("/mcp", 308) if seen.path == "/old" else None)
    url = f"{base}/old"
    key = GrantKey("ada", "example", url)
    connections = await connect(url)
    result = await connections.get(key).call_tool(make_grant(key, "access-token-1"), "echo", {"text": "moved"})
    assert result.content[0].text == "moved"
    front.rules[0] = lambda seen: RedirectResponse(f"{other}/mcp", 308)
    with pytest.raises(ProtocolError, match="redirects to another place"):
        await connections.get(key).call_tool(make_grant(key, "access-token-1"), "echo", {"text": "gone"})
    assert elsewhere.seen == []


async def test_tokens_that_a_server_echoes_are_blotted_out(peer: Peer) -> None:
    """A tool that repeats its `Authorization` header does not bring the token into results (nor the refresh token)."""
    grant = peer.grant("access-token-1")
    result = await peer.connection().call_tool(grant, "echo", {"text": "I got access-token-1 and refresh-token-1."})
    assert result.content[0].text == "I got [redacted] and [redacted]."
    assert not re.search("(access|refresh)-token-1", result.model_dump_json())
