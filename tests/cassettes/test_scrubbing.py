"""What is written into a cassette, and the scan that looks for what should not be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from vcr.request import Request

from langchain_mcp_oauth.testing.cassettes import find_secrets
from langchain_mcp_oauth.testing.cassettes.scrubbing import Pseudonyms, scrub_request, scrub_response

CASSETTES = sorted((Path(__file__).parents[2] / "cassettes").rglob("*.yaml"))


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def answer(body: Any = "", **headers: str) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return {"status": {"code": 200, "message": "OK"}, "headers": named, "body": {"string": text.encode()}}


@pytest.fixture
def names() -> Pseudonyms:
    """Names after a registration and a token response."""
    names = Pseudonyms()
    scrub_response(answer({"client_id": "id-of-the-client", "client_secret": "top/secret"}), names)
    scrub_response(answer({"access_token": "first-token", "refresh_token": "first-refresh"}, mcp_session_id="s-1"), names)
    return names


@pytest.mark.parametrize(
    ("headers", "written"),
    [
        ({"Authorization": "Bearer first-token"}, {"authorization": "Bearer REDACTED-access_token-1"}),
        ({"Authorization": "Bearer unheard-of"}, {"authorization": "Bearer REDACTED-access_token"}),
        ({"Mcp-Session-Id": "s-1"}, {"mcp-session-id": "REDACTED-session-1"}),
        ({"Cookie": "a=b; c=d"}, {"cookie": "a=REDACTED-cookie; c=REDACTED-cookie"}),
        (
            {"Authorization": basic("id-of-the-client", "top%2Fsecret")},
            {"authorization": basic("REDACTED-client_id-1", "REDACTED-client_secret-1")},
        ),
        ({"Authorization": basic("configured", "whatever")}, {"authorization": basic("configured", "REDACTED-client_secret")}),
        ({"X-Api-Key": "k", "Date": "today", "User-Agent": "1.2.3", "Content-Length": "5"}, {}),
    ],
)
def test_headers_of_a_request(names: Pseudonyms, headers: dict[str, str], written: dict[str, str]) -> None:
    """Issued values have their number, others of the kind have none, unknown headers are not written at all."""
    assert dict(scrub_request(Request("GET", "https://a.example/", b"", headers), names).headers) == written


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ("grant_type=refresh_token&refresh_token=first-refresh", "grant_type=refresh_token&refresh_token=REDACTED-refresh_token-1"),
        ("token=first-token&client_id=id-of-the-client", "token=REDACTED-access_token-1&client_id=REDACTED-client_id-1"),
        ("code_verifier=v&client_id=configured", "code_verifier=REDACTED-code_verifier&client_id=configured"),
        ('{"jsonrpc": "2.0", "method": "m", "params": {"code": "12345678"}}',) * 2,
        (
            '{"jsonrpc": "2.0", "params": {"requestState": "opaque"}}',
            '{"jsonrpc": "2.0", "params": {"requestState": "REDACTED-requestState"}}',
        ),
        ('{"jsonrpc": "2.0", "params": {"_meta": {"a": 1}, "clientInfo": {}, "x": 1}}', '{"jsonrpc": "2.0", "params": {"x": 1}}'),
        (
            '{"jsonrpc": "2.0", "params": {"text": "I am first-token"}}',
            '{"jsonrpc": "2.0", "params": {"text": "I am REDACTED-access_token-1"}}',
        ),
        ("not JSON",) * 2,
    ],
)
def test_bodies_of_a_request(names: Pseudonyms, body: str, written: str) -> None:
    """OAuth's fields are renamed; a tool's arguments only where they hold something that was issued."""
    assert scrub_request(Request("POST", "https://a.example/", body, {}), names).body == written.encode()


@pytest.mark.parametrize(
    ("response", "written"),
    [
        (answer({"access_token": "second-token", "expires_in": 60}), answer({"access_token": "REDACTED-access_token-2", "expires_in": 60})),
        (answer({"access_token": "first-token"}), answer({"access_token": "REDACTED-access_token-1"})),
        (answer({"client_id_issued_at": 1_700_000_000}), answer({"client_id_issued_at": 0})),
        (
            answer(location="https://app.example/cb?code=c-1&state=s-1234&iss=https%3A%2F%2Fa"),
            answer(location="https://app.example/cb?code=REDACTED-code-1&state=REDACTED-state&iss=https%3A%2F%2Fa"),
        ),
        (answer(set_cookie="id=12345; Expires=Tue, 01 Jan 2030 00:00:00 GMT"), answer(set_cookie="id=REDACTED-cookie-1")),
        (
            answer('event: message\nid: 77\ndata: {"jsonrpc": "2.0", "result": {"requestState": "opaque"}}\n\n'),
            answer(
                'event: message\nid: REDACTED-event-1\ndata: {"jsonrpc": "2.0", "result": {"requestState": "REDACTED-requestState-1"}}\n\n'
            ),
        ),
        (answer(date="today", etag="e", content_type="text/plain"), answer(content_type="text/plain")),
    ],
)
def test_answers(names: Pseudonyms, response: dict[str, Any], written: dict[str, Any]) -> None:
    """What is issued gets its number; times and headers that change with every run are gone."""
    assert scrub_response(response, names) == written


def test_a_body_that_is_not_text_is_kept() -> None:
    """Binary bodies come back byte by byte."""
    body = bytes(range(256))
    assert scrub_response({**answer(), "body": {"string": body}}, Pseudonyms())["body"]["string"] == body


def test_scrubbing_twice_changes_nothing(names: Pseudonyms) -> None:
    """A replayed client sends pseudonyms; they are compared with recorded ones as they are."""
    request = Request(
        "POST", "https://a.example/x?state=s&a=1", "code=c&client_secret=top/secret", {"Authorization": basic("id-of-the-client", "x")}
    )
    once = scrub_request(request, names)
    twice = scrub_request(once, Pseudonyms())
    assert (once.uri, once.body, once.headers) == (twice.uri, twice.body, twice.headers)
    assert once.uri == "https://a.example/x?state=REDACTED-state&a=1"


PLANTED = {
    "JWT": "text: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl",
    "bearer": "authorization:\n- Bearer 0123456789abcdef0123",
    "bearer inside a text": "the header was 'bearer abcdefghijklmnopqrst'",
    "DPoP": "- DPoP 0123456789abcdef0123",
    "basic": f"- {basic('client', 'secret')}",
    "basic with a client that was renamed": f"- {basic('REDACTED-client_id-1', 'secret')}",
    "token response": 'string: \'{"access_token": "0123456789"}\'',
    "token response in double quotes": 'string: "{\\"refresh_token\\": \\"0123456789\\"}"',
    "registration": '{"client_secret":"0123456789"}',
    "form": "body: grant_type=authorization_code&code=0123456789",
    "first field of a form": "body: refresh_token=0123456789",
    "callback": "https://app.example/cb?state=0123456789",
    "verifier": "client_id=x&code_verifier=0123456789",
    "session": "mcp-session-id:\n      - 0123456789abcdef0123",
    "cookie": "set-cookie:\n      - id=0123456789abcdef0123",
}


@pytest.mark.parametrize("text", PLANTED.values(), ids=PLANTED)
def test_planted_secrets_are_found(text: str) -> None:
    """The scan sees every kind, and its finding does not repeat a whole secret."""
    found = find_secrets(text)
    assert found
    assert text not in "".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "authorization:\n- Bearer REDACTED-access_token-1",
        f"- {basic('REDACTED-client_id-1', 'REDACTED-client_secret-1')}",
        f"- {basic('configured', 'REDACTED-client_secret')}",
        'Bearer error="invalid_token", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource"',
        "token_endpoint_auth_methods_supported: client_secret_basic client_secret_post, basic authentication",
        '{"token_type": "Bearer", "expires_in": 3600, "scope": "tools"}',
        "code=REDACTED-code-1&state=REDACTED-state&grant_type=authorization_code&code_challenge_method=S256",
        "response_type=code&redirect_uri=https%3A%2F%2Fapp.example",
    ],
)
def test_what_is_no_secret_is_not_reported(text: str) -> None:
    """Pseudonyms, challenges and metadata pass."""
    assert find_secrets(text) == []


@pytest.mark.parametrize("path", CASSETTES, ids=lambda path: path.name)
def test_no_cassette_holds_a_secret(path: Path) -> None:
    """All files that are checked in."""
    assert find_secrets(path.read_text(encoding="utf-8")) == []
