"""RFC 8628: asking for a code that a person enters elsewhere, and looking whether they have."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
from pydantic import SecretStr

from langchain_mcp_oauth.errors import TokenEndpointError, UnsafeURLError
from langchain_mcp_oauth.models import AuthorizationRequest, Reason
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.device import begin, look
from langchain_mcp_oauth.servers.remote import MCPServer

from .oauth_samples import CANARY, CLIENT, DISCOVERY, ISSUER, KEY, NOW, SERVER, URL, answer, chain, run

HERE = replace(DISCOVERY, device_authorization_endpoint=f"{ISSUER}/device")
GOOD: dict[str, Any] = {
    "device_code": CANARY,
    "user_code": "WDJB-MJHT",
    "verification_uri": f"{ISSUER}/enter",
    "verification_uri_complete": f"{ISSUER}/enter?user_code=WDJB-MJHT",
    "expires_in": 600,
    "interval": 7,
}


def beginning(server: MCPServer = SERVER, scopes: tuple[str, ...] = ("read", "write")) -> Flow[AuthorizationRequest]:
    return begin(
        key=KEY,
        reason=Reason.LOGIN,
        server=server,
        discovery=HERE,
        client=CLIENT,
        scopes=scopes,
        now=NOW,
        random=lambda size: "r" * size,
        dpop_key=None,
    )


def begun(**changes: Any) -> AuthorizationRequest:
    return run(beginning(), answer({**GOOD, **changes}))[0]


def form(request: httpx2.Request) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(request.content.decode("ascii"), strict_parsing=True).items()}


def test_asking_for_a_code() -> None:
    """§3.1: client, scopes and resource; the answer is the open request, which needs nothing else to be completed anywhere."""
    request, [asked] = run(beginning(), answer(GOOD))
    assert str(asked.url) == f"{ISSUER}/device"
    assert form(asked) == {"client_id": "client-1", "scope": "read write", "resource": URL}
    assert request.authorization_url == SecretStr(f"{ISSUER}/enter?user_code=WDJB-MJHT")
    assert (request.device_code, request.user_code, request.interval) == (SecretStr(CANARY), "WDJB-MJHT", 7)
    assert request.expires_at == NOW + timedelta(minutes=10)
    assert (request.token_endpoint, request.issuer, request.redirect_uri) == (f"{ISSUER}/token", ISSUER, "")


def test_a_page_without_the_code_in_it() -> None:
    """§3.2: `verification_uri_complete` is optional; the person enters the code."""
    assert begun(verification_uri_complete=None).authorization_url == SecretStr(f"{ISSUER}/enter")


@pytest.mark.parametrize(
    ("interval", "seconds"), [(None, 5), (1, 1), (0, 1), (-3, 1), (10**9, 60), (float("nan"), 5), ("7", 5), (True, 1), ([], 5)]
)
def test_intervals(interval: object, seconds: int) -> None:
    """§3.2: five seconds where nothing is said; never so short that it is an attack, never so long that nobody looks."""
    assert begun(interval=interval).interval == seconds


@pytest.mark.parametrize(("expires_in", "minutes"), [(600, 10), (None, 30), (10**9, 30), ("x", 30)])
def test_lifetimes(expires_in: object, minutes: int) -> None:
    """§3.2: the server's, within half an hour."""
    assert begun(expires_in=expires_in).expires_at == NOW + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"device_code": None},
        {"device_code": "a b"},
        {"user_code": None},
        {"user_code": ""},
        {"user_code": f"{CANARY}\n"},
        {"user_code": "x" * 65},
        {"user_code": 7},
    ],
)
def test_codes_that_cannot_be_used(wrong: dict[str, Any]) -> None:
    """What a person is shown is plain text of a length that can be entered."""
    with pytest.raises(TokenEndpointError) as refusal:
        begun(**wrong)
    assert CANARY not in chain(refusal.value)


@pytest.mark.parametrize("page", ["javascript:alert(1)", "http://as.example.com/enter", "", None, 7])
def test_pages_that_are_not_shown(page: object) -> None:
    """The rule for every URL of the network."""
    with pytest.raises(UnsafeURLError):
        begun(verification_uri=page, verification_uri_complete=None)
    if page:
        with pytest.raises(UnsafeURLError):
            begun(verification_uri_complete=page)


def test_looking() -> None:
    """§3.4: the code and the client, at the stored token endpoint; tokens as from any login."""
    tokens, [asked] = run(look(begun(), SERVER, NOW), answer({"access_token": "new", "token_type": "Bearer", "refresh_token": "next"}))
    assert str(asked.url) == f"{ISSUER}/token"
    assert form(asked) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": CANARY,
        "client_id": "client-1",
        "resource": URL,
    }
    assert (tokens.refresh_token, tokens.scopes) == (SecretStr("next"), ("read", "write"))


@pytest.mark.parametrize("code", ["authorization_pending", "slow_down", "access_denied", "expired_token", "invalid_grant"])
def test_not_yet_or_never(code: str) -> None:
    """§3.5: told by its code; what it comes to is `Devices.look`'s to say."""
    with pytest.raises(TokenEndpointError) as refusal:
        run(look(begun(), SERVER, NOW), answer({"error": code}, 400))
    assert refusal.value.oauth_error == code


def test_what_is_left_out() -> None:
    """Providers as they are: no scope where the server decides, no resource where it would be refused."""
    [asked] = [next(beginning(MCPServer(URL, send_resource=False), ()))]
    assert form(asked) == {"client_id": "client-1"}
