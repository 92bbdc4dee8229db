"""What a victim does in most attacks."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from langchain_core.tools import BaseTool

from langchain_mcp_oauth import AuthRequired, MCPOAuthError, MCPOAuthToolkit, ServersFailed
from tests.attacks.hostile import CODE
from tests.e2e.conftest import REDIRECT_URI


async def asked(toolkit: MCPOAuthToolkit, **options: Any) -> AuthRequired:
    """The login that listing asks for."""
    with pytest.raises(AuthRequired) as needed:
        await toolkit.aget_tools(**options)
    return needed.value


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, keep_blank_values=True)


def callback(needed: AuthRequired, **changes: Any) -> str:
    """What the browser comes back with; None leaves a parameter out."""
    honest = {"code": CODE, "state": query_of(needed.authorization_url)["state"][0], "iss": needed.issuer}
    parameters = {name: value for name, value in {**honest, **changes}.items() if value is not None}
    return f"{REDIRECT_URI}?{urlencode(parameters)}"


async def log_in(toolkit: MCPOAuthToolkit, **options: Any) -> list[BaseTool]:
    """Ask, answer, list."""
    needed = await asked(toolkit, **options)
    await toolkit.complete_authorization(callback(needed), **options)
    return await toolkit.aget_tools(**options)


async def call(tool: BaseTool, **arguments: Any) -> str:
    """The text a call gives a model."""
    message = await tool.ainvoke({"type": "tool_call", "id": "call-1", "name": tool.name, "args": arguments})
    return str(message.text)


async def outcome(awaitable: Any) -> MCPOAuthError | None:
    """The error that a story ends with, taken out of `ServersFailed`; None if it ends well. Whatever is none of ours is a failure."""
    try:
        await awaitable
    except ServersFailed as failed:
        [error] = failed.errors.values()
        assert isinstance(error, MCPOAuthError)
        return error
    except MCPOAuthError as error:
        return error
    return None


async def failure(awaitable: Any) -> MCPOAuthError:
    """The error that a story must end with."""
    error = await outcome(awaitable)
    assert error is not None, "it ended well"
    return error
