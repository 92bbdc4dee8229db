"""`WWW-Authenticate: Bearer …`, read with a tokeniser. RFC 9110 §11, RFC 6750 §3, RFC 9728 §5.1.

A search for `scope=` in the header would also find it inside a description, in another scheme's parameters or at the end of another
name, and let that text choose what a person is asked for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TypeAlias

import httpx2

from langchain_mcp_oauth.errors import UnsafeURLError
from langchain_mcp_oauth.models import BearerChallenge
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.answers import check_available, error_code, parse_scopes
from langchain_mcp_oauth.oauth.urls import check_url, redacted
from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["ask_for_challenge", "read_challenge"]

logger = logging.getLogger(__name__)

MAX_CHALLENGE_LENGTH = 8_192
"""Characters, all `WWW-Authenticate` fields of one response together."""

Parameters: TypeAlias = dict[str, str]

# RFC 9110 §5.6, §11: `name=value`, `name="quoted \"value\""`, or a bare word: a scheme or a token68. Possessive, so that nothing is
# tried twice and the time stays linear. An unquoted value may hold more than a token: URLs without their quotes are common.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_ELEMENT = re.compile(
    rf"""
    [ \t,]++
    | (?P<name>{_TOKEN})[ \t]*+=[ \t]*+(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<plain>[^\s,"=][^\s,"]*+))
    | (?P<word>[!#$%&'*+.^_`|~0-9A-Za-z/-]++=*+)
    """,
    re.VERBOSE | re.DOTALL,
)


def ask_for_challenge(server: MCPServer) -> Flow[BearerChallenge | None]:
    """What the server asks of somebody without a token; None if it answers everybody. One POST of `ping`, which changes nothing.

    Raises:
        ConnectionFailed: it answered 429 or 5xx.
    """
    headers = {name: value.get_secret_value() for name, value in (server.headers or {}).items()}
    headers["Accept"] = "application/json, text/event-stream"
    response = yield httpx2.Request("POST", server.url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers)
    check_available(response, redacted(server.url))
    return read_challenge(response)


def read_challenge(response: httpx2.Response) -> BearerChallenge | None:
    """What a 401 or 403 of an MCP server asks for; None if the response is not about authorization.

    A DPoP challenge counts where there is no Bearer. A 401 without a readable challenge is still one, without details. A 403 is one
    only with `error="insufficient_scope"` (RFC 6750 §3.1). Of several Bearer challenges the first that qualifies is taken. A scope list
    that is not one, or too long, is dropped, and so is a `resource_metadata` that is no acceptable URL (with a warning in the log).
    Never raises.
    """
    if response.status_code not in (401, 403):
        return None
    challenges = [_challenge(response.status_code, *found) for found in _usable(response.headers.get_list("www-authenticate"))]
    if response.status_code == 403:
        return next((challenge for challenge in challenges if challenge.insufficient_scope), None)
    return challenges[0] if challenges else BearerChallenge(401)


def _challenge(status: int, scheme: str, parameters: Parameters) -> BearerChallenge:
    return BearerChallenge(
        status,
        error=error_code(parameters.get("error")),
        scopes=parse_scopes(parameters.get("scope")),
        resource_metadata=_resource_metadata(parameters.get("resource_metadata")),
        dpop=scheme == "dpop",
    )


def _resource_metadata(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        return check_url(url, "The challenge's resource_metadata")
    except UnsafeURLError as error:
        logger.warning("%s It is ignored.", error)
        return None


def _usable(fields: list[str]) -> list[tuple[str, Parameters]]:
    """Scheme and parameters of every Bearer challenge, in order; of the DPoP ones where there is no Bearer (RFC 9449 §7.2)."""
    if sum(map(len, fields)) > MAX_CHALLENGE_LENGTH:
        logger.warning("WWW-Authenticate has more than %d characters and is ignored.", MAX_CHALLENGE_LENGTH)
        return []
    found = [challenge for field in fields for challenge in _challenges(field)]
    return [one for one in found if one[0] == "bearer"] or [one for one in found if one[0] == "dpop"]


def _challenges(field: str) -> Iterator[tuple[str, Parameters]]:
    """Each challenge of a field: its scheme in lower case and its parameters, whose names are in lower case too.

    A token68 (`Negotiate oRQw…`) passes for a scheme without parameters, which comes to the same; with `=` at its end it is none.
    """
    scheme, parameters = "", Parameters()
    for element in _elements(field):
        if element["name"]:
            parameters.setdefault(element["name"].lower(), _value(element))
        elif element["word"] and not element["word"].endswith("="):
            yield scheme, parameters
            scheme, parameters = element["word"].lower(), Parameters()
    yield scheme, parameters


def _elements(field: str) -> Iterator[re.Match[str]]:
    """The field cut up, as far as it can be read."""
    position = 0
    while element := _ELEMENT.match(field, position):
        yield element
        position = element.end()


def _value(element: re.Match[str]) -> str:
    if element["quoted"] is None:
        return element["plain"]
    return re.sub(r"\\(.)", r"\1", element["quoted"], flags=re.DOTALL)
