"""The token endpoint: a code or a refresh token for tokens, and tokens given back. RFC 6749 §4.1.3, §5, §6; RFC 8707; RFC 7009.

Client authentication is Authlib's. Errors carry the OAuth error code and nothing else of an answer.
"""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote_plus, urlencode

import httpx2
from pydantic import SecretStr
from pydantic_core import from_json

from langchain_mcp_oauth.errors import ConfigurationError, TokenEndpointError
from langchain_mcp_oauth.models import (
    DEFAULT_TOKEN_LIFETIME,
    MAX_TOKEN_LIFETIME,
    AuthorizationRequest,
    ClientRegistration,
    Grant,
    TokenSet,
)
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.answers import check_available, error_code, is_visible_ascii, parse_scopes, read_object
from langchain_mcp_oauth.oauth.client_keys import client_assertion
from langchain_mcp_oauth.oauth.dpop import add_proof, nonce_of
from langchain_mcp_oauth.servers.remote import MCPServer

if TYPE_CHECKING:  # imported when a token is asked for
    from authlib.oauth2.auth import ClientAuth

__all__ = ["MAX_TOKEN_LENGTH", "ask", "common_parameters", "exchange", "read_token_response", "refresh", "revoke"]

MAX_TOKEN_LENGTH = 16_384
"""Characters. Longer ones do not fit into a request's headers."""


def exchange(request: AuthorizationRequest, code: SecretStr, server: MCPServer, now: datetime) -> Flow[TokenSet]:
    """Redeem a code (RFC 6749 §4.1.3), at the token endpoint recorded in the request. One POST; a code must not be sent twice.

    Args:
        request: Must hold the client's secret, if it has one; a configured secret is the caller's to put in.
        code: From a callback whose `state` and `iss` were checked.
        server: `send_resource` and `token_parameters` are used.
        now: Aware UTC, when the tokens' lifetime starts.

    Raises:
        TokenEndpointError: refused, or an answer that is not one; `oauth_error` says why where the server did.
        ConnectionFailed: it answered 429 or 5xx.
        ConfigurationError: the client needs a secret, and there is none.
    """
    form = {
        "grant_type": "authorization_code",
        "code": code.get_secret_value(),
        "redirect_uri": request.redirect_uri,
        "code_verifier": request.code_verifier.get_secret_value(),
    }
    answer = yield from ask(request.token_endpoint, form | common_parameters(request.resource, server), request.client, request.dpop_key)
    return read_token_response(answer, request.issuer, scopes=request.scopes, refresh_token=None, now=now, key=request.dpop_key)


def refresh(grant: Grant, server: MCPServer, now: datetime) -> Flow[TokenSet]:
    """New tokens for a refresh token (RFC 6749 §6), from the endpoint that gave it. One POST; `scope` is left out: as granted.

    Where no new refresh token comes, the old one stays in the result.

    Args:
        grant: Must have a refresh token, and its client the secret if it needs one.
        server: `send_resource` and `token_parameters` are used.
        now: Aware UTC, when the tokens' lifetime starts.

    Raises:
        TokenEndpointError: refused. Only `oauth_error="invalid_grant"` says that the refresh token is dead.
        ConnectionFailed: it answered 429 or 5xx; the refresh token may be used again.
        ConfigurationError: the client needs a secret, and there is none.
    """
    old = grant.tokens
    assert old.refresh_token is not None, "next_step() refreshes only what has a refresh token"
    form = {
        "grant_type": "refresh_token",
        "refresh_token": old.refresh_token.get_secret_value(),
    }
    answer = yield from ask(grant.token_endpoint, form | common_parameters(grant.resource, server), grant.client, grant.dpop_key)
    return read_token_response(answer, grant.issuer, scopes=old.scopes, refresh_token=old.refresh_token, now=now, key=grant.dpop_key)


def revoke(grant: Grant) -> Flow[None]:
    """Tell the issuer to forget the tokens (RFC 7009 §2.1): the refresh token first, since it can make new access tokens.

    At most two POSTs; none where no revocation endpoint was advertised. Whatever else it answers is taken as it is.

    Raises:
        ConnectionFailed: it answered 429 or 5xx, so that the tokens must be taken to be good still (§2.2.1).
        ConfigurationError: the client needs a secret, and there is none.
    """
    answers = []
    tokens = {"refresh_token": grant.tokens.refresh_token, "access_token": grant.tokens.access_token}
    for hint, token in tokens.items():
        if token and grant.revocation_endpoint:
            form = {"token": token.get_secret_value(), "token_type_hint": hint}
            answers.append((yield _form_request(grant.revocation_endpoint, form, grant.client)))
    for answer in answers:
        check_available(answer, f"The revocation endpoint of {grant.issuer}")


def common_parameters(resource: str, server: MCPServer) -> dict[str, str]:
    """What every token request has besides what it redeems (RFC 8707 §2.2)."""
    return {**server.token_parameters, **({"resource": resource} if server.send_resource else {})}


