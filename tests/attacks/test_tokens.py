"""R31-R36: tokens, and whose they are."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from langchain_mcp_oauth import AuthRequired, ConfigurationError, ConnectionFailed, TokenEndpointError
from tests.attacks.conftest import Victim
from tests.attacks.hostile import ACCESS, REFRESH, Hostile, Seen, as_json, http, tool
from tests.attacks.steps import asked, call, callback, failure, log_in

pytestmark = pytest.mark.anyio

BAD_ANSWERS: list[dict[str, Any]] = [
    {"token_type": "mac"},
    {"token_type": None},
    {"token_type": ["Bearer"]},
    {"access_token": None},
    {"access_token": "a\r\nX-Injected: 1"},
    {"access_token": "tök"},
    {"access_token": "x" * 16_385},
    {"access_token": {"a": 1}},
    {"refresh_token": "a b"},
]


@pytest.mark.parametrize("answer", BAD_ANSWERS, ids=lambda answer: str(answer)[:40])
async def test_r31_no_such_token_is_kept(victim: Victim, hostile: Hostile, answer: dict[str, Any]) -> None:
    """What is none, or would not stay within its header, is a typed error; `BEARER` and digits as a string are tokens (control)."""
    hostile.says["/token"] = lambda seen: hostile.token(seen, **answer)
    toolkit = victim()
    assert isinstance(await failure(toolkit.complete_authorization(callback(await asked(toolkit)))), TokenEndpointError)
    assert not (await toolkit.status())["files"].connected
    hostile.says["/token"] = lambda seen: hostile.token(seen, token_type="BEARER", expires_in="60")
    await log_in(toolkit)


@pytest.mark.parametrize("seconds", [10**400, -1, "1e400", float("inf"), None, [], 10**12], ids=lambda s: str(s)[:10])
async def test_r31_no_token_is_for_ever(victim: Victim, hostile: Hostile, seconds: Any) -> None:
    """A lifetime is between nothing and 30 days, whatever is claimed."""
    hostile.says["/token"] = lambda seen: hostile.token(seen, expires_in=seconds)
    toolkit = victim()
    if await_error := await _complete(toolkit):  # a number of 400 digits may make the whole answer unreadable
        assert isinstance(await_error, TokenEndpointError)
        return
    expires = (await toolkit.status())["files"].expires_at
    assert expires is not None
    assert expires <= datetime.now(UTC) + timedelta(days=30)


async def _complete(toolkit: Any) -> Exception | None:
    try:
        await toolkit.complete_authorization(callback(await asked(toolkit)))
    except TokenEndpointError as error:
        return error
    return None


async def test_r32_a_refresh_token_goes_to_its_own_endpoint_once(victim: Victim, hostile: Hostile, inside: Hostile) -> None:
    """Twenty calls, two toolkits, one refresh, at the endpoint that gave it, whatever metadata says now; and all calls succeed."""
    allowed = {"allowed_private_hosts": [inside.entry]}
    [read] = await log_in(victim(**allowed))
    [same] = await victim(**allowed).aget_tools()
    hostile.says["/mcp"] = lambda seen: refuse_first(hostile, seen)
    hostile.says["/token"] = lambda seen: hostile.token(seen, access_token="canary-access-second")
    hostile.metadata["token_endpoint"] = f"{inside.origin}/token"
    answers = await asyncio.gather(*(call(tool) for tool in [read, same] * 10))
    assert answers == ["done"] * 20
    assert [seen.form["refresh_token"] for seen in hostile.at("/token")[1:]] == [REFRESH]
    assert inside.opened == 0


def refuse_first(hostile: Hostile, seen: Seen) -> bytes:
    return hostile.challenge() if seen.headers.get("authorization") == f"Bearer {ACCESS}" else hostile._mcp(seen)


async def test_r32_trouble_ends_no_login(victim: Victim, hostile: Hostile) -> None:
    """503 and 429 keep it and ask nobody; only `invalid_grant` ends it (control)."""
    await log_in(victim())
    hostile.says["/mcp"] = lambda seen: refuse_first(hostile, seen)
    for answer in (http(503), http(429), as_json({"error": "invalid_grant"}, 503), b""):
        hostile.says["/token"] = lambda seen, answer=answer: iter([answer])
        assert isinstance(await failure(victim().aget_tools()), ConnectionFailed)
        assert (await victim().status())["files"].connected
    hostile.says["/token"] = as_json({"error": "invalid_grant"}, 400)
    assert isinstance(await failure(victim().aget_tools()), AuthRequired)
    assert not (await victim().status())["files"].connected


async def test_r33_a_login_is_for_one_url(victim: Victim, hostile: Hostile, inside: Hostile) -> None:
    """A server of the same name at another URL gets no token of the first one's; the first one still does (control)."""
    [read] = await log_in(victim())
    await failure(victim({"url": f"http://127.0.0.1:{hostile.entry.rpartition(':')[2]}/mcp?other"}).aget_tools())
    moved = [seen for seen in hostile.seen if seen.target == "/mcp?other"]
    assert moved
    assert not any("authorization" in seen.headers for seen in moved)
    assert await call(read) == "done"


