"""Tools for tests: one for each thing that can be particular about a tool."""

from __future__ import annotations

import base64

import anyio
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

__all__ = ["add_example_tools"]

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
"""A PNG of one pixel."""


class Sum(BaseModel):
    """What `add` returns as structured content."""

    total: int


async def whoami() -> str:
    """Say whose access token this call came with."""
    token = get_access_token()
    return (token.subject if token else None) or "anonymous"


async def echo(text: str) -> str:
    """Say the text again."""
    return text


async def add(a: int, b: int) -> Sum:
    """Add two numbers; the result is structured."""
    return Sum(total=a + b)


async def fail(message: str = "it broke") -> str:
    """Always fail, with this message (`isError`)."""
    raise ToolError(message)


async def slow(ctx: Context, steps: int = 3, seconds: float = 0.0) -> str:
    """Report progress for each step, taking `seconds` for each."""
    for step in range(1, steps + 1):
        await anyio.sleep(seconds)
        await ctx.report_progress(step, steps, f"step {step}")
    return f"{steps} steps"


async def awkward(config: str, run_manager: str, runtime: str, self: str) -> str:
    """Say the arguments again; their names are ones that frameworks like to take for themselves."""
    return " ".join([config, run_manager, runtime, self])


async def picture() -> Image:
    """Show an image of one pixel."""
    return Image(data=PIXEL, format="png")


def add_example_tools(mcp: MCPServer) -> None:
    """Add all of them."""
    for tool in (whoami, echo, add, fail, slow, awkward, picture):
        mcp.add_tool(tool)
