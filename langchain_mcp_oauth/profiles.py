"""JSON schemas that providers accept: pure functions over JSON, one for each provider, and their common denominator, which is the default.

A provider refuses the whole request over one schema it does not like, and some packages raise where they convert it: one server's tool then
takes the agent down. What cannot be said to a provider is left out, which allows more: the server validates what comes, in any case.

| | refuses |
|---|---|
| every converter in langchain-core | an external `$ref`, and a property of that name: it raises when the tools are bound |
| OpenAI | a top level that is no plain object, an array without `items` |
| OpenAI, `strict` | an object that is open, a property that is not `required`, many keywords |
| Anthropic | `anyOf`, `oneOf`, `allOf` at the top level |
| Gemini | `additionalProperties`, lists of types, `const`, `$ref`, an enum of anything but text, an object without properties |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeAlias

__all__ = ["Schema", "anthropic", "common", "gemini", "openai", "openai_strict"]

Schema: TypeAlias = dict[str, Any]

DEEPEST = 12
"""Levels of `$ref` followed into each other; a recursive schema is open beyond."""

LARGEST = 2_000
"""Schemas within one, once its references are followed: a small one may unfold into millions."""

ANYTHING: Schema = {}

_LISTS = ("anyOf", "oneOf", "allOf")
_MAPS = ("properties", "patternProperties", "dependentSchemas")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedProperties")

_NOT_SAID = frozenset({"$schema", "$id", "$anchor", "$dynamicAnchor", "$comment", "$vocabulary", "$defs", "definitions"})
"""What a schema says of itself, and what its references lead to."""


def common(schema: Schema) -> Schema:
    """What OpenAI, Anthropic and langchain-core's own converters accept alike: references followed, a plain object at the top, and `items`
    for every array."""
    return _top_object(_followed(schema, schema, (), _Budget()))


def openai(schema: Schema) -> Schema:
    """For OpenAI without `strict`: the common denominator."""
    return common(schema)


def anthropic(schema: Schema) -> Schema:
    """For Anthropic: the common denominator."""
    return common(schema)


def openai_strict(schema: Schema) -> Schema:
    """For OpenAI with `strict`: every object closed, every property required, and those that were not may be null.

    An object that was open loses what it was open for.
    """
    return _everywhere(common(schema), _closed)


def gemini(schema: Schema) -> Schema:
    """For Gemini and Vertex AI: types without lists, text enums, no keyword that OpenAPI 3.0 does not have."""
    return _everywhere(common(schema), _openapi)


# References ---------------------------------------------------------------------------------------------------------------------


class _Budget:
    def __init__(self) -> None:
        self.left = LARGEST


def _followed(schema: Schema, root: Schema, within: tuple[str, ...], budget: _Budget) -> Schema:
    """The schema without references: a local one is followed, a recursive or an external one allows anything. Nothing is fetched (R45)."""
    budget.left -= 1
    if budget.left < 0:
        return ANYTHING
    if "$ref" in schema or "$dynamicRef" in schema:
        schema, within = _target(schema, root, within)
    if not _NOT_SAID.isdisjoint(schema):
        schema = {name: value for name, value in schema.items() if name not in _NOT_SAID}
    return _without_ref(_with_items(_mapped(schema, lambda part: _followed(part, root, within, budget))))


def _target(value: Schema, root: Schema, within: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
    reference = value.get("$ref")
    beside = {name: item for name, item in value.items() if name not in {"$ref", "$dynamicRef"}}
    found = _at(root, reference) if isinstance(reference, str) and reference not in within and len(within) < DEEPEST else None
    if found is None:
        return beside, within
    merged = {**found, **beside}
    if "$ref" in found:
        return _target({**merged, "$ref": found["$ref"]}, root, (*within, str(reference)))
    return merged, (*within, str(reference))


def _at(root: Schema, reference: str) -> Schema | None:
    """RFC 6901, within this document."""
    if not reference.startswith("#"):
        return None
    found: Any = root
    for part in filter(None, reference[1:].split("/")):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


# Walking --------------------------------------------------------------------------------------------------------------------------


Change: TypeAlias = Callable[[Schema], Schema]


def _everywhere(schema: Schema, change: Change) -> Schema:
    """Apply the change to every schema within, the innermost first."""
    return change(_mapped(schema, lambda part: _everywhere(part, change)))


def _mapped(schema: Schema, change: Change) -> Schema:
    """A copy in which every schema directly within this one is changed. What is not where a schema belongs is no schema: a property may
    well be called `items`. What is no schema where one belongs allows anything."""
    if _WITHIN.keys().isdisjoint(schema):
        return dict(schema)
    copy = {name: _WITHIN[name](value, change) if name in _WITHIN else value for name, value in schema.items()}
    return {name: value for name, value in copy.items() if value or name not in _LISTS}


def _in_list(parts: Any, change: Change) -> list[Schema]:
    return [change(part) for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _in_map(parts: Any, change: Change) -> dict[str, Schema]:
    return {key: change(part) if isinstance(part, dict) else ANYTHING for key, part in parts.items()} if isinstance(parts, dict) else {}


def _single(part: Any, change: Change) -> Schema | bool:
    return change(part) if isinstance(part, dict) else bool(part)


_WITHIN: dict[str, Callable[[Any, Change], Any]] = {
    **dict.fromkeys((*_LISTS, "prefixItems"), _in_list),
    **dict.fromkeys(_MAPS, _in_map),
    **dict.fromkeys(_SINGLE, _single),
}
"""Where schemas are within a schema."""


# Changes --------------------------------------------------------------------------------------------------------------------------


def _with_items(schema: Schema) -> Schema:
    is_array = schema.get("type") == "array" or (isinstance(schema.get("type"), list) and "array" in schema["type"])
    return {**schema, "items": ANYTHING} if is_array and not isinstance(schema.get("items"), dict) else schema


def _without_ref(schema: Schema) -> Schema:
    """A property called `$ref` is left out: langchain-core takes it for a reference and raises."""
    properties = schema.get("properties")
    if not isinstance(properties, dict) or "$ref" not in properties:
        return schema
    required = [name for name in schema.get("required", ()) if name != "$ref"]
    return {**schema, "properties": {name: part for name, part in properties.items() if name != "$ref"}, "required": required}


def _top_object(schema: Schema) -> Schema:
    """A plain object: the properties of all alternatives, of which those are required that every alternative requires."""
    alternatives = [part for name in ("anyOf", "oneOf") for part in schema.get(name, ()) if isinstance(part, dict)]
    parts = [part for part in schema.get("allOf", ()) if isinstance(part, dict)]
    plain = {name: value for name, value in schema.items() if name not in {*_LISTS, "not", "if", "then", "else"}}
    properties: Schema = reduce(lambda merged, part: {**_properties(part), **merged}, [*parts, *alternatives], _properties(schema))
    required = _required(schema).union(*map(_required, parts))
    if alternatives:
        required |= frozenset.intersection(*map(_required, alternatives))
    kept = [name for name in properties if name in required]
    plain.pop("required", None)
    return {**plain, "type": "object", "properties": properties, **({"required": kept} if kept else {})}


def _properties(schema: Mapping[str, Any]) -> Schema:
    properties = schema.get("properties")
    return dict(properties) if isinstance(properties, dict) else {}


def _required(schema: Mapping[str, Any]) -> frozenset[str]:
    required = schema.get("required")
    return frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()


_STRICT = frozenset(
    {"type", "properties", "items", "enum", "const", "anyOf", "description", "required", "additionalProperties", "title"}
    | {"pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"}
)
"""What OpenAI's structured outputs support."""


