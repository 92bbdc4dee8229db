"""A server's questions to a person (elicitation), in one form for both eras: an `InputRequiredResult`, and its answers with the next call.

From 2026-07-28 on that is the protocol. A 2025-11-25 server asks in the middle of its answer and waits; nobody can be waited for there, so
the call is cancelled, the question goes out, and when the call is made again with the answer, it is given when the question comes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from mcp.client.session import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_REQUEST,
    URL_ELICITATION_REQUIRED,
    ElicitRequest,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
    ErrorData,
    InputRequiredResult,
    InputResponses,
)
from pydantic import TypeAdapter, ValidationError

from langchain_mcp_oauth.connections.dispatcher import AbandonCall
from langchain_mcp_oauth.errors import ProtocolError

__all__ = ["Answers", "Question", "answer", "current_answers", "parse_answers", "to_input_required"]

_ANSWERS: TypeAdapter[dict[str, ElicitResult]] = TypeAdapter(dict[str, ElicitResult])


@dataclass(slots=True)
class Answers:
    """What a person has answered so far, and how often each question has come in this call."""

    given: Mapping[str, ElicitResult]
    asked: Counter[str] = field(default_factory=Counter)

    def key(self, params: ElicitRequestParams) -> str:
        """The question's name: the same question gets the same name when the call is made again, a second time another one."""
        digest = hashlib.sha256(params.model_dump_json(exclude={"meta"}).encode()).hexdigest()[:16]
        self.asked[digest] += 1
        return f"{digest}-{self.asked[digest]}"


class Question(AbandonCall):
    """A question that has no answer yet."""

    def __init__(self, request: InputRequiredResult) -> None:
        super().__init__("The server asks a person.")
        self.request = request


current_answers: ContextVar[Answers | None] = ContextVar("langchain_mcp_oauth_answers", default=None)
"""Of the call under way in this task; None where nothing can be asked."""


async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult | ErrorData:
    """The session's elicitation callback. `context` is part of its signature; a question says all there is to know."""
    answers = current_answers.get()
    if answers is None:
        return ErrorData(code=INVALID_REQUEST, message="Only a tool call can ask.")
    key = answers.key(params)
    if key in answers.given:
        return answers.given[key]
    state = _ANSWERS.dump_json(dict(answers.given)).decode()
    raise Question(InputRequiredResult(input_requests={key: ElicitRequest(params=params)}, request_state=state))


def parse_answers(responses: InputResponses | None, state: str | None) -> Answers:
    """The answers of this call, from what came back with an `InputRequiredResult` of ours.

    Raises:
        ProtocolError: it is not what was handed out.
    """
    try:
        earlier = _ANSWERS.validate_json(state) if state else {}
        return Answers({**earlier, **_ANSWERS.validate_python(responses or {}, from_attributes=True)})
    except ValidationError:
        raise ProtocolError("These answers do not belong to a question of this call.") from None


def to_input_required(error: MCPError) -> InputRequiredResult | None:
    """2025-11-25: a call refused until a person has opened URLs (elicitation, -32042); the same call goes through afterwards."""
    if error.code != URL_ELICITATION_REQUIRED:
        return None
    try:
        listed = TypeAdapter(list[ElicitRequestURLParams]).validate_python(error.data["elicitations"])
    except (ValidationError, KeyError, TypeError):
        return None
    return InputRequiredResult(input_requests={f"url-{n}": ElicitRequest(params=params) for n, params in enumerate(listed, 1)})
