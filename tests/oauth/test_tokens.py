"""The token endpoint: what is sent, where the credentials are, and which answers are tokens."""

from __future__ import annotations

import base64
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from langchain_mcp_oauth.errors import ConfigurationError, ConnectionFailed, TokenEndpointError
from langchain_mcp_oauth.models import ClientRegistration, TokenSet
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.tokens import exchange, refresh, revoke
from langchain_mcp_oauth.servers.remote import MCPServer

from .oauth_samples import (
    CANARY,
    CLIENT,
    GRANT,
    ISSUER,
    NOW,
    REDIRECT_URI,
    REQUEST,
    SECRET_CLIENT,
    SERVER,
    TOKENS,
    URL,
    answer,
    chain,
    run,
)

CODE = SecretStr(f"code+/{CANARY}")
GOOD: dict[str, Any] = {"access_token": "new", "token_type": "Bearer", "expires_in": 600}
RENEWABLE = {**GOOD, "refresh_token": "r"}


def exchanging(client: ClientRegistration = CLIENT, server: MCPServer = SERVER) -> Flow[TokenSet]:
    return exchange(replace(REQUEST, client=client), CODE, server, NOW)


def refreshing(client: ClientRegistration = CLIENT, server: MCPServer = SERVER) -> Flow[TokenSet]:
    return refresh(replace(GRANT, client=client), server, NOW)


def revoking(client: ClientRegistration = CLIENT) -> Flow[None]:
    return revoke(replace(GRANT, client=client))


BOTH = pytest.mark.parametrize("start", [exchanging, refreshing])
ALL = pytest.mark.parametrize("start", [exchanging, refreshing, revoking])


def exchanged(document: object, status: int = 200) -> TokenSet:
    return run(exchanging(), answer(document, status))[0]


def form(request: httpx2.Request) -> dict[str, str]:
    """The body; fails if a parameter is there twice."""
    pairs = parse_qs(request.content.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in pairs.values())
    return {name: values[0] for name, values in pairs.items()}


# What is sent -----------------------------------------------------------------------------------------------------------------


def test_the_exchange() -> None:
    """RFC 6749 §4.1.3, RFC 7636 §4.5, RFC 8707 §2.2: all from the stored request, to the stored endpoint."""
    request = next(exchanging())
    assert (request.method, str(request.url)) == ("POST", f"{ISSUER}/token")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"
    assert form(request) == {
        "grant_type": "authorization_code",
        "code": CODE.get_secret_value(),
        "redirect_uri": REDIRECT_URI,
        "code_verifier": f"verifier-{CANARY}",
        "resource": URL,
        "client_id": "client-1",
    }


def test_the_refresh() -> None:
    """RFC 6749 §6: no `scope`, so that it stays as granted; RFC 8707 §2.2: `resource` again."""
    request = next(refreshing())
    assert (request.method, str(request.url)) == ("POST", f"{ISSUER}/token")
    assert form(request) == {
        "grant_type": "refresh_token",
        "refresh_token": f"refresh-{CANARY}",
        "resource": URL,
        "client_id": "client-1",
    }


def test_the_revocation() -> None:
    """RFC 7009 §2.1: the refresh token first, then the access token, whatever the server answers to the first."""
    result, asked = run(revoking(), httpx2.Response(400), httpx2.Response(200))
    assert result is None
    assert [(str(request.url), form(request)) for request in asked] == [
        (f"{ISSUER}/revoke", {"token": f"refresh-{CANARY}", "token_type_hint": "refresh_token", "client_id": "client-1"}),
        (f"{ISSUER}/revoke", {"token": f"access-{CANARY}", "token_type_hint": "access_token", "client_id": "client-1"}),
    ]


@pytest.mark.parametrize("statuses", [(503, 200), (200, 500), (429, 429)])
def test_a_revocation_that_did_not_happen(statuses: tuple[int, int]) -> None:
    """RFC 7009 §2.2.1: 503 means that the token is good still. The other token is sent all the same."""
    flow = revoking()
    next(flow)
    flow.send(httpx2.Response(statuses[0]))
    with pytest.raises(ConnectionFailed):
        flow.send(httpx2.Response(statuses[1]))


