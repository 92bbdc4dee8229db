"""Steps that several stories share."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool

from langchain_mcp_oauth import AuthRequired, MCPOAuthToolkit
from langchain_mcp_oauth.testing import Person


async def log_in(toolkit: MCPOAuthToolkit, person: Person) -> dict[str, BaseTool]:
    """Ask, approve, complete, and list: the toolkit's tools by their MCP names."""
    with pytest.raises(AuthRequired) as asked:
        await toolkit.aget_tools()
    callback_url = await person.aapprove(asked.value.authorization_url)
    await toolkit.complete_authorization(callback_url)
    return await tools_of(toolkit)


async def tools_of(toolkit: MCPOAuthToolkit) -> dict[str, BaseTool]:
    return {tool.mcp_tool: tool for tool in await toolkit.aget_tools()}  # type: ignore[attr-defined]


async def message(tool: BaseTool, **arguments: Any) -> Any:
    """The `ToolMessage` of a call."""
    return await tool.ainvoke({"type": "tool_call", "id": "call-1", "name": tool.name, "args": arguments})


async def text_of(tool: BaseTool, **arguments: Any) -> str:
    """The text a call gives a model."""
    return str((await message(tool, **arguments)).text)
