"""What the providers' own packages make of our schemas and results: nothing raises, and what they send is what the rules allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_anthropic.chat_models import convert_to_anthropic_tool
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_google_genai._function_utils import convert_to_genai_function_declarations
from langchain_google_genai.chat_models import _parse_chat_history
from langchain_openai import ChatOpenAI
from mcp.types import CallToolResult

from langchain_mcp_oauth.profiles import anthropic, common, gemini, openai, openai_strict
from langchain_mcp_oauth.tools.content import to_blocks
from tests.tools.result_samples import RESULTS
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


# Results ----------------------------------------------------------------------------------------------------------------------


def conversation(blocks: list[Any], *, of: str) -> list[BaseMessage]:
    """A tool's message, or a person's (a prompt's), with these blocks."""
    if of == "person":
        return [HumanMessage(blocks)]
    call = AIMessage("", tool_calls=[{"type": "tool_call", "name": "t", "args": {}, "id": "1"}])
    return [HumanMessage("Go."), call, ToolMessage(blocks, name="t", tool_call_id="1")]


MODELS: dict[str, Callable[[], Any]] = {
    "openai": lambda: ChatOpenAI(model="none", api_key="none")._get_request_payload,
    "openai responses": lambda: ChatOpenAI(model="none", api_key="none", use_responses_api=True)._get_request_payload,
    "anthropic": lambda: ChatAnthropic(model_name="none", api_key="none")._get_request_payload,
    "gemini": lambda: _parse_chat_history,
}


@pytest.mark.filterwarnings("ignore:OpenAI may require a filename")
@pytest.mark.parametrize("of", ["tool", "person"])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("content", "block"), RESULTS.values(), ids=RESULTS)
def test_every_result_is_one_that_a_model_takes(content: Any, block: Any, model: Callable[[], Any], of: str) -> None:
    """Each kind of content becomes a request of each provider's package, which fetches nothing for it (tests may not leave loopback)."""
    assert to_blocks(CallToolResult(content=[content])) == [block]
    assert model()(conversation([block], of=of))


@pytest.mark.parametrize(("model", "error"), [("openai", "does not support file URLs"), ("gemini", "tried to reach 'files.example'")])
def test_why_a_link_is_text(model: str, error: str) -> None:
    """As a block one package refuses it, and one fetches it from this process."""
    link = {"type": "file", "url": "https://files.example/report.pdf", "mime_type": "application/pdf"}
    with pytest.raises(BaseException, match=error):
        MODELS[model]()(conversation([link], of="tool"))
