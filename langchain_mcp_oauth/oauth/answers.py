"""What all answers of other servers have in common: when they mean "try later", what they weigh, and which of their words we repeat."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any, TypeGuard

import httpx2
from pydantic_core import from_json

from langchain_mcp_oauth.errors import ConnectionFailed

__all__ = ["check_available", "error_code", "is_visible_ascii", "parse_scopes", "read_object", "retry_after"]

MAX_RETRY_AFTER = 3_600.0
"""Seconds. No server can make us stay away for longer than an hour."""

MAX_SCOPE_LENGTH = 1_000
"""Characters, all scopes of one list together with the blanks between them."""

_ERROR_CODE = re.compile(r"[a-z_]{1,64}")
_SCOPES = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


def check_available(response: httpx2.Response, where: str) -> None:
    """Return if the answer of the server at `where` is final.

    Raises:
        ConnectionFailed: it answered 429 or 5xx: the same request may succeed later.
    """
    if response.status_code == 429 or response.status_code >= 500:
        raise ConnectionFailed(f"{where} answered {response.status_code}; try again later.", retry_after=retry_after(response))


def retry_after(response: httpx2.Response) -> float | None:
    """Seconds to wait (RFC 9110 §10.2.3), from 0 to an hour; None if the answer does not say so in a form we understand.

    A date is counted from the answer's own `Date`, so that nobody's clock matters.
    """
    value = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER)


def read_object(response: httpx2.Response) -> dict[str, Any] | None:
    """The JSON object in the body; None if the body is anything else, or nested too deep."""
    try:
        document = from_json(response.content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def error_code(value: object) -> str | None:
    """`value` if it has the form of a registered OAuth error code (RFC 6749 §5.2), else None. No other text of a server is repeated."""
    return value if isinstance(value, str) and _ERROR_CODE.fullmatch(value) else None


def parse_scopes(text: object) -> tuple[str, ...]:
    """The scopes of a blank-separated list (RFC 6749 §3.3), once each, in order.

    Empty if `text` is not a list of scopes, or longer than 1,000 characters: a part of what was meant would mean something else.
    """
    if not isinstance(text, str) or len(text) > MAX_SCOPE_LENGTH or not _SCOPES.fullmatch(text):
        return ()
    return tuple(dict.fromkeys(text.split()))


def is_visible_ascii(value: object, limit: int) -> TypeGuard[str]:
    """Whether `value` is a string of 1 to `limit` characters from `!` to `~`."""
    return isinstance(value, str) and len(value) <= limit and _VISIBLE.fullmatch(value) is not None
