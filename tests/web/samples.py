"""A user's logins and requests, as the tests of the pages need them."""

from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, Grant, GrantKey, Reason, TokenSet

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "https://mcp.example/mcp"
ISSUER = "https://as.example"
REDIRECT_URI = "https://app.example/oauth/callback"
CLIENT = ClientRegistration(issuer=ISSUER, client_id="client", kind="dynamic", redirect_uri=REDIRECT_URI)


def a_grant(
    server: str = "linear",
    url: str = URL,
    *,
    user: str = "ada",
    refresh: bool = True,
    now: datetime = NOW,
    lives: timedelta = timedelta(hours=1),
    scopes: tuple[str, ...] = (),
) -> Grant:
    """A login that was given at `now`."""
    return Grant(
        key=GrantKey(user, server, url),
        issuer=ISSUER,
        resource=url,
        token_endpoint=f"{ISSUER}/token",
        client=CLIENT,
        tokens=TokenSet(
            access_token=SecretStr("access"),
            refresh_token=SecretStr("refresh") if refresh else None,
            scopes=scopes,
            obtained_at=now,
            expires_at=now + lives,
        ),
    )


def a_request(
    server: str = "linear",
    url: str = URL,
    *,
    user: str = "ada",
    now: datetime = NOW,
    reason: Reason = Reason.LOGIN,
    scopes: tuple[str, ...] = (),
    user_code: str | None = None,
) -> AuthorizationRequest:
    """One that is open from `now` for ten minutes."""
    return AuthorizationRequest(
        auth_id=f"request-{server}",
        key=GrantKey(user, server, url),
        reason=reason,
        state=SecretStr(f"state-of-{server}"),
        code_verifier=SecretStr("verifier"),
        authorization_url=SecretStr(f"{ISSUER}/authorize?state=state-of-{server}&scope=a"),
        issuer=ISSUER,
        iss_required=True,
        token_endpoint=f"{ISSUER}/token",
        resource=url,
        scopes=scopes,
        redirect_uri=REDIRECT_URI,
        client=CLIENT,
        device_code=SecretStr("device-code") if user_code else None,
        user_code=user_code,
        created_at=now,
        expires_at=now + timedelta(minutes=10),
    )
