"""Values that the store's tests put in, and the databases they put them into."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, Grant, GrantKey, Listing, Reason, TokenSet

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = GrantKey("alice", "files", "https://mcp.example/mcp")
ISSUER = "https://as.example"
REDIRECT = "https://app.example/oauth/callback"
ENCRYPTION_KEY = "x1Vg9lqhV5vJ0u3t7bq0mXy8m6oQdY2yW4s1k9z3c5E="
ENDPOINTS: dict[str, Any] = {"token_endpoint": f"{ISSUER}/token", "revocation_endpoint": f"{ISSUER}/revoke", "resource": KEY.url}


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def a_client(**changes: Any) -> ClientRegistration:
    client = ClientRegistration(
        issuer=ISSUER,
        client_id="client-1",
        client_secret=SecretStr("canary-client-secret"),
        auth_method="client_secret_basic",
        kind="dynamic",
        redirect_uri=REDIRECT,
        secret_expires_at=NOW + timedelta(days=90),
    )
    return replace(client, **changes)


def a_grant(key: GrantKey = KEY, *, access_token: str = "canary-access", **changes: Any) -> Grant:
    tokens = TokenSet(
        access_token=SecretStr(access_token),
        refresh_token=SecretStr("canary-refresh"),
        scopes=("files:read", "files:write"),
        obtained_at=NOW,
        expires_at=NOW + timedelta(hours=1, microseconds=5),
    )
    bound = {"dpop_key": SecretStr("canary-dpop-key")}
    grant = Grant(key=key, issuer=ISSUER, client=a_client(), tokens=tokens, scopes_requested=("files:read",), **ENDPOINTS, **bound)
    return replace(grant, **changes)


def a_request(name: str = "1", **changes: Any) -> AuthorizationRequest:
    """A request whose handle and state are made from `name`."""
    request = AuthorizationRequest(
        auth_id=f"auth-{name}",
        key=KEY,
        reason=Reason.LOGIN,
        state=SecretStr(f"canary-state-{name}"),
        code_verifier=SecretStr("canary-verifier"),
        dpop_key=SecretStr("canary-dpop-key"),
        device_code=SecretStr("canary-device-code"),
        authorization_url=SecretStr(f"{ISSUER}/authorize?state=canary-state-{name}&code_challenge=x"),
        issuer=ISSUER,
        iss_required=True,
        scopes=("files:read",),
        redirect_uri=REDIRECT,
        client=a_client(),
        created_at=NOW,
        expires_at=NOW + minutes(10),
        **ENDPOINTS,
    )
    return replace(request, **changes)


def a_listing(key: GrantKey = KEY, **changes: Any) -> Listing:
    return replace(Listing(key, "digest-1", NOW, NOW + minutes(5), public=True), **changes)
