"""A model that does as it is told, and what the tests of agents look at."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool
from pydantic import PrivateAttr

CONFIG: Any = {"configurable": {"thread_id": "t"}}
HELLO: Any = {"messages": [{"role": "user", "content": "go"}]}

ARGUMENTS: dict[str, dict[str, Any]] = {"add": {"a": 1, "b": 2}, "echo": {"text": "x"}}


class Scripted(FakeMessagesListChatModel):
    """Calls the tools it was told to, turn by turn, and says "done". `offered` holds the names of the tools it saw in each turn."""

    _offered: list[list[str]] = PrivateAttr(default_factory=list)

    @property
    def offered(self) -> list[list[str]]:
        return self._offered

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        self._offered.append([tool.name if isinstance(tool, BaseTool) else str(tool) for tool in tools])
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        return ChatResult(generations=[ChatGeneration(message=self.responses[min(turn, len(self.responses) - 1)])])


def calling(*turns: str | list[str]) -> Scripted:
    """A model that makes the calls of each turn: one tool's name, or several."""
    messages: list[BaseMessage] = [AIMessage("", tool_calls=_calls(number, turn)) for number, turn in enumerate(turns)]
    return Scripted(responses=[*messages, AIMessage("done")])


def _calls(number: int, turn: str | list[str]) -> list[ToolCall]:
    names = [turn] if isinstance(turn, str) else turn
    return [ToolCall(name=name, args=ARGUMENTS.get(name.rpartition("__")[2], {}), id=f"call-{number}-{name}") for name in names]


def as_user(user_id: str, thread: str = "t") -> Any:
    """The config of a run."""
    return {"configurable": {"thread_id": thread, "user_id": user_id}}


def tool_messages(result: Any) -> dict[str, ToolMessage]:
    return {str(message.name): message for message in result["messages"] if isinstance(message, ToolMessage)}
