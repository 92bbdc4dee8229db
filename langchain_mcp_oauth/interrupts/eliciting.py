"""A server's questions to a person (elicitation) as an interrupt of `langchain.mcp`'s shape, and what came back. Rules only: no IO.

What a server asks is its own text: it is shown with the server's name, and a URL only if it is one that may be shown, with its host.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from pydantic import ValidationError

from langchain_mcp_oauth.errors import ProtocolError
from langchain_mcp_oauth.oauth.urls import check_url
from langchain_mcp_oauth.tools.schemas import clean_description, clean_schema

__all__ = ["Responses", "fingerprint_of", "read_responses", "to_payload"]

Responses: TypeAlias = dict[str, ElicitResult]
Action: TypeAlias = Literal["accept", "decline", "cancel"]

ACTIONS: dict[str, Action] = {"accept": "accept", "decline": "decline", "cancel": "cancel", "cancelled": "cancel"}


def to_payload(result: InputRequiredResult, *, server: str, tool_name: str, tool_call_id: str | None) -> dict[str, Any]:
    """The interrupt's value: the keys of `langchain.mcp`'s `MCPElicitationInterrupt`, and whose question it is.

    Raises:
        ProtocolError: the server asks for something else than elicitation, such as sampling.
        UnsafeURLError: it would send the person to a URL that is not plain https (R15).
    """
    requests = [_describe(key, request, server) for key, request in (result.input_requests or {}).items()]
    return {
        "type": "mcp_elicitation",
        "tool_name": tool_name,
        "tool_call_id": tool_call_id,
        "server": server,
        "requests": requests,
    }


def read_responses(payload: Mapping[str, Any], answer: object) -> Responses | None:
    """The answers by key, or None where the answer is none to these questions: nothing else is ever taken for consent.

    `{"responses": {key: {"action": …, "content": …}}}`, or, of a single question, `{"action": …, "content": …}` alone.
    """
    if not isinstance(answer, Mapping):
        return None
    keys = [request["key"] for request in payload["requests"]]
    given = answer.get("responses")
    if given is None and len(keys) == 1:
        given = {keys[0]: answer}
    if given is None and ACTIONS.get(str(answer.get("action") or answer.get("status"))) in {"decline", "cancel"}:
        given = dict.fromkeys(keys, answer)
    if not isinstance(given, Mapping) or not set(keys) <= given.keys():
        return None
    responses = {key: _read(given[key]) for key in keys}
    return {key: response for key, response in responses.items() if response is not None} if None not in responses.values() else None


def fingerprint_of(payload: Mapping[str, Any]) -> str:
    """Of the questions and the call they belong to, so that an answer is given to what it was an answer to."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


def _describe(key: str, request: object, server: str) -> dict[str, Any]:
    if not isinstance(request, ElicitRequest):
        raise ProtocolError(f"{server!r} asks for more than a person's input, which this library does not offer.")
    params = request.params
    message = clean_description(params.message)
    if isinstance(params, ElicitRequestFormParams):
        return {"key": key, "message": message, "mode": "form", "requested_schema": clean_schema(dict(params.requested_schema), key)}
    url = check_url(str(params.url), f"A URL that {server!r} asks a person to open")
    return {"key": key, "message": message, "mode": "url", "url": url, "host": urlsplit(url).netloc}


def _read(answer: object) -> ElicitResult | None:
    if not isinstance(answer, Mapping):
        return None
    action = ACTIONS.get(str(answer.get("action") or answer.get("status")))
    if action is None:
        return None
    try:
        return ElicitResult(action=action, content=answer.get("content") if action == "accept" else None)
    except ValidationError:
        return None