def test_revocation_without_a_refresh_token() -> None:
    """Only what there is."""
    _, asked = run(revoke(replace(GRANT, tokens=replace(TOKENS, refresh_token=None))), httpx2.Response(200))
    assert [form(request)["token_type_hint"] for request in asked] == ["access_token"]


def test_no_revocation_endpoint_no_revocation() -> None:
    """Nothing is sent to a guessed endpoint."""
    with pytest.raises(StopIteration):
        next(revoke(replace(GRANT, revocation_endpoint=None)))


@pytest.mark.parametrize("endpoint", ["https://AS.example.com:443/token?tenant=1", f"{ISSUER}/a/token"])
def test_the_endpoints_own_query_is_kept(endpoint: str) -> None:
    """RFC 6749 §3.2."""
    assert next(exchange(replace(REQUEST, token_endpoint=endpoint), CODE, SERVER, NOW)).url == httpx2.URL(endpoint)


@ALL
def test_credentials_none(start: Callable[..., Flow[object]]) -> None:
    """RFC 6749 §3.2.1: a public client names itself in the body, and only there."""
    request = next(start(replace(SECRET_CLIENT, auth_method="none")))
    assert form(request)["client_id"] == "client-1"
    assert "client_secret" not in form(request)
    assert "authorization" not in request.headers


@ALL
def test_credentials_post(start: Callable[..., Flow[object]]) -> None:
    """RFC 6749 §2.3.1: both in the body, and nothing in the header."""
    request = next(start(replace(SECRET_CLIENT, auth_method="client_secret_post")))
    assert form(request)["client_id"] == "client-1"
    assert form(request)["client_secret"] == f"s3/c r+t%{CANARY}"
    assert "authorization" not in request.headers


@ALL
def test_credentials_basic(start: Callable[..., Flow[object]]) -> None:
    """RFC 6749 §2.3.1: id and secret form-encoded, then Basic; and nothing in the body."""
    request = next(start(replace(SECRET_CLIENT, client_id="https://x:1/a b")))
    scheme, _, encoded = request.headers["authorization"].partition(" ")
    assert scheme == "Basic"
    credentials = base64.b64decode(encoded).decode("ascii").split(":")
    assert [unquote_plus(part) for part in credentials] == ["https://x:1/a b", f"s3/c r+t%{CANARY}"]
    assert not {"client_id", "client_secret"} & set(form(request))


@ALL
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_secret_that_is_no_longer_configured(start: Callable[..., Flow[object]], method: str) -> None:
    """Said, instead of sending the word None; the tokens stay where they are."""
    with pytest.raises(ConfigurationError, match="`client_secret`"):
        next(start(replace(CLIENT, auth_method=method)))


# What comes back --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
def test_tokens(status: int) -> None:
    """RFC 6749 §5.1 (web frameworks that answer 201 to every POST included); the lifetime counts from `now`."""
    document = {"access_token": "new", "token_type": "bearer", "expires_in": 600, "refresh_token": "next", "scope": "read admin", "x": 1}
    assert exchanged(document, status) == TokenSet(
        access_token=SecretStr("new"),
        refresh_token=SecretStr("next"),
        scopes=("read", "admin"),
        obtained_at=NOW,
        expires_at=NOW + timedelta(minutes=10),
    )


@pytest.mark.parametrize("scope", [{}, {"scope": None}, {"scope": ""}, {"scope": 7}, {"scope": '"'}, {"scope": "x" * 1001}])
def test_scopes_left_out_are_those_asked_for(scope: dict[str, Any]) -> None:
    """RFC 6749 §3.3, §5.1; on refresh those granted before (§6)."""
    assert exchanged({**GOOD, **scope}).scopes == ("read", "write")
    assert run(refreshing(), answer({**GOOD, **scope}))[0].scopes == ("read",)


@pytest.mark.parametrize("left_out", [{}, {"refresh_token": None}, {"refresh_token": ""}])
def test_the_old_refresh_token_stays_if_no_new_one_comes(left_out: dict[str, Any]) -> None:
    """RFC 6749 §6; after an exchange there is then none."""
    assert run(refreshing(), answer({**GOOD, **left_out}))[0].refresh_token == TOKENS.refresh_token
    assert exchanged({**GOOD, **left_out}).refresh_token is None


