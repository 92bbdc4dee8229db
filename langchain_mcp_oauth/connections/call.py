"""One JSON-RPC request under way."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp.shared.dispatcher import CallOptions, ProgressFnT
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from langchain_mcp_oauth.oauth.answers import is_visible_ascii
from langchain_mcp_oauth.telemetry import trace_context

__all__ = ["Call", "stamped"]

LONGEST_RETRY = 3_600_000
"""Milliseconds; every deadline is shorter, and a number of a thousand digits is no number of seconds."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Call:
    """A request under way."""

    id: int
    method: str
    headers: Mapping[str, str]
    on_progress: ProgressFnT | None
    answered: bool = False
    last_event_id: str = ""
    retry: float = 0.0
    """Seconds the server wants us to wait before we resume."""

    @property
    def version(self) -> str:
        """The revision of MCP that the request is made by; none for the one that asks which."""
        return self.headers.get(MCP_PROTOCOL_VERSION_HEADER, "")

    @property
    def modern(self) -> bool:
        return self.version in MODERN_PROTOCOL_VERSIONS

    @property
    def resumable(self) -> bool:
        """Only 2025-11-25 and earlier resume, and only streams whose events have ids."""
        return bool(self.last_event_id) and not self.modern

    def note(self, event: httpx2.ServerSentEvent) -> None:
        if is_visible_ascii(event.id, 1_024):
            self.last_event_id = event.id
        if event.retry is not None:
            self.retry = min(event.retry, LONGEST_RETRY) / 1000

    async def report(self, params: dict[str, Any]) -> None:
        """Hand a progress notification to whoever asked for it."""
        progress, total, text = params.get("progress"), params.get("total"), params.get("message")
        if self.on_progress is None or str(params.get("progressToken")) != str(self.id) or not isinstance(progress, int | float):
            return
        try:
            await self.on_progress(progress, total if isinstance(total, int | float) else None, text if isinstance(text, str) else None)
        except Exception:
            logger.exception("A progress callback raised; the call goes on.")

    def message(self, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """The request as it is sent. Its id is also its progress token; a trace goes along (SEP-414)."""
        meta: dict[str, Any] = {**trace_context()}
        if self.on_progress is not None:
            meta["progressToken"] = self.id
        if meta:
            params = {**(params or {}), "_meta": {**((params or {}).get("_meta") or {}), **meta}}
        message = {"jsonrpc": "2.0", "id": self.id, "method": self.method}
        return {**message, "params": params} if params else message


def stamped(opts: CallOptions) -> dict[str, str]:
    """The headers that the session has put on a message, names in lower case."""
    return {name.lower(): value for name, value in opts.get("headers", {}).items()}
