"""The demo's MCP server: real tools on real data, behind a login that survives a restart."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from mcp.shared.exceptions import MCPError

from langchain_mcp_oauth.demo.library import Hit, Library
from langchain_mcp_oauth.demo.server import demo_app
from langchain_mcp_oauth.testing import Person
from langchain_mcp_oauth.testing.serving import ServerThread, listen, origin
from tests.sdk_storage import Memory

pytestmark = pytest.mark.anyio


@contextmanager
def demo_server(data_dir: Path, port: int = 0) -> Iterator[str]:
    listener = listen(port)
    app = demo_app(origin(listener), data_dir, token_lifetime=60)
    thread = ServerThread([(app, listener)])
    thread.start()
    try:
        yield f"{origin(listener)}/mcp"
    finally:
        thread.stop()


@asynccontextmanager
async def logged_in(url: str, name: str, memory: Memory | None = None) -> AsyncIterator[Client]:
    memory = memory or Memory()
    answers: list[str] = []

    async def open_browser(authorization_url: str) -> None:
        memory.logins += 1
        answers.append(await Person(name).aapprove(authorization_url))

    async def await_callback() -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(answers.pop()).query)
        return AuthorizationCodeResult.model_validate({key: values[0] for key, values in query.items()})

    metadata = OAuthClientMetadata.model_validate({"redirect_uris": ["http://127.0.0.1:9/callback"], "token_endpoint_auth_method": "none"})
    auth = OAuthClientProvider(url, metadata, memory, open_browser, await_callback)
    async with httpx2.AsyncClient(auth=auth, timeout=20) as http, Client(streamable_http_client(url, http_client=http)) as client:
        yield client


async def test_listing_is_public_and_calling_is_not(tmp_path: Path) -> None:
    """Without a login the tools are listed, and none can be called."""
    with demo_server(tmp_path) as url:
        async with Client(url) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"search_docs", "read_doc", "add_note", "list_notes"}
            with pytest.raises(MCPError):
                await client.call_tool("list_notes", {})


async def test_search_and_read(tmp_path: Path) -> None:
    """A question in plain words finds the file that answers it, and a path that was found can be read; any other cannot."""
    with demo_server(tmp_path) as url:
        async with logged_in(url, "ada") as client:
            found = (
                await client.call_tool("search_docs", {"query": "what moves a TokenStore's requests to superseded?"})
            ).structured_content
            assert found is not None
            paths = [hit["path"] for hit in found["result"]]
            assert "langchain_mcp_oauth/store/contract.py" in paths
            text = (await client.call_tool("read_doc", {"path": "langchain_mcp_oauth/store/contract.py"})).structured_content
            assert text is not None
            assert "class TokenStore(Protocol)" in text["result"]
            assert (await client.call_tool("read_doc", {"path": "../../etc/passwd"})).is_error


async def test_notes_are_private_and_survive_a_restart(tmp_path: Path) -> None:
    """Each user reads their own notes only; after a restart on the same data the login and the notes are still there."""
    ada = Memory()
    with demo_server(tmp_path) as url:
        async with logged_in(url, "ada", ada) as client:
            await client.call_tool("add_note", {"text": "buy oil"})
        async with logged_in(url, "bob") as client:
            assert (await client.call_tool("list_notes", {})).structured_content == {"result": []}
    with demo_server(tmp_path, urlsplit(url).port or 0) as again:
        assert again == url
        async with logged_in(url, "ada", ada) as client:
            assert (await client.call_tool("list_notes", {})).structured_content == {"result": ["buy oil"]}
    assert ada.logins == 1


async def test_it_shows_what_it_has_seen(tmp_path: Path) -> None:
    """`/seen` lists requests with the tool and the user, and nothing secret."""
    memory = Memory()
    with demo_server(tmp_path) as url:
        async with logged_in(url, "ada", memory) as client:
            await client.call_tool("list_notes", {})
        answer = httpx2.get(url.replace("/mcp", "/seen"), trust_env=False)
    calls = [(one["user"], one["status"]) for one in answer.json() if one["tool"] == "list_notes"]
    assert calls == [(None, 401), ("ada", 200)]
    assert memory.tokens is not None
    assert memory.tokens.access_token not in answer.text


def test_the_consent_page_stands_alone(tmp_path: Path) -> None:
    """No script, nothing loaded from elsewhere, and what a client calls itself is text, not markup."""
    with demo_server(tmp_path) as url, httpx2.Client(base_url=url.replace("/mcp", ""), trust_env=False) as http:
        client = http.post(
            "/register", json={"client_name": "<script>x</script>", "redirect_uris": ["https://app.example/callback"]}
        ).json()
        query = {"client_id": client["client_id"], "redirect_uri": "https://app.example/callback", "response_type": "code", "resource": url}
        query |= {"code_challenge": "c" * 43, "state": "s"}
        page = http.get("/authorize", params=query, follow_redirects=True)
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "src=" not in page.text
    assert "<link" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' https://app.example;" in policy


def test_it_is_a_program(tmp_path: Path) -> None:
    """`python -m` serves; the first line it prints is its address; it ends when told to."""
    command = [sys.executable, "-m", "langchain_mcp_oauth.demo.server", "--port", "0", "--data-dir", str(tmp_path / "new")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        metadata = httpx2.get(url.replace("/mcp", "/.well-known/oauth-authorization-server"), trust_env=False).json()
        process.terminate()
    assert metadata["issuer"] == url.removesuffix("/mcp")


def test_search_takes_anything() -> None:
    """What a person types is words, never query syntax; no words find nothing."""
    library = Library([("a.md", "A lease is a right to refresh, until a time."), ("b.md", "A person is asked.")])
    assert library.search('refreshing? NOT "lease" AND (') == [Hit("a.md", "A lease is a right to refresh, until a time.")]
    assert library.search('"*"') == []
    assert library.read("b.md") == "A person is asked."
    assert library.read("c.md") is None
    library.close()
