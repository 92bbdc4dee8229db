"""The front channel: the URL that a person opens, and the one their browser comes back with.

RFC 6749 §4.1.1–2, PKCE (RFC 7636), resource indicators (RFC 8707), issuer identification (RFC 9207).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from langchain_mcp_oauth.errors import CallbackError, IssuerMismatchError, UnsafeURLError
from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, GrantKey, Reason
from langchain_mcp_oauth.oauth.answers import error_code
from langchain_mcp_oauth.oauth.decisions import union
from langchain_mcp_oauth.oauth.dpop import thumbprint
from langchain_mcp_oauth.oauth.urls import MAX_AUTHORIZATION_URL_LENGTH, check_url
from langchain_mcp_oauth.servers.remote import MCPServer

if TYPE_CHECKING:
    from langchain_mcp_oauth.oauth.discovery import Discovery

__all__ = ["Callback", "build_authorization_request", "check_issuer", "choose_scopes", "is_as_configured", "parse_callback"]

MAX_CALLBACK_LENGTH = 16_384
"""Characters."""

MAX_PARAMETERS = 20

SECRET_BYTES = 32
"""256 bits for `state` and verifier: 43 characters, as RFC 7636 §4.1 recommends."""

LAST_OF_OURS = ("code_challenge_method", "S256")
"""The parameter after which come those that depend on options."""

OFFLINE_ACCESS = "offline_access"
"""The scope that asks for a refresh token (OpenID Connect Core §11)."""


def choose_scopes(server: MCPServer, discovery: Discovery, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """What to ask for; empty for the authorization server's default.

    Configured scopes are asked for as they are, and nothing widens them. Otherwise `wanted` (the challenge's, with what was asked for
    before), else all that the resource lists, else none (MCP authorization, scope selection); then `offline_access` is added where the
    authorization server lists it (SEP-2207).
    """
    if server.scopes is not None:
        return union(server.scopes)
    scopes = union(wanted or discovery.resource_scopes)
    return union(scopes, (OFFLINE_ACCESS,)) if scopes and discovery.offline_access else scopes


def build_authorization_request(
    *,
    key: GrantKey,
    reason: Reason,
    server: MCPServer,
    discovery: Discovery,
    client: ClientRegistration,
    scopes: tuple[str, ...],
    redirect_uri: str,
    now: datetime,
    lifetime: timedelta,
    random: Callable[[int], str],
    dpop_key: SecretStr | None = None,
) -> AuthorizationRequest:
    """A new, pending request with its own `state`, verifier and URL; nothing is sent.

    Args:
        key: Whose authorization, for which server.
        reason: Why the person is asked.
        server: `send_resource` and `authorization_parameters` are used.
        discovery: Where to ask, and for which resource.
        client: Who asks.
        scopes: As `choose_scopes` says. With `offline_access` the URL also has `prompt=consent` (OpenID Connect Core §11).
        redirect_uri: Where the browser comes back to.
        now: Aware UTC.
        lifetime: Until when an answer is accepted.
        dpop_key: What the tokens will be bound to, if to anything.
        random: `secrets.token_urlsafe`, or its like: from a number of bytes to that much entropy in URL-safe characters.

    Raises:
        UnsafeURLError: the authorization endpoint carries one of our parameters, or the URL comes to more than 16 KiB.
    """
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

    state, verifier = random(SECRET_BYTES), random(SECRET_BYTES)
    parameters = {
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes) or None,
        "state": state,
        "code_challenge": create_s256_code_challenge(verifier),  # type: ignore[no-untyped-call]
        "dpop_jkt": thumbprint(dpop_key) if dpop_key else None,
        LAST_OF_OURS[0]: LAST_OF_OURS[1],
        **_optional_parameters(server, discovery.resource, scopes),
    }
    return AuthorizationRequest(
        auth_id=random(16),
        key=key,
        reason=reason,
        state=SecretStr(state),
        code_verifier=SecretStr(verifier),
        authorization_url=SecretStr(_authorization_url(discovery, client.client_id, parameters)),
        issuer=discovery.issuer,
        iss_required=discovery.iss_required,
        token_endpoint=discovery.token_endpoint,
        revocation_endpoint=discovery.revocation_endpoint,
        resource=discovery.resource,
        scopes=scopes,
        redirect_uri=redirect_uri,
        client=client,
        dpop_key=dpop_key,
        created_at=now,
        expires_at=now + lifetime,
    )


def is_as_configured(request: AuthorizationRequest, server: MCPServer) -> bool:
    """Whether an open request was made with these options; after they were changed, its URL is of no use to anybody."""
    same_scopes = server.scopes is None or union(server.scopes) == request.scopes
    if request.device_code is not None:  # its URL is the server's own
        return same_scopes
    sent = parse_qsl(urlsplit(request.authorization_url.get_secret_value()).query, keep_blank_values=True)
    options = dict(sent[sent.index(LAST_OF_OURS) + 1 :]) if LAST_OF_OURS in sent else {}
    wanted = _optional_parameters(server, request.resource, request.scopes)
    return same_scopes and options == {name: value for name, value in wanted.items() if value is not None}


def _optional_parameters(server: MCPServer, resource: str, scopes: tuple[str, ...]) -> dict[str, str | None]:
    """What depends on the options; they come last in the URL, where `is_as_configured` finds them."""
    prompt = "consent" if OFFLINE_ACCESS in scopes else None
    return {"resource": resource if server.send_resource else None, "prompt": prompt, **server.authorization_parameters}


def _authorization_url(discovery: Discovery, client_id: str, parameters: dict[str, str | None]) -> str:
    """RFC 6749 §3.1: the endpoint's own query is kept, and no parameter may be there twice."""
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri

    what = f"The authorization_endpoint of {discovery.issuer}"
    endpoint = check_url(discovery.authorization_endpoint, what)
    taken = {name for name, _ in parse_qsl(urlsplit(endpoint).query, keep_blank_values=True)}
    if taken & {"response_type", "client_id", *parameters}:
        raise UnsafeURLError(f"{what} is refused: it already carries a parameter that is ours to set.")
    url: str = prepare_grant_uri(endpoint, client_id, "code", **parameters)  # type: ignore[no-untyped-call]
    return check_url(url, f"The authorization URL for {discovery.issuer}", limit=MAX_AUTHORIZATION_URL_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """What a browser came back with (RFC 6749 §4.1.2). Nothing in it can be believed before `state` and then `iss` are checked."""

    state: SecretStr
    code: SecretStr | None = None
    """None: the authorization server refused."""
    error: str | None = None
    """Why it refused, if its code has the registered form."""
    iss: str | None = field(default=None, repr=False)


def parse_callback(callback_url: str) -> Callback:
    """Read the URL a browser came back to, or only its query string. Blanks around it, as pasting brings them, do no harm.

    Raises:
        CallbackError: more than 16 KiB or 20 parameters, a parameter twice, no `state`, or not exactly one of `code` and `error`.
            The message repeats nothing of the URL.
    """
    parameters = _parameters(callback_url.strip())
    state, code, refused = parameters.get("state"), parameters.get("code"), "error" in parameters
    if not state or bool(code) == refused:
        raise CallbackError("This callback has no `state`, or not exactly one of `code` and `error`. Use the whole URL.")
    return Callback(
        state=SecretStr(state),
        code=SecretStr(code) if code else None,
        error=error_code(parameters.get("error")),
        iss=parameters.get("iss"),
    )


def check_issuer(callback: Callback, request: AuthorizationRequest) -> None:
    """RFC 9207 §2.4, for codes and errors alike: `iss` must be the issuer asked, to the letter, if it is there or was promised.

    Raises:
        IssuerMismatchError: it is not. Neither `code` nor `error` may be used then.
    """
    if callback.iss is None and not request.iss_required:
        return
    if callback.iss != request.issuer:
        raise IssuerMismatchError(
            f"This answer for {request.key.server!r} does not say that it comes from {request.issuer}, as it must (RFC 9207). "
            "It was not used; if you opened the link yourself, start again."
        )


def _parameters(text: str) -> dict[str, str]:
    if len(text) > MAX_CALLBACK_LENGTH or not (text.isascii() and text.isprintable()):
        raise CallbackError("This callback is longer than 16 KiB, or holds characters that a URL must not have.")
    try:
        pairs = parse_qsl(_query(text), keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict")
    except ValueError:
        raise CallbackError(f"This callback cannot be read, or has more than {MAX_PARAMETERS} parameters.") from None
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise CallbackError("This callback has a parameter twice (RFC 6749 §3.1).")
    return parameters


def _query(text: str) -> str:
    """The query of a URL or path; of a bare query string, itself."""
    parts = urlsplit(text)
    is_url = parts.netloc or parts.path.startswith("/") or text.startswith("?")
    return parts.query if is_url else text.partition("#")[0]
