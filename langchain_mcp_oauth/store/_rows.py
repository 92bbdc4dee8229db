"""Between the models and their rows. The sealed document is the whole model; the columns that may change later overrule it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from pydantic import SecretStr, TypeAdapter, ValidationError

from langchain_mcp_oauth.errors import StoreCorruptError
from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, Credentials, Grant, GrantKey, RequestStatus
from langchain_mcp_oauth.store.sealing import Sealer
from langchain_mcp_oauth.store.tables import ClientRow, CredentialsRow, GrantRow, PinRow, RequestRow, RevocationRow, SealedRow

__all__ = [
    "client_row",
    "credentials_row",
    "grant_row",
    "hash_state",
    "pin_row",
    "read_client",
    "read_credentials",
    "read_grant",
    "read_pins",
    "read_request",
    "read_revocation",
    "request_row",
    "revocation_row",
    "without_configured_secret",
]

T = TypeVar("T")
R = TypeVar("R", bound=SealedRow)


def without_configured_secret(client: ClientRegistration) -> ClientRegistration:
    """The secret of a pre-registered client is configuration: it is read from there when needed and never stored."""
    return replace(client, client_secret=None) if client.kind == "preregistered" else client


def hash_state(state: SecretStr) -> str:
    """What a request is found by. A plain SHA-256 is enough: a state has 256 random bits (R18)."""
    return hashlib.sha256(state.get_secret_value().encode()).hexdigest()


def grant_row(grant: Grant, sealer: Sealer) -> GrantRow:
    row = GrantRow(
        user_id=grant.key.user_id,
        server=grant.key.server,
        url=grant.key.url,
        issuer=grant.issuer,
        scopes=list(grant.tokens.scopes),
        expires_at=grant.tokens.expires_at,
        accepted=grant.accepted,
        used_at=grant.used_at,
        version=grant.version,
    )
    return _seal(row, grant, sealer)


def read_grant(row: GrantRow, sealer: Sealer) -> Grant:
    return replace(_open(row, Grant, sealer), accepted=row.accepted, used_at=row.used_at, version=row.version)


def revocation_row(grant: Grant, due: datetime, until: datetime, sealer: Sealer) -> RevocationRow:
    return _seal(RevocationRow(version=grant.version, due=due, until=until), grant, sealer)


def read_revocation(row: RevocationRow, sealer: Sealer) -> Grant:
    return replace(_open(row, Grant, sealer), version=row.version)


def request_row(request: AuthorizationRequest, sealer: Sealer) -> RequestRow:
    row = RequestRow(
        auth_id=request.auth_id,
        state_hash=hash_state(request.state),
        user_id=request.key.user_id,
        server=request.key.server,
        url=request.key.url,
        issuer=request.issuer,
        status=request.status.value,
        expires_at=request.expires_at,
        redeeming_until=request.redeeming_until,
    )
    return _seal(row, request, sealer)


def read_request(row: RequestRow, sealer: Sealer) -> AuthorizationRequest:
    request = _open(row, AuthorizationRequest, sealer)
    if (request.auth_id, request.key.url) != (row.auth_id, row.url):  # the two it is found by that are not part of its identity
        raise StoreCorruptError("A stored request was moved to another server's or handle's row. Nothing was changed; start again.")
    return replace(request, status=RequestStatus(row.status), redeeming_until=row.redeeming_until)


def client_row(client: ClientRegistration, url: str, sealer: Sealer) -> ClientRow:
    row = ClientRow(issuer=client.issuer, redirect_uri=client.redirect_uri, url=url, client_id=client.client_id)
    return _seal(row, client, sealer)


def read_client(row: ClientRow, sealer: Sealer) -> ClientRegistration:
    return _open(row, ClientRegistration, sealer)


def credentials_row(credentials: Credentials, sealer: Sealer) -> CredentialsRow:
    key = credentials.key
    row = CredentialsRow(user_id=key.user_id, server=key.server, url=key.url, version=credentials.version)
    return _seal(row, credentials, sealer)


def read_credentials(row: CredentialsRow, sealer: Sealer) -> Credentials:
    return replace(_open(row, Credentials, sealer), version=row.version)


def pin_row(key: GrantKey, fingerprints: Mapping[str, str], sealer: Sealer) -> PinRow:
    row = PinRow(user_id=key.user_id, server=key.server, url=key.url)
    row.sealed = sealer.seal(json.dumps(dict(fingerprints)), row.identity)
    return row


def read_pins(row: PinRow, sealer: Sealer) -> dict[str, str]:
    return _open(row, dict[str, str], sealer)


def _seal(row: R, value: Grant | AuthorizationRequest | ClientRegistration | Credentials, sealer: Sealer) -> R:
    row.sealed = sealer.seal(json.dumps(asdict(value), default=_plain), row.identity)
    return row


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


@cache
def _reader(model: Any) -> TypeAdapter[Any]:
    """Made when the first row of its kind is read."""
    return TypeAdapter(model)


def _open(row: SealedRow, model: type[T], sealer: Sealer) -> T:
    document = sealer.open(row.sealed, row.identity)
    try:
        value: T = _reader(model).validate_json(document)  # type: ignore[arg-type]  # mypy takes a type for something without a hash
    except ValidationError:  # its text would show the document
        raise StoreCorruptError("A stored value opens but is not of this version's form; log in again to replace it.") from None
    return value
