"""What the tests of the rules have in common: one server, one authorization server, one person's request and grant, all with canaries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx2
from pydantic import SecretStr

from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, Grant, GrantKey, Reason, TokenSet
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.discovery import Discovery
from langchain_mcp_oauth.servers.remote import MCPServer

T = TypeVar("T")

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
URL = "https://mcp.example.com/team/mcp"
ISSUER = "https://as.example.com"
REDIRECT_URI = "https://app.example.com/oauth/callback"
CANARY = "canary-7f3a9"
"""Part of every secret here, and of every text of another server: it must not turn up in an exception."""

SERVER = MCPServer(URL)
KEY = GrantKey("ada", "files", URL)

DISCOVERY = Discovery(
    resource=URL,
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/authorize",
    token_endpoint=f"{ISSUER}/token",
    registration_endpoint=f"{ISSUER}/register",
    revocation_endpoint=f"{ISSUER}/revoke",
)
CLIENT = ClientRegistration(issuer=ISSUER, client_id="client-1", kind="dynamic", redirect_uri=REDIRECT_URI)
SECRET_CLIENT = replace(CLIENT, client_secret=SecretStr(f"s3/c r+t%{CANARY}"), auth_method="client_secret_basic")

REQUEST = AuthorizationRequest(
    auth_id="auth-1",
    key=KEY,
    reason=Reason.LOGIN,
    state=SecretStr(f"state-{CANARY}"),
    code_verifier=SecretStr(f"verifier-{CANARY}"),
    authorization_url=SecretStr(f"{ISSUER}/authorize?state={CANARY}"),
    issuer=ISSUER,
    iss_required=False,
    token_endpoint=f"{ISSUER}/token",
    revocation_endpoint=f"{ISSUER}/revoke",
    resource=URL,
    scopes=("read", "write"),
    redirect_uri=REDIRECT_URI,
    client=CLIENT,
    created_at=NOW,
    expires_at=NOW + timedelta(minutes=10),
)
TOKENS = TokenSet(
    access_token=SecretStr(f"access-{CANARY}"),
    refresh_token=SecretStr(f"refresh-{CANARY}"),
    scopes=("read",),
    obtained_at=NOW - timedelta(hours=1),
    expires_at=NOW,
)
GRANT = Grant(
    key=KEY,
    issuer=ISSUER,
    resource=URL,
    token_endpoint=f"{ISSUER}/token",
    revocation_endpoint=f"{ISSUER}/revoke",
    client=CLIENT,
    tokens=TOKENS,
    scopes_requested=("read", "write"),
)


def answer(body: object = None, status: int = 200, headers: Mapping[str, str] | None = None) -> httpx2.Response:
    """A response with this body: bytes and text as they are, anything else as JSON, which Python writes more freely than RFC 8259."""
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    return httpx2.Response(status, headers=headers, content=content)


def run(flow: Flow[T], *answers: httpx2.Response) -> tuple[T, list[httpx2.Request]]:
    """Play the other side: hand out `answers` in order. The result, and what was asked; fails if an answer was not asked for."""
    asked, left = [next(flow)], list(answers)
    while left:
        try:
            asked.append(flow.send(left.pop(0)))
        except StopIteration as end:
            assert not left, f"answers nobody asked for: {left}"
            return end.value, asked
    raise AssertionError(f"one request more than expected: {asked[-1].url}")


def serve(flow: Flow[T], site: Mapping[str, Any]) -> tuple[T, list[str]]:
    """Play a whole web: `site` maps a URL to a document or a response; everything else is 404. The result, and the URLs asked for."""
    asked: list[str] = []
    try:
        request = next(flow)
        while len(asked) < 24:
            asked.append(str(request.url))
            found = site.get(asked[-1], httpx2.Response(404))
            request = flow.send(found if isinstance(found, httpx2.Response) else answer(found))
    except StopIteration as end:
        return end.value, asked
    raise AssertionError(f"no end: {asked}")


def chain(error: BaseException) -> str:
    """Everything a traceback or a log could show of an exception: its texts and those of its causes and contexts."""
    texts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        texts += [str(link), repr(link), repr(link.args)]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(texts)
