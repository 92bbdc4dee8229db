"""A client that authenticates with a key of its own: `private_key_jwt`. RFC 7523 §2.2, OpenID Connect Core §9; joserfc signs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from langchain_mcp_oauth.models import ClientRegistration

if TYPE_CHECKING:  # joserfc is imported when there is a key: it takes as long as the rest of `oauth/`
    from joserfc.jwk import ECKey, RSAKey

__all__ = ["client_assertion", "import_private_key"]

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

LIFETIME = 60
"""Seconds an assertion lives: it is made for one request."""

_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


def client_assertion(client: ClientRegistration) -> dict[str, str]:
    """The parameters with which this client authenticates once (RFC 7521 §4.2). `aud` is the issuer, and nothing else (SEP-1046).

    Args:
        client: Must hold its private key as `client_secret`.
    """
    from authlib.oauth2.rfc7523 import private_key_jwt_sign

    assert client.client_secret is not None, "the caller has looked"
    key = import_private_key(client.client_secret.get_secret_value())
    header = {"kid": key.kid} if key.kid else {}
    signing = {"alg": algorithm_of(key), "header": header, "expires_in": LIFETIME}
    assertion = private_key_jwt_sign(key, client.client_id, client.issuer, **signing)  # type: ignore[no-untyped-call]  # dated, with a `jti`
    return {"client_id": client.client_id, "client_assertion_type": JWT_BEARER, "client_assertion": assertion}


def import_private_key(text: str) -> RSAKey | ECKey:
    """An RSA or EC private key, PEM (PKCS #8 or the older forms) or a JWK, whose `kid` and `alg` are then used.

    Raises:
        ValueError: it is none; the message holds nothing of it.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, RSAKey

    value: str | dict[str, Any] = from_json(text) if text.lstrip().startswith("{") else text
    for kind in (RSAKey, ECKey):
        try:
            key = kind.import_key(value)
        except (JoseError, ValueError, KeyError, TypeError):
            continue
        if key.is_private and (isinstance(key, RSAKey) or key.curve_name in _ALGORITHMS):
            return key
    raise ValueError("must be an RSA or EC (P-256, P-384, P-521) private key, in PEM or as a JWK")


def algorithm_of(key: RSAKey | ECKey) -> str:
    """Its JWK's own, else the usual one of its kind (RFC 7518 §3.1)."""
    from joserfc.jwk import RSAKey

    return key.alg or ("RS256" if isinstance(key, RSAKey) else _ALGORITHMS[key.curve_name])