NEAR = ["Ada", "ada ", " ada", "ad", "adaa", "ádá", unicodedata.normalize("NFD", "ádá"), "ada%00", "ada\u200b", '["ada"]']


async def test_r34_users_are_compared_exactly(victim: Victim, hostile: Hostile) -> None:
    """No trimming, folding, joining or normalising makes one user another; names that a database would change are refused."""
    await log_in(victim())
    for name in NEAR:
        assert isinstance(await failure(victim(user_id=name).aget_tools()), AuthRequired), name
    servers = {"a": hostile.url, "ab": hostile.url}
    joined = victim(servers, user_id="bc")
    await joined.save_token_response("a", _tokens(), issuer=hostile.origin, token_endpoint=f"{hostile.origin}/token", client_id="x")
    assert (await victim(servers, user_id="c").status())["ab"].connected is False
    for name in ("a\0b", "", "x" * 256, "\ud800"):
        with pytest.raises(ConfigurationError):
            await victim(user_id=name).status()
        with pytest.raises(ConfigurationError):
            victim({name: hostile.url})
    assert (await victim().status())["files"].connected


def _tokens() -> dict[str, Any]:
    return {"token_type": "Bearer", "access_token": ACCESS}


async def test_r35_users_share_nothing(victim: Victim, hostile: Hostile) -> None:
    """Neither cookies nor sessions nor tokens nor answers: each request says whose it is, and nobody else's (control: they differ)."""
    hostile.says["/token"] = lambda seen: hostile.token(seen, access_token=f"canary-access-{len(hostile.at('/token'))}", refresh_token=None)
    hostile.says["server/discover"] = as_json({"jsonrpc": "2.0", "id": None, "error": {"code": -32601, "message": "no"}}, 400)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}

    def whose(seen: Seen) -> str:
        return seen.headers["authorization"][-1]

    def answer(seen: Seen) -> bytes:
        if "authorization" not in seen.headers:
            return hostile.challenge()
        found = hello if seen.rpc == "initialize" else {"tools": [tool(f"tool-{whose(seen)}")]}
        session = f"session-{whose(seen)}"
        document = {"jsonrpc": "2.0", "id": seen.message["id"], "result": found}
        return as_json(document, Mcp_Session_Id=session, Set_Cookie=f"who={session}; Path=/")

    hostile.says["initialize"] = hostile.says["tools/list"] = answer
    toolkit = victim(user_id=None)
    for user in ("ada", "bob"):
        needed = await asked(toolkit, user_id=user)
        await toolkit.complete_authorization(callback(needed), user_id=user)
    for user, number in (("ada", 1), ("bob", 2), ("ada", 1)):
        assert [each.name for each in await toolkit.aget_tools(user_id=user)] == [f"files__tool-{number}"]
    assert not any("cookie" in seen.headers for seen in hostile.seen)
    in_sessions = [seen for seen in hostile.seen if "mcp-session-id" in seen.headers]
    assert {seen.headers["mcp-session-id"] for seen in in_sessions} == {"session-1", "session-2"}
    assert all(seen.headers["mcp-session-id"] == f"session-{whose(seen)}" for seen in in_sessions)


@pytest.mark.parametrize("revocation", [http(500), b"", http(307, Location="https://evil.example/")], ids=["500", "nothing", "307"])
async def test_r36_logging_out_never_fails_here(victim: Victim, hostile: Hostile, revocation: bytes) -> None:
    """Whatever the issuer answers, the tokens are gone here; and it is told of both, the refresh token first (control)."""
    toolkit = victim()
    await log_in(toolkit)
    hostile.says["/revoke"] = lambda seen: iter([revocation])
    await toolkit.disconnect("files")
    assert not (await toolkit.status())["files"].connected
    assert isinstance(await failure(toolkit.aget_tools()), AuthRequired)
    hostile.says.clear()
    await log_in(toolkit)
    before = len(hostile.at("/revoke"))
    assert await toolkit.disconnect("files") is True
    assert [seen.form["token"] for seen in hostile.at("/revoke")[before:]] == [REFRESH, ACCESS]


async def test_r36_an_issuer_that_was_away_is_told_later(victim: Victim, hostile: Hostile) -> None:
    """Nothing that happens to the issuer or to the process at that moment leaves tokens alive that nobody can revoke any more: the next
    process that asks for a login tells it. Once it has been told, nobody tells it again (control)."""
    toolkit = victim()
    await log_in(toolkit)
    hostile.says["/revoke"] = lambda seen: iter([http(503)])
    assert await toolkit.disconnect("files") is False
    hostile.says.clear()
    before = len(hostile.at("/revoke"))
    for later in (61, 7_300):
        with time_machine.travel(time.time() + later, tick=True):
            await asked(victim())
        assert [seen.form["token"] for seen in hostile.at("/revoke")[before:]] == [REFRESH, ACCESS]