def ask(endpoint: str, form: dict[str, str], client: ClientRegistration, key: SecretStr | None = None) -> Flow[dict[str, Any]]:
    """The JSON object the token endpoint answers with, if it is a success (RFC 6749 §5). With a DPoP `key` the request has a proof, and is
    made again once where the server wants its nonce in it: it has redeemed nothing then (RFC 9449 §8).

    Raises:
        TokenEndpointError: it is not; `oauth_error` says why where the server did.
        ConnectionFailed: it answered 429 or 5xx.
        ConfigurationError: the client needs a secret or a key, and there is none.
    """
    response = yield _form_request(endpoint, form, client, key)
    nonce = nonce_of(response)
    if key is not None and nonce is not None and (read_object(response) or {}).get("error") == "use_dpop_nonce":
        response = yield _form_request(endpoint, form, client, key, nonce)
    check_available(response, f"The token endpoint of {client.issuer}")
    document = read_object(response) or {}
    # Some answer 200 to errors too.
    if response.status_code not in (200, 201) or document.get("error"):
        _refuse(client.issuer, response.status_code, error_code(document.get("error")))
    return document


def _form_request(
    endpoint: str, form: dict[str, str], client: ClientRegistration, key: SecretStr | None = None, nonce: str | None = None
) -> httpx2.Request:
    """A POST with the client's credentials in exactly one place (RFC 6749 §2.3), and with a DPoP key a proof of having it."""
    request = _authenticated(endpoint, form, client)
    return request if key is None else add_proof(request, key, nonce=nonce)


def _authenticated(endpoint: str, form: dict[str, str], client: ClientRegistration) -> httpx2.Request:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if client.auth_method != "none" and client.client_secret is None:
        raise ConfigurationError(
            f"The client at {client.issuer} authenticates: set its MCPServer's `client_secret` (or `private_key`) again."
        )
    if client.auth_method == "private_key_jwt":
        return httpx2.Request("POST", endpoint, content=urlencode(form | client_assertion(client)), headers=headers)
    if not client.client_id:  # an assertion speaks for itself (RFC 7521 §4.1)
        return httpx2.Request("POST", endpoint, content=urlencode(form), headers=headers)
    _, headers, body = _client_auth(client).prepare("POST", endpoint, headers, urlencode(form))  # type: ignore[no-untyped-call]
    return httpx2.Request("POST", endpoint, content=body, headers=headers)


def _client_auth(client: ClientRegistration) -> ClientAuth:
    """Authlib's authentication. For Basic, id and secret are form-encoded first (RFC 6749 §2.3.1), which Authlib leaves to us."""
    from authlib.oauth2.auth import ClientAuth

    if client.auth_method == "none":
        return ClientAuth(client.client_id, None, "none")  # type: ignore[no-untyped-call]
    assert client.client_secret is not None, "the caller has looked"
    client_id, secret = client.client_id, client.client_secret.get_secret_value()
    if client.auth_method == "client_secret_basic":
        client_id, secret = quote_plus(client_id), quote_plus(secret)
    return ClientAuth(client_id, secret, client.auth_method)  # type: ignore[no-untyped-call]


def _refuse(issuer: str, status: int, code: str | None) -> NoReturn:
    message = f"The token endpoint of {issuer} refused ({code or status}). Log in again; if that changes nothing, check the client."
    raise TokenEndpointError(message, oauth_error=code)


def read_token_response(
    answer: dict[str, Any],
    issuer: str,
    *,
    scopes: tuple[str, ...],
    refresh_token: SecretStr | None,
    now: datetime,
    key: SecretStr | None = None,
) -> TokenSet:
    """RFC 6749 §5.1. What the answer leaves out is what was asked for (§3.3), or what there was before (§6).

    Raises:
        TokenEndpointError: it is not one; the message holds nothing of it.
    """
    kind, access, renewal = answer.get("token_type"), answer.get("access_token"), answer.get("refresh_token") or None
    wanted = "Bearer" if key is None else "DPoP"  # a token that is not bound to the key is not what was asked for (RFC 9449 §5)
    if not isinstance(kind, str) or kind.lower() != wanted.lower():
        raise _unusable(issuer, f"its token_type is not {wanted}")
    if not is_visible_ascii(access, MAX_TOKEN_LENGTH):
        raise _unusable(issuer, "it has no access_token that fits into a header")
    if renewal is not None and not is_visible_ascii(renewal, MAX_TOKEN_LENGTH):
        raise _unusable(issuer, "its refresh_token is not one")
    return TokenSet(
        access_token=SecretStr(access),
        refresh_token=SecretStr(renewal) if renewal else refresh_token,
        scopes=parse_scopes(answer.get("scope")) or scopes,
        obtained_at=now,
        expires_at=now + _lifetime(answer.get("expires_in"), access, now, renewable=bool(renewal or refresh_token)),
    )


def _unusable(issuer: str, problem: str) -> TokenEndpointError:
    return TokenEndpointError(f"The token endpoint of {issuer} gave an answer that cannot be used: {problem}.")


def _lifetime(seconds: object, access_token: str, now: datetime, *, renewable: bool) -> timedelta:
    """`expires_in`, a number or (as some send it) its digits, held between 0 and 30 days; else what the token says; else an hour.

    Where nothing says so, and nothing can renew it, 30 days: an hour would have a person log in every hour to tokens that do not expire
    (GitHub's OAuth apps). A server that thinks otherwise says 401.
    """
    number = _number(seconds)
    if number is None and (expiry := _number(_jwt_expiry(access_token))) is not None:
        number = expiry - now.timestamp()
    if number is None:
        return DEFAULT_TOKEN_LIFETIME if renewable else MAX_TOKEN_LIFETIME
    return timedelta(seconds=min(max(number, 0.0), MAX_TOKEN_LIFETIME.total_seconds()))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _jwt_expiry(token: str) -> object:
    """`exp` of a token that looks like a JWT (RFC 7519 §4.1.4), unverified: whoever sent it could have sent any `expires_in` as well."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = from_json(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims.get("exp") if isinstance(claims, dict) else None
