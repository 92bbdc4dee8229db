"""The `create_agent` edge: each run gets its own user's tools, and asks once for all logins. The only module that imports `langchain`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias, get_args

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import ensure_config
from langchain_core.tools import BaseTool

from langchain_mcp_oauth.errors import AuthorizationDenied, AuthRequired, ConfigurationError, PersonRequired
from langchain_mcp_oauth.interrupts.asking import LIMIT, Asking, Conversation, adrive, drive_sync
from langchain_mcp_oauth.toolkit import MCPOAuthToolkit
from langchain_mcp_oauth.tools.listing import Lister, Offer
from langchain_mcp_oauth.tools.names import connect_name, may_be_ours
from langchain_mcp_oauth.tools.tool import UserTool, find_tool, make_connect_tool

__all__ = ["MCPOAuthMiddleware"]

Mode: TypeAlias = Literal["batched", "per_call"]

OF_THE_RUN = timedelta(minutes=5)
"""How old a listing may be for what follows a run's first model call, unless the server says that it has changed."""

NOBODY_TO_ASK = 10 * 60.0
"""Seconds for which a server that named nobody to log in to is not asked again whom to."""


class MCPOAuthMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Gives every run of an agent the MCP tools of its own user, so that one graph, built at import time, serves them all.

    ```python
    agent = create_agent(model, middleware=[MCPOAuthMiddleware(toolkit)], checkpointer=saver)
    await agent.ainvoke(question, {"configurable": {"thread_id": "1", "user_id": "alice"}})
    ```

    At the first model call of a run the user's tools are listed; a server that wants a login for that is asked for by an interrupt (or
    stands in as a tool `connect_<server>`, see the toolkit's `on_unauthorized`; so does one whose login the person refuses). Later in the
    run nobody is asked for a listing, and the tools of a server appear as soon as its user is connected.

    When a turn of the model calls tools of servers that the user is not connected to, the run stops once, before any of its tools runs,
    with one interrupt for all of them: its payload is that of `AuthRequired` (or of `CredentialsRequired`, where no login is needed) and
    has in `requests` one payload for each login, and for each server that wants values of the user's own. A refusal gives the model a
    failed tool message for each of the calls. Servers that name no authorization server are called as they are.

    Args:
        toolkit: Whose servers. Its `user_id`, if it has one, comes before the run's.
        mode: `batched`: one interrupt for several servers. `per_call`: each tool call asks for itself, when it is refused.

    Raises, during a run:
        ConfigurationError: a tool of a server has the name of one of the agent's own.
        UserRequiredError: neither the toolkit nor the run says whose tools.
        ServersFailed, …: as `MCPOAuthToolkit.aget_tools`.
    """

    def __init__(self, toolkit: MCPOAuthToolkit, *, mode: Mode = "batched") -> None:
        super().__init__()
        if mode not in get_args(Mode):
            raise ConfigurationError(f"mode must be 'batched' or 'per_call', not {mode!r}.")
        self._toolkit = toolkit
        self._mode = mode
        self._without_login: dict[str, float] = {}
        """When servers named nobody to log in to."""

    # Which tools the model sees ------------------------------------------------------------------------------------------------

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> Any:
        """Add the user's tools to what the model sees."""
        tools = drive_sync(self._tools_for(request.messages), self._toolkit.run_sync)
        return handler(_with_tools(request, tools))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> Any:
        """As `wrap_model_call`."""
        return await handler(_with_tools(request, await adrive(self._tools_for(request.messages))))

    def _tools_for(self, messages: Sequence[AnyMessage]) -> Conversation[list[BaseTool]]:
        begins = bool(messages) and isinstance(messages[-1], HumanMessage)
        lister = self._lister(begins=begins)
        user_id = self._user()
        offers: dict[str, Offer] = {}
        try:
            yield from self._asking(user_id, "list_tools").converse(lambda: lister.list_missing(user_id, offers))
        except AuthorizationDenied:
            yield replace(lister, on_unauthorized="placeholder").list_missing(user_id, offers)
        return self._toolkit.make_tools(offers)

    def _lister(self, *, begins: bool) -> Lister:
        lister = self._toolkit.lister
        if begins:
            return replace(lister, choose=PersonRequired.together if self._mode == "batched" else lister.choose)
        policy = "placeholder" if lister.on_unauthorized == "raise" else lister.on_unauthorized
        return replace(lister, on_unauthorized=policy, max_age=OF_THE_RUN)

    # What is asked before the tools run ----------------------------------------------------------------------------------------

    def after_model(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        """Ask once for all servers that the model's calls need."""
        return drive_sync(self._ask_first(state["messages"]), self._toolkit.run_sync)

    async def aafter_model(self, state: AgentState[Any], runtime: Any) -> dict[str, Any] | None:
        """As `after_model`."""
        return await adrive(self._ask_first(state["messages"]))

    def _ask_first(self, messages: Sequence[AnyMessage]) -> Conversation[dict[str, Any] | None]:
        calls = _open_calls(messages) if self._mode == "batched" else []
        if not calls:
            return None
        user_id = self._user()
        by_server: dict[str, list[ToolCall]] = yield self._by_server(user_id, calls)
        if not by_server:
            return None
        try:
            yield from self._asking(user_id, "call_tool").converse(lambda: self._require(user_id, by_server))
        except AuthorizationDenied as refusal:
            missing: Sequence[PersonRequired] = yield self._missing(user_id, by_server)
            servers = dict.fromkeys(needed.server for needed in missing)
            return {"messages": [_failed(call, str(refusal)) for server in servers for call in by_server[server]]}
        return None

    async def _by_server(self, user_id: str, calls: Sequence[ToolCall]) -> dict[str, list[ToolCall]]:
        found: dict[str, list[ToolCall]] = {}
        for call in calls:
            tool = await self._find(user_id, call["name"])
            if tool is not None:
                found.setdefault(tool.server, []).append(call)
        return found

    async def _require(self, user_id: str, by_server: Mapping[str, Sequence[ToolCall]]) -> None:
        missing = await self._missing(user_id, by_server)
        if missing:
            raise PersonRequired.together(missing)

    async def _missing(self, user_id: str, by_server: Mapping[str, Sequence[ToolCall]]) -> Sequence[PersonRequired]:
        missing: list[PersonRequired] = []
        for server, calls in by_server.items():
            events = await self._login_needed(user_id, server), await self._toolkit.service.credentials_needed(user_id, server)
            for needed in filter(None, events):
                needed.tool_name, needed.tool_call_id = calls[0]["name"], calls[0]["id"]
                missing.append(needed)
        return missing

    async def _login_needed(self, user_id: str, server: str) -> AuthRequired | None:
        if time.monotonic() - self._without_login.get(server, -NOBODY_TO_ASK) < NOBODY_TO_ASK:
            return None
        needed = await self._toolkit.service.login_needed(user_id, server)
        if needed is None and not await self._toolkit.service.is_logged_in(user_id, server):
            self._without_login[server] = time.monotonic()
        return needed

    # Which tool runs -----------------------------------------------------------------------------------------------------------

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Run the user's tool where the agent has none of that name."""
        tool = self._toolkit.run_sync(self._tool_of(request))
        return handler(request.override(tool=tool) if tool is not None else request)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]) -> Any:
        """As `wrap_tool_call`."""
        tool = await self._tool_of(request)
        return await handler(request.override(tool=tool) if tool is not None else request)

    async def _tool_of(self, request: ToolCallRequest) -> BaseTool | None:
        if request.tool is not None:
            return None
        return await self._find(self._user(), request.tool_call["name"])

    async def _find(self, user_id: str, name: str) -> UserTool | None:
        """The user's tool of that name, by what the servers listed last; no server is asked."""
        if not may_be_ours(name):
            return None
        for server in _by_likelihood(self._toolkit.servers, name):
            if name == connect_name(server):
                return make_connect_tool(self._toolkit, server)
            listed = await self._toolkit.service.last_listed(user_id, server)
            tool = find_tool(self._toolkit, server, listed, name) if listed is not None else None
            if tool is not None:
                return tool
        return None

    def _user(self) -> str:
        return self._toolkit.resolve_user(ensure_config())

    def _asking(self, user_id: str, stage: Literal["list_tools", "call_tool"]) -> Asking:
        asking = self._toolkit.asking(user_id, stage=stage)
        return replace(asking, limit=LIMIT) if self._mode == "batched" else asking


def _with_tools(request: ModelRequest[Any], tools: Sequence[BaseTool]) -> ModelRequest[Any]:
    own = {tool.name if isinstance(tool, BaseTool) else str(tool.get("name")) for tool in request.tools}
    both = own & {tool.name for tool in tools}
    if both:
        raise ConfigurationError(
            f"The agent has tools of its own with the names of MCP tools: {', '.join(sorted(both))}. Rename them, and do not give "
            "`create_agent` the toolkit's tools as well as MCPOAuthMiddleware."
        )
    return request.override(tools=[*request.tools, *tools])


def _open_calls(messages: Sequence[AnyMessage]) -> Sequence[ToolCall]:
    """The calls of the model's last message that nothing has answered yet."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return [call for call in message.tool_calls if call["id"] not in answered]
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
    return []


def _by_likelihood(servers: Iterable[str], name: str) -> list[str]:
    """Those first whose tools' names begin like this one."""
    return sorted(servers, key=lambda server: not name.startswith(f"{server}__"))


def _failed(call: ToolCall, text: str) -> ToolMessage:
    return ToolMessage(text, name=call["name"], tool_call_id=str(call["id"]), status="error")
