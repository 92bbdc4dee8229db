"""A program of a user's, for their type checker: never run, but checked by `mypy --strict` against the installed wheel.

Every `assert_type` is a promise: what a name gives back to those who have no source at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, assert_type

from langchain_core.tools import BaseTool
from langgraph.types import Command
from starlette.requests import Request
from starlette.routing import Route

from langchain_mcp_oauth import (
    AuthRequired,
    LoopbackBrowser,
    MCPOAuthError,
    MCPOAuthToolkit,
    MCPServer,
    SQLModelTokenStore,
    TokenStore,
    auth_interrupts,
    callback_routes,
    resume_command,
)


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


def find_out(error: MCPOAuthError, result: dict[str, Any]) -> None:
    if isinstance(error, AuthRequired):
        assert_type(error.authorization_url, str)
        assert_type(error.expires_at, datetime)
        scopes: Sequence[str] = error.scopes
        print(scopes)
    assert_type(error.retryable, bool)
    assert_type(auth_interrupts(result), list[dict[str, Any]])
    assert_type(resume_command(result), Command[Any])
