"""The text of recorded bodies: JSON documents, alone or as events of a stream, and the JSON-RPC ids in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = [
    "edit_documents",
    "edit_leaves",
    "has_answer",
    "is_stream",
    "readdress_answer",
    "readdress_request",
    "request_ids",
    "split_events",
]

CORRELATIONS = frozenset({"progressToken", "io.modelcontextprotocol/subscriptionId"})
"""Fields in which a server names one of the client's requests, besides the `id` of an answer."""


def split_events(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Cut whole events off a stream: each with its lines ending in LF, and the bytes that are left. Comments (pings) are dropped."""
    *blocks, rest = buffer.replace(b"\r\n", b"\n").split(b"\n\n")
    events = (b"".join(line + b"\n" for line in block.split(b"\n") if not line.startswith(b":")) for block in blocks)
    return [event + b"\n" for event in events if event], rest


def is_stream(body: bytes) -> bool:
    """Whether this is the text of server-sent events."""
    return body.startswith((b"event:", b"id:", b"retry:", b"data:"))


def edit_documents(body: bytes, edit: Callable[[Any], Any]) -> bytes:
    """The body with every JSON document in it replaced by `edit(document)`: the whole of it, or the data of its events."""
    if is_stream(body):
        return b"".join(_edit_line(line, edit) for line in body.splitlines(keepends=True))
    return _edit_text(body, edit)


def has_answer(body: bytes) -> bool:
    """Whether one of the documents in the body is a JSON-RPC response."""
    return any(map(_is_answer, _documents(body)))


def request_ids(body: bytes) -> list[Any]:
    """The ids of the JSON-RPC requests in the body."""
    return [message["id"] for message in _documents(body) if _is_request(message)]


def _documents(body: bytes) -> list[Any]:
    found: list[Any] = []
    edit_documents(body, found.append)
    return found


def _edit_line(line: bytes, edit: Callable[[Any], Any]) -> bytes:
    return b"data: %b\n" % _edit_text(line[5:].strip(), edit) if line.startswith(b"data:") else line


def _edit_text(text: bytes, edit: Callable[[Any], Any]) -> bytes:
    try:
        document = json.loads(text)
    except ValueError:
        return text
    return json.dumps(edit(document), ensure_ascii=False).encode()


def edit_leaves(value: Any, edit: Callable[[str, Any], Any], key: str = "") -> Any:
    """A JSON value with each string, number, boolean and null replaced by `edit(key, leaf)`; `key` is that of the nearest object."""
    if isinstance(value, dict):
        return {name: edit_leaves(item, edit, name) for name, item in value.items()}
    if isinstance(value, list):
        return [edit_leaves(item, edit, key) for item in value]
    return edit(key, value)


def _is_request(message: Any) -> bool:
    return isinstance(message, dict) and "method" in message and "id" in message


def _is_answer(message: Any) -> bool:
    return isinstance(message, dict) and "jsonrpc" in message and "id" in message and "method" not in message


def readdress_request(message: Any, rename: Callable[[Any], Any]) -> Any:
    """A client's message with the id of its request, or of the one that it cancels, replaced by `rename(id)`."""
    if _is_request(message):
        return {**message, "id": rename(message["id"])}
    match message:
        case {"method": "notifications/cancelled", "params": {"requestId": cancelled, **others}}:
            return {**message, "params": {**others, "requestId": rename(cancelled)}}
    return message


def readdress_answer(message: Any, rename: Callable[[Any], Any]) -> Any:
    """A server's message with the ids of the client's requests replaced by `rename(id)`; ids of its own requests stay."""
    message = edit_leaves(message, lambda key, leaf: rename(leaf) if key in CORRELATIONS else leaf)
    return {**message, "id": rename(message["id"])} if _is_answer(message) else message
