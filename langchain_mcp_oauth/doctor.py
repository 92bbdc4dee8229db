"""What stands between a server's address and a login, step by step, in plain words.

It walks the way that the library itself walks, with the same conversations, and looks on: what a server gets wrong here is what a login
would fail at. Where an option may help, it is tried. Nothing is registered, and nobody is asked.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

import httpx2

from langchain_mcp_oauth.authorizer.world import Drive
from langchain_mcp_oauth.errors import AuthorizationError, ConnectionFailed, MCPOAuthError, RegistrationError, UnsafeURLError
from langchain_mcp_oauth.models import BearerChallenge
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.challenge import ask_for_challenge
from langchain_mcp_oauth.oauth.discovery import Discovery, discover
from langchain_mcp_oauth.oauth.registration import choose_client, register
from langchain_mcp_oauth.oauth.urls import redacted, same_origin
from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["Finding", "examine"]

T = TypeVar("T")

Step = Literal["server", "challenge", "resource", "issuer", "registration"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one step came to."""

    step: Step
    verdict: Literal["ok", "note", "problem"]
    text: str
    advice: str = ""
    options: tuple[str, ...] = ()
    """The `MCPServer` and toolkit options that the advice is about."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "options": list(self.options)}


REMEDIES: tuple[dict[str, Any], ...] = (
    {"assume_pkce": True},
    {"default_endpoints": True},
)
"""Options that are tried where discovery fails, each alone."""


async def examine(server: MCPServer, drive: Drive, *, redirect_uri: str, now: datetime) -> AsyncIterator[Finding]:
    """Look at one server; stops at the first problem that nothing can be done about from here.

    Args:
        server: As it would be configured.
        drive: Does the IO, through the guarded client.
        redirect_uri: What would be registered.
        now: Aware UTC.
    """
    seen: list[httpx2.Response] = []
    try:
        challenge = await drive(_watched(ask_for_challenge(server), seen))
    except MCPOAuthError as error:
        yield _unreachable(error, server)
        return
    yield Finding("server", "ok", f"It answers at {redacted(server.url)}.")
    yield _challenge(challenge, seen[-1], server)
    seen.clear()
    try:
        discovery = await drive(_watched(discover(server, challenge), seen))
    except MCPOAuthError as error:
        for finding in _documents(seen):
            yield finding
        if challenge is None and isinstance(error, AuthorizationError):
            yield Finding("issuer", "note", "Nothing says who could give a login. That is all right if it needs none.")
            return
        helps = [option for option in REMEDIES if isinstance(error, AuthorizationError) and await _helps(server, option, challenge, drive)]
        yield _undiscovered(error, helps)
        if not helps:
            return
        server = server.model_copy(update=helps[0])
        discovery = await drive(discover(server, challenge))
    else:
        for finding in _documents(seen):
            yield finding
    yield _issuer(discovery)
    yield _registration(discovery, server, redirect_uri, now)


def _watched(flow: Flow[T], seen: list[httpx2.Response]) -> Flow[T]:
    """The same conversation, with every answer noted."""
    request = next(flow)
    while True:
        response = yield request
        seen.append(response)
        try:
            request = flow.send(response)
        except StopIteration as end:
            result: T = end.value
            return result


async def _helps(server: MCPServer, option: dict[str, Any], challenge: BearerChallenge | None, drive: Drive) -> bool:
    try:
        await drive(discover(server.model_copy(update=option), challenge))
    except MCPOAuthError:
        return False
    return True


def _unreachable(error: MCPOAuthError, server: MCPServer) -> Finding:
    if isinstance(error, UnsafeURLError):
        return Finding(
            "server",
            "problem",
            str(error),
            "If that address is yours and meant, name it in `allowed_private_hosts`, as host:port.",
            ("allowed_private_hosts",),
        )
    advice = "Check the address, and that the server is running." if isinstance(error, ConnectionFailed) else ""
    return Finding("server", "problem", f"{error} ({redacted(server.url)})", advice)


def _challenge(challenge: BearerChallenge | None, response: httpx2.Response, server: MCPServer) -> Finding:
    if challenge is None:
        text = f"It answers {response.status_code} without a token, so it says nothing of a login until a tool needs one."
        return Finding("challenge", "note", text, 'If it gives less to strangers, set `start="login"`.', ("start",))
    if "bearer" not in response.headers.get("www-authenticate", "").lower():
        return Finding("challenge", "note", "It answers 401 without `WWW-Authenticate: Bearer` (RFC 6750 §3); the usual places are tried.")
    if challenge.resource_metadata and not same_origin(challenge.resource_metadata, server.url):
        where = redacted(challenge.resource_metadata)
        return Finding("challenge", "note", f"Its challenge names metadata at {where}, on another origin; that is ignored (RFC 9728 §3).")
    scopes = f" for {' '.join(challenge.scopes)}" if challenge.scopes else ""
    metadata = f", and names its metadata at {redacted(challenge.resource_metadata)}" if challenge.resource_metadata else ""
    return Finding("challenge", "ok", f"It asks for a token{scopes}{metadata}.")


def _documents(seen: list[httpx2.Response]) -> list[Finding]:
    """Where metadata was looked for, and what was there."""
    return [_document(response) for response in seen]


def _document(response: httpx2.Response) -> Finding:
    url = str(response.request.url)
    step: Step = "resource" if "oauth-protected-resource" in url else "issuer"
    kind = "Protected resource metadata" if step == "resource" else "Authorization server metadata"
    found = response.status_code == 200
    text = f"{kind} at {redacted(url)}" if found else f"No metadata at {redacted(url)} ({response.status_code})."
    return Finding(step, "ok" if found else "note", f"{text}." if found else text)


def _undiscovered(error: MCPOAuthError, helps: list[dict[str, Any]]) -> Finding:
    named = tuple(dict.fromkeys(re.findall(r"`(\w+)(?:=\w+)?`", str(error))))
    if not helps:
        return Finding("issuer", "problem", str(error), "", named)
    [(option, value)] = helps[0].items()
    return Finding("issuer", "problem", str(error), f"With `{option}={value}` it is found; set it if you trust that.", (option,))


def _issuer(discovery: Discovery) -> Finding:
    renews = discovery.grant_types is None or "refresh_token" in discovery.grant_types
    renewal = "" if renews else " It gives no refresh tokens, so people will be asked whenever a token ends."
    return Finding(
        "issuer", "ok" if renews else "note", f"Logins are given by {discovery.issuer}, for {redacted(discovery.resource)}.{renewal}"
    )


def _registration(discovery: Discovery, server: MCPServer, redirect_uri: str, now: datetime) -> Finding:
    """Whether we could be a client there. Only what is certain without registering."""
    try:
        client = choose_client(discovery, server, redirect_uri, server.scopes or (), None, now)
        if client is None:
            next(register(discovery, redirect_uri, server.scopes or discovery.resource_scopes, now))
    except RegistrationError as error:
        options = ("client_id", "client_secret", "issuer", *(("client_metadata_url",) if discovery.metadata_document_supported else ()))
        return Finding("registration", "problem", str(error), "", options)
    ways = {"preregistered": "The configured client will be used.", "metadata_document": "The client-ID metadata document will be used."}
    return Finding("registration", "ok", ways[client.kind] if client else "It registers clients by itself (RFC 7591).")