def test_a_new_refresh_token_takes_the_old_ones_place() -> None:
    """OAuth 2.1 §4.3.1: rotation."""
    tokens = run(refreshing(), answer({**GOOD, "refresh_token": "next"}))[0]
    assert tokens.refresh_token == SecretStr("next")
    assert tokens.obtained_at == NOW


@BOTH
def test_parameters_of_the_operators_own(start: Callable[..., Flow[TokenSet]]) -> None:
    """`token_parameters` go along, and without `send_resource` there is no `resource` (Entra ID)."""
    request = next(start(server=MCPServer(URL, send_resource=False, token_parameters={"audience": "https://api", "scope": "a b"})))
    plain = form(next(start()))
    assert form(request) == {**{name: plain[name] for name in plain if name != "resource"}, "audience": "https://api", "scope": "a b"}


HOUR, MONTH = 3600, 30 * 24 * 3600


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (600, 600),
        ("600", 600),
        (599.5, 599.5),
        ("599.5", 599.5),
        (0, 0),
        (-5, 0),
        (-(10**400), HOUR),
        (MONTH, MONTH),
        (MONTH + 1, MONTH),
        (2**63, MONTH),
        (1e300, MONTH),
        (float("inf"), MONTH),
        (float("nan"), HOUR),
        (None, HOUR),
        ("", HOUR),
        ("soon", HOUR),
        ("nan", HOUR),
        (True, HOUR),
        ([600], HOUR),
        ({}, HOUR),
    ],
)
def test_expires_in(expires_in: object, seconds: float) -> None:
    """A number or digits, from 0 to 30 days; nonsense is an hour; never "no expiry"."""
    assert exchanged({**RENEWABLE, "expires_in": expires_in}).expires_at == NOW + timedelta(seconds=seconds)


def test_no_expires_in() -> None:
    """RFC 6749 §5.1 only recommends it: an hour then; 30 days if nothing could renew it, since a server that refuses it says so."""
    assert exchanged({"access_token": "new", "token_type": "Bearer", "refresh_token": "r"}).expires_at == NOW + timedelta(hours=1)
    assert exchanged({"access_token": "new", "token_type": "Bearer"}).expires_at == NOW + timedelta(days=30)
    assert run(refreshing(), answer({"access_token": "new", "token_type": "Bearer"}))[0].expires_at == NOW + timedelta(hours=1)


def jwt(**claims: Any) -> str:
    """Something that reads as a JWT; its signature is nobody's."""
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "RS256"}, claims, "sig"))


@pytest.mark.parametrize(
    ("token", "seconds"),
    [
        (jwt(exp=NOW.timestamp() + 600), 600),
        (jwt(exp=NOW.timestamp() - 600), 0),
        (jwt(exp=NOW.timestamp() + 365 * 24 * HOUR), MONTH),
        (jwt(), HOUR),
        (jwt(exp="soon"), HOUR),
        (jwt(exp=None), HOUR),
        (jwt(exp=True), HOUR),
        ("a.b.c", HOUR),
        ("opaque", HOUR),
        (".".join([jwt(exp=1), "x"]), HOUR),
    ],
)
def test_an_expiry_that_only_the_token_tells(token: str, seconds: float) -> None:
    """Without `expires_in` a JWT's `exp` (RFC 7519 §4.1.4) is read, unverified; an hour where there is none; never "no expiry"."""
    tokens = exchanged({"access_token": token, "token_type": "Bearer", "refresh_token": "r"})
    assert tokens.expires_at == NOW + timedelta(seconds=seconds)


def test_expires_in_outranks_the_token() -> None:
    """RFC 6749 §5.1 is the answer's own word."""
    assert exchanged({**GOOD, "access_token": jwt(exp=NOW.timestamp() + 9)}).expires_at == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_type": None},
        {"token_type": "DPoP"},
        {"token_type": "mac"},
        {"token_type": "Bearer "},
        {"token_type": 7},
        {"token_type": ["bearer"]},
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 7},
        {"access_token": [CANARY]},
        {"access_token": f"{CANARY} x"},
        {"access_token": f"{CANARY}\r\nX-Forged: 1"},
        {"access_token": f"{CANARY}é"},
        {"access_token": CANARY.ljust(16_385, "x")},
        {"refresh_token": f"{CANARY}\n"},
        {"refresh_token": 7},
        {"refresh_token": CANARY.ljust(16_385, "x")},
    ],
)
@BOTH
def test_answers_that_are_no_tokens(start: Callable[[], Flow[TokenSet]], wrong: dict[str, Any]) -> None:
    """R31, RFC 6749 §7.1: a token we could not use, or that could break out of a header, is refused and not repeated."""
    with pytest.raises(TokenEndpointError, match="cannot be used") as error:
        run(start(), answer({**GOOD, **wrong}))
    assert error.value.oauth_error is None
    assert CANARY not in chain(error.value)


