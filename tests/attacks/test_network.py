"""R1-R14: where requests go, and what an answer may cost."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from langchain_mcp_oauth import AuthRequired, ConnectionFailed, DiscoveryError, ProtocolError, ServersFailed, UnsafeURLError
from langchain_mcp_oauth.connections import dispatcher
from langchain_mcp_oauth.errors import ConfigurationError, TokenEndpointError, TokenRejectedError
from langchain_mcp_oauth.http import drive
from tests.attacks.conftest import PUBLIC, Victim
from tests.attacks.hostile import Hostile, Seen, as_json, http, result, text, tool
from tests.attacks.steps import asked, call, callback, failure, log_in, outcome

pytestmark = pytest.mark.anyio


def inner_name(inside: Hostile) -> str:
    return f"https://inner.example:{inside.entry.rpartition(':')[2]}"


def name_issuer(hostile: Hostile, place: str) -> None:
    hostile.resource["authorization_servers"] = [place]


def name_registration(hostile: Hostile, place: str) -> None:
    hostile.metadata["registration_endpoint"] = f"{place}/register"


def name_token(hostile: Hostile, place: str) -> None:
    hostile.metadata["token_endpoint"] = f"{place}/token"


def name_revocation(hostile: Hostile, place: str) -> None:
    hostile.metadata["revocation_endpoint"] = f"{place}/revoke"


@pytest.mark.parametrize("name", [name_issuer, name_registration, name_token, name_revocation])
async def test_r01_no_url_from_the_network_reaches_the_inside(
    victim: Victim, hostile: Hostile, inside: Hostile, names: dict[str, Any], name: Callable[[Hostile, str], None]
) -> None:
    """Wherever a hostile server writes a name that resolves to an inner address, nothing knocks there; allowed, it does (control)."""
    place = inner_name(inside)
    names["inner.example"] = [["127.0.0.66"]]
    name(hostile, place)

    async def whole_story(toolkit: Any) -> None:
        needed = await asked(toolkit)
        await toolkit.complete_authorization(callback(needed))
        await toolkit.disconnect("files")

    error = await outcome(whole_story(victim()))
    assert inside.opened == 0
    assert error is None or isinstance(error, UnsafeURLError)
    with anyio.fail_after(20):
        await outcome(whole_story(victim(user_id="bob", allowed_private_hosts=[place.removeprefix("https://")])))
    assert inside.opened > 0, "the control did not get there either"


async def test_r01_a_name_cannot_change_its_mind(victim: Victim, names: dict[str, Any], attempts: list[tuple[str, int]]) -> None:
    """DNS rebinding: what was judged is connected to; no later answer is."""
    names["mcp.example"] = [[PUBLIC], ["127.0.0.66"]]
    toolkit = victim("https://mcp.example/mcp")
    assert isinstance(await failure(toolkit.aget_tools()), ConnectionFailed | UnsafeURLError)
    assert isinstance(await failure(toolkit.aget_tools()), UnsafeURLError)
    assert set(attempts) == {(PUBLIC, 443)}


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.66"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["168.63.129.16"],
        ["224.0.0.1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::a9fe:a9fe"],
        ["2002:0a00:0001::1"],
        ["2606:4700::5efe:10.0.0.1"],
        ["fec0::1"],
        [PUBLIC, "10.0.0.1"],
    ],
    ids=str,
)
async def test_r02_no_inner_address_is_even_tried(
    victim: Victim, names: dict[str, Any], attempts: list[tuple[str, int]], addresses: list[str]
) -> None:
    """However it is written or mixed with others. A public one is tried (control)."""
    names["mcp.example"] = [addresses]
    assert isinstance(await failure(victim("https://mcp.example/mcp").aget_tools()), UnsafeURLError)
    assert attempts == []
    names["mcp.example"] = [[PUBLIC]]
    assert isinstance(await failure(victim("https://mcp.example/mcp", user_id="bob").aget_tools()), ConnectionFailed)
    assert (PUBLIC, 443) in attempts


async def test_r03_an_entry_opens_one_place_only(victim: Victim, hostile: Hostile, inside: Hostile, names: dict[str, Any]) -> None:
    """Not another port of the same host, nor another host with the same port; the very place, it does (control)."""
    hostile.resource["authorization_servers"] = [inside.origin]
    host, _, port = inside.entry.rpartition(":")
    for near in (f"{host}:1", f"127.0.0.1:{port}", host, f"x{inside.entry}"):
        assert isinstance(await failure(victim(allowed_private_hosts=[near]).aget_tools()), UnsafeURLError)
    names["inner.example"] = [["127.0.0.66"]]
    hostile.resource["authorization_servers"] = [inner_name(inside)]
    assert isinstance(await failure(victim(allowed_private_hosts=["inner.example:1"]).aget_tools()), UnsafeURLError)
    assert inside.opened == 0
    hostile.resource["authorization_servers"] = [inside.origin]
    await asked(victim(allowed_private_hosts=[inside.entry]))
    assert inside.opened == 1


async def test_r03_another_servers_loopback_is_not_ones_own(victim: Victim, hostile: Hostile, inside: Hostile) -> None:
    """A server on loopback needs no entry for itself; whoever else names it is refused, until the operator says so (control)."""
    servers = {"files": hostile.url, "mine": f"{inside.origin}/mcp"}
    hostile.resource["authorization_servers"] = [inside.origin]
    assert isinstance(await failure(victim(servers).begin_authorization("files")), UnsafeURLError)
    assert inside.opened == 0
    assert await victim(servers, allowed_private_hosts=[inside.entry]).begin_authorization("files")
    assert inside.opened == 1


@pytest.mark.parametrize("member", ["authorization_endpoint", "token_endpoint", "registration_endpoint"])
async def test_r04_no_clear_text(victim: Victim, hostile: Hostile, member: str) -> None:
    """http away from loopback is refused wherever it is named; on loopback, with permission, it works (control)."""
    hostile.metadata[member] = "http://as.example/x"
    assert isinstance(await failure(victim().aget_tools()), UnsafeURLError)
    for options in ({"server": "http://mcp.example/mcp"}, {"redirect_uri": "http://app.example/callback"}):
        with pytest.raises(ConfigurationError):
            victim(**options)
    hostile.metadata.clear()
    await log_in(victim())


async def test_r05_resource_metadata_stays_at_home(victim: Victim, hostile: Hostile, inside: Hostile) -> None:
    """A challenge that points elsewhere, even to an allowed place, is not followed; at the server's origin it is (control)."""
    hostile.says["/mcp"] = http(401, WWW_Authenticate=f'Bearer resource_metadata="{inside.origin}/prm"')
    await asked(victim(allowed_private_hosts=[inside.entry]))
    assert inside.opened == 0
    hostile.says["/mcp"] = http(401, WWW_Authenticate=f'Bearer resource_metadata="{hostile.origin}/prm"')
    await asked(victim(user_id="bob"))
    assert len(hostile.at("/prm")) == 1


