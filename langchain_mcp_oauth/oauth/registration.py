"""Who we are to an authorization server. MCP authorization, client registration; CIMD; RFC 7591, SEP-837, SEP-2352.

In this order: registered beforehand, a client-ID metadata document where it is supported, registered dynamically before, registered
dynamically now. A registration belongs to the issuer that gave it and is shown to no other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import httpx2
from pydantic import SecretStr

from langchain_mcp_oauth.errors import RegistrationError
from langchain_mcp_oauth.models import ClientRegistration
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.answers import check_available, error_code, is_visible_ascii, read_object
from langchain_mcp_oauth.oauth.urls import is_loopback_host, redacted
from langchain_mcp_oauth.servers.remote import MCPServer

if TYPE_CHECKING:
    from langchain_mcp_oauth.oauth.discovery import Discovery

__all__ = ["choose_client", "register"]

CLIENT_NAME = "langchain-mcp-oauth"

SECRET_METHODS = ("client_secret_basic", "client_secret_post")
"""Best first: RFC 6749 §2.3.1 obliges servers to the first and merely allows the second."""

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

KEY_METHOD = "private_key_jwt"
"""For clients registered beforehand: their key is the application's."""

METHODS = (*SECRET_METHODS, "none")
"""What we ask for, best first: with a secret of this installation's own, a stolen refresh token alone is worth nothing (RFC 9700 §4.14)."""

INSTEAD = "Register a client by hand and set `client_id`, `client_secret` and `issuer`"


def choose_client(
    discovery: Discovery, server: MCPServer, redirect_uri: str, scopes: tuple[str, ...], known: ClientRegistration | None, now: datetime
) -> ClientRegistration | None:
    """The client to use at `discovery.issuer`; None if one has to be registered now.

    Args:
        discovery: Who guards the server.
        server: Its configured client or metadata document, if any.
        redirect_uri: Where the browser comes back to.
        scopes: What the client is going to ask for.
        known: An earlier dynamic registration; used only at its own issuer, with its own redirect URI, for scopes it was registered
            with, while its secret lasts.
        now: Aware UTC.

    Raises:
        RegistrationError: the configured client is of another issuer (SEP-2352), or cannot authenticate there.
    """
    if server.client_id or server.clients:
        return _preregistered(discovery, server, redirect_uri)
    if server.client_metadata_url and discovery.metadata_document_supported:
        return ClientRegistration(
            issuer=discovery.issuer, client_id=server.client_metadata_url, kind="metadata_document", redirect_uri=redirect_uri
        )
    return known if known and _is_usable(known, discovery, redirect_uri, scopes, now) else None


def register(
    discovery: Discovery, redirect_uri: str, scopes: tuple[str, ...], now: datetime, *, client_name: str = CLIENT_NAME
) -> Flow[ClientRegistration]:
    """Register dynamically (RFC 7591 §3). One POST; a second one without scopes where the server refuses the metadata with them.

    Args:
        discovery: Who guards the server.
        redirect_uri: The only one registered; the answer cannot replace it. Empty: a client of the device grant (RFC 8628).
        scopes: All that the client is going to ask for: some authorization servers, the MCP SDK's and oidc-provider among them, refuse
            what was not registered.
        now: Aware UTC.
        client_name: Shown to the person by the authorization server.

    Raises:
        RegistrationError: there is no registration endpoint, the server refused, or its answer is unusable; says what to configure.
        ConnectionFailed: it answered 429 or 5xx.
    """
    endpoint = discovery.registration_endpoint
    if endpoint is None:
        raise RegistrationError(
            f"{discovery.issuer} does not register clients by itself. {INSTEAD}"
            + (", or set `client_metadata_url`." if discovery.metadata_document_supported else ".")
        )
    metadata = _client_metadata(discovery, redirect_uri, scopes, client_name)
    status, document = yield from _post(endpoint, metadata, discovery)
    if scopes and _code(document) == "invalid_client_metadata":  # perhaps a scope it does not know: better its default than no client
        del metadata["scope"]
        status, document = yield from _post(endpoint, metadata, discovery)
    if status not in (200, 201) or document is None:
        _refuse(discovery, redirect_uri, status, _code(document))
    return _read_registration(document, discovery, redirect_uri, scopes, now)


def _post(endpoint: str, metadata: dict[str, Any], discovery: Discovery) -> Flow[tuple[int, dict[str, Any] | None]]:
    response = yield httpx2.Request("POST", endpoint, json=metadata, headers={"Accept": "application/json"})
    check_available(response, f"The registration endpoint of {discovery.issuer}")
    return response.status_code, read_object(response)


def _code(document: dict[str, Any] | None) -> str | None:
    return error_code((document or {}).get("error"))


