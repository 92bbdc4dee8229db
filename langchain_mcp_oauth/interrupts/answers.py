"""What a person, or the interface they sit at, answers to an interrupt. Rules: values in, a value out.

An answer carries no authority: whether a login is there, the store says. It wakes the run, refuses, or brings something along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from langchain_mcp_oauth.errors import AuthorizationDenied

__all__ = ["GivenCredentials", "read_answer"]

DECLINED = frozenset({"cancelled", "canceled", "cancel", "decline", "declined", "reject", "rejected", "ignore"})


@dataclass(frozen=True, slots=True)
class GivenCredentials:
    """An answer that brings values of the person's own. `server` is the toolkit's name for whom they are, where the answer says so."""

    values: Mapping[str, str] = field(repr=False)
    server: str | None = None


def read_answer(answer: object) -> str | GivenCredentials | None:
    """The callback URL or the credentials that an answer brings, if it brings any; None means: look whether what was needed is there.

    Raises:
        AuthorizationDenied: the answer is a refusal, in the words of this library, of MCP elicitation or of the human-in-the-loop shapes;
            or one of these words, typed.
    """
    texts = [text.strip() for text in _texts(answer)]
    if _declines(answer) or any(text.lower() in DECLINED for text in texts):
        raise AuthorizationDenied("The person chose not to authorize. Go on without this tool, or ask them again.")
    if isinstance(answer, Mapping) and isinstance(answer.get("callback_url"), str):
        return str(answer["callback_url"])
    if isinstance(answer, Mapping) and isinstance(answer.get("credentials"), Mapping):
        server = answer.get("server")
        return GivenCredentials(answer["credentials"], server if isinstance(server, str) else None)
    return next(filter(_is_callback, texts), None)


def _declines(answer: object) -> bool:
    """One refusal among several decisions is a refusal."""
    if isinstance(answer, Mapping):
        words = (answer.get("status"), answer.get("action"), answer.get("type"))
        return any(word in DECLINED for word in words if isinstance(word, str)) or any(_declines(part) for part in _parts(answer))
    return isinstance(answer, list) and any(_declines(item) for item in answer)


def _parts(answer: Mapping[Any, Any]) -> Iterable[object]:
    """The decisions of the human-in-the-loop middleware, and the responses of MCP elicitation."""
    responses = answer.get("responses")
    return [answer.get("decisions"), *(responses.values() if isinstance(responses, Mapping) else ())]


def _texts(answer: object) -> Iterable[str]:
    """What a person may have typed: the answer itself, a decision's `message` (`respond`), an inbox's `args` (`response`), a form."""
    if isinstance(answer, str):
        yield answer
    elif isinstance(answer, list):
        for item in answer:
            yield from _texts(item)
    elif isinstance(answer, Mapping):
        for value in (answer.get("message"), answer.get("args"), *_parts(answer)):
            yield from _texts(value)
        content = answer.get("content")
        for value in content.values() if isinstance(content, Mapping) else ():
            yield from _texts(value)


def _is_callback(text: str) -> bool:
    """A URL with `state` and something else."""
    try:
        return {"state"} < set(parse_qs(urlsplit(text).query))
    except ValueError:
        return False
