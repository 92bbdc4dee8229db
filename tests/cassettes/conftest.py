"""The stage of the recordings: a protected server, known by public names, and the SDK's client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from langchain_mcp_oauth.testing import Person, ProtectedServer
from langchain_mcp_oauth.testing.cassettes import CassetteTransport
from tests.sdk_storage import Memory

MCP = "https://mcp.example.com"
AUTH = "https://auth.example.com"


@pytest.fixture
def on_stage() -> Callable[[ProtectedServer], AbstractContextManager[dict[str, str]]]:
    """`with on_stage(server) as names`: the server runs, and these are its names."""

    @contextmanager
    def run(server: ProtectedServer) -> Iterator[dict[str, str]]:
        with server:
            yield {MCP: server.url.removesuffix("/mcp"), AUTH: server.issuer}

    return run


@pytest.fixture
def sdk_client() -> Callable[..., AbstractAsyncContextManager[Client]]:
    """`async with sdk_client(conversation, mode=...)`: the MCP SDK's client, logging in as Ada."""

    @asynccontextmanager
    async def connect(conversation: CassetteTransport, **options: Any) -> AsyncIterator[Client]:
        answers: list[str] = []

        async def open_browser(url: str) -> None:
            answers.append(await conversation.visit(url, Person("ada").aapprove))

        async def await_callback() -> AuthorizationCodeResult:
            query = {name: values[0] for name, values in parse_qs(urlsplit(answers.pop()).query).items()}
            return AuthorizationCodeResult.model_validate(query)

        metadata = OAuthClientMetadata.model_validate(
            {"redirect_uris": ["https://app.example.com/callback"], "token_endpoint_auth_method": "client_secret_basic"}
        )
        auth = OAuthClientProvider(f"{MCP}/mcp", metadata, Memory(), open_browser, await_callback)
        async with (
            httpx2.AsyncClient(transport=conversation, auth=auth) as http,
            Client(streamable_http_client(f"{MCP}/mcp", http_client=http), **options) as client,
        ):
            yield client

    return connect
