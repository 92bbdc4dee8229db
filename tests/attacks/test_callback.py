"""R23-R30: what comes back from a browser, and from whom."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from langchain_mcp_oauth import AuthorizationDenied, CallbackError, LoopbackBrowser, callback_routes
from langchain_mcp_oauth.errors import RequestUsedError, WrongUserError
from langchain_mcp_oauth.http import drive
from tests.attacks.conftest import Victim
from tests.attacks.hostile import CODE, Hostile, as_json, http
from tests.attacks.steps import asked, call, callback, failure, log_in, outcome, query_of

pytestmark = pytest.mark.anyio

MARK = "<script>canary-text-5Rt1</script>"


async def test_r23_the_callback_uses_what_was_recorded(victim: Victim, hostile: Hostile, inside: Hostile) -> None:
    """Metadata that changes while the person is away, or an endpoint one could guess, gets no code: it goes where it was to go."""
    hostile.metadata["token_endpoint"] = f"{hostile.origin}/oauth2/exchange"
    hostile.says["/oauth2/exchange"] = hostile.token
    toolkit = victim(allowed_private_hosts=[inside.entry])
    needed = await asked(toolkit)
    hostile.metadata["token_endpoint"] = f"{inside.origin}/token"
    before = len(hostile.seen)
    await victim(allowed_private_hosts=[inside.entry]).complete_authorization(callback(needed))
    assert [seen.path for seen in hostile.seen[before:]] == ["/oauth2/exchange"]
    assert inside.opened == 0


FORGED: list[dict[str, Any]] = [
    {"state": "guessed"},
    {"iss": "https://evil.example"},
    {"iss": None},
    {"iss": "https://evil.example", "code": None, "error": "access_denied"},
    {"iss": None, "code": None, "error": "access_denied"},
    {"error": "access_denied"},
    {"code": None},
    {"padding": "x" * 17_000},
    {f"p{n}": n for n in range(30)},
]


@pytest.mark.parametrize("forged", FORGED, ids=lambda forged: str(forged)[:40])
async def test_r24_a_forged_callback_changes_nothing(victim: Victim, hostile: Hostile, forged: dict[str, Any]) -> None:
    """Whatever it says, no code is sent and the login stays open: the true one completes it (control)."""
    toolkit = victim()
    needed = await asked(toolkit)
    assert isinstance(await failure(toolkit.complete_authorization(callback(needed, **forged))), CallbackError)
    twice = callback(needed) + f"&code={CODE}"
    assert isinstance(await failure(toolkit.complete_authorization(twice)), CallbackError)
    assert hostile.at("/token") == []
    await toolkit.complete_authorization(callback(needed))
    assert len(await toolkit.aget_tools()) == 1


async def test_r24_a_true_refusal_is_one(victim: Victim, hostile: Hostile) -> None:
    """The control for forged errors: with the right state and issuer, the login is over."""
    toolkit = victim()
    needed = await asked(toolkit)
    refusal = callback(needed, code=None, error="access_denied")
    assert isinstance(await failure(toolkit.complete_authorization(refusal)), AuthorizationDenied)
    assert isinstance(await failure(toolkit.complete_authorization(callback(needed))), RequestUsedError)


async def test_r25_a_code_is_sent_once(victim: Victim, hostile: Hostile) -> None:
    """By ten tasks on two toolkits with one database: one request, and all get its result."""
    needed = await asked(victim())
    url = callback(needed)
    toolkits = [victim(), victim()]
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(toolkits[number % 2].complete_authorization, url)
    assert len(hostile.at("/token")) == 1


async def test_r26_only_who_asked_completes(victim: Victim, hostile: Hostile) -> None:
    """Another user's toolkit, another browser or nobody's does not, and does not end it; whose it is does (control)."""
    needed = await asked(victim())
    url = callback(needed)
    assert isinstance(await failure(victim(user_id="mallory").complete_authorization(url)), WrongUserError)
    toolkit = victim(user_id=None)
    for user, status in (("mallory", 403), (None, 401), ("ada", 200)):
        assert hostile.at("/token") == []
        assert (await browse(toolkit, url, user)).status_code == status
    assert len(hostile.at("/token")) == 1


async def browse(toolkit: Any, url: str, user: str | None, method: str = "GET") -> httpx2.Response:
    def signed_in(request: Request) -> str | None:
        return request.headers.get("x-user")

    app = Starlette(routes=callback_routes(toolkit, get_user=signed_in))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=url.partition("/oauth")[0]) as client:
        return await client.request(method, url, headers={"x-user": user} if user else {})


async def test_r27_no_text_of_the_server_passes(victim: Victim, hostile: Hostile, caplog: pytest.LogCaptureFixture) -> None:
    """Not by callback, token endpoint, registration or JSON-RPC error, in no exception, log or page; an error code does (control)."""
    caplog.set_level("DEBUG", "langchain_mcp_oauth")
    toolkit = victim()
    shown: list[str] = []
    hostile.says["/register"] = as_json({"error": "invalid_client_metadata", "error_description": MARK}, 400)
    shown.append(str(await failure(toolkit.aget_tools())))
    assert "invalid_client_metadata" in shown[-1]
    hostile.says = {"/token": as_json({"error": "invalid_request", "error_description": MARK, "error_uri": MARK}, 400)}
    shown.append(str(await failure(toolkit.complete_authorization(callback(await asked(toolkit))))))
    assert "invalid_request" in shown[-1]
    hostile.says = {"/token": as_json({"error": MARK}, 400)}
    shown.append(str(await failure(toolkit.complete_authorization(callback(await asked(toolkit))))))
    hostile.says = {}
    refusal = callback(await asked(toolkit), code=None, error="access_denied", error_description=MARK, error_uri=MARK)
    page = await browse(toolkit, refusal, "ada")
    shown += [page.text, *page.headers.values()]
    await log_in(toolkit)
    hostile.says["tools/list"] = lambda seen: as_json({"jsonrpc": "2.0", "id": seen.message["id"], "error": {"code": 1, "message": MARK}})
    shown.append(str(await failure(toolkit.aget_tools())))
    assert "canary-text" not in "".join(shown) + caplog.text


async def test_r28_every_page_is_safe(victim: Victim, hostile: Hostile) -> None:
    """Good or bad, it runs nothing, is kept nowhere, tells nobody where it came from, and repeats nothing; only GET does anything."""
    toolkit = victim(user_id=None)
    needed = await asked(victim())
    pages = [await browse(toolkit, url, "ada") for url in (callback(needed, state=MARK), callback(needed, iss=MARK), callback(needed)[:-3])]
    pages += [await browse(toolkit, callback(needed), "ada", method) for method in ("POST", "HEAD", "PUT", "DELETE")]
    assert hostile.at("/token") == []
    assert all(400 <= page.status_code < 500 for page in pages)
    pages.append(await browse(toolkit, callback(needed), "ada"))
    assert pages[-1].status_code == 200
    for page in pages:
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "canary-text" not in page.text
        assert "<script" not in page.text
        assert "location" not in page.headers


async def test_r29_the_listener_answers_its_browser_only(victim: Victim, hostile: Hostile) -> None:
    """A page under another name (DNS rebinding), a wrong path or state, another method: 4xx, and the login goes on to its end (control)."""
    answers: dict[str, int] = {}
    browser = LoopbackBrowser(open_browser=lambda url: urls.append(url) is None, timeout=10.0)
    urls: list[str] = []

    async def attack_and_answer() -> None:
        while not urls:  # noqa: ASYNC110 - it happens in another thread
            await anyio.sleep(0.01)
        asked_for = query_of(urls[0])
        good = f"{asked_for['redirect_uri'][0]}?code={CODE}&iss={hostile.origin}&state="
        state = asked_for["state"][0]
        async with httpx2.AsyncClient(trust_env=False) as client:
            answers["host"] = (await client.get(good + state, headers={"Host": f"evil.example:{urlsplit(good).port}"})).status_code
            answers["state"] = (await client.get(good + "guessed")).status_code
            answers["path"] = (await client.get(good.replace("/oauth/callback", "/other") + state)).status_code
            answers["method"] = (await client.post(good + state)).status_code
            assert hostile.at("/token") == []
            answers["true"] = (await client.get(good + state)).status_code

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attack_and_answer)
        tools = await victim(on_auth_required=browser, redirect_uri=None).aget_tools()
    assert len(tools) == 1
    assert answers == {"host": 400, "state": 403, "path": 404, "method": 405, "true": 200}


GARBAGE: list[bytes] = [
    b"",
    b"\x00" * 100,
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    b"HTTP/1.1 200 X\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"HTTP/1.1 200 X\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n",
    http(200, b"\xff\xfe"),
    http(200, b'{"a": 1e999}'),
    http(200, b"[" * 5_000),
    http(200, b'{"jsonrpc": "2.0", "id": ' + b"9" * 4_000 + b', "result": {}}'),
    http(200, b'{"jsonrpc": "2.0", "id": null, "error": 7}'),
    http(200, b"null"),
    http(200, b"retry: " + b"9" * 4_000 + b"\nid: 1\ndata: {}\n\n", "text/event-stream"),
    http(200, b"data: x\n\n", "text/event-stream; charset=zlib"),
    http(200, b"data: x\n\n", "text/event-stream; charset=idna"),
    http(200, b"data: " + b"[" * 5_000 + b"\n\n", "text/event-stream"),
    http(401, WWW_Authenticate="Bearer \xff\x00"),
    http(401, WWW_Authenticate="Bearer " + "a=" * 3_000),
    http(403, WWW_Authenticate='Bearer error="insufficient_scope"'),
    http(307, Location="http://[::1"),
    http(307, Location="javascript:x"),
    http(429, Retry_After="9" * 400),
    http(503, Retry_After="Mon, 99 Foo 9999 99:99:99 GMT", Date="x"),
]

PLACES = [
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-authorization-server",
    "/register",
    "/token",
    "server/discover",
    "tools/list",
    "tools/call",
]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
async def test_r30_whatever_is_answered_is_an_error_of_ours(
    victim: Victim, hostile: Hostile, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes of every kind at every place come to a login, a result or an `MCPOAuthError`, soon; honest ones to a result (control)."""
    monkeypatch.setitem(drive.__kwdefaults__, "deadline", 3.0)
    toolkit = victim(user_id=None, timeout=3.0)
    for number, answer in enumerate(GARBAGE):
        hostile.says[place] = lambda seen, answer=answer: iter([answer])
        with anyio.fail_after(20):
            await outcome(one_story(toolkit, f"user-{number}"))  # anything that is not ours is raised
    hostile.says.clear()
    assert await outcome(one_story(toolkit, "last")) is None


async def one_story(toolkit: Any, user: str) -> None:
    [read] = await log_in(toolkit, user_id=user)
    await call(read)
