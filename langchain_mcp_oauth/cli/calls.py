"""`tools` and `call`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from mcp_types import CallToolResult, TextContent

from langchain_mcp_oauth.cli.printing import Exit, Printer
from langchain_mcp_oauth.cli.settings import Allow, AsJson, Config, Proxy, Server, Store, User, read_settings
from langchain_mcp_oauth.errors import ConfigurationError
from langchain_mcp_oauth.interrupts.graph import raise_auth_required
from langchain_mcp_oauth.loopback import LoopbackBrowser
from langchain_mcp_oauth.tools.tool import MCPTool

__all__ = ["call", "tools"]

Tool = Annotated[str, typer.Argument(metavar="TOOL", help="As the server calls it.")]
Arguments = Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Values are JSON where they can be, else text.")]
Whole = Annotated[str | None, typer.Option("--arguments", metavar="JSON", help="All arguments as one JSON object.")]


def tools(
    server: Server,
    *,
    config: Config = None,
    user: User = None,
    store: Store = None,
    allow: Allow = None,
    proxy: Proxy = None,
    as_json: AsJson = False,
) -> None:
    """List a server's tools, as you."""
    printer = Printer(as_json=as_json)

    async def do() -> list[dict[str, Any]]:
        settings = read_settings(config, user, store, allow, proxy)
        async with settings.toolkit(server, on_auth_required=raise_auth_required, redirect_uri=_redirect_uri()) as (toolkit, name):
            listed = await printer.wait(f"Listing the tools of {name} …", toolkit.aget_tools())
            return [_tool(tool) for tool in listed if isinstance(tool, MCPTool)]

    documents = printer.run(do())
    rows = [[document["name"], document["description"].partition("\n")[0]] for document in documents]
    printer.result(documents, lambda: printer.rows(["TOOL", "DESCRIPTION"], rows))


def call(
    server: Server,
    tool: Tool,
    values: Arguments = None,
    *,
    arguments: Whole = None,
    config: Config = None,
    user: User = None,
    store: Store = None,
    allow: Allow = None,
    proxy: Proxy = None,
    as_json: AsJson = False,
) -> None:
    """Call a tool, as you, and print what it says."""
    printer = Printer(as_json=as_json)

    async def do() -> CallToolResult:
        given = _read_arguments(values or [], arguments)
        async with read_settings(config, user, store, allow, proxy).toolkit(server, redirect_uri=_redirect_uri()) as (toolkit, name):
            result = await printer.wait(f"Calling {tool} …", toolkit.call_tool(toolkit.resolve_user(None), name, tool, given))
            assert isinstance(result, CallToolResult), "the server was told that nobody can be asked"
            return result

    result = printer.run(do())
    document = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    printer.result(document | {"isError": bool(result.is_error)}, lambda: _say(printer, result))
    if result.is_error:
        raise typer.Exit(Exit.TOOL_FAILED)


def _redirect_uri() -> str:
    """The one that `login` uses, so that the request that is opened here is the one that is finished there."""
    return LoopbackBrowser().redirect_uri


def _tool(tool: MCPTool) -> dict[str, Any]:
    return {"name": tool.mcp_tool, "description": tool.description, "input_schema": tool.args_schema}


def _read_arguments(values: list[str], whole: str | None) -> dict[str, Any]:
    try:
        given = json.loads(whole) if whole is not None else {}
    except ValueError:
        raise ConfigurationError("--arguments is not JSON.") from None
    if not isinstance(given, dict):
        raise ConfigurationError("--arguments must be a JSON object.")
    for value in values:
        name, equals, text = value.partition("=")
        if not equals:
            raise ConfigurationError(f"Arguments are written NAME=VALUE, not {value!r}.")
        given[name] = _read_value(text)
    return given


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _say(printer: Printer, result: CallToolResult) -> None:
    for block in result.content:
        if isinstance(block, TextContent):
            printer.line(block.text, "red" if result.is_error else "")
        else:
            printer.say(f"({block.type}; --json has it)", "dim")
