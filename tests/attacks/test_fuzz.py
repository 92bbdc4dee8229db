"""Every parser of what others send, fed with what nobody would send: an answer, or an error of ours, soon and in little memory.

The rules' own tests (`tests/oauth`, `tests/connections/test_wire.py`) feed each rule with text; here whole answers go through the library.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr

from langchain_mcp_oauth.connections import Connection, Connections
from langchain_mcp_oauth.connections.endpoint import Refused
from langchain_mcp_oauth.connections.wire import parse_message
from langchain_mcp_oauth.errors import MCPOAuthError
from langchain_mcp_oauth.loopback.listener import read_callback
from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.oauth.answers import read_object, retry_after
from langchain_mcp_oauth.oauth.authorization import parse_callback
from langchain_mcp_oauth.oauth.challenge import read_challenge
from langchain_mcp_oauth.oauth.discovery import discover
from langchain_mcp_oauth.oauth.registration import register
from langchain_mcp_oauth.oauth.tokens import read_token_response
from langchain_mcp_oauth.pages import Page
from langchain_mcp_oauth.servers.remote import MCPServer
from langchain_mcp_oauth.tools.tool import make_tools
from langchain_mcp_oauth.web.forms import read_form
from tests.oauth.oauth_samples import DISCOVERY, NOW, REDIRECT_URI

URL = "https://mcp.example.com/mcp"

profile = settings(deadline=None, derandomize=True, max_examples=40, database=None, suppress_health_check=[HealthCheck.too_slow])
"""The same examples in every run; how long one takes is judged by `bounded`, generously, and not by a clock that a busy machine moves."""

EXPECTED = (MCPOAuthError, MCPError, Refused)

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([10**300, "", "a" * 5_000])
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=8
)


def spoiled(document: Any) -> st.SearchStrategy[Any]:
    """The document with some of its parts replaced by other JSON, or left out."""

    def spoil(drawn: tuple[list[int], list[Any]]) -> Any:
        places, values = drawn
        copy = json.loads(json.dumps(document))
        for place, value in zip(places, values, strict=False):
            _put(copy, place, value)
        return copy

    return st.tuples(st.lists(st.integers(0, 1_000), min_size=1, max_size=3), st.lists(JSON, min_size=3, max_size=3)).map(spoil)


def _put(document: Any, place: int, value: Any) -> None:
    """Replace the part of that number."""
    parts = list(_places(document))
    if parts:
        parent, key = parts[place % len(parts)]
        parent[key] = value


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    members = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in list(members):
        yield document, key
        yield from _places(value)


LISTING = {
    "resultType": "complete",
    "tools": [
        {
            "name": "read",
            "title": "Read",
            "description": "Reads.",
            "inputSchema": {
                "type": "object",
                "properties": {"a": {"type": "string", "title": "x", "enum": ["a"]}},
                "required": ["a"],
            },
            "outputSchema": {"type": "object"},
            "annotations": {"readOnlyHint": True, "title": "R"},
            "_meta": {"k": [1]},
        }
    ],
    "nextCursor": None,
    "ttlMs": 0,
    "cacheScope": "private",
}
RESULT = {
    "resultType": "complete",
    "content": [
        {"type": "text", "text": "a"},
        {"type": "image", "data": "QQ==", "mimeType": "image/png"},
        {"type": "resource_link", "name": "n", "uri": "https://x.example/a"},
        {"type": "resource", "resource": {"uri": "file:///x", "text": "t"}},
    ],
    "structuredContent": {"a": [1, {"b": None}]},
    "isError": False,
}


def talk(answer: Callable[[dict[str, Any]], httpx2.Response], operation: Callable[[Connection], Any]) -> Any:
    """One operation against a server whose answers are made here; None where it ends in an error that is expected."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        return answer(json.loads(request.content or b"{}"))

    async def run() -> Any:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(handle)) as client:
            connections = Connections(client, {"x": MCPServer(URL)}, timeout=20.0)
            try:
                return await operation(connections.get(GrantKey("ada", "x", URL)))
            except EXPECTED:
                return None

    return anyio.run(run)


