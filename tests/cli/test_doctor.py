"""What the doctor says of servers that are well, and of each kind that is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from langchain_mcp_oauth.cli import app
from langchain_mcp_oauth.cli.printing import Exit
from langchain_mcp_oauth.testing import ProtectedServer
from langchain_mcp_oauth.testing.serving import ServerThread, listen, origin


def examine(url: str, *allowed: str) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(app, ["doctor", url, "--json", *(f"--allow={host}" for host in allowed)])
    return result.exit_code, json.loads(result.stdout)["findings"]


def problems(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [finding for finding in findings if finding["verdict"] == "problem"]


def test_a_server_that_is_well() -> None:
    """Every step is named, in order; nothing was registered, and nobody was asked."""
    with ProtectedServer() as server:
        status, findings = examine(server.url, *server.allowed_private_hosts)
        assert server.count(path="/register") == 0
        assert server.count(path="/authorize") == 0
    assert (status, problems(findings)) == (Exit.OK, [])
    assert [finding["step"] for finding in findings] == ["server", "challenge", "resource", "issuer", "issuer", "registration"]


METADATA: dict[str, tuple[Mapping[str, Any], str, list[str]]] = {
    "PKCE is not mentioned": ({"code_challenge_methods_supported": None}, "supports PKCE", ["assume_pkce"]),
    "PKCE without S256": ({"code_challenge_methods_supported": ["plain"]}, "S256", []),
    "another issuer": ({"issuer": "https://other.example"}, "not that of the issuer", []),
    "no registration": ({"registration_endpoint": None}, "does not register", ["client_id", "client_secret", "issuer"]),
    "an endpoint without TLS": ({"token_endpoint": "http://as.example/token"}, "https", []),
}


@pytest.mark.parametrize("fault", METADATA)
def test_faults_of_an_authorization_server(fault: str) -> None:
    """One problem, in plain words, with the option that helps, if one does."""
    metadata, words, options = METADATA[fault]
    with ProtectedServer(metadata=metadata) as server:
        status, findings = examine(server.url, *server.allowed_private_hosts)
    [problem] = problems(findings)
    assert status == Exit.UNHEALTHY
    assert words in problem["text"]
    assert [option for option in options if option not in problem["options"]] == []


def test_a_remedy_is_tried() -> None:
    """Where an option helps, the examination goes on with it, and says so."""
    with ProtectedServer(metadata={"code_challenge_methods_supported": None}) as server:
        _, findings = examine(server.url, *server.allowed_private_hosts)
    assert "assume_pkce=True" in problems(findings)[0]["advice"]
    assert findings[-1]["step"] == "registration"


def test_a_private_address() -> None:
    """The authorization server is on another loopback port, which nobody has allowed: the option is named."""
    with ProtectedServer() as server:
        status, findings = examine(server.url)
    assert status == Exit.UNHEALTHY
    assert "allowed_private_hosts" in problems(findings)[0]["text"]


@contextmanager
def a_server(documents: Mapping[str, Any], *, challenge: str = "Bearer") -> Iterator[str]:
    """Answers 401 at /mcp, and with these documents at their paths; `{origin}` in them is its own."""
    listener = listen()

    async def answer(request: Request) -> Response:
        if request.url.path == "/mcp":
            return Response(status_code=401, headers={"WWW-Authenticate": challenge} if challenge else {})
        found = documents.get(request.url.path)
        return JSONResponse(json.loads(json.dumps(found).replace("{origin}", origin(listener)))) if found else Response(status_code=404)

    thread = ServerThread([(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])]), listener)])
    thread.start()
    try:
        yield f"{origin(listener)}/mcp"
    finally:
        thread.stop()


def test_no_metadata_at_all() -> None:
    """What was looked for is listed, and the endpoints of 2025-03-26 are offered."""
    with a_server({}) as url:
        status, findings = examine(url)
    assert status == Exit.UNHEALTHY
    assert problems(findings)[0]["options"] == ["default_endpoints"]
    assert sum("No metadata at" in finding["text"] for finding in findings) >= 3


def test_a_resource_that_is_another_server() -> None:
    """RFC 9728 §3.3."""
    document = {"resource": "https://other.example/mcp", "authorization_servers": ["{origin}"]}
    with a_server({"/.well-known/oauth-protected-resource/mcp": document}) as url:
        _, findings = examine(url)
    assert "is not the server at" in problems(findings)[0]["text"]


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        ("", "without `WWW-Authenticate: Bearer`"),
        ('Bearer resource_metadata="https://elsewhere.example/.well-known/oauth-protected-resource"', "on another origin"),
    ],
)
def test_challenges_that_help_little(challenge: str, words: str) -> None:
    """They are noted; the usual places are tried all the same."""
    with a_server({}, challenge=challenge) as url:
        _, findings = examine(url)
    assert [finding for finding in findings if finding["verdict"] == "note" and words in finding["text"]]


@pytest.mark.parametrize(("url", "words"), [("http://mcp.example/mcp", "https"), ("http://127.0.0.1:9/mcp", "could not be reached")])
def test_an_address_that_leads_nowhere(url: str, words: str) -> None:
    """Said at once."""
    status, findings = examine(url)
    assert status == Exit.UNHEALTHY
    assert words in problems(findings)[0]["text"]


def test_a_server_that_needs_no_login() -> None:
    """Nothing is wrong with it."""

    async def answer(request: Request) -> Response:
        return JSONResponse({"jsonrpc": "2.0", "id": 1, "result": {}}) if request.method == "POST" else Response(status_code=404)

    listener = listen()
    thread = ServerThread([(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])]), listener)])
    thread.start()
    status, findings = examine(f"{origin(listener)}/mcp")
    thread.stop()
    assert (status, problems(findings)) == (Exit.OK, [])


def test_in_words() -> None:
    """A mark and a sentence for each step."""
    with ProtectedServer() as server:
        result = CliRunner().invoke(app, ["doctor", server.url, *(f"--allow={host}" for host in server.allowed_private_hosts)])
    assert result.stdout.startswith("ok      It answers at http://127.0.0.1:")
    assert "It registers clients by itself" in result.stdout
