"""The clients that are compared, each as its documentation says. Only what a subject needs is imported, in its own process.

A subject is given the server's URL and one token for each user; it is an async context manager that gives, for each user, an async context
manager that gives a `Call`. What is done once for a process happens in the first; what each user costs, listing the tools included, in the
second.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, TypeAlias

Call: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]
User: TypeAlias = Callable[[], AbstractAsyncContextManager[Call]]
List: TypeAlias = Callable[[int], Awaitable[int]]
"""Everything that a user of this number has; how many tools that is."""
Subject: TypeAlias = Callable[[str, Sequence[str]], AbstractAsyncContextManager[list[User]]]

MODERN = "2026-07-28"
KEY = "A" * 43 + "="


def text_of(result: Any) -> str:
    """Of whatever a subject's call returns."""
    blocks = result.content if hasattr(result, "content") else result
    block = blocks if isinstance(blocks, (str, dict)) else blocks[0]
    if isinstance(block, str):
        return block
    return str(block["text"] if isinstance(block, dict) else block.text)


# The floor ---------------------------------------------------------------------------------------------------------------------


class RawClient:
    """JSON-RPC by hand over one httpx2 client: what any client has to do at least."""

    def __init__(self, client: Any, url: str, token: str) -> None:
        self.client = client
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        self.ids = count(1)

    async def begin(self) -> None:
        """As its era asks for; then the listing, which every client reads."""
        if MODERN in self.url:
            self.headers["MCP-Protocol-Version"] = MODERN
        else:
            begun = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
            response = await self.post("initialize", begun)
            self.headers |= {"Mcp-Session-Id": response.headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
        await self.request("tools/list", {})

    async def post(self, method: str, params: dict[str, Any]) -> Any:
        message = {"jsonrpc": "2.0", "id": next(self.ids), "method": method, "params": params}
        response = await self.client.post(self.url, json=message, headers=self.headers)
        response.raise_for_status()
        return response

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        import json

        response = await self.post(method, params)
        if response.headers["content-type"] == "text/event-stream":
            return json.loads(response.text.partition("data: ")[2])["result"]
        return response.json()["result"]

    async def call(self, arguments: dict[str, Any]) -> Any:
        result = await self.request("tools/call", {"name": "echo", "arguments": arguments})
        return result["content"]


def raw_http_client() -> Any:
    import httpx2

    return httpx2.AsyncClient(timeout=60, limits=httpx2.Limits(max_connections=512, max_keepalive_connections=512, keepalive_expiry=300))


@asynccontextmanager
async def floor(url: str, tokens: Sequence[str]) -> AsyncIterator[list[User]]:
    """`httpx2`: one POST a call, one client for all."""
    async with raw_http_client() as client:

        @asynccontextmanager
        async def user(token: str) -> AsyncIterator[Call]:
            raw = RawClient(client, url, token)
            await raw.begin()
            yield raw.call

        yield [partial(user, token) for token in tokens]


@asynccontextmanager
async def floor_in_a_tool(url: str, tokens: Sequence[str]) -> AsyncIterator[list[User]]:
    """The same as a LangChain tool: what no tool for LangChain can do without."""
    from langchain_core.tools import StructuredTool

    async with floor(url, tokens) as raw_users:

        @asynccontextmanager
        async def user(raw_user: User) -> AsyncIterator[Call]:
            async with raw_user() as call:

                async def echo(**arguments: Any) -> tuple[Any, Any]:
                    return await call(arguments), None

                schema = {"type": "object", "properties": {"text": {"type": "string"}, "seconds": {"type": "number"}}}
                tool = StructuredTool(
                    name="echo", description="Say it again.", args_schema=schema, coroutine=echo, response_format="content_and_artifact"
                )
                yield tool.ainvoke

        yield [partial(user, raw_user) for raw_user in raw_users]


# This library ------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def ours(url: str, tokens: Sequence[str]) -> AsyncIterator[list[User]]:
    """This library: each user's login in a SQLite database, as an application has it."""
    from langchain_mcp_oauth import MCPOAuthToolkit

    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"store": f"sqlite:///{folder}/logins.db", "encryption_key": KEY}
        async with MCPOAuthToolkit({"bench": url}, **options) as toolkit:
            await save_logins(toolkit, url, tokens)
        async with MCPOAuthToolkit({"bench": url}, **options) as toolkit:

            @asynccontextmanager
            async def user(token: str) -> AsyncIterator[Call]:
                [tool, *_] = await toolkit.aget_tools(user_id=token)
                yield tool.ainvoke

            yield [partial(user, token) for token in tokens]


