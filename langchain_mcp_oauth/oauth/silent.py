"""Token requests in which no browser takes part. RFC 6749 §4.4, RFC 7523 §2.1, RFC 8693; SEP-1046, SEP-990, SEP-1933."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import SecretStr

from langchain_mcp_oauth.errors import TokenEndpointError
from langchain_mcp_oauth.grants.contract import Wanted
from langchain_mcp_oauth.models import ClientRegistration, Grant, TokenSet
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.answers import is_visible_ascii
from langchain_mcp_oauth.oauth.decisions import union
from langchain_mcp_oauth.oauth.discovery import discover
from langchain_mcp_oauth.oauth.dpop import key_for
from langchain_mcp_oauth.oauth.registration import choose_client
from langchain_mcp_oauth.oauth.tokens import MAX_TOKEN_LENGTH, ask, common_parameters, read_token_response

__all__ = ["Place", "client_credentials", "exchange_identity", "jwt_bearer", "locate"]

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a token is got, for what, and as which client."""

    issuer: str
    token_endpoint: str
    revocation_endpoint: str | None
    resource: str
    parameters: Mapping[str, str]
    """What every token request there has besides (`tokens.common_parameters`)."""
    scopes: tuple[str, ...]
    client: ClientRegistration
    dpop_key: SecretStr | None = None

    def granted(self, wanted: Wanted, tokens: TokenSet, source: str) -> Grant:
        """The grant of these tokens. Without the refresh token that some give: the next token comes as this one did (RFC 6749 §4.4.3)."""
        return Grant(
            key=wanted.key,
            issuer=self.issuer,
            resource=self.resource,
            token_endpoint=self.token_endpoint,
            revocation_endpoint=self.revocation_endpoint,
            client=self.client,
            tokens=replace(tokens, refresh_token=None),
            scopes_requested=self.scopes,
            source=source,
            dpop_key=self.dpop_key,
        )


def locate(wanted: Wanted) -> Flow[Place]:
    """Who gives tokens for this server. A grant that has merely expired knows; otherwise as `discover` finds.

    Raises:
        DiscoveryError, UnsafeURLError, ConnectionFailed: as `discover`.
        RegistrationError: the configured client is of another issuer, or cannot authenticate there.
    """
    previous, server = wanted.previous, wanted.server
    if previous is not None and wanted.challenge is None:
        registered = server.client_at(previous.issuer)
        return Place(
            issuer=previous.issuer,
            token_endpoint=previous.token_endpoint,
            revocation_endpoint=previous.revocation_endpoint,
            resource=previous.resource,
            parameters=common_parameters(previous.resource, server),
            scopes=_scopes(wanted, ()),
            client=replace(previous.client, client_secret=registered.credential if registered else None),
            dpop_key=previous.dpop_key,
        )
    # PKCE protects codes, and there will be none: that the server supports it need not be said.
    discovery = yield from discover(server.model_copy(update={"assume_pkce": True}), wanted.challenge)
    client = choose_client(discovery, server, "", (), None, wanted.now)
    return Place(
        issuer=discovery.issuer,
        token_endpoint=discovery.token_endpoint,
        revocation_endpoint=discovery.revocation_endpoint,
        resource=discovery.resource,
        parameters=common_parameters(discovery.resource, server),
        scopes=_scopes(wanted, discovery.resource_scopes),
        client=client or ClientRegistration(issuer=discovery.issuer, client_id="", kind="preregistered", redirect_uri=""),
        dpop_key=key_for(server, discovery, wanted.challenge, previous),
    )


def client_credentials(place: Place, now: datetime) -> Flow[TokenSet]:
    """A token for the client itself (RFC 6749 §4.4). One POST.

    Raises:
        TokenEndpointError, ConnectionFailed, ConfigurationError: as `tokens.exchange`.
    """
    return (yield from _token(place, {"grant_type": "client_credentials"}, now))


def jwt_bearer(place: Place, assertion: str, now: datetime) -> Flow[TokenSet]:
    """A token for an assertion that the issuer trusts (RFC 7523 §2.1). One POST; refused, it is not sent again (SEP-1933).

    Raises:
        TokenEndpointError, ConnectionFailed, ConfigurationError: as `tokens.exchange`.
    """
    return (yield from _token(place, {"grant_type": JWT_BEARER, "assertion": assertion}, now))


def exchange_identity(place: Place, id_token: str, token_endpoint: str, client: ClientRegistration) -> Flow[str]:
    """The user's sign-in at the identity provider for an assertion (ID-JAG) that `place` trusts (RFC 8693 §2.1; SEP-990).

    Args:
        place: Whose tokens are wanted; its issuer is the assertion's audience.
        id_token: The identity provider's, given to `client`.
        token_endpoint: The identity provider's.
        client: The application as the identity provider knows it.

    Raises:
        TokenEndpointError: the identity provider refused, or gave something else.
        ConnectionFailed: it answered 429 or 5xx.
    """
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "requested_token_type": ID_JAG,
        "audience": place.issuer,
        "resource": place.resource,
        "subject_token": id_token,
        "subject_token_type": ID_TOKEN,
    }
    answer = yield from ask(token_endpoint, form | _scope(place), client)
    assertion = answer.get("access_token")  # RFC 8693 §2.2.1: whatever kind of token it is, this is its name
    if answer.get("issued_token_type") != ID_JAG or not is_visible_ascii(assertion, MAX_TOKEN_LENGTH):
        raise TokenEndpointError(f"The identity provider {client.issuer} gave no identity assertion grant (ID-JAG) for {place.issuer}.")
    return assertion


def _token(place: Place, form: dict[str, str], now: datetime) -> Flow[TokenSet]:
    answer = yield from ask(place.token_endpoint, {**place.parameters, **_scope(place), **form}, place.client, place.dpop_key)
    return read_token_response(answer, place.issuer, scopes=place.scopes, refresh_token=None, now=now, key=place.dpop_key)


def _scopes(wanted: Wanted, offered: tuple[str, ...]) -> tuple[str, ...]:
    """As at a login, but for `offline_access`: nobody will be offline."""
    return union(wanted.server.scopes) if wanted.server.scopes is not None else union(wanted.scopes or offered)


def _scope(place: Place) -> dict[str, str]:
    return {"scope": " ".join(place.scopes)} if place.scopes else {}