def discovered(message: dict[str, Any]) -> httpx2.Response | None:
    if message.get("method") != "server/discover":
        return None
    found = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
    return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "result": found})


def as_body(document: Any, *, events: bool) -> bytes:
    text = json.dumps(document)
    return f"event: message\nid: 1\ndata: {text}\n\n".encode() if events else text.encode()


@profile
@given(result=spoiled(LISTING), events=st.booleans())
def test_any_listing_is_a_listing_or_an_error(result: Any, events: bool) -> None:
    """And each tool in it becomes a LangChain tool or an error."""

    def answer(message: dict[str, Any]) -> httpx2.Response:
        kind = "text/event-stream" if events else "application/json"
        body = as_body({"jsonrpc": "2.0", "id": message.get("id"), "result": result}, events=events)
        return discovered(message) or httpx2.Response(200, headers={"content-type": kind}, content=body)

    listed = talk(answer, lambda connection: connection.list_tools(None))
    try:
        made = make_tools(None, "x", listed) if listed else []  # type: ignore[arg-type]
    except MCPOAuthError:
        return
    assert all(len(tool.description) <= 8_192 for tool in made)


@profile
@given(answer=spoiled({"jsonrpc": "2.0", "id": 2, "result": RESULT}), events=st.booleans(), status=st.sampled_from([200, 202, 400, 500]))
def test_any_answer_is_a_result_or_an_error(answer: Any, events: bool, status: int) -> None:
    """Whatever stands in the message, whatever its status."""
    kind = "text/event-stream" if events else "application/json"
    body = as_body(answer, events=events)
    talk(
        lambda message: discovered(message) or httpx2.Response(status, headers={"content-type": kind}, content=body),
        lambda connection: connection.call_tool(None, "read", {}),
    )


FIELDS = st.sampled_from(["data", "event", "id", "retry", "", "data ", "\ufeffdata"])
LINES = st.builds(
    lambda field, value, end: f"{field}:{value}{end}", FIELDS, st.text(max_size=12), st.sampled_from(["\n", "\r", "\r\n", "\n\n"])
)


@profile
@given(lines=st.lists(LINES, max_size=12), noise=st.binary(max_size=12), charset=st.sampled_from(["", "; charset=zlib", "; charset=utf-7"]))
def test_any_stream_is_an_answer_or_an_error(lines: list[str], noise: bytes, charset: str) -> None:
    """Fields, line ends and bytes in any order, in any charset that is claimed."""
    body = "".join(lines).encode(errors="surrogatepass") + noise
    talk(
        lambda message: discovered(message) or httpx2.Response(200, headers={"content-type": f"text/event-stream{charset}"}, content=body),
        lambda connection: connection.call_tool(None, "read", {}),
    )


@profile
@given(document=spoiled({"resource": URL, "authorization_servers": ["https://as.example"], "scopes_supported": ["a"]}))
def test_any_resource_metadata_is_read_or_refused(document: Any) -> None:
    """The first document of discovery."""
    flow = discover(MCPServer(URL), None)
    request = next(flow)
    try:
        flow.send(httpx2.Response(200, json=_finite(document), request=request))
    except (MCPOAuthError, StopIteration):
        return


REGISTRATION = {"client_id": "c", "client_secret": "s", "client_secret_expires_at": 0, "token_endpoint_auth_method": "client_secret_basic"}


@profile
@given(document=spoiled(REGISTRATION))
def test_any_registration_is_read_or_refused(document: Any) -> None:
    """RFC 7591 §3.2.1, or what claims to be."""
    flow = register(DISCOVERY, REDIRECT_URI, (), NOW)
    request = next(flow)
    try:
        flow.send(httpx2.Response(201, json=_finite(document), request=request))
    except (MCPOAuthError, StopIteration):
        return