@pytest.mark.parametrize("place", ["/token", "/register", "/.well-known/oauth-authorization-server"])
async def test_r06_no_oauth_request_is_redirected(victim: Victim, hostile: Hostile, inside: Hostile, place: str) -> None:
    """Neither a code nor anything else goes where a redirect points."""
    hostile.says[place] = http(307, Location=f"{inside.origin}{place}")
    toolkit = victim(allowed_private_hosts=[inside.entry])
    await outcome(log_in(toolkit))
    assert hostile.at(place), "it was not even asked"
    assert inside.opened == 0
    hostile.says.clear()
    await log_in(victim(user_id="bob"))


async def test_r07_the_token_goes_home_only(victim: Victim, hostile: Hostile, inside: Hostile) -> None:
    """A redirect of an MCP request to another origin is not followed; within the origin it is (control)."""
    toolkit = victim(allowed_private_hosts=[inside.entry])
    [read] = await log_in(toolkit)
    hostile.says["/mcp"] = http(307, Location=f"{inside.origin}/mcp")
    assert isinstance(await failure(call(read)), ProtocolError)
    assert inside.opened == 0
    hostile.says["/mcp"] = http(307, Location=f"{hostile.origin}/moved")
    hostile.says["/moved"] = hostile._mcp
    assert await call(read) == "done"


def endless(kind: str = "application/json", start: bytes = b'{"a":"') -> Callable[[Seen], Iterator[bytes]]:
    """An answer that never ends."""

    def answer(seen: Seen) -> Iterator[bytes]:
        yield f"HTTP/1.1 200 X\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + start
        while True:  # until the client hangs up
            yield b"x" * 65_536

    return answer