async def save_logins(toolkit: Any, url: str, tokens: Sequence[str], *, expires_in: int = 3600) -> None:
    """Logins that were made before; the user of a token has its name."""
    root = url.partition("/20")[0]
    for server in toolkit.servers:
        for token in tokens:
            await toolkit.save_token_response(
                server,
                {
                    "access_token": token,
                    "token_type": "Bearer",
                    "expires_in": expires_in,
                    "refresh_token": f"refresh-{token.split('-')[1]}",
                },
                issuer=root,
                token_endpoint=f"{root}/token",
                client_id="bench",
                user_id=token,
            )


@asynccontextmanager
async def our_expired_login(url: str) -> AsyncIterator[Call]:
    """A user who has called before, and whose token has expired since: the store says so, as a process finds it that was idle."""
    from langchain_mcp_oauth import MCPOAuthToolkit

    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"store": f"sqlite:///{folder}/logins.db", "encryption_key": KEY, "user_id": "bench-0"}
        async with MCPOAuthToolkit({"bench": url}, **options) as toolkit:
            await save_logins(toolkit, url, ["bench-0"])
            [tool, *_] = await toolkit.aget_tools()
            await asyncio.gather(*(tool.ainvoke({"text": "hello", "seconds": 0.05}) for _ in range(100)))  # opens the connections
            await save_logins(toolkit, url, ["bench-0"], expires_in=0)
            yield tool.ainvoke


# The SDK -----------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def sdk(url: str, tokens: Sequence[str], *, oauth: bool = False) -> AsyncIterator[list[User]]:
    """`mcp`: a `Client` for each user, held open."""
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    @asynccontextmanager
    async def user(token: str) -> AsyncIterator[Call]:
        how: dict[str, Any] = {"auth": stored_provider(url, token)} if oauth else {"headers": {"Authorization": f"Bearer {token}"}}
        async with create_mcp_http_client(**how) as http_client, Client(streamable_http_client(url, http_client=http_client)) as client:
            await client.list_tools()
            yield partial(client.call_tool, "echo")

    yield [partial(user, token) for token in tokens]


def stored_provider(url: str, token: str) -> Any:
    """The SDK's OAuth provider with a token that it finds in its storage."""
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

    class Storage:
        async def get_tokens(self) -> OAuthToken | None:
            return OAuthToken(access_token=token, token_type="Bearer", expires_in=3600)

        async def get_client_info(self) -> OAuthClientInformationFull | None:
            return OAuthClientInformationFull(client_id="bench", redirect_uris=["http://127.0.0.1/callback"])  # type: ignore[list-item]

        async def set_tokens(self, tokens: OAuthToken) -> None: ...

        async def set_client_info(self, client_info: OAuthClientInformationFull) -> None: ...

    return OAuthClientProvider(url, OAuthClientMetadata(redirect_uris=["http://127.0.0.1/callback"]), Storage())  # type: ignore[list-item]


# langchain.mcp -----------------------------------------------------------------------------------------------------------------


def langchain_adapter(url: str, token: str) -> Any:
    import warnings

    warnings.simplefilter("ignore")  # it says that it is in beta
    from fastmcp.client import Client, StreamableHttpTransport
    from langchain.mcp import MCPAdapter

    return MCPAdapter(Client(StreamableHttpTransport(url, auth=token)))