def _finite(document: Any) -> Any:
    """As JSON may say it: no NaN."""
    return json.loads(json.dumps(document), parse_constant=lambda _: None)


@profile
@given(head=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f"GET /oauth/callback?{text} HTTP/1.1\r\nHost: x".encode()))
def test_any_head_is_a_callback_or_a_page(head: bytes) -> None:
    """At the loopback listener."""
    read = read_callback(head, "http://127.0.0.1:8917/oauth/callback")
    assert isinstance(read, Page) or read.startswith("http://127.0.0.1:8917/oauth/callback?")


class Form:
    """As much of a request as `read_form` looks at."""

    def __init__(self, body: bytes) -> None:
        self.headers = {"content-type": "application/x-www-form-urlencoded"}
        self._body = body

    async def stream(self) -> Any:
        yield self._body


@profile
@given(body=st.binary(max_size=200))
def test_any_form_is_read_or_refused(body: bytes) -> None:
    """At the page of connections: fields once each, or nothing."""

    async def run() -> Any:
        return await read_form(Form(body))  # type: ignore[arg-type]

    fields = anyio.run(run)
    assert fields is None or all(isinstance(value, str) for value in fields.values())


def refused(parse: Callable[[], object]) -> None:
    try:
        parse()
    except EXPECTED:
        return


def answer_of(body: bytes = b"", **headers: str) -> httpx2.Response:
    return httpx2.Response(401, headers={name.replace("_", "-"): value for name, value in headers.items()}, content=body)


LARGE: dict[str, Callable[[], object]] = {
    "challenge, quotes": lambda: read_challenge(answer_of(www_authenticate='Bearer a="' + '\\"' * 4_000)),
    "challenge, commas": lambda: read_challenge(answer_of(www_authenticate="Bearer " + "," * 8_000)),
    "challenge, words": lambda: read_challenge(answer_of(www_authenticate="a=" * 4_000)),
    "challenge, huge": lambda: read_challenge(answer_of(www_authenticate="Bearer x=" + "y" * 1_000_000)),
    "document, deep": lambda: read_object(answer_of(b"[" * 262_144)),
    "document, many members": lambda: read_object(answer_of(b"{" + b",".join(b'"%d":1' % n for n in range(20_000)) + b"}")),
    "document, long number": lambda: read_object(answer_of(b'{"a":' + b"9" * 262_000 + b"}")),
    "retry-after": lambda: retry_after(answer_of(retry_after="9" * 100_000)),
    "callback, long": lambda: parse_callback("https://x/?" + "a=&" * 1_000_000),
    "callback, percent": lambda: parse_callback("https://x/?state=" + "%25" * 5_000 + "&code=c"),
    "token, scopes": lambda: read_token_response(
        {"token_type": "bearer", "access_token": "x", "scope": "a " * 500_000}, "i", scopes=(), refresh_token=SecretStr("r"), now=NOW
    ),
    "message, deep": lambda: parse_message(b'{"a":' * 200_000, "x"),
    "message, escapes": lambda: parse_message(b'{"a":"' + b"\\u0061" * 600_000 + b'"}', "x", ["secret-secret"]),
    "message, repeated token": lambda: parse_message(b'{"a":"' + b"secret-secret " * 250_000 + b'"}', "x", ["secret-secret"]),
    "head": lambda: read_callback(b"GET /" + b"a" * 65_000 + b" HTTP/1.1\r\n" + b"h:\r\n" * 1_000, "http://127.0.0.1:1/cb"),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_input_takes_little_time_and_memory(name: str) -> None:
    """Five seconds on any machine for what takes milliseconds, and 64 MB."""
    began = time.process_time()
    refused(LARGE[name])
    assert time.process_time() - began < 5
    tracemalloc.start()
    try:
        refused(LARGE[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64_000_000
