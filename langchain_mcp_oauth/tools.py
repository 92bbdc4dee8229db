"""One MCP tool as a LangChain tool. It holds neither a token nor a session: both are looked up when it is called, for the calling user."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from mcp.types import CallToolResult, Implementation, Tool
from pydantic import PrivateAttr

from langchain_mcp_oauth.asking import Asking, Conversation, adrive, drive_sync
from langchain_mcp_oauth.content import MCPToolArtifact, ToolContent, text_block, to_artifact, to_blocks, to_error_blocks
from langchain_mcp_oauth.errors import AuthorizationDenied, ScopeNotGrantedError, TokenRejectedError
from langchain_mcp_oauth.names import tool_name
from langchain_mcp_oauth.schemas import clean_description, clean_schema

__all__ = ["Caller", "MCPTool", "make_tool"]


class Caller(Protocol):
    """What a tool needs of its toolkit."""

    def resolve_user(self, config: RunnableConfig | None) -> str:
        """Whose account this call uses, by the toolkit and the run. Raises `UserRequiredError`."""
        ...

    def asking(
        self, user_id: str, *, stage: Literal["list_tools", "call_tool"], tool_name: str | None = None, tool_call_id: str | None = None
    ) -> Asking:
        """How this call asks a person."""
        ...

    async def call_tool(self, user_id: str, server: str, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        """Make the call as that user, or raise `AuthRequired` with everything closed."""
        ...

    def run_sync(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for an awaitable on the library's own event loop."""
        ...


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a model gave, as one value: no parameter's name can collide with ours."""

    values: dict[str, Any]
    tool_call_id: str | None


class FailedCall(ToolException):
    """What the model is told as a failed `ToolMessage`: the tool's own error, or an authorization that did not come about."""

    def __init__(self, blocks: list[ToolContent]) -> None:
        super().__init__("\n".join(block["text"] for block in blocks if block["type"] == "text") or "The tool failed.")
        self.blocks = blocks


def _show_failure(error: ToolException) -> Any:
    return error.blocks if isinstance(error, FailedCall) else str(error)


class MCPTool(BaseTool):
    """One tool of one MCP server, for whoever calls it.

    `name` is valid for every provider (`server__tool`); `mcp_tool` is what the server calls it. `args_schema` is the server's JSON schema,
    and the server validates. A result's content becomes content blocks, the rest the artifact (`MCPToolArtifact`); `isError` becomes a
    failed `ToolMessage`, and so does an authorization that the person refused or that cannot come about.

    Calling it raises:
        AuthRequired: outside a graph, when a person has to authorize (or what `on_auth_required` raises; in a graph it is an interrupt).
        UserRequiredError: nobody says whose account to use.
        ConnectionFailed, ProtocolError, DiscoveryError, StoreError, …: what a model cannot act on.
    """

    server: str
    mcp_tool: str
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: Any = _show_failure

    _caller: Caller = PrivateAttr()

    def _to_args_and_kwargs(self, tool_input: str | dict[str, Any], tool_call_id: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """All arguments in one positional value, so that parameters called `config`, `run_manager`, `runtime` or `self` survive."""
        values = self._parse_input(tool_input, tool_call_id)
        if not isinstance(values, dict):
            raise ToolException(f"{self.name} takes named arguments, not text.")
        return (Arguments(dict(values), tool_call_id),), {}

    def _run(self, arguments: Arguments, /, *, config: RunnableConfig) -> tuple[list[ToolContent], MCPToolArtifact]:
        return drive_sync(self._converse(arguments, config), self._caller.run_sync)

    async def _arun(self, arguments: Arguments, /, *, config: RunnableConfig) -> Any:
        # langchain-core evaluates these annotations in every call: plain classes, not text (no `annotations` from the future above).
        return await adrive(self._converse(arguments, config))

    def _converse(self, arguments: Arguments, config: RunnableConfig) -> Conversation[tuple[list[ToolContent], MCPToolArtifact]]:
        user_id = self._caller.resolve_user(config)
        asking = self._caller.asking(user_id, stage="call_tool", tool_name=self.name, tool_call_id=arguments.tool_call_id)
        try:
            result = yield from asking.converse(lambda: self._caller.call_tool(user_id, self.server, self.mcp_tool, arguments.values))
        except (AuthorizationDenied, ScopeNotGrantedError, TokenRejectedError) as refusal:
            raise FailedCall([text_block(str(refusal))]) from None
        if result.is_error:
            raise FailedCall(to_error_blocks(result))
        return to_blocks(result), to_artifact(result)


def make_tool(caller: Caller, server: str, tool: Tool, server_info: Implementation | None) -> MCPTool:
    """The LangChain tool for an MCP server's listing entry.

    Raises:
        ProtocolError: its schema is too large to pass on.
    """
    made = MCPTool(
        name=tool_name(server, tool.name),
        description=clean_description(tool.description),
        args_schema=clean_schema(tool.input_schema, tool.name),
        metadata={"mcp": _metadata(tool, server_info)},
        tags=["mcp", server],
        server=server,
        mcp_tool=tool.name,
    )
    made._caller = caller  # noqa: SLF001 - pydantic's way to set what is not a field
    return made


def _metadata(tool: Tool, server_info: Implementation | None) -> dict[str, Any]:
    """In `langchain.mcp`'s shape; what servers say of themselves is for display and is not to be trusted."""
    annotations = tool.annotations.model_dump(exclude_none=True) if tool.annotations else None
    described = {"name": tool.name, "title": tool.title, "annotations": annotations, "_meta": tool.meta}
    metadata: dict[str, Any] = {"tool": {name: value for name, value in described.items() if value is not None}}
    if server_info is not None:
        metadata["server"] = server_info.model_dump(exclude_none=True)
    return metadata
