"""A small, strict OAuth 2.1 authorization server: the SDK's provider protocol over `Records`.

What it is strict about: PKCE S256 (the SDK's token endpoint checks it), `resource` in every request and equal to the one resource it
guards (RFC 8707), codes used once, refresh tokens rotated with every use; a code or refresh token that is used a second time ends
the whole grant (RFC 6749 §4.1.2, RFC 9700 §4.14.2).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyUrl, BaseModel

from langchain_mcp_oauth.testing.records import Records

__all__ = ["AuthorizationServer", "Question"]

QUESTION_LIFETIME = 600.0
"""Seconds a person has to answer."""

CODE_LIFETIME = 60.0
"""Seconds (RFC 6749 §4.1.2 recommends ten minutes at most)."""


class Question(BaseModel):
    """What a person is asked: may this client have these scopes."""

    client_id: str
    client_name: str
    redirect_uri: str
    state: str | None
    code_challenge: str
    scopes: list[str]
    resource: str


class Code(AuthorizationCode):
    """An authorization code and the grant it opens."""

    grant_id: str


class Refresh(RefreshToken):
    """A refresh token and the grant it belongs to."""

    grant_id: str


class Access(AccessToken):
    """An access token and the grant it belongs to."""

    grant_id: str


class Client(OAuthClientInformationFull):
    """A registered client. Which scopes it gets is decided by the person, not by its registration."""

    def validate_scope(self, requested_scope: str | None) -> list[str] | None:
        """The requested scopes, none refused."""
        return requested_scope.split() if requested_scope else None


class AuthorizationServer(OAuthAuthorizationServerProvider[Code, Refresh, Access]):
    """Decides and remembers; its HTTP endpoints are in `endpoints.py`.

    Args:
        issuer: Its identifier, compared as a raw string.
        resource: The one protected resource it gives tokens for.
        scopes: What a client gets that asks for nothing in particular.
        optional_scopes: What it can be granted besides.
        records: Where everything is kept.
        token_lifetime: Seconds an access token lives. Refresh tokens do not expire.
        clock: Seconds since the epoch.

    Attributes:
        known_scopes: Every scope that can be granted; others that a client asks for are left out (RFC 6749 §3.3).
        refusals: So many of the next answers are turned into a refusal.
        reuses: How often a spent code or refresh token was presented.
    """

    def __init__(
        self,
        issuer: str,
        *,
        resource: str,
        scopes: tuple[str, ...],
        optional_scopes: tuple[str, ...] = (),
        records: Records,
        token_lifetime: int = 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self.resource = resource
        self.default_scopes = scopes
        self.known_scopes = [*scopes, *optional_scopes]
        self.records = records
        self.token_lifetime = token_lifetime
        self.refusals = 0
        self.reuses = 0
        self._clock = clock

    # Clients ----------------------------------------------------------------------------------------------------------------

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        """The registered client, or None."""
        document = self.records.load_client(client_id)
        return Client.model_validate_json(document) if document else None

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """Remember a client (RFC 7591)."""
        self.records.save_client(client_info.client_id, client_info.model_dump_json(exclude_none=True))

    def know_scope(self, scope: str) -> None:
        """From now on this scope can be granted."""
        if scope not in self.known_scopes:
            self.known_scopes.append(scope)

    # The person -------------------------------------------------------------------------------------------------------------

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """Keep the question and return the address of the consent page that asks it."""
        if params.resource != self.resource:
            raise AuthorizeError("invalid_target", "This server gives tokens for one resource only; `resource` must be its URL.")
        wanted = params.scopes or list(self.default_scopes)
        question = Question(
            client_id=client.client_id,
            client_name=client.client_name or client.client_id,
            redirect_uri=str(params.redirect_uri),
            state=params.state,
            code_challenge=params.code_challenge,
            scopes=[scope for scope in wanted if scope in self.known_scopes],
            resource=params.resource,
        )
        ticket = secrets.token_urlsafe(32)
        self.records.ask(ticket, question.model_dump_json(), expires_at=self._clock() + QUESTION_LIFETIME)
        return construct_redirect_uri(f"{self.issuer}/consent", ticket=ticket)

    def question(self, ticket: str) -> Question | None:
        """The open question of this ticket, or None: answered, expired or never asked."""
        document = self.records.load_question(ticket, now=self._clock())
        return Question.model_validate_json(document) if document else None

    def approve(self, ticket: str, *, subject: str, scopes: list[str]) -> str | None:
        """`subject` allows these of the scopes in question: the callback URL with a code. None if there is no such question."""
        if self.refusals > 0:
            self.refusals -= 1
            return self.deny(ticket)
        document = self.records.take_question(ticket, now=self._clock())
        if document is None:
            return None
        question = Question.model_validate_json(document)
        code = self._open(question, subject, [scope for scope in question.scopes if scope in scopes])
        return construct_redirect_uri(question.redirect_uri, code=code, state=question.state, iss=self.issuer)

    def deny(self, ticket: str) -> str | None:
        """The person says no: the callback URL with the error (RFC 6749 §4.1.2.1). None if there is no such question."""
        document = self.records.take_question(ticket, now=self._clock())
        if document is None:
            return None
        question = Question.model_validate_json(document)
        return construct_redirect_uri(question.redirect_uri, error="access_denied", state=question.state, iss=self.issuer)

    def _open(self, question: Question, subject: str, scopes: list[str]) -> str:
        grant_id = secrets.token_hex(16)
        self.records.open_grant(grant_id, client_id=question.client_id, subject=subject, resource=question.resource)
        code = Code(
            code=secrets.token_urlsafe(32),
            grant_id=grant_id,
            client_id=question.client_id,
            scopes=scopes,
            expires_at=self._clock() + CODE_LIFETIME,
            code_challenge=question.code_challenge,
            redirect_uri=AnyUrl(question.redirect_uri),
            redirect_uri_provided_explicitly=True,
            resource=question.resource,
            subject=subject,
        )
        self.records.save_code(code.code, grant_id, code.model_dump_json(exclude={"code"}))
        return code.code

    # Codes and tokens -------------------------------------------------------------------------------------------------------

    async def load_authorization_code(self, client: OAuthClientInformationFull, authorization_code: str) -> Code | None:
        """An unspent code of this client, or None; a spent one ends its grant (RFC 6749 §4.1.2)."""
        row = self.records.load_code(authorization_code)
        if row is None:
            return None
        if row["spent"]:
            self._end_reused(row["grant_id"])
            return None
        return Code.model_validate({**json.loads(row["document"]), "code": authorization_code})

    async def exchange_authorization_code(self, client: OAuthClientInformationFull, authorization_code: Code) -> OAuthToken:
        """Spend the code and issue the first tokens of its grant."""
        if not self.records.spend_code(authorization_code.code):
            raise TokenError("invalid_grant", "This code is no longer good.")
        return self._issue(authorization_code.grant_id, authorization_code.scopes, authorization_code.scopes)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> Refresh | None:
        """An unspent refresh token of this client, or None; a spent one ends its grant (RFC 9700 §4.14.2)."""
        row = self.records.load_token(refresh_token, "refresh")
        if row is None or row["client_id"] != client.client_id:
            return None
        if row["spent"]:
            self._end_reused(row["grant_id"])
            return None
        return Refresh(
            token=refresh_token,
            grant_id=row["grant_id"],
            client_id=row["client_id"],
            scopes=row["scopes"].split(),
            resource=row["resource"],
            subject=row["subject"],
        )

    async def exchange_refresh_token(self, client: OAuthClientInformationFull, refresh_token: Refresh, scopes: list[str]) -> OAuthToken:
        """Spend the refresh token and issue the next pair; fewer scopes may be asked for (RFC 6749 §6)."""
        if not self.records.spend_token(refresh_token.token):
            raise TokenError("invalid_grant", "This refresh token is no longer good.")
        return self._issue(refresh_token.grant_id, scopes, refresh_token.scopes)

    async def load_access_token(self, token: str) -> Access | None:
        """A valid access token, or None. Expiry is exact to the fraction of a second."""
        row = self.records.load_token(token, "access")
        if row is None or row["expires_at"] <= self._clock():
            return None
        return Access(
            token=token,
            grant_id=row["grant_id"],
            client_id=row["client_id"],
            scopes=row["scopes"].split(),
            resource=row["resource"],
            subject=row["subject"],
            claims={"iss": self.issuer},
        )

    verify_token = load_access_token
    """This server is its own `TokenVerifier`."""

    def expire_access_tokens(self) -> None:
        """All of them, now."""
        self.records.expire_access_tokens(now=self._clock())

    async def revoke_token(self, token: Access | Refresh) -> None:
        """End the whole grant, whichever of its tokens this is (RFC 7009 §2.1)."""
        self.records.end_grant(token.grant_id)

    def issue_to(self, client_id: str, subject: str, scopes: list[str]) -> OAuthToken:
        """An access token without a person's consent, and without a refresh token (RFC 6749 §4.4.3)."""
        grant_id, access = secrets.token_hex(16), secrets.token_urlsafe(32)
        self.records.open_grant(grant_id, client_id=client_id, subject=subject, resource=self.resource)
        self.records.save_token(access, "access", grant_id, scopes, expires_at=self._clock() + self.token_lifetime)
        return OAuthToken(access_token=access, expires_in=self.token_lifetime, scope=" ".join(scopes))

    def _issue(self, grant_id: str, scopes: list[str], refresh_scopes: list[str]) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        expires_at = self._clock() + self.token_lifetime
        self.records.save_token(access, "access", grant_id, scopes, expires_at=expires_at)
        self.records.save_token(refresh, "refresh", grant_id, refresh_scopes, expires_at=None)
        return OAuthToken(access_token=access, refresh_token=refresh, expires_in=self.token_lifetime, scope=" ".join(scopes))

    def _end_reused(self, grant_id: str) -> None:
        self.reuses += 1
        self.records.end_grant(grant_id)
