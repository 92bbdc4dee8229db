"""A chat model that follows a script, so that the demo needs no API key; with a key in the environment, a real one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

__all__ = ["ScriptedModel", "demo_model"]

REAL_MODELS = {"ANTHROPIC_API_KEY": "anthropic:claude-haiku-4-5", "OPENAI_API_KEY": "openai:gpt-5-mini"}
"""The environment variable of a key, and the model it is used for."""

SCRIPT: Sequence[tuple[str, str, str | None]] = (
    (r"^(?:please )?(?:note|remember)(?: that|:)? +(?P<words>.+)", "add_note", "text"),
    (r"\bmy notes\b", "list_notes", None),
    (r"\bread +(?P<words>\S+\.(?:py|md))", "read_doc", "path"),
    (r"(?P<words>.+)", "search_docs", "query"),
)
"""What a question looks like, the tool it calls for, and the argument that gets its `words`. The first that fits and is there."""


def demo_model(environment: Mapping[str, str] = os.environ) -> BaseChatModel:
    """A real model if the environment has a key for one and its LangChain package is installed, else the scripted one."""
    for key, name in REAL_MODELS.items():
        if environment.get(key):
            try:
                return init_chat_model(name)
            except ImportError:
                continue
    return ScriptedModel()


class ScriptedModel(BaseChatModel):
    """Answers a question by calling the tool that `SCRIPT` names, and then says what the tool said.

    It finds tools by the names they are bound under, `search_docs` as well as `library__search_docs`. Same messages, same answer.
    """

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], *, tool_choice: str | None = None, **options: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with these tools."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **options)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=_reply(messages, options.get("tools", ())))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for message in _chunks(_reply(messages, options.get("tools", ()))):
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                run_manager.on_llm_new_token(str(message.content), chunk=chunk)
            yield chunk


def _reply(messages: Sequence[BaseMessage], tools: Sequence[Mapping[str, Any]]) -> AIMessage:
    results = _results(messages)
    if results:
        return AIMessage("\n".join(_say(result) for result in results))
    question = next((message.text for message in reversed(messages) if isinstance(message, HumanMessage)), "")
    call = _call_for(question, [tool["function"]["name"] for tool in tools], call_id=f"call_{len(messages)}")
    return AIMessage("", tool_calls=[call]) if call else AIMessage("I have no tool for that.")


def _results(messages: Sequence[BaseMessage]) -> list[ToolMessage]:
    """The tool messages that came last, in order."""
    results: list[ToolMessage] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        results.insert(0, message)
    return results


def _say(result: ToolMessage) -> str:
    return f"That did not work: {result.text}" if result.status == "error" else f"I found: {result.text}"


def _call_for(question: str, names: Sequence[str], *, call_id: str) -> ToolCall | None:
    for pattern, tool, argument in SCRIPT:
        found = re.search(pattern, question, re.IGNORECASE | re.DOTALL)
        name = next((name for name in names if name.split("__")[-1] == tool), None)
        if found and name:
            return ToolCall(name=name, args={argument: found["words"]} if argument else {}, id=call_id, type="tool_call")
    return None


def _chunks(message: AIMessage) -> Iterator[AIMessageChunk]:
    """The message in the pieces that a provider would stream: words, or a tool call whose arguments come after its name."""
    for index, call in enumerate(message.tool_calls):
        yield AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(name=call["name"], args="", id=call["id"], index=index)])
        yield AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(args=json.dumps(call["args"]), index=index)])
    for word in re.findall(r"\S+\s*", str(message.content)):
        yield AIMessageChunk(content=word)
    yield AIMessageChunk(content="", chunk_position="last")