def test_the_longest_tokens() -> None:
    """16,384 characters are still tokens."""
    longest = "x" * 16_384
    assert exchanged({**GOOD, "access_token": longest, "refresh_token": longest}).access_token == SecretStr(longest)


@pytest.mark.parametrize("body", ["", "null", "[]", "access_token=x&token_type=bearer", f"<html>{CANARY}", "[" * 50_000, b"\xff\xfe"])
@BOTH
def test_answers_that_are_no_json(start: Callable[[], Flow[TokenSet]], body: str | bytes) -> None:
    """RFC 6749 §5.1 wants a JSON object."""
    with pytest.raises(TokenEndpointError) as error:
        run(start(), answer(body))
    assert CANARY not in chain(error.value)


CODES = ["invalid_grant", "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "invalid_target", "some_new_error"]


@pytest.mark.parametrize("status", [200, 400, 401, 403])
@pytest.mark.parametrize("code", CODES)
@BOTH
def test_refusals(start: Callable[[], Flow[TokenSet]], code: str, status: int) -> None:
    """RFC 6749 §5.2, and those that answer 200 all the same; the code is told, and no other word of the answer."""
    document = {"error": code, "error_description": CANARY, "error_uri": f"https://evil.example/{CANARY}"}
    with pytest.raises(TokenEndpointError, match=rf"{ISSUER} refused \({code}\)") as error:
        run(start(), answer(document, status))
    assert error.value.oauth_error == code
    assert not error.value.retryable
    assert CANARY not in chain(error.value)


@pytest.mark.parametrize("status", [202, 302, 307, 400, 401, 404, 405])
@pytest.mark.parametrize("body", ["", f"<html>{CANARY}", json.dumps({"error": f"{CANARY} is bad"}), json.dumps({"error": [CANARY]}), "{}"])
@BOTH
def test_refusals_without_a_code(start: Callable[[], Flow[TokenSet]], body: str, status: int) -> None:
    """The status stands for it; a redirect is a refusal (no request with a code or a secret follows one)."""
    with pytest.raises(TokenEndpointError, match=rf"\({status}\)") as error:
        run(start(), answer(body, status, {"Location": f"https://evil.example/{CANARY}"}))
    assert error.value.oauth_error is None
    assert CANARY not in chain(error.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
@BOTH
def test_a_server_in_trouble(start: Callable[[], Flow[TokenSet]], status: int) -> None:
    """Retryable, whatever the body says: a 503 must never cost a person their login."""
    with pytest.raises(ConnectionFailed, match=str(status)) as failure:
        run(start(), answer({"error": "invalid_grant"}, status, {"Retry-After": "12"}))
    assert failure.value.retryable
    assert failure.value.retry_after == 12.0


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2)
names = ["access_token", "token_type", "expires_in", "refresh_token", "scope", "error"]


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(names, values)), st.sampled_from([200, 201, 400]))
def test_any_answer_gives_tokens_or_our_error(document: dict[str, Any], status: int) -> None:
    """Whatever the fields hold, and with a lifetime in bounds."""
    try:
        tokens = exchanged({**GOOD, **document}, status)
    except TokenEndpointError:
        return
    assert timedelta(0) <= tokens.expires_at - NOW <= timedelta(days=30)
    assert tokens.access_token.get_secret_value().isascii()


@given(st.binary(max_size=100), st.integers(200, 499).filter(lambda status: status != 429))
def test_any_body_gives_tokens_or_our_error(body: bytes, status: int) -> None:
    """Bytes of a hostile server raise nothing else."""
    with pytest.raises(TokenEndpointError):
        exchanged(body, status)
