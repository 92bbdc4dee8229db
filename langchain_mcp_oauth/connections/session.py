"""One user's MCP session: which revision the server speaks, its tools, a call. The SDK's `ClientSession` does the typed protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

import anyio
from mcp.client.session import ClientSession, LoggingFnT
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER, x_mcp_header_map
from mcp_types import (
    HEADER_MISMATCH,
    SERVER_INFO_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolResult,
    DiscoverResult,
    GetPromptResult,
    Implementation,
    InputRequiredResult,
    InputResponses,
    ListToolsResult,
    PaginatedRequestParams,
    PaginatedResult,
    Prompt,
    ReadResourceResult,
    Resource,
    ServerCapabilities,
    Tool,
    ToolListChangedNotification,
)
from mcp_types.version import LATEST_MODERN_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from langchain_mcp_oauth.connections.connection import ToolResult
from langchain_mcp_oauth.connections.dispatcher import HttpDispatcher
from langchain_mcp_oauth.connections.endpoint import ServerTrouble
from langchain_mcp_oauth.connections.listings import ListedTools, Repeated
from langchain_mcp_oauth.connections.questions import Question, answer, current_answers, parse_answers, to_input_required
from langchain_mcp_oauth.connections.streams import StreamDispatcher
from langchain_mcp_oauth.errors import ProtocolError
from langchain_mcp_oauth.http import user_agent

__all__ = ["Session"]

MAX_PAGES = 50
MAX_TOOLS = 1_000
"""Of one listing; a server that has more is not listed at all, rather than in part."""

LONGEST_TTL = 24 * 60 * 60.0
"""Seconds for which a listing is believed to be in date, whatever the server says."""

MAX_ROUNDS = 10
"""How often a server may answer one call with "not yet" (2026-07-28: an `InputRequiredResult` without questions)."""

NOT_YET = 0.25
"""Seconds between those."""

_WRONG_ERA = (MCPError, ProtocolError, ServerTrouble, ValidationError, RuntimeError)
"""How servers answer the first request of an era that is not theirs. A 401 or 403 is none of these, nor is a broken network."""

T = TypeVar("T")
P = TypeVar("P", bound=PaginatedResult)

_Send: TypeAlias = Callable[..., Awaitable[ToolResult]]


class Session(ClientSession):
    """The SDK's session, used in its callers' tasks.

    Args:
        dispatcher: What it speaks over.
        place: For messages.
        leave: Ends it at the other end, given the headers of its revision. Never raises, never asks anybody.
        asks: Declare to the server that a person can be asked (elicitation).
        logging_callback: Takes its log messages.
        tools_changed: Awaited when the server says, inside an answer, that its tools are others now.
        extensions: Of the protocol, by their identifiers; declared to the server, with no settings.
    """

    def __init__(
        self,
        dispatcher: HttpDispatcher | StreamDispatcher,
        place: str,
        leave: Callable[[Mapping[str, str]], Awaitable[None]],
        *,
        asks: bool,
        logging_callback: LoggingFnT | None,
        tools_changed: Callable[[], Awaitable[None]] | None = None,
        extensions: tuple[str, ...] = (),
    ) -> None:
        name, _, version = user_agent().partition("/")
        super().__init__(
            dispatcher=dispatcher,
            client_info=Implementation(name=name, version=version),
            elicitation_callback=answer if asks else None,
            logging_callback=logging_callback,
            message_handler=self._hear,
            extensions={name: {} for name in extensions} or None,
        )
        self._recognise = dispatcher.recogniser.recognise
        self._tools_changed = tools_changed
        self._place = place
        self._leave = leave
        self._asks = asks
        self._listed: ListedTools | None = None
        """What came last."""
        self._presumed: DiscoverResult | None = None
        """What we adopted instead of asking."""

    @property
    def modern(self) -> bool:
        """Whether the server speaks 2026-07-28 or later: no handshake, every request stands alone."""
        return self.protocol_version in MODERN_PROTOCOL_VERSIONS

    async def negotiate(self, known_version: str | None) -> None:
        """Find out what the server speaks, as cheaply as possible.

        Args:
            known_version: What another session has negotiated with this server. A 2026-07-28 server is then not asked again, a 2025-11-25
                one not probed; a server that has changed since is negotiated with anew.

        Raises:
            Exception: as the dispatcher's `send_raw_request`.
        """
        if known_version in MODERN_PROTOCOL_VERSIONS:
            self._presume(known_version)
            return
        if known_version is not None and await _works(self.initialize):
            return
        if not await _works(self.discover):
            await self._initialize_or_discover()

    async def close(self) -> None:
        """End it at the other end: best effort, at most a second, and seven for a program. Never raises, never asks anybody."""
        await self._leave({MCP_PROTOCOL_VERSION_HEADER: self.protocol_version} if self.protocol_version else {})

    async def _hear(self, message: object) -> None:
        if isinstance(message, ToolListChangedNotification) and self._tools_changed is not None:
            await self._tools_changed()

    async def _initialize_or_discover(self) -> None:
        """A program that starts slowly answers the first question after we have stopped waiting, and is then a modern server's (-32022)."""
        try:
            await self._initialize()
        except MCPError as error:
            if error.code != UNSUPPORTED_PROTOCOL_VERSION:
                raise
            await self.discover()

    async def _initialize(self) -> None:
        try:
            await self.initialize()
        except RuntimeError:
            raise ProtocolError(f"{self._place} speaks no revision of MCP that this library knows.") from None

    def _presume(self, version: str) -> None:
        self._presumed = DiscoverResult(supported_versions=[version], capabilities=ServerCapabilities(), ttl_ms=0, cache_scope="private")
        self.adopt(self._presumed)

    async def list_all(self) -> ListedTools:
        """All pages of the tool listing; of several tools with one name the first.

        Raises:
            ProtocolError: more than 50 pages or 1,000 tools.
        """
        try:
            listed = self._whole(await self._pages())
        except Repeated as repeated:
            listed = replace(repeated.known, **self._own_words(repeated.page))
        self._listed = self._recognise(listed)
        return self._listed

    async def _pages(self) -> list[ListToolsResult]:
        pages = [await self.list_tools()]
        while (cursor := pages[-1].next_cursor) and len(pages) < MAX_PAGES and sum(len(page.tools) for page in pages) <= MAX_TOOLS:
            try:
                pages.append(await self.list_tools(params=PaginatedRequestParams(cursor=cursor)))
            except Repeated as repeated:  # the last page of this listing is all there was in another
                pages.append(repeated.page)
        return pages

    def _whole(self, pages: Sequence[ListToolsResult]) -> ListedTools:
        tools = [tool for page in pages for tool in page.tools]
        if pages[-1].next_cursor or len(tools) > MAX_TOOLS:
            raise ProtocolError(f"{self._place} lists more than {MAX_TOOLS:,} tools or {MAX_PAGES} pages; it cannot be used.")
        first: dict[str, Tool] = {}
        for tool in tools:  # a second tool of the same name could not be called, and would hide behind the first (R42)
            first.setdefault(tool.name, tool)
        ttl, public = self._hints(pages)
        return ListedTools(
            tuple(first.values()),
            **self._own_words(pages[0]),
            ttl=ttl,
            public=public,
            page=pages[0] if len(pages) == 1 else None,
            in_headers=self.modern and any(x_mcp_header_map(tool.input_schema) for tool in tools),
        )

    def _own_words(self, page: ListToolsResult) -> dict[str, Any]:
        """What the server says of itself, perhaps to everybody in other words: to each session, or from 2026-07-28 on in each result."""
        return {"server_info": _stamp(page) if self.modern else self.server_info, "protocol_version": self.protocol_version}

    async def how_to_use(self) -> str | None:
        """The server's instructions. One whose revision was known has not been asked for anything yet: it is now, once for this session."""
        if self._presumed is not None and self._presumed is self.discover_result:
            await _works(self._hear_it_out)
        return self.instructions

    async def _hear_it_out(self) -> None:
        self.adopt(DiscoverResult.model_validate(await self.send_discover(LATEST_MODERN_VERSION)))

    async def all_resources(self) -> tuple[Resource, ...]:
        """All pages of the listing of resources. Raises as `list_all`."""
        return await self._all(self.list_resources, lambda page: page.resources)

    async def all_prompts(self) -> tuple[Prompt, ...]:
        """All pages of the listing of prompts. Raises as `list_all`."""
        return await self._all(self.list_prompts, lambda page: page.prompts)

    async def resource(self, uri: str) -> ReadResourceResult:
        """One resource. Raises `ProtocolError` if the server asks for a person's input first."""
        return await self._without_questions(self.read_resource(uri))

    async def prompt(self, name: str, arguments: dict[str, str]) -> GetPromptResult:
        """One prompt, filled in. Raises as `resource`."""
        return await self._without_questions(self.get_prompt(name, arguments))

    async def _all(self, fetch: Callable[..., Awaitable[P]], items: Callable[[P], Sequence[T]]) -> tuple[T, ...]:
        found: list[T] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await fetch(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
            found += items(page)
            cursor = page.next_cursor
            if len(found) > MAX_TOOLS or not cursor:
                break
        if cursor or len(found) > MAX_TOOLS:
            raise ProtocolError(f"{self._place} lists more than {MAX_TOOLS:,} items or {MAX_PAGES} pages; the listing cannot be used.")
        return tuple(found)

    async def _without_questions(self, request: Awaitable[T]) -> T:
        try:
            return await request
        except RuntimeError:  # the SDK's word for an `InputRequiredResult` that nobody expects
            raise ProtocolError(f"{self._place} asks for a person's input, though it was told that there is nobody.") from None

    def _hints(self, pages: Sequence[ListToolsResult]) -> tuple[float, bool]:
        """How long all pages are in date, and whether all may be shared. Only 2026-07-28 has such hints; what looks like one is none."""
        if not self.modern:
            return 0.0, False
        ttl = min(page.ttl_ms for page in pages) / 1000
        return min(ttl, LONGEST_TTL), all(page.cache_scope == "public" for page in pages)

    async def call(
        self,
        name: str,
        arguments: dict[str, Any],
        on_progress: ProgressFnT | None,
        input_responses: InputResponses | None,
        request_state: str | None,
    ) -> ToolResult:
        """One tool call, in either era's way of asking a person in between.

        Raises:
            ProtocolError: the server asks though it was told that nobody answers.
        """
        send = partial(self._call, name, arguments, on_progress)
        result = await (self._call_modern if self.modern else self._call_2025)(send, input_responses, request_state)
        if isinstance(result, InputRequiredResult) and not self._asks:
            raise ProtocolError(f"{self._place} asks for a person's input, though it was told that there is nobody.")
        return result

    async def send_request(self, *args: Any, **kwargs: Any) -> Any:
        """As the SDK's; a result that does not fit the revision is our error."""
        try:
            return await super().send_request(*args, **kwargs)
        except Repeated as repeated:
            if self._is_for_the_sdk(repeated.known):
                return repeated.page
            raise
        except ValidationError:
            raise ProtocolError(f"{self._place} sent a result that does not fit its revision of MCP.") from None

    def _is_for_the_sdk(self, known: ListedTools) -> bool:
        """Of a listing the SDK keeps, in every session, which arguments go into headers; mostly none do, and most sessions need no copy."""
        before = self._listed
        return known is not before and (known.in_headers or (before is not None and before.in_headers))

    async def validate_tool_result(self, name: str, result: CallToolResult) -> None:
        """Take structured content as it comes.

        A schema is a program of the server's, with regular expressions and references, and would run in everybody's event loop (R45).
        And for a tool it does not know, the SDK would ask for the listing here, whose failure would look like the finished call's.
        """

    async def _call_modern(self, send: _Send, responses: InputResponses | None, state: str | None) -> ToolResult:
        for _ in range(MAX_ROUNDS):
            result = await send(input_responses=responses, request_state=state)
            if isinstance(result, CallToolResult) or result.input_requests:
                return result
            await anyio.sleep(NOT_YET)
            responses, state = None, result.request_state
        raise ProtocolError(f"{self._place} put a call off {MAX_ROUNDS} times.")

    async def _call_2025(self, send: _Send, responses: InputResponses | None, state: str | None) -> ToolResult:
        token = current_answers.set(parse_answers(responses, state))
        try:
            return await send()
        except Question as question:
            return question.request
        except MCPError as error:
            required = to_input_required(error)
            if required is None or not self._asks:
                raise
            return required
        finally:
            current_answers.reset(token)

    async def _call(self, name: str, arguments: dict[str, Any], on_progress: ProgressFnT | None, **answers: Any) -> ToolResult:
        """A call that is refused because its headers do not fit the tool's schema is made again, with the schema (2026-07-28)."""
        send = partial(self.call_tool, name, arguments, progress_callback=on_progress, allow_input_required=True, **answers)
        try:
            return await send()
        except MCPError as error:
            if error.code != HEADER_MISMATCH:
                raise
        await self.list_all()
        return await send()


def _stamp(result: ListToolsResult) -> Implementation | None:
    """What a server says of itself in a result's `_meta` (2026-07-28, basic protocol). For display only, so a malformed one is none."""
    try:
        return Implementation.model_validate((result.meta or {}).get(SERVER_INFO_META_KEY))
    except ValidationError:
        return None


async def _works(attempt: Callable[[], Awaitable[object]]) -> bool:
    try:
        await attempt()
    except _WRONG_ERA:
        return False
    return True
