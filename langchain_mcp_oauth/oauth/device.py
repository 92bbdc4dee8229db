"""A person's authorization where no browser can come back: they enter a code elsewhere, and the token endpoint is asked. RFC 8628."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import SecretStr

from langchain_mcp_oauth.errors import TokenEndpointError
from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, GrantKey, Reason, TokenSet
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.answers import is_visible_ascii
from langchain_mcp_oauth.oauth.registration import DEVICE_CODE
from langchain_mcp_oauth.oauth.tokens import MAX_TOKEN_LENGTH, ask, common_parameters, read_token_response
from langchain_mcp_oauth.oauth.urls import check_url
from langchain_mcp_oauth.servers.remote import MCPServer

if TYPE_CHECKING:
    from langchain_mcp_oauth.oauth.discovery import Discovery

__all__ = ["begin", "look"]

INTERVAL = 5
"""Seconds between two looks where the server does not say (§3.2)."""

LONGEST_INTERVAL = 60
LIFETIME = timedelta(minutes=30)
"""The longest a code is waited for; the server says how long it is good."""

_USER_CODE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?")


def begin(
    *,
    key: GrantKey,
    reason: Reason,
    server: MCPServer,
    discovery: Discovery,
    client: ClientRegistration,
    scopes: tuple[str, ...],
    now: datetime,
    random: Callable[[int], str],
    dpop_key: SecretStr | None,
) -> Flow[AuthorizationRequest]:
    """Ask for a code (§3.1). One POST. The request's URL is the complete one where the server gives it, and holds the code then.

    Args:
        key: Whose authorization, for which server.
        reason: Why the person is asked.
        server: `send_resource` and `token_parameters` are used.
        discovery: Must have a device authorization endpoint.
        client: Must hold its secret, if it has one.
        scopes: As `authorization.choose_scopes` says.
        now: Aware UTC.
        random: From a number of bytes to that much entropy in URL-safe characters.
        dpop_key: What the tokens will be bound to, if to anything.

    Raises:
        TokenEndpointError: refused, or an answer that cannot be used.
        UnsafeURLError: the page it names is none to show to a person.
        ConnectionFailed: it answered 429 or 5xx.
    """
    assert discovery.device_authorization_endpoint is not None, "the caller has looked"
    form = common_parameters(discovery.resource, server) | ({"scope": " ".join(scopes)} if scopes else {})
    answer = yield from ask(discovery.device_authorization_endpoint, form, client)
    device_code, user_code = answer.get("device_code"), answer.get("user_code")
    page, complete = answer.get("verification_uri"), answer.get("verification_uri_complete") or None
    if not is_visible_ascii(device_code, MAX_TOKEN_LENGTH) or not isinstance(user_code, str) or not _USER_CODE.fullmatch(user_code):
        raise TokenEndpointError(f"The device authorization endpoint of {discovery.issuer} gave no code that can be used.")
    what = f"The verification page of {discovery.issuer}"
    return AuthorizationRequest(
        auth_id=random(16),
        key=key,
        reason=reason,
        state=SecretStr(random(32)),
        code_verifier=SecretStr(""),
        authorization_url=SecretStr(check_url(str(complete or page), what)),
        issuer=discovery.issuer,
        iss_required=discovery.iss_required,
        token_endpoint=discovery.token_endpoint,
        revocation_endpoint=discovery.revocation_endpoint,
        resource=discovery.resource,
        scopes=scopes,
        redirect_uri="",
        client=client,
        dpop_key=dpop_key,
        device_code=SecretStr(device_code),
        user_code=user_code,
        interval=int(_seconds(answer.get("interval"), INTERVAL, LONGEST_INTERVAL)),
        created_at=now,
        expires_at=now + timedelta(seconds=_seconds(answer.get("expires_in"), LIFETIME.total_seconds(), LIFETIME.total_seconds())),
    )


def look(request: AuthorizationRequest, server: MCPServer, now: datetime) -> Flow[TokenSet]:
    """Whether the person has answered (§3.4). One POST.

    Raises:
        TokenEndpointError: not yet, or never: `oauth_error` is `authorization_pending`, `slow_down`, `access_denied` or `expired_token`
            (§3.5), or one of any token endpoint.
        ConnectionFailed: it answered 429 or 5xx; the code is still good.
    """
    assert request.device_code is not None, "the caller has looked"
    form = {"grant_type": DEVICE_CODE, "device_code": request.device_code.get_secret_value()}
    parameters = common_parameters(request.resource, server) | form
    answer = yield from ask(request.token_endpoint, parameters, request.client, request.dpop_key)
    return read_token_response(answer, request.issuer, scopes=request.scopes, refresh_token=None, now=now, key=request.dpop_key)


def _seconds(value: object, default: float, longest: float) -> float:
    return min(max(float(value), 1.0), longest) if isinstance(value, int | float) and value == value else default  # noqa: PLR0124 - NaN
