"""What a server says while it works, into the running graph's stream: progress and log messages, as `stream_mode="custom"` shows them."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from mcp_types import LoggingMessageNotificationParams

from langchain_mcp_oauth.interrupts.graph import stream_writer
from langchain_mcp_oauth.service.service import ALONE, Beside

__all__ = ["report_to_run"]


def report_to_run(server: str, tool_name: str, tool_call_id: str | None) -> Beside:
    """What to do with a call's notifications: write them into the stream of the run that this frame is in; nothing outside of one."""
    writer = stream_writer()
    if writer is None:
        return ALONE
    context = copy_context()  # streams' notifications arrive in tasks of their own, and the writer looks for the run in its task's context
    place: dict[str, Any] = {"server": server, "tool_name": tool_name, "tool_call_id": tool_call_id}

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        context.run(writer, {"type": "mcp_progress", **place, "progress": progress, "total": total, "message": message})

    async def on_log(params: LoggingMessageNotificationParams) -> None:
        context.run(writer, {"type": "mcp_log", **place, "level": params.level, "logger": params.logger, "data": params.data})

    return Beside(on_progress=on_progress, on_log=on_log)
