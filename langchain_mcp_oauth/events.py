"""What happens to logins, as values. The one source of log records, OpenTelemetry spans and metrics, and of the application's own hook.

`note` is called where something has happened, also under a lease: it logs and measures, and never waits. The application's hook is awaited
later, by `flush`, when nothing is held open. No event holds a token, code, verifier, secret or state, except `authorization_url` of
`AuthorizationRequested`, which is for the person and goes to the hook alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from langchain_mcp_oauth.telemetry import Live, Telemetry

__all__ = [
    "AuthorizationCompleted",
    "AuthorizationFailed",
    "AuthorizationRequested",
    "CallFinished",
    "Disconnected",
    "Event",
    "Events",
    "OnEvent",
    "Refreshed",
    "user_hash",
]

logger = logging.getLogger("langchain_mcp_oauth.events")

HOOK_SECONDS = 10.0
"""How long the application's hook may take for one event; a call waits for it."""

KEPT = 1_000
"""Events that wait for a hook; the oldest are dropped beyond that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one user's login at one server.

    Attributes:
        name: What happened, in logs and traces.
        level: Of its log record.
        server: The toolkit's name for the MCP server.
        user_id: Whose login; only the hook is given it, everything else gets `user_hash`.
        seconds: How long the work took.
    """

    name: ClassVar[str] = "event"
    level: ClassVar[int] = logging.INFO

    server: str
    user_id: str
    seconds: float = 0.0

    def attributes(self) -> dict[str, Any]:
        """What may be logged and traced, by OpenTelemetry's names where it has one."""
        return {"mcp_oauth.server": self.server, "user.hash": user_hash(self.user_id)}

    def span(self) -> str:
        """The name of its span."""
        return f"mcp_oauth {self.name}"

    def measures(self) -> Mapping[str, float]:
        """What it adds to which metric."""
        return {"mcp_oauth.events": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfRequest(Event):
    auth_id: str
    issuer: str
    scopes: tuple[str, ...]
    reason: str

    def attributes(self) -> dict[str, Any]:
        own = {"auth_id": self.auth_id, "issuer": self.issuer, "scopes": list(self.scopes), "reason": self.reason}
        return {**Event.attributes(self), **{f"mcp_oauth.{name}": value for name, value in own.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequested(_OfRequest):
    """A person has to authorize. Once for each request, by the process that opened it; whoever joins it later adds none.

    `authorization_url` is what the person opens: a start link of your own with `start_url`, else the authorization server's URL, which
    holds the request's state. Send it, with the `user_code` if there is one, to that user alone.
    """

    name = "authorization.requested"

    authorization_url: str = field(repr=False)
    expires_at: datetime
    user_code: str | None = field(default=None, repr=False)
    """What the person enters there, where no browser can come back (RFC 8628)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCompleted(_OfRequest):
    """A person has authorized, and the tokens are stored."""

    name = "authorization.completed"

    waited: float
    """Seconds from the request to the answer."""
    missing_scopes: tuple[str, ...] = ()

    def measures(self) -> Mapping[str, float]:
        """How long the person took."""
        return {**_OfRequest.measures(self), "mcp_oauth.authorization.wait": self.waited}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationFailed(_OfRequest):
    """A person, or the authorization server, said no (`denied`), or the server refused the code."""

    name = "authorization.failed"
    level = logging.WARNING

    error: str
    """The OAuth error code, e.g. `access_denied`."""
    denied: bool
    waited: float

    def attributes(self) -> dict[str, Any]:
        """With the error code."""
        return {**_OfRequest.attributes(self), "error.type": self.error}

    def measures(self) -> Mapping[str, float]:
        """How long the person took."""
        return {**_OfRequest.measures(self), "mcp_oauth.authorization.wait": self.waited}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed(Event):
    """A token was refreshed without anybody being asked; or not, with `error`."""

    name = "token.refreshed"

    issuer: str
    error: str | None = None
    """The OAuth error code of a refusal."""

    def attributes(self) -> dict[str, Any]:
        """With the issuer, and the error code if there is one."""
        refused = {"error.type": self.error} if self.error else {}
        return {**Event.attributes(self), "mcp_oauth.issuer": self.issuer, **refused}

    def measures(self) -> Mapping[str, float]:
        """How long it took."""
        return {**Event.measures(self), "mcp_oauth.refresh.duration": self.seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected(Event):
    """A user's login was forgotten here; `revoked` says whether the authorization server was told."""

    name = "disconnected"

    issuer: str
    revoked: bool

    def attributes(self) -> dict[str, Any]:
        """With the issuer."""
        return {**Event.attributes(self), "mcp_oauth.issuer": self.issuer, "mcp_oauth.revoked": self.revoked}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFinished(Event):
    """An MCP operation is over: `tools/call` of `tool`, or `tools/list`."""

    name = "call.finished"
    level = logging.DEBUG

    method: str
    tool: str | None = None
    error: str | None = None
    """The `code` of this library's error, or `tool_error`: the tool itself reported one."""

    def attributes(self) -> dict[str, Any]:
        """By the semantic conventions of MCP and of generative AI."""
        tool = {"gen_ai.tool.name": self.tool, "gen_ai.operation.name": "execute_tool"} if self.tool else {}
        failed = {"error.type": self.error} if self.error else {}
        return {**Event.attributes(self), "mcp.method.name": self.method, **tool, **failed}

    def span(self) -> str:
        """As the semantic conventions of MCP have it."""
        return f"{self.method} {self.tool}" if self.tool else self.method

    def measures(self) -> Mapping[str, float]:
        """How long it took. It happens to no login."""
        return {"mcp.client.operation.duration": self.seconds}


OnEvent: TypeAlias = Callable[[Event], Awaitable[None] | None]
"""The application's hook. It may be async; what it raises is logged and breaks nothing."""


@lru_cache(maxsize=10_000)
def user_hash(user_id: str) -> str:
    """The first 64 bits of its SHA-256, in hexadecimal: the same user in every record, and no name. Guessable for guessable ids."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:16]


class Events:
    """Where events go.

    Args:
        hook: The application's, or None.
    """

    def __init__(self, hook: OnEvent | None = None) -> None:
        self._hook = hook
        self.pending: deque[Event] = deque(maxlen=KEPT)
        """Noted, and not yet given to the hook."""

    def begin(self, event: type[Event], **facts: Any) -> Live | None:
        """Something that takes a while begins: what is traced meanwhile stands below its span. `finish` it in the same task."""
        return _telemetry().begin(event, facts)

    def finish(self, event: Event, begun: Live | None) -> None:
        """As `note`, for what was begun."""
        self._keep(event)
        _telemetry().end(event, begun)

    def note(self, event: Event) -> None:
        """Log and measure it now, and keep it for the hook. Never waits, never raises."""
        self._keep(event)
        _telemetry().record(event)

    def _keep(self, event: Event) -> None:
        if logger.isEnabledFor(event.level):
            attributes = event.attributes()
            said = " ".join(f"{name.removesuffix('.hash').rpartition('.')[2]}={value}" for name, value in attributes.items())
            logger.log(event.level, "%s %s", event.name, said, extra={"mcp_oauth": {"event": event.name, **attributes}})
        if self._hook is not None:
            self.pending.append(event)

    async def flush(self) -> None:
        """Give the hook what is kept, in order."""
        while self.pending:
            await self._give(self.pending.popleft())

    async def _give(self, event: Event) -> None:
        assert self._hook is not None
        try:
            outcome = self._hook(event)
            if inspect.isawaitable(outcome):
                async with asyncio.timeout(HOOK_SECONDS):
                    await outcome
        except Exception as error:  # noqa: BLE001 - a hook must not break the call that it watches
            logger.warning("on_event failed for %s (%s).", event.name, type(error).__name__)


@cache
def _telemetry() -> Telemetry:
    """Imported when there is something to tell."""
    from langchain_mcp_oauth.telemetry import Telemetry

    return Telemetry()