def _preregistered(discovery: Discovery, server: MCPServer, redirect_uri: str) -> ClientRegistration:
    client = server.client_at(discovery.issuer)
    if client is None:
        elsewhere = ", ".join(server.clients) or server.issuer
        raise RegistrationError(
            f"The configured client is registered at {elsewhere}, but the MCP server is guarded by {discovery.issuer}. "
            "Configure a client of that authorization server, and its `issuer`, or one for each of several in `clients`."
        )
    has_secret = client.client_secret is not None
    method = client.client_auth_method or (KEY_METHOD if client.private_key else _default_method(discovery, has_secret=has_secret))
    if method in SECRET_METHODS and not has_secret:
        raise RegistrationError(f"`client_auth_method` is {method!r}, which needs a `client_secret`.")
    if method == KEY_METHOD and client.private_key is None:
        raise RegistrationError(f"`client_auth_method` is {method!r}, which needs a `private_key`.")
    return ClientRegistration(
        issuer=discovery.issuer,
        client_id=client.client_id,
        client_secret=client.credential if method != "none" else None,
        auth_method=method,
        kind="preregistered",
        redirect_uri=redirect_uri,
    )


def _default_method(discovery: Discovery, *, has_secret: bool) -> str:
    """How to authenticate when nobody says how: RFC 7591 §2 says basic; a server that does not list it is taken at its word."""
    supported = discovery.token_endpoint_auth_methods
    return next((method for method in SECRET_METHODS if method in supported), SECRET_METHODS[0]) if has_secret else "none"


def _is_usable(known: ClientRegistration, discovery: Discovery, redirect_uri: str, scopes: tuple[str, ...], now: datetime) -> bool:
    same = known.kind == "dynamic" and known.issuer == discovery.issuer and known.redirect_uri == redirect_uri
    return same and set(scopes) <= set(known.scopes) and (known.secret_expires_at is None or known.secret_expires_at > now)


def _client_metadata(discovery: Discovery, redirect_uri: str, scopes: tuple[str, ...], client_name: str) -> dict[str, Any]:
    """RFC 7591 §2. The method is always named: servers that may choose it give a secret and forget to say what it is for."""
    method = next((method for method in METHODS if method in discovery.token_endpoint_auth_methods), None)
    if method is None:
        raise RegistrationError(f"{discovery.issuer} accepts none of the ways this library authenticates clients: {', '.join(METHODS)}.")
    renewable = discovery.grant_types is None or "refresh_token" in discovery.grant_types
    metadata: dict[str, Any] = {
        "client_name": client_name,
        "redirect_uris": [redirect_uri],
        "application_type": "native" if is_loopback_host(urlsplit(redirect_uri).hostname) else "web",  # SEP-837
        "grant_types": ["authorization_code", "refresh_token"] if renewable else ["authorization_code"],  # SEP-2207
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
    }
    if not redirect_uri:  # nobody will come back (RFC 8628)
        metadata |= {"redirect_uris": [], "response_types": [], "grant_types": [DEVICE_CODE, *metadata["grant_types"][1:]]}
    return metadata | ({"scope": " ".join(scopes)} if scopes else {})


def _refuse(discovery: Discovery, redirect_uri: str, status: int, code: str | None) -> NoReturn:
    """RFC 7591 §3.2.2. A refused redirect URI is the one refusal that says what to change."""
    cause = f" It does not accept the redirect URI {redacted(redirect_uri)}." if code == "invalid_redirect_uri" else ""
    raise RegistrationError(f"{discovery.issuer} refused to register this client ({code or status}).{cause} {INSTEAD}.", oauth_error=code)


def _read_registration(
    document: dict[str, Any], discovery: Discovery, redirect_uri: str, scopes: tuple[str, ...], now: datetime
) -> ClientRegistration:
    """RFC 7591 §3.2.1. The server may replace what we asked for, so the method is its own; `null` and `""` count as left out.

    Not so the scopes: a server that leaves some out would leave them out of the next registration too.
    """
    client_id, secret = document.get("client_id"), document.get("client_secret") or None
    method = document.get("token_endpoint_auth_method") or _default_method(discovery, has_secret=secret is not None)
    if not is_visible_ascii(client_id, 512):
        raise _unusable(discovery, "its client_id is not 1 to 512 visible characters")
    if method not in METHODS:
        raise _unusable(discovery, f"it wants an authentication method other than {', '.join(METHODS)}")
    if method == "none":
        secret = None
    elif not is_visible_ascii(secret, 4_096):
        raise _unusable(discovery, f"it wants {method}, but gives no usable client_secret")
    return ClientRegistration(
        issuer=discovery.issuer,
        client_id=client_id,
        client_secret=SecretStr(secret) if secret else None,
        auth_method=method,
        kind="dynamic",
        redirect_uri=redirect_uri,
        scopes=scopes,
        secret_expires_at=_read_time(document.get("client_secret_expires_at"), now) if secret else None,
    )


def _unusable(discovery: Discovery, problem: str) -> RegistrationError:
    return RegistrationError(f"The registration that {discovery.issuer} gave us cannot be used: {problem}. {INSTEAD}.")


def _read_time(seconds: object, now: datetime) -> datetime | None:
    """Seconds since 1970; None (never) for 0, and for what is no time to come: the secret was given just now."""
    try:
        time = datetime.fromtimestamp(float(seconds), UTC) if isinstance(seconds, int | float | str) else None
    except (ValueError, OverflowError, OSError):
        return None
    return time if time is not None and time > now else None
