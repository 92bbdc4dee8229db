"""A program of a user's, for their type checker: never run, but checked by `mypy --strict` against the installed wheel.

Every `assert_type` is a promise: what a name gives back to those who have no source at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, assert_type

from langchain.agents import create_agent
from langchain_core.documents.base import Blob
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langgraph.types import Command
from mcp.types import Prompt, Resource
from starlette.requests import Request
from starlette.routing import Route

from langchain_mcp_oauth import (
    AuthRequired,
    CallFinished,
    ClientCredentials,
    CredentialsRequired,
    Event,
    LoopbackBrowser,
    MCPOAuthError,
    MCPOAuthMiddleware,
    MCPOAuthToolkit,
    MCPServer,
    MCPTool,
    NotebookBrowser,
    PersonRequired,
    ServerPaused,
    ServersFailed,
    SQLModelTokenStore,
    StartLinkCookie,
    StdioServer,
    TokenProvider,
    TokenStore,
    ToolsChanged,
    auth_interrupts,
    callback_routes,
    client_metadata_document,
    client_metadata_route,
    connection_routes,
    interrupt_run,
    is_auth_interrupt,
    raise_auth_required,
    resume_command,
)
from langchain_mcp_oauth.profiles import anthropic, openai_strict


def signed_in(request: Request) -> str | None:
    return request.headers.get("x-user")


async def use() -> None:
    server = MCPServer("https://mcp.example.com/mcp", scopes=("tools",), client_id="app", issuer="https://as.example.com")
    store: TokenStore = SQLModelTokenStore("sqlite://", encryption_key="A" * 43 + "=")
    async with MCPOAuthToolkit({"example": server, "other": "https://other.example/mcp"}, store=store, user_id="ada") as toolkit:
        assert_type(toolkit, MCPOAuthToolkit)
        assert_type(await toolkit.aget_tools(), list[BaseTool])
        assert_type(toolkit.get_tools(), list[BaseTool])
        assert_type(toolkit.for_user("bob"), MCPOAuthToolkit)
        assert_type(await toolkit.disconnect("example"), bool)
        status = (await toolkit.status())["example"]
        assert_type(status.connected, bool)
        assert_type(status.expires_at, datetime | None)
        completed = await toolkit.complete_authorization("https://app.example/oauth/callback?code=…&state=…")
        assert_type(completed.missing_scopes, tuple[str, ...])
        assert_type(callback_routes(toolkit, get_user=signed_in), list[Route])
    MCPOAuthToolkit({}, on_auth_required=LoopbackBrowser())
    MCPOAuthToolkit({}, on_auth_required=NotebookBrowser())


async def before_a_call(toolkit: MCPOAuthToolkit) -> None:
    needed = await toolkit.begin_authorization("example", user_id="ada")
    assert_type(needed, AuthRequired | None)
    if needed is not None:
        assert_type(needed.user_code, str | None)
        assert_type(needed.requests, tuple[PersonRequired, ...])
        assert_type(needed.payload(), dict[str, Any])
        await needed.complete("https://app.example/oauth/callback?code=…&state=…")
    await toolkit.save_credentials("maps", {"API_KEY": "…"}, user_id="ada")
    await toolkit.save_token_response(
        "example", {"access_token": "…"}, issuer="https://as.example", token_endpoint="https://as.example/token", client_id="app"
    )
    status = (await toolkit.status(user_id="ada"))["maps"]
    assert_type(status.missing, tuple[str, ...])
    assert_type(status.state.value, str)
    assert_type(await toolkit.reachable(), dict[str, bool])
    await toolkit.accept_tools("example", {"search": "…"})


async def read(toolkit: MCPOAuthToolkit) -> None:
    assert_type(await toolkit.alist_resources("files"), list[Resource])
    assert_type(await toolkit.aget_resources("files", ["notes://1"], user_id="ada"), list[Blob])
    assert_type(await toolkit.alist_prompts("files"), list[Prompt])
    assert_type(await toolkit.aget_instructions(user_id="ada"), dict[str, str])
    assert_type(await toolkit.aget_prompt("files", "review", {"code": "…"}), list[BaseMessage])
    for tool in await toolkit.aget_tools():
        if isinstance(tool, MCPTool):
            assert_type(tool.server, str)
            assert_type(tool.mcp_tool, str)


async def give_an_agent_its_tools(model: BaseChatModel) -> None:
    async def broker(user_id: str, server: str) -> str:
        return f"{user_id} {server}"

    def on_event(event: Event) -> None:
        if isinstance(event, CallFinished):
            assert_type(event.seconds, float)

    async def tell(needed: PersonRequired) -> None:
        if isinstance(needed, CredentialsRequired):
            assert_type(needed.names, tuple[str, ...])
            await needed.save({"API_KEY": "…"})
        raise_auth_required(needed)

    servers: dict[str, str | dict[str, Any] | MCPServer | StdioServer] = {
        "example": "https://mcp.example.com/mcp",
        "maps": {"url": "https://maps.example/mcp", "headers": {"Authorization": "Bearer {{API_KEY}}"}},
        "files": StdioServer("files", args=["--quiet"], env={"TOKEN": "{{TOKEN}}"}, variables={"TOKEN": "Settings."}),
        "reports": MCPServer("https://reports.example/mcp", client_id="app", client_secret="…", grant=ClientCredentials()),
        "broker": MCPServer("https://broker.example/mcp", grant=TokenProvider(broker)),
    }
    toolkit = MCPOAuthToolkit(
        servers, on_auth_required=interrupt_run, on_event=on_event, schema_profile=openai_strict, interrupt_format="inbox", pin_tools=True
    )
    MCPOAuthToolkit(servers, schema_profile=anthropic, interrupt_format=lambda payload: {"mcp_oauth": payload})
    MCPOAuthToolkit(servers, on_auth_required=tell, on_elicitation=lambda question: {"responses": question})
    agent = create_agent(model, middleware=[MCPOAuthMiddleware(toolkit, mode="per_call")])
    result = await agent.ainvoke({"messages": []}, {"configurable": {"user_id": "ada"}})
    assert_type(is_auth_interrupt(result), bool)
    assert_type(auth_interrupts(await agent.aget_state({})), list[dict[str, Any]])


def serve(toolkit: MCPOAuthToolkit) -> list[Route]:
    assert_type(client_metadata_document(toolkit, client_name="The application"), dict[str, Any])
    assert_type(client_metadata_route(toolkit, client_name="The application"), Route)
    assert_type(connection_routes(toolkit, get_user=signed_in, scope_words={"files:read": "Read"}), list[Route])
    return callback_routes(toolkit, get_user=StartLinkCookie(toolkit), base_url="https://app.example/oauth")


def find_out(error: MCPOAuthError, result: dict[str, Any]) -> None:
    if isinstance(error, AuthRequired):
        assert_type(error.authorization_url, str)
        assert_type(error.expires_at, datetime)
        scopes: Sequence[str] = error.scopes
        print(scopes)
    assert_type(error.retryable, bool)
    assert_type(auth_interrupts(result), list[dict[str, Any]])
    assert_type(resume_command(result), Command[Any])
    if isinstance(error, ServersFailed):
        assert_type(error.errors, dict[str, Exception])
    if isinstance(error, ServerPaused):
        assert_type(error.retry_after, float | None)
    if isinstance(error, ToolsChanged):
        assert_type(error.changed, dict[str, str])
