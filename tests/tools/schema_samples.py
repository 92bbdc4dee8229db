"""Input schemas that servers really send, and that one provider or another refuses."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}

AWKWARD: dict[str, dict[str, Any]] = {
    "empty": {},
    "no properties": {"type": "object"},
    "external $ref": {"type": "object", "properties": {"a": {"$ref": "https://schemas.example/a.json"}}},
    "dangling $ref": {"type": "object", "properties": {"a": {"$ref": "#/$defs/Missing"}}},
    "local $ref": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A", "description": "an A"}},
        "required": ["a"],
        "$defs": {"A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}}, "B": {"type": "integer"}},
    },
    "recursion": {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/Node"}},
        "$defs": {"Node": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}},
    },
    "itself": {"type": "object", "properties": {"a": {"$ref": "#"}}},
    "array without items": {"type": "object", "properties": {"a": {"type": "array"}, "b": {"type": ["array", "null"]}}},
    "open object": {"type": "object", "properties": {"a": {"type": "object"}, "b": {"type": "object", "additionalProperties": TEXT}}},
    "alternatives at the top": {
        "type": "object",
        "properties": {"kind": TEXT},
        "anyOf": [{"properties": {"a": TEXT}, "required": ["kind", "a"]}, {"properties": {"b": TEXT}, "required": ["kind"]}],
    },
    "all of them at the top": {"allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"$ref": "#/$defs/B"}], "$defs": {"B": {}}},
    "lists of types": {"type": "object", "properties": {"a": {"type": ["string", "integer", "null"]}, "b": {"type": ["number", "null"]}}},
    "an enum that is none": {"type": "object", "properties": {"n": {"enum": 1}}},
    "references within what is referred to": {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "object", "$defs": {"B": {"$ref": "#/$defs/A"}}, "properties": {"b": {"$ref": "#/$defs/A/$defs/B"}}}},
    },
    "enums": {"type": "object", "properties": {"n": {"enum": [1, 2]}, "s": {"enum": ["x", None]}, "c": {"const": "one"}}},
    "names like keywords": {
        "type": "object",
        "properties": {"items": TEXT, "anyOf": TEXT, "$ref": TEXT, "type": TEXT, "required": {"type": "boolean"}, "title": TEXT},
        "required": ["items", "type"],
    },
    "formats and limits": {
        "type": "object",
        "properties": {"a": {"type": "string", "format": "uri", "pattern": "^x", "examples": ["x"], "default": "x"}},
        "additionalProperties": False,
    },
    "nonsense": {"type": "object", "properties": {"a": {"anyOf": "x", "items": 5, "properties": []}, "b": True}, "required": "a"},
}