@asynccontextmanager
async def langchain_inside(url: str, tokens: Sequence[str]) -> AsyncIterator[list[User]]:
    """`langchain.mcp`, an adapter for each user, its tools used inside its context."""

    @asynccontextmanager
    async def user(token: str) -> AsyncIterator[Call]:
        async with langchain_adapter(url, token) as adapter:
            yield (await adapter.list_tools())[0].ainvoke

    yield [partial(user, token) for token in tokens]


@asynccontextmanager
async def langchain_after(url: str, tokens: Sequence[str]) -> AsyncIterator[list[User]]:
    """`langchain.mcp`, its tools used without a context around them."""

    @asynccontextmanager
    async def user(token: str) -> AsyncIterator[Call]:
        yield (await langchain_adapter(url, token).list_tools())[0].ainvoke

    yield [partial(user, token) for token in tokens]


# langchain-mcp-adapters, on mcp 1.x, in an environment of its own ---------------------------------------------------------------


def adapters_client(url: str, token: str) -> Any:
    from langchain_mcp_adapters.client import MultiServerMCPClient

    how = {"transport": "streamable_http", "url": url, "headers": {"Authorization": f"Bearer {token}"}}
    return MultiServerMCPClient({"bench": how})  # type: ignore[dict-item]


@asynccontextmanager
async def adapters(url: str, tokens: Sequence[str]) -> AsyncIterator[list[User]]:
    """`langchain-mcp-adapters`, as its README begins: `get_tools()`."""

    @asynccontextmanager
    async def user(token: str) -> AsyncIterator[Call]:
        yield (await adapters_client(url, token).get_tools())[0].ainvoke

    yield [partial(user, token) for token in tokens]


@asynccontextmanager
async def adapters_session(url: str, tokens: Sequence[str]) -> AsyncIterator[list[User]]:
    """`langchain-mcp-adapters` with a session held open."""
    from langchain_mcp_adapters.tools import load_mcp_tools

    @asynccontextmanager
    async def user(token: str) -> AsyncIterator[Call]:
        async with adapters_client(url, token).session("bench") as session:
            yield (await load_mcp_tools(session))[0].ainvoke

    yield [partial(user, token) for token in tokens]


# All tools of many servers ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def raw_listing(urls: Sequence[str], users: int) -> AsyncIterator[List]:
    """One POST for each server, and `json`."""
    async with raw_http_client() as client:

        async def list_all(user: int) -> int:
            raws = [RawClient(client, url, f"bench-{user}") for url in urls]
            for raw in raws:
                raw.headers["MCP-Protocol-Version"] = MODERN
            listed = await asyncio.gather(*(raw.request("tools/list", {}) for raw in raws))
            return sum(len(one["tools"]) for one in listed)

        yield list_all


@asynccontextmanager
async def our_listing(urls: Sequence[str], users: int) -> AsyncIterator[List]:
    """`aget_tools()`."""
    from langchain_mcp_oauth import MCPOAuthToolkit

    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/logins.db"
        async with MCPOAuthToolkit({f"s{n}": url for n, url in enumerate(urls)}, store=store, encryption_key=KEY) as toolkit:
            await save_logins(toolkit, urls[0], [f"bench-{user}" for user in range(users)])

            async def list_all(user: int) -> int:
                return len(await toolkit.aget_tools(user_id=f"bench-{user}"))

            yield list_all


LISTINGS: dict[str, Callable[[Sequence[str], int], AbstractAsyncContextManager[List]]] = {"floor": raw_listing, "ours": our_listing}

SUBJECTS: dict[str, Subject] = {
    "floor": floor,
    "floor in a tool": floor_in_a_tool,
    "ours": ours,
    "SDK": sdk,
    "SDK + OAuth": partial(sdk, oauth=True),
    "langchain.mcp": langchain_inside,
    "langchain.mcp after": langchain_after,
    "adapters": adapters,
    "adapters session": adapters_session,
}