def _closed(schema: Schema) -> Schema:
    schema = {("anyOf" if name == "oneOf" else name): value for name, value in schema.items()}
    schema = {name: value for name, value in schema.items() if name in _STRICT}
    if schema.get("type") != "object" and "properties" not in schema:
        return schema or {"type": "string"}
    properties, required = _properties(schema), _required(schema)
    nullable = {name: part if name in required else _or_null(part) for name, part in properties.items()}
    return {**schema, "type": "object", "properties": nullable, "required": list(nullable), "additionalProperties": False}


def _or_null(schema: Schema) -> Schema:
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema and "const" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


_OPENAPI = frozenset(
    {"type", "properties", "items", "enum", "anyOf", "description", "required", "nullable", "format", "title"}
    | {"minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "pattern"}
)
_FORMATS = frozenset({"enum", "date-time", "float", "double", "int32", "int64"})


def _openapi(schema: Schema) -> Schema:
    schema = {("anyOf" if name == "oneOf" else name): value for name, value in schema.items()}
    if "const" in schema:
        schema["enum"] = [schema["const"]]
    kept = {name: value for name, value in schema.items() if name in _OPENAPI}
    if kept.get("format") not in _FORMATS:
        kept.pop("format", None)
    return _with_one_type(_with_text_enum(kept))


def _with_one_type(schema: Schema) -> Schema:
    kinds = schema.get("type")
    if not isinstance(kinds, list):
        return schema if kinds or "anyOf" in schema else {**schema, "type": "object" if "properties" in schema else "string"}
    named = [kind for kind in kinds if kind != "null"]
    schema = {**schema, **({"nullable": True} if "null" in kinds else {})}
    if len(named) == 1:
        return {**schema, "type": named[0]}
    rest = {name: value for name, value in schema.items() if name in {"description", "nullable", "title"}}
    return {**rest, "anyOf": [_with_one_type({**_about(kind, schema), "type": kind}) for kind in named]}


def _about(kind: str, schema: Schema) -> Schema:
    names = {"array": ("items", "minItems", "maxItems"), "object": ("properties", "required")}.get(kind, ())
    return {name: schema[name] for name in names if name in schema}


def _with_text_enum(schema: Schema) -> Schema:
    values = schema.get("enum")
    if values is None:
        return schema
    text = [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
    rest = {name: value for name, value in schema.items() if name != "enum"}
    if not text:
        return {**rest, "type": rest.get("type") or _kind(values[0] if isinstance(values, list) and values else "")}
    return {**rest, "type": "string", "enum": text, **({"nullable": True} if None in values else {})}


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "integer" if isinstance(value, int) else "number" if isinstance(value, float) else "string"
