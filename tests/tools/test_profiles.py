"""Schemas made fit for providers: values in, values out. What the providers' own converters make of them: `tests/standard/`."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from langchain_mcp_oauth import profiles
from langchain_mcp_oauth.profiles import anthropic, common, gemini, openai, openai_strict

from .schema_samples import AWKWARD, TEXT

PROFILES = [common, openai, anthropic, openai_strict, gemini]


def schemas_in(schema: Any, within: str = "") -> Iterator[dict[str, Any]]:
    """Every schema within; a map of properties is none."""
    if isinstance(schema, dict):
        if within != "properties":
            yield schema
        for name, value in schema.items():
            yield from schemas_in(value, name if within != "properties" else "")
    elif isinstance(schema, list):
        for value in schema:
            yield from schemas_in(value)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("schema", AWKWARD.values(), ids=AWKWARD)
def test_every_profile_gives_a_plain_object(schema: dict[str, Any], profile: Callable[..., Any]) -> None:
    """Without references, without alternatives at the top, and the server's own is as it was."""
    before = copy.deepcopy(schema)
    made = profile(schema)
    assert schema == before
    assert made["type"] == "object"
    assert isinstance(made["properties"], dict)
    assert not {"anyOf", "oneOf", "allOf", "$defs", "$schema"} & made.keys()
    for part in schemas_in(made):
        assert not isinstance(part.get("$ref"), str)
        if part.get("type") == "array":
            assert isinstance(part["items"], dict)
    assert set(made.get("required", ())) <= made["properties"].keys()


@pytest.mark.parametrize(
    ("name", "properties", "required"),
    [
        ("external $ref", {"a": {}}, None),
        ("local $ref", {"a": {"type": "object", "properties": {"b": {"type": "integer"}}, "description": "an A"}}, ["a"]),
        (
            "recursion",
            {"tree": {"type": "object", "properties": {"children": {"type": "array", "items": {}}}}},
            None,
        ),
        ("array without items", {"a": {"type": "array", "items": {}}, "b": {"type": ["array", "null"], "items": {}}}, None),
        ("alternatives at the top", {"kind": TEXT, "a": TEXT, "b": TEXT}, ["kind"]),
        ("all of them at the top", {"a": TEXT}, ["a"]),
        (
            "names like keywords",
            {name: part for name, part in AWKWARD["names like keywords"]["properties"].items() if name != "$ref"},
            ["items", "type"],
        ),
    ],
)
def test_the_common_denominator(name: str, properties: dict[str, Any], required: list[str] | None) -> None:
    """What cannot be said allows anything; what can be said is said as the server did."""
    made = common(AWKWARD[name])
    assert made["properties"] == properties
    assert made.get("required") == required


def test_strict_closes_objects_and_requires_everything() -> None:
    """What was optional may be null instead (OpenAI, structured outputs)."""
    schema = {"type": "object", "properties": {"a": TEXT, "b": {"type": "object", "properties": {"c": {"enum": [1]}}}}, "required": ["a"]}
    made = openai_strict(schema)
    assert (made["required"], made["additionalProperties"]) == (["a", "b"], False)
    assert made["properties"]["a"] == TEXT
    inner = made["properties"]["b"]
    assert (inner["type"], inner["required"], inner["additionalProperties"]) == (["object", "null"], ["c"], False)
    assert inner["properties"]["c"] == {"anyOf": [{"enum": [1]}, {"type": "null"}]}
    for schema in AWKWARD.values():
        for part in schemas_in(openai_strict(schema)):
            if "properties" in part:
                assert part["additionalProperties"] is False
                assert part["required"] == list(part["properties"])


def test_gemini_has_one_type_and_text_enums() -> None:
    """OpenAPI 3.0: `nullable` and `anyOf` instead of lists of types; no `additionalProperties`, no `const`."""
    made = gemini(AWKWARD["lists of types"])["properties"]
    assert made["a"] == {"nullable": True, "anyOf": [{"type": "string"}, {"type": "integer"}]}
    assert made["b"] == {"type": "number", "nullable": True}
    enums = gemini(AWKWARD["enums"])["properties"]
    assert enums["n"]["type"] == "integer"
    assert "enum" not in enums["n"]
    assert (enums["s"]["enum"], enums["s"]["nullable"]) == (["x"], True)
    assert enums["c"] == {"type": "string", "enum": ["one"]}
    for schema in AWKWARD.values():
        assert not any({"additionalProperties", "const", "default", "examples"} & part.keys() for part in schemas_in(gemini(schema)))


@pytest.mark.parametrize("profile", PROFILES)
def test_a_small_schema_that_unfolds_into_millions_is_cut(profile: Callable[..., Any]) -> None:
    """References to two of the next, twenty times over: bounded work, bounded size, open beyond."""
    pair = [{"properties": {"a": {"$ref": f"#/$defs/{n + 1}"}, "b": {"$ref": f"#/$defs/{n + 1}"}}} for n in range(20)]
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/0"}}, "$defs": {str(n): part for n, part in enumerate([*pair, {}])}}
    assert len(json.dumps(profile(schema))) < 200 * profiles.LARGEST
