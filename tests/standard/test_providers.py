"""What the providers' own packages make of our schemas: nothing raises, and what they send is what the provider's rules allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_anthropic.chat_models import convert_to_anthropic_tool
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_google_genai._function_utils import convert_to_genai_function_declarations
from langchain_openai import ChatOpenAI

from langchain_mcp_oauth.profiles import anthropic, common, gemini, openai, openai_strict
from tests.tools.schema_samples import AWKWARD

pytestmark = pytest.mark.standard


def tool_with(schema: dict[str, Any]) -> BaseTool:
    return StructuredTool.from_function(lambda: None, name="t", description="A tool.", args_schema=schema, infer_schema=False)


def parts_of(schema: Any, *, is_map: bool = False) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if not is_map:
            yield schema
        for name, value in schema.items():
            yield from parts_of(value, is_map=name == "properties" and not is_map)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts_of(value)


every_schema = pytest.mark.parametrize("schema", AWKWARD.values(), ids=AWKWARD)


def test_what_happens_without_us() -> None:
    """The reason for all this: an external reference raises when tools are bound."""
    with pytest.raises(ValueError, match="ref"):
        convert_to_openai_tool(tool_with(AWKWARD["external $ref"]))


@every_schema
@pytest.mark.parametrize("profile", [common, openai])
def test_openai(schema: dict[str, Any], profile: Callable[..., Any]) -> None:
    """A plain object, `items` for every array, no reference left; bound to the package's own model."""
    bound: Any = ChatOpenAI(model="none", api_key="none").bind_tools([tool_with(profile(schema))])
    parameters = bound.kwargs["tools"][0]["function"]["parameters"]
    assert parameters["type"] == "object"
    for part in parts_of(parameters):
        assert part.get("type") != "array" or isinstance(part["items"], dict)
        assert not isinstance(part.get("$ref"), str)


@every_schema
def test_openai_strict(schema: dict[str, Any]) -> None:
    """Every object closed and every property required, at every level."""
    function = convert_to_openai_tool(tool_with(openai_strict(schema)), strict=True)["function"]
    assert function["strict"] is True
    for part in parts_of(function["parameters"]):
        if "properties" in part:
            assert part["additionalProperties"] is False
            assert set(part["required"]) == set(part["properties"])


@every_schema
@pytest.mark.parametrize("profile", [common, anthropic])
def test_anthropic(schema: dict[str, Any], profile: Callable[..., Any]) -> None:
    """An object, with no alternatives at the top."""
    converted: Any = convert_to_anthropic_tool(tool_with(profile(schema)))
    assert converted["input_schema"]["type"] == "object"
    assert not {"anyOf", "oneOf", "allOf"} & converted["input_schema"].keys()


@every_schema
def test_gemini(schema: dict[str, Any]) -> None:
    """The package makes a declaration of it, in which every array has items and every enum is text."""
    [declaration] = convert_to_genai_function_declarations([tool_with(gemini(schema))])[0].function_declarations or [None]
    assert declaration is not None
    declared = declaration.model_dump(mode="json", exclude_none=True)
    for part in parts_of(declared.get("parameters") or declared.get("parameters_json_schema") or {}):
        assert str(part.get("type")).lower() != "array" or isinstance(part["items"], dict)
        assert all(isinstance(value, str) for value in part.get("enum", ()))
