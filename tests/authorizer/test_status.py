"""Where a login stands: one table over what is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from langchain_mcp_oauth.authorizer.status import LoginState, status_of
from langchain_mcp_oauth.models import AuthorizationRequest, Grant, Reason
from tests.oauth.oauth_samples import GRANT, NOW, REQUEST, TOKENS

VALID = replace(GRANT, tokens=replace(TOKENS, refresh_token=None, expires_at=NOW + timedelta(seconds=1)))
ENDED = replace(GRANT, tokens=replace(TOKENS, refresh_token=None))
SILENT = replace(ENDED, source="client_credentials")
EXPIRED, STEP_UP, CLIENT, ISSUER = (
    replace(REQUEST, reason=reason) for reason in (Reason.EXPIRED, Reason.STEP_UP, Reason.CLIENT_REJECTED, Reason.ISSUER_CHANGED)
)


@pytest.mark.parametrize(
    ("grant", "request_", "connected", "state"),
    [
        (None, None, False, LoginState.NOT_CONNECTED),
        (None, REQUEST, False, LoginState.NOT_CONNECTED),
        (None, EXPIRED, False, LoginState.EXPIRED),
        (VALID, None, True, LoginState.CONNECTED),
        (VALID, REQUEST, True, LoginState.CONNECTED),  # a Reconnect that was begun: the login there is stays good
        (VALID, STEP_UP, True, LoginState.NEEDS_SCOPES),
        (VALID, CLIENT, True, LoginState.EXPIRED),
        (VALID, ISSUER, True, LoginState.EXPIRED),
        (GRANT, None, True, LoginState.CONNECTED),  # the access token has expired; it is refreshed silently
        (ENDED, None, False, LoginState.EXPIRED),
        (ENDED, STEP_UP, False, LoginState.EXPIRED),
        (SILENT, None, True, LoginState.CONNECTED),  # obtained again when it is needed
    ],
)
def test_where_a_login_stands(grant: Grant | None, request_: AuthorizationRequest | None, connected: bool, state: LoginState) -> None:
    """`connected`: calls need nobody. The state says in addition what a person might do."""
    status = status_of("files", grant, request_, NOW)
    assert (status.connected, status.state) == (connected, state)
