"""A tool's description and schema, made safe for a model to read and a provider to accept; nothing is fetched or compiled (R43, R45)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json, to_json

from langchain_mcp_oauth.errors import ProtocolError
from langchain_mcp_oauth.profiles import Schema, common

__all__ = ["clean_description", "clean_schema"]

LONGEST_TEXT = 8 * 1024
"""Characters of one description; what is beyond is cut."""

LARGEST_SCHEMA = 100 * 1024
"""Bytes of JSON; a larger schema is an error, since cutting one would change its meaning."""

INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs"})
"""Unicode categories: control, format (bidi, zero-width, tags), private use, surrogates. Line breaks and tabs stay."""

VISIBLE_ANYWAY = frozenset("\n\t")


def clean_description(text: str | None) -> str:
    """Without characters that a person reviewing the text would not see, at most `LONGEST_TEXT` long."""
    return _visible(text or "")[:LONGEST_TEXT]


def clean_schema(schema: dict[str, Any], tool: str, profile: Callable[[Schema], Schema] = common) -> dict[str, Any]:
    """The server's schema, as `profile` makes it fit for providers, with open objects said to be open where that can be said.

    Raises:
        ProtocolError: it is larger than `LARGEST_SCHEMA`.
    """
    text = to_json(schema)
    if len(text) > LARGEST_SCHEMA:
        raise ProtocolError(f"The input schema of tool {tool!r} is larger than {LARGEST_SCHEMA // 1024} KiB.")
    cleaned: dict[str, Any] = from_json(text) if _is_plain(text) else _visible_in(schema)
    properties = cleaned.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    return profile({**cleaned, "type": "object", "properties": {name: _say_open(value) for name, value in properties.items()}})


def _say_open(schema: Any) -> Any:
    """An object without properties is open; some converters would close it."""
    if not isinstance(schema, dict):
        return schema
    kinds = schema.get("type")
    is_object = kinds == "object" or (isinstance(kinds, list) and "object" in kinds)
    closed = bool({"additionalProperties", "unevaluatedProperties"} & schema.keys()) or schema.get("properties")
    return {**schema, "additionalProperties": True} if is_object and not closed else schema


def _is_plain(text: bytes) -> bool:
    """Whether nothing in this JSON has to be cleaned: all of it is printable ASCII, and no longer than one description may be."""
    return len(text) <= LONGEST_TEXT and text.isascii() and not any(odd in text for odd in ODD)


ODD = (b"\x7f", b"\\u", b"\\b", b"\\f", b"\\r")
"""How JSON spells control characters in ASCII."""

DESCRIBING = frozenset({"description", "title", "$comment"})


def _visible_in(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _visible_in(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_visible_in(item) for item in value]
    return clean_description(value) if isinstance(value, str) and key in DESCRIBING else value


ASCII = re.compile(r"[\n\t -~]*\Z")


def _visible(text: str) -> str:
    if ASCII.match(text):
        return text
    return "".join(c for c in text if c in VISIBLE_ANYWAY or unicodedata.category(c) not in INVISIBLE)