@pytest.mark.parametrize(
    ("place", "kind", "most"),
    [
        ("/.well-known/oauth-authorization-server", "application/json", 8),
        ("/token", "application/json", 8),
        ("tools/list", "application/json", 16),
        ("tools/list", "text/event-stream", 16),
    ],
)
async def test_r08_an_endless_answer_is_not_read(victim: Victim, hostile: Hostile, place: str, kind: str, most: int) -> None:
    """It is given up after its limit: what was sent fits into that and the sockets' buffers (MiB). The same place answers (control)."""
    hostile.says[place] = endless(kind, b"data: " if "event" in kind else b'{"a":"')
    toolkit = victim()
    with anyio.fail_after(30):
        error = await outcome(log_in(toolkit))
    assert isinstance(error, ProtocolError | ServersFailed), error
    assert hostile.sent < most * 1024 * 1024
    hostile.says.clear()
    await log_in(victim(user_id="bob"))


async def test_r08_a_large_answer_within_the_limit_is_read(victim: Victim, hostile: Hostile) -> None:
    """The limit is 4 MiB, not less."""
    [read] = await log_in(victim())
    hostile.says["tools/call"] = lambda seen: result(seen, text("x" * 3 * 1024 * 1024))
    assert len(await call(read)) == 3 * 1024 * 1024


async def test_r08_a_compressed_answer_is_refused(victim: Victim, hostile: Hostile) -> None:
    """What is counted is what arrives, so nothing may be larger than that."""
    import gzip

    [read] = await log_in(victim())

    def bomb(seen: Seen) -> bytes:
        event = b"data: " + result(seen, text("x" * 1_000_000)).partition(b"\r\n\r\n")[2] + b"\n\n"
        return http(200, gzip.compress(event), "text/event-stream", Content_Encoding="gzip")

    hostile.says["tools/call"] = bomb
    assert isinstance(await failure(call(read)), ProtocolError)


