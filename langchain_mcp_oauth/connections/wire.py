"""JSON-RPC messages as MCP puts them on the wire: the rules for reading one. No IO."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from mcp.shared.exceptions import MCPError
from mcp_types import ErrorData
from pydantic import ValidationError
from pydantic_core import from_json

from langchain_mcp_oauth.errors import ProtocolError

__all__ = ["answers", "parse_message", "read_error", "read_result", "repeated", "without_id"]

MAX_CONTAINERS = 500_000
"""Brackets and braces that open in one message. An empty list takes two bytes on the wire and a hundred in memory, twice while it is
validated: without this limit, 4 MiB become 200 MB."""

SHORTEST_SECRET = 8
"""Characters. Anything shorter would be found, and blotted out, where it is no secret."""

_ESCAPES = re.compile(rb'\\(u[0-9A-Fa-f]{4}|[/"\\])')
"""Every escape that a character of a token can be spelled with (RFC 8259 §7)."""

RESULT_TYPES = frozenset({"complete", "input_required"})
"""What a result can be (2026-07-28, basic protocol). One without a type is complete, one of another type is invalid."""


def parse_message(text: bytes, place: str, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """One JSON-RPC message.

    Args:
        text: What the server sent.
        place: The server's origin, for the error.
        secrets: Replaced by `[redacted]` wherever the message repeats them: a server may echo the token it was sent.

    Raises:
        ProtocolError: it is not a JSON object, or has too many parts or levels.
    """
    if text.count(b"[") + text.count(b"{") > MAX_CONTAINERS:
        raise ProtocolError(f"{place} sent a message of more than {MAX_CONTAINERS:,} lists and objects.")
    try:
        message = from_json(text)
    except ValueError:
        raise ProtocolError(f"{place} sent something that is not JSON, or nested too deep.") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"{place} sent JSON that is not an MCP message.")
    echoed = repeated(text, secrets)
    return cast("dict[str, Any]", _redact(message, echoed)) if echoed else message


def repeated(text: bytes, secrets: Sequence[str]) -> list[str]:
    """Those of the secrets that the text may hold: as they are, or with a character of theirs spelled by an escape."""
    escaped = {chr(int(one[1:], 16)) if len(one) > 1 else chr(one[0]) for one in set(_ESCAPES.findall(text))}
    return [secret for secret in secrets if len(secret) >= SHORTEST_SECRET and (secret.encode() in text or not escaped.isdisjoint(secret))]


def without_id(text: bytes, request_id: int) -> bytes:
    """The answer to that request, less the only thing in it that is another each time. What takes its place is nowhere else in JSON.

    For an id that is spelled in another way the text is returned as it is.
    """
    for spelling in (b'"id":%d', b'"id": %d'):
        before, found, after = text.partition(spelling % request_id)
        if found:
            return before + b"\0" + after
    return text


def answers(message: dict[str, Any], request_id: int) -> bool:
    """Whether this is the answer to that request (JSON-RPC 2.0 §5).

    An id that comes back as text counts; so does an error without id, from a server that refused before it read the request.
    """
    if "method" in message:
        return False
    answered = message.get("id")
    return str(answered) == str(request_id) or (answered is None and "error" in message)


def read_result(message: dict[str, Any], place: str, *, modern: bool) -> dict[str, Any]:
    """The result in an answer.

    Args:
        message: An answer.
        place: The server's origin, for the error.
        modern: Whether the request was made by revision 2026-07-28 or later.

    Raises:
        MCPError: the answer is an error of the server's.
        ProtocolError: it is neither, or a result of a type that does not exist.
    """
    error = read_error(message)
    if error is not None:
        raise error
    result = message.get("result")
    if not isinstance(result, dict):
        raise ProtocolError(f"{place} sent an answer with neither a result nor an error.")
    if modern and result.setdefault("resultType", "complete") not in RESULT_TYPES:
        raise ProtocolError(f"{place} sent a result of a type that MCP does not have.")
    return result


def read_error(message: dict[str, Any]) -> MCPError | None:
    """The JSON-RPC error in a message (§5.1), if there is a well-formed one."""
    try:
        return MCPError.from_error_data(ErrorData.model_validate(message.get("error")))
    except ValidationError:
        return None


def _redact(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "[redacted]")
        return value
    if isinstance(value, dict):
        return {_redact(name, secrets): _redact(member, secrets) for name, member in value.items()}
    return [_redact(item, secrets) for item in value] if isinstance(value, list) else value
