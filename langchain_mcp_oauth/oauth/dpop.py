"""Proof that whoever sends a token has the key it is bound to. RFC 9449; SEP-1932. joserfc signs.

A proof is a JWT for one request. It travels beside every token request of the grant and every MCP request with its token.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx2
from pydantic import SecretStr
from pydantic_core import from_json

from langchain_mcp_oauth.errors import DiscoveryError
from langchain_mcp_oauth.models import BearerChallenge, Grant
from langchain_mcp_oauth.oauth.answers import is_visible_ascii

if TYPE_CHECKING:  # joserfc is imported when there is a key: it takes as long as the rest of `oauth/`
    from joserfc.jwk import ECKey

    from langchain_mcp_oauth.oauth.discovery import Discovery
    from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["add_proof", "key_for", "nonce_of", "thumbprint"]

ALGORITHM = "ES256"

HEADER = "DPoP"

MAX_NONCE_LENGTH = 1_024
"""Characters."""


def key_for(server: MCPServer, discovery: Discovery, challenge: BearerChallenge | None, previous: Grant | None = None) -> SecretStr | None:
    """A new P-256 key, as a JWK, for a login whose tokens are to be bound to one; None for a bearer token.

    Asked for where the MCP server takes nothing else (its challenge is `DPoP`, RFC 9449 §7.1; its metadata say so; or the `previous` grant
    had a key), or
    `MCPServer.dpop` says so. Not wherever the authorization server merely offers it: many do, and the MCP servers behind them take bearer
    tokens only.

    Raises:
        DiscoveryError: it is wanted, and the authorization server lists algorithms without ES256.
    """
    bound_before = challenge is None and previous is not None and previous.dpop_key is not None
    if not (server.dpop or discovery.dpop_required or (challenge is not None and challenge.dpop) or bound_before):
        return None
    if discovery.dpop_algorithms is not None and ALGORITHM not in discovery.dpop_algorithms:
        raise DiscoveryError(
            f"{discovery.issuer} does not accept DPoP proofs signed with {ALGORITHM}, the one way this library signs them."
        )
    from joserfc.jwk import ECKey

    return SecretStr(json.dumps(ECKey.generate_key("P-256").as_dict(private=True)))


def thumbprint(key: SecretStr) -> str:
    """`dpop_jkt` (RFC 9449 §10): binds the code to the key as well."""
    return _import(key).thumbprint()


def add_proof(
    request: httpx2.Request, key: SecretStr, *, nonce: str | None = None, access_token: SecretStr | None = None
) -> httpx2.Request:
    """The request with a proof for it, in place of any it had (RFC 9449 §4.2).

    Args:
        request: Its method and URL are signed, the latter without query and fragment.
        key: As from `key_for`.
        nonce: What the server last gave (§8).
        access_token: Sent with it; its hash is signed too (`ath`).
    """
    from joserfc import jwt

    signing = _import(key)
    claims: dict[str, str | int] = {
        "jti": secrets.token_urlsafe(16),
        "htm": request.method,
        "htu": str(request.url.copy_with(query=None, fragment=None)),
        "iat": int(time.time()),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        digest = sha256(access_token.get_secret_value().encode("ascii")).digest()
        claims["ath"] = urlsafe_b64encode(digest).rstrip(b"=").decode()
    header = {"typ": "dpop+jwt", "alg": ALGORITHM, "jwk": signing.as_dict(private=False)}
    request.headers[HEADER] = jwt.encode(header, claims, signing, algorithms=[ALGORITHM])
    return request


def nonce_of(response: httpx2.Response) -> str | None:
    """The nonce that the next proofs for this server must have, if the answer gives one (RFC 9449 §8.2)."""
    nonce = response.headers.get("dpop-nonce")
    return nonce if is_visible_ascii(nonce, MAX_NONCE_LENGTH) else None


def _import(key: SecretStr) -> ECKey:
    from joserfc.jwk import ECKey

    return ECKey.import_key(from_json(key.get_secret_value()))