@pytest.mark.parametrize("unit", [b"{},", b'{"a":0},'], ids=lambda unit: unit.decode())
async def test_r08_no_answer_costs_much_memory(victim: Victim, hostile: Hostile, unit: bytes) -> None:
    """4 MiB of whatever is largest in memory stay below 96 MB, as a result or as an error of ours."""
    [read] = await log_in(victim())
    filling = unit * (4_100_000 // len(unit))

    def fat(seen: Seen) -> bytes:
        identity = json.dumps(seen.message["id"]).encode()
        body = b'{"jsonrpc":"2.0","id":' + identity + b',"result":{"resultType":"complete","content":[],"structuredContent":{"a":['
        return http(200, body + filling[:-1] + b"]}}}")

    hostile.says["tools/call"] = fat
    tracemalloc.start()
    try:
        await outcome(call(read))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 96_000_000


def dribble(seen: Seen) -> Iterator[bytes]:
    """An answer of one byte now and then."""
    import time

    yield b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    while True:
        time.sleep(0.02)
        yield b" "


@pytest.mark.parametrize("place", ["/.well-known/oauth-authorization-server", "tools/list"])
async def test_r09_whoever_dribbles_is_left(victim: Victim, hostile: Hostile, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One deadline for the whole exchange, however alive the connection seems. Without the dribble all works within it (control)."""
    monkeypatch.setitem(drive.__kwdefaults__, "deadline", 1.0)
    await log_in(victim(user_id="bob", timeout=5.0))
    hostile.says[place] = dribble
    with anyio.fail_after(10):
        error = await outcome(log_in(victim(timeout=1.0)))
    assert isinstance(error, ConnectionFailed), error


async def test_r10_a_stream_is_not_resumed_for_ever(victim: Victim, hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    """2025-11-25: five times at most, at a pace of ours whatever `retry` says; a stream that ends with its answer is read (control)."""
    monkeypatch.setattr(dispatcher, "SHORTEST_WAIT", 0.01)
    hostile.guarded = False
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    hostile.says["server/discover"] = as_json({"jsonrpc": "2.0", "id": None, "error": {"code": -32601, "message": "no"}}, 400)
    hostile.says["initialize"] = lambda seen: result(seen, hello)
    [read] = await victim().aget_tools()
    hostile.says["tools/call"] = hostile.says["/mcp"] = http(200, b"id: 1\nretry: 0\ndata:\n\n", "text/event-stream")
    with anyio.fail_after(20):
        assert isinstance(await failure(call(read)), ConnectionFailed)
    assert len([seen for seen in hostile.seen if seen.method == "GET"]) == 5
    hostile.says["tools/call"] = lambda seen: http(
        200, b"data: " + hostile.call(seen).partition(b"\r\n\r\n")[2] + b"\n\n", "text/event-stream"
    )
    assert await call(read) == "done"


async def test_r11_listings_discoveries_and_nesting_are_bounded(victim: Victim, hostile: Hostile) -> None:
    """50 pages, a few metadata requests, JSON of some depth; three pages are listed whole (control)."""
    hostile.guarded = False
    page = lambda seen: result(seen, {"tools": [], "nextCursor": "more", "ttlMs": 0, "cacheScope": "private"})  # noqa: E731
    hostile.says["tools/list"] = page
    assert isinstance(await failure(victim().aget_tools()), ProtocolError)
    assert len(hostile.at("tools/list")) == 50
    hostile.says["tools/list"] = lambda seen: http(200, b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 100_000)
    assert isinstance(await failure(victim().aget_tools()), ProtocolError)

    def three(seen: Seen) -> bytes:
        number = int(seen.message["params"].get("cursor", 1))
        more = {"nextCursor": str(number + 1)} if number < 3 else {}
        return result(seen, {"tools": [tool(f"t{number}")], "ttlMs": 0, "cacheScope": "private", **more})

    hostile.says["tools/list"] = three
    assert len(await victim().aget_tools()) == 3
    hostile.guarded = True
    hostile.says = {"/.well-known/oauth-authorization-server": http(404), "/.well-known/openid-configuration": http(404)}
    seen = len(hostile.seen)
    hostile.resource["authorization_servers"] = [f"{hostile.origin}/{n}" for n in range(1_000)]
    assert isinstance(await failure(victim(user_id="bob").aget_tools()), DiscoveryError)
    assert len(hostile.seen) - seen < 24


@pytest.mark.parametrize(
    "header",
    [
        'Basic realm="x, Bearer scope=\\"stolen\\"", Bearer scope="read"',
        'Digest scope="stolen", Bearer scope="read"',
        'Bearer error_description="scope=\\"stolen\\"", scope="read"',
        'Bearer xscope="stolen", scope="read"',
        'Bearer scope="read", scope="stolen"',
    ],
)
async def test_r12_a_challenge_is_read_and_not_searched(victim: Victim, hostile: Hostile, header: str) -> None:
    """Only Bearer's own `scope` counts (the control is in the header), whatever stands in texts and other schemes."""
    hostile.says["/mcp"] = http(401, WWW_Authenticate=header)
    assert (await asked(victim())).scopes == ("read",)


async def test_r12_a_huge_challenge_is_not_read(victim: Victim, hostile: Hostile) -> None:
    """8 KiB and no more; it is a 401 all the same."""
    hostile.says["/mcp"] = http(401, WWW_Authenticate=f'Bearer scope="read", x="{"," * 9_000}"')
    with anyio.fail_after(5):
        assert (await asked(victim())).scopes == ()


async def test_r13_a_server_that_refuses_every_token_makes_no_loop(victim: Victim, hostile: Hostile) -> None:
    """One refresh and an error: nobody is sent to log in again and again. When it accepts tokens, it works (control)."""
    toolkit = victim()
    await toolkit.complete_authorization(callback(await asked(toolkit)))
    hostile.says["/mcp"] = lambda seen: hostile.challenge()
    before = len(hostile.seen)
    error = await failure(toolkit.aget_tools())
    assert isinstance(error, TokenRejectedError)
    assert not isinstance(error, AuthRequired)
    assert len(hostile.at("/token")) == 2
    assert len(hostile.seen) - before < 15
    hostile.says.clear()
    assert await call((await toolkit.aget_tools())[0]) == "done"


async def test_r14_the_environment_names_no_proxy(
    victim: Victim, hostile: Hostile, inside: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of somebody's environment would see everything, and no address rule would hold."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, inside.origin)
    monkeypatch.setenv("NO_PROXY", "")
    [read] = await log_in(victim())
    assert await call(read) == "done"
    assert inside.opened == 0


async def test_r06_a_refused_code_is_said(victim: Victim, hostile: Hostile) -> None:
    """What a redirect at the token endpoint comes to: a typed error."""
    hostile.says["/token"] = http(302, Location="https://elsewhere.example/")
    toolkit = victim()
    with pytest.raises(TokenEndpointError):
        await toolkit.complete_authorization(callback(await asked(toolkit)))
