"""One MCP tool as a LangChain tool. It holds neither a token nor a session: both are looked up when it is called, for the calling user."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any, Literal, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from mcp_types import CallToolResult, InputRequiredResult, Tool
from pydantic import PrivateAttr

from langchain_mcp_oauth.connections import ListedTools, ToolResult
from langchain_mcp_oauth.errors import AuthorizationDenied, ProtocolError, ScopeNotGrantedError, TokenRejectedError, UnsafeURLError
from langchain_mcp_oauth.interrupts.asking import Asking, Conversation, adrive, drive_sync
from langchain_mcp_oauth.interrupts.eliciting import to_payload
from langchain_mcp_oauth.interrupts.reporting import report_to_run
from langchain_mcp_oauth.profiles import Schema
from langchain_mcp_oauth.service.service import Beside
from langchain_mcp_oauth.tools.content import MCPToolArtifact, ToolContent, text_block, to_artifact, to_blocks, to_error_blocks
from langchain_mcp_oauth.tools.names import connect_name, tool_name
from langchain_mcp_oauth.tools.schemas import clean_description, clean_schema

__all__ = ["Caller", "ConnectTool", "MCPTool", "UserTool", "find_tool", "make_connect_tool", "make_tools"]

logger = logging.getLogger(__name__)

Profile: TypeAlias = Callable[[Schema], Schema]

T = TypeVar("T", bound="UserTool")


class Caller(Protocol):
    """What a tool needs of its toolkit."""

    @property
    def schema_profile(self) -> Profile:
        """What makes schemas fit for the model's provider."""
        ...

    def resolve_user(self, config: RunnableConfig | None) -> str:
        """Whose account this call uses, by the toolkit and the run. Raises `UserRequiredError`."""
        ...

    def asking(
        self,
        user_id: str,
        *,
        stage: str,
        server: str | None = None,
        tool_name: str | None = None,
        tool_call_id: str | None = None,
    ) -> Asking:
        """How this call asks a person."""
        ...

    async def list_tools(self, user_id: str, server: str) -> ListedTools:
        """What the server offers that user, or raise `AuthRequired` with everything closed."""
        ...

    async def call_tool(self, user_id: str, server: str, tool: str, arguments: dict[str, Any], beside: Beside) -> ToolResult:
        """Make the call as that user, or raise `AuthRequired` with everything closed."""
        ...

    def run_sync(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for an awaitable on the library's own event loop."""
        ...


MAX_QUESTIONS = 20
"""Rounds of questions in one call."""


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


class UserTool(BaseTool):
    """A tool that does something at a server as the calling user, and asks a person where only one can help."""

    server: str
    handle_tool_error: Any = _show_failure

    _caller: Caller = PrivateAttr()

    def _to_args_and_kwargs(self, tool_input: str | dict[str, Any], tool_call_id: str | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """All arguments in one positional value, so that parameters called `config`, `run_manager`, `runtime` or `self` survive."""
        values = self._parse_input(tool_input, tool_call_id)
        if not isinstance(values, dict):
            raise ToolException(f"{self.name} takes named arguments, not text.")
        return (Arguments(dict(values), tool_call_id),), {}

    def _run(self, arguments: Arguments, /, *, config: RunnableConfig) -> Any:
        return drive_sync(self._converse(arguments, config), self._caller.run_sync)

    async def _arun(self, arguments: Arguments, /, *, config: RunnableConfig) -> Any:
        # langchain-core evaluates these annotations in every call: plain classes, not text (no `annotations` from the future above).
        return await adrive(self._converse(arguments, config))

    def _converse(self, arguments: Arguments, config: RunnableConfig) -> Conversation[Any]:
        user_id = self._caller.resolve_user(config)
        asking = self._caller.asking(
            user_id, stage="call_tool", server=self.server, tool_name=self.name, tool_call_id=arguments.tool_call_id
        )
        try:
            return (yield from self._act(user_id, asking, arguments))
        except (AuthorizationDenied, ScopeNotGrantedError, TokenRejectedError) as refusal:
            raise FailedCall([text_block(str(refusal))]) from None

    def _act(self, user_id: str, asking: Asking, arguments: Arguments) -> Conversation[Any]:
        raise NotImplementedError


# langchain-core asks for it in every call: worked out once, it costs a third.
UserTool._arun.__signature__ = signature(UserTool._arun)  # type: ignore[attr-defined]  # noqa: SLF001


class MCPTool(UserTool):
    """One tool of one MCP server, for whoever calls it.

    `name` is valid for every provider (`server__tool`); `mcp_tool` is what the server calls it. `args_schema` is the server's JSON schema,
    and the server validates. A result's content becomes content blocks, the rest the artifact (`MCPToolArtifact`); `isError` becomes a
    failed `ToolMessage`, and so does an authorization that the person refused or that cannot come about.

    Calling it raises:
        AuthRequired: outside a graph, when a person has to authorize (or what `on_auth_required` raises; in a graph it is an interrupt).
        UserRequiredError: nobody says whose account to use.
        ConnectionFailed, ProtocolError, DiscoveryError, StoreError, …: what a model cannot act on.
    """

    mcp_tool: str
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"

    def _act(self, user_id: str, asking: Asking, arguments: Arguments) -> Conversation[tuple[list[ToolContent], MCPToolArtifact]]:
        result = yield from self._call(user_id, asking, arguments)
        if result.is_error:
            raise FailedCall(to_error_blocks(result))
        return to_blocks(result), to_artifact(result)

    def _call(self, user_id: str, asking: Asking, arguments: Arguments) -> Conversation[CallToolResult]:
        """The call, made again with a person's answers as often as the server has questions. Nothing is open while they are asked."""
        beside = report_to_run(self.server, self.name, arguments.tool_call_id)
        for _ in range(MAX_QUESTIONS):
            attempt = partial(self._caller.call_tool, user_id, self.server, self.mcp_tool, arguments.values, beside)
            result: ToolResult = yield from asking.converse(attempt)
            if isinstance(result, CallToolResult):
                return result
            responses = yield from asking.elicit(self._questions(result, arguments))
            if responses is None:
                raise FailedCall([text_block(f"{self.server!r} asked a question, and no answer to it came. Go on without this tool.")])
            beside = replace(beside, input_responses=responses, request_state=result.request_state)
        raise FailedCall([text_block(f"{self.server!r} asked {MAX_QUESTIONS} times during one call. Go on without this tool.")])

    def _questions(self, result: InputRequiredResult, arguments: Arguments) -> dict[str, Any]:
        try:
            return to_payload(result, server=self.server, tool_name=self.name, tool_call_id=arguments.tool_call_id)
        except UnsafeURLError as refused:
            raise FailedCall([text_block(str(refused))]) from None


class ConnectTool(UserTool):
    """Stands in for the tools of a server that shows them only to users who are logged in: calling it asks for the login."""

    def _act(self, user_id: str, asking: Asking, arguments: Arguments) -> Conversation[str]:
        listed = yield from asking.converse(lambda: self._caller.list_tools(user_id, self.server))
        names = ", ".join(tool_name(self.server, tool.name) for tool in listed.tools)
        return f"Connected to {self.server!r}. Its tools: {names or 'none'}."


_templates: WeakKeyDictionary[ListedTools, dict[tuple[str, Profile], dict[str, MCPTool]]] = WeakKeyDictionary()
"""What a listing's tools look like, by server, profile and name; made once for all users who were told the same."""


def make_tools(caller: Caller, server: str, listed: ListedTools) -> list[MCPTool]:
    """The LangChain tools of a server's listing. Those of equal listings share their schemas.

    A tool whose schema is too large to pass on is left out, with a warning in the log: no other tool is lost for it.
    """
    return [_lend(template, caller) for template in _templates_of(caller.schema_profile, server, listed).values()]


def find_tool(caller: Caller, server: str, listed: ListedTools, name: str) -> MCPTool | None:
    """The one of this LangChain name."""
    template = _templates_of(caller.schema_profile, server, listed).get(name)
    return _lend(template, caller) if template is not None else None


def _templates_of(profile: Profile, server: str, listed: ListedTools) -> dict[str, MCPTool]:
    known = _templates.setdefault(listed, {})
    if (server, profile) not in known:
        known[server, profile] = {template.name: template for template in _make_templates(profile, server, listed)}
    return known[server, profile]


def _make_templates(profile: Profile, server: str, listed: ListedTools) -> Iterator[MCPTool]:
    about_server = {"server": listed.server_info.model_dump(exclude_none=True)} if listed.server_info is not None else {}
    blank = MCPTool(name="", description="", args_schema={}, metadata={}, tags=["mcp", server], server=server, mcp_tool="")
    for tool in listed.tools:
        name = tool_name(server, tool.name)
        try:
            schema = clean_schema(tool.input_schema, name, profile)
        except ProtocolError as error:
            logger.warning("Going on without a tool of %r: %s", server, error)
            continue
        yield _copy(
            blank,
            name=name,
            description=clean_description(tool.description),
            args_schema=schema,
            metadata={"mcp": {"tool": _about(tool), **about_server}},
            mcp_tool=tool.name,
        )


def make_connect_tool(caller: Caller, server: str) -> ConnectTool:
    """The tool that stands in for a server's own until its user has logged in."""
    made = ConnectTool(
        name=connect_name(server),
        description=f"Connect the user's account at {server!r}. Its tools can be used only afterwards. The user is asked to agree.",
        args_schema={"type": "object", "properties": {}},
        tags=["mcp", server],
        server=server,
    )
    return _lend(made, caller)


def _lend(template: T, caller: Caller) -> T:
    """The tool for this caller: a copy of its own, which has only the schema and what the server says of itself in common with others."""
    lent = _copy(template, metadata=dict(template.metadata or {}), tags=list(template.tags or ()))
    lent._caller = caller  # noqa: SLF001 - pydantic's way to set what is not a field
    return lent


def _copy(template: T, **fields: Any) -> T:
    """With these fields, which are as the class declares them: validating each tool would cost many times as much."""
    made = copy(template)
    made.__dict__.update(fields)
    return made


def _about(tool: Tool) -> dict[str, Any]:
    """In `langchain.mcp`'s shape, as the server's name and version beside it: for display, and not to be trusted."""
    annotations = tool.annotations.model_dump(exclude_none=True) if tool.annotations else None
    described = {"name": tool.name, "title": tool.title, "annotations": annotations, "_meta": tool.meta}
    return {name: value for name, value in described.items() if value is not None}
