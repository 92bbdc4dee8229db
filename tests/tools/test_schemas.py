"""What a model is shown of a tool (R43, R45)."""

from typing import Any

import pytest

from langchain_mcp_oauth.errors import ProtocolError
from langchain_mcp_oauth.tools.schemas import clean_description, clean_schema


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Reads a file.\n\tTwice.", "Reads a file.\n\tTwice."),
        ("a\u202eb\u200bc\x00d\U000e0041", "abcd"),
        ("naïve – 日本", "naïve – 日本"),
        (None, ""),
        ("x" * 9000, "x" * 8192),
    ],
)
def test_descriptions_show_what_they_say(given: str | None, shown: str) -> None:
    """No control, bidi, zero-width or tag characters; at most 8 KiB."""
    assert clean_description(given) == shown


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ({}, {"type": "object", "properties": {}}),
        (
            {"type": "object", "properties": {"o": {"type": "object"}}},
            {"type": "object", "properties": {"o": {"type": "object", "additionalProperties": True}}},
        ),
        (
            {"type": "object", "properties": {"o": {"type": ["object", "null"], "additionalProperties": False}}},
            {"type": "object", "properties": {"o": {"type": ["object", "null"], "additionalProperties": False}}},
        ),
        (
            {"type": "object", "properties": {"config": {"type": "string", "description": "a\u200bb", "pattern": "^\u200b$"}}},
            {"type": "object", "properties": {"config": {"type": "string", "description": "ab", "pattern": "^\u200b$"}}},
        ),
        (
            {"type": "object", "properties": {"s": {"type": "string", "title": "x" * 9000}}},
            {"type": "object", "properties": {"s": {"type": "string", "title": "x" * 8192}}},
        ),
        (
            {"type": "object", "properties": {"r": {"$ref": "https://evil.example/x"}}},
            {"type": "object", "properties": {"r": {}}},
        ),
    ],
)
def test_schemas_stay_as_given_but_for_what_providers_need(given: dict[str, Any], cleaned: dict[str, Any]) -> None:
    """`type` and `properties` are there, open objects say so, describing texts are visible; no reference leads elsewhere."""
    assert clean_schema(given, "t") == cleaned


@pytest.mark.parametrize("around", ["", "é"], ids=["plain", "not plain"])
def test_no_character_slips_into_a_schema(around: str) -> None:
    """Each is treated as in a description, whether or not the schema has others that have to be looked at."""
    for number in [*range(0x300), 0x200B, 0x202E, 0xFEFF, 0xE0041]:
        text = f"a{chr(number)}b{around}"
        assert clean_schema({"properties": {"s": {"description": text}}}, "t")["properties"]["s"]["description"] == clean_description(text)


def test_the_servers_schema_is_not_changed_in_place() -> None:
    """The listing may be shared, and a profile of one's own may change what it is given."""

    def spoil(schema: dict[str, Any]) -> dict[str, Any]:
        schema["properties"]["o"]["enum"].clear()
        return schema

    given = {"type": "object", "properties": {"o": {"type": "object", "enum": [1]}}}
    clean_schema(given, "t", spoil)
    assert given == {"type": "object", "properties": {"o": {"type": "object", "enum": [1]}}}


def test_a_huge_schema_is_refused_by_name() -> None:
    """Cutting it would change its meaning."""
    with pytest.raises(ProtocolError, match="'big'"):
        clean_schema({"type": "object", "properties": {}, "description": "x" * 110_000}, "big")
