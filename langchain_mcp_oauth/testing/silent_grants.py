"""The authorization server's grants in which no person takes part: RFC 6749 §4.4 and RFC 7523, which the SDK's server does not have."""

from __future__ import annotations

from collections.abc import Mapping

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from mcp.server.auth.middleware.client_auth import AuthenticationError, ClientAuthenticator
from mcp.server.auth.provider import TokenError
from mcp.shared.auth import OAuthToken
from starlette.requests import Request

from langchain_mcp_oauth.testing.authorization_server import AuthorizationServer

__all__ = ["JWT_BEARER", "SilentGrants"]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class SilentGrants:
    """Answers `client_credentials` and `jwt-bearer` token requests. Strict: every assertion is good once, and for this issuer only.

    Attributes:
        client_keys: By client id, the public key of a client that authenticates with `private_key_jwt`.
        trusted: By its `iss`, whose assertions are taken for their `sub`.
    """

    def __init__(self, server: AuthorizationServer) -> None:
        self.client_keys: dict[str, KeySet] = {}
        self.trusted: dict[str, KeySet] = {}
        self._server = server
        self._clients = ClientAuthenticator(server)
        self._seen: set[str] = set()

    async def answer(self, request: Request, form: Mapping[str, str]) -> OAuthToken:
        """An access token, never a refresh token.

        Raises:
            TokenError: refused.
        """
        client_id = await self._client_of(request, form)
        subject = client_id
        if form["grant_type"] == JWT_BEARER:
            subject = str(self._claims(form.get("assertion", ""), self.trusted)["sub"])
        scopes = [scope for scope in form.get("scope", "").split() if scope in self._server.known_scopes]
        return self._server.issue_to(client_id, subject, scopes or list(self._server.default_scopes))

    async def _client_of(self, request: Request, form: Mapping[str, str]) -> str:
        if form.get("client_assertion_type") == ASSERTION_TYPE:
            claims = self._claims(form.get("client_assertion", ""), self.client_keys, "invalid_client")
            if claims["sub"] != claims["iss"]:
                raise TokenError("invalid_client")
            return str(claims["iss"])
        if form["grant_type"] == JWT_BEARER and "client_id" not in form:  # the assertion speaks for itself (RFC 7521 §4.1)
            return ""
        try:
            client = await self._clients.authenticate_request(request)
        except AuthenticationError:
            raise TokenError("invalid_client") from None
        if form["grant_type"] == "client_credentials" and client.client_secret is None:
            raise TokenError("unauthorized_client")
        return client.client_id

    def _claims(self, assertion: str, keys: Mapping[str, KeySet], error: str = "invalid_grant") -> Mapping[str, object]:
        """RFC 7523 §3: signed by the key of its issuer, for us, not expired, not seen before."""
        rules = jwt.JWTClaimsRegistry(
            iss={"essential": True},
            sub={"essential": True},
            exp={"essential": True},
            jti={"essential": True},
            aud={"essential": True, "value": self._server.issuer},
        )
        for issuer, key_set in keys.items():
            try:
                claims = jwt.decode(assertion, key_set, algorithms=["ES256", "ES384", "RS256"]).claims
                rules.validate(claims)
            except (JoseError, ValueError):
                continue
            if claims["iss"] == issuer and claims["jti"] not in self._seen:
                self._seen.add(claims["jti"])
                return claims
        raise TokenError(error)  # type: ignore[arg-type]
