"""RFC 9449: when a login is bound to a key, what a proof says, and the server's nonce."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey
from joserfc.util import urlsafe_b64encode
from pydantic import SecretStr

from langchain_mcp_oauth.errors import DiscoveryError, TokenEndpointError
from langchain_mcp_oauth.models import BearerChallenge, Grant, Reason, TokenSet
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.authorization import build_authorization_request
from langchain_mcp_oauth.oauth.dpop import add_proof, key_for, nonce_of, thumbprint
from langchain_mcp_oauth.oauth.tokens import exchange, refresh
from langchain_mcp_oauth.servers.remote import MCPServer

from .oauth_samples import CLIENT, DISCOVERY, GRANT, ISSUER, KEY, NOW, REDIRECT_URI, REQUEST, SERVER, URL, answer, run

DPOP = BearerChallenge(401, dpop=True)
ANY = MCPServer(URL, dpop=True)
MINE = key_for(ANY, DISCOVERY, None)
assert MINE is not None
BOUND = replace(GRANT, dpop_key=MINE)
GOOD: dict[str, Any] = {"access_token": "new", "token_type": "DPoP", "expires_in": 600}
WANTS_NONCE = {"error": "use_dpop_nonce"}


def proof_of(request: httpx2.Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, verified with the key that the proof names (§4.3)."""
    [proof] = request.headers.get_list("dpop")
    header = jws.extract_compact(proof.encode()).headers()
    return header, jwt.decode(proof, ECKey.import_key(header["jwk"]), algorithms=["ES256"]).claims


def request(method: str = "POST", url: str = URL) -> httpx2.Request:
    return httpx2.Request(method, url)


# When -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "challenge", "previous", "bound"),
    [
        (SERVER, None, None, False),
        (SERVER, BearerChallenge(401), None, False),
        (SERVER, DPOP, None, True),
        (ANY, BearerChallenge(401), None, True),
        (ANY, None, None, True),
        (SERVER, None, BOUND, True),
        (SERVER, BearerChallenge(401), BOUND, False),
        (SERVER, None, GRANT, False),
    ],
)
@pytest.mark.parametrize("algorithms", [None, ("ES256",), ("RS256", "ES256")])
def test_when_a_login_is_bound(
    server: MCPServer, challenge: BearerChallenge | None, previous: Grant | None, algorithms: tuple[str, ...] | None, *, bound: bool
) -> None:
    """Where the MCP server insists, or the application; not because the authorization server could. Each login has a key of its own."""
    discovery = replace(DISCOVERY, dpop_algorithms=algorithms)
    keys = [key_for(server, discovery, challenge, previous) for _ in range(2)]
    assert [key is not None for key in keys] == [bound, bound]
    assert keys[0] != keys[1] or not bound


def test_a_resource_that_takes_nothing_else() -> None:
    """RFC 9728 §2: `dpop_bound_access_tokens_required`."""
    assert key_for(SERVER, replace(DISCOVERY, dpop_required=True), BearerChallenge(401)) is not None


@pytest.mark.parametrize("algorithms", [(), ("RS256",)])
def test_an_authorization_server_that_cannot(algorithms: tuple[str, ...]) -> None:
    """Said before a person is asked; nobody falls back to a bearer token."""
    with pytest.raises(DiscoveryError, match="ES256"):
        key_for(SERVER, replace(DISCOVERY, dpop_algorithms=algorithms), DPOP)


# What a proof says ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("url", [URL, f"{URL}?tenant=1", "https://MCP.example.com:8443/a%20b/"])
def test_a_proof(method: str, url: str) -> None:
    """§4.2: the public key alone, method, URL without query, the time, an identifier; no nonce or token that there is not."""
    header, claims = proof_of(add_proof(request(method, url), MINE))
    assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}
    assert claims.keys() == {"jti", "htm", "htu", "iat"}
    assert (claims["htm"], claims["htu"]) == (method, str(httpx2.URL(url)).partition("?")[0])
    assert abs(claims["iat"] - time.time()) < 60
    assert thumbprint(MINE) == ECKey.import_key(header["jwk"]).thumbprint()


def test_a_proof_beside_a_token() -> None:
    """§4.2: the token's hash, and the server's nonce; each request has one proof, and no two are alike."""
    sent = request()
    first = proof_of(add_proof(sent, MINE, nonce="n-1", access_token=SecretStr("the-token")))[1]
    again = proof_of(add_proof(sent, MINE, nonce="n-2", access_token=SecretStr("the-token")))[1]
    assert first["ath"] == urlsafe_b64encode(sha256(b"the-token").digest()).decode()
    assert (first["nonce"], again["nonce"]) == ("n-1", "n-2")
    assert first["jti"] != again["jti"]


@pytest.mark.parametrize(("value", "nonce"), [("abc-1", "abc-1"), (None, None), ("", None), ("a b", None), ("x" * 1_025, None)])
def test_nonces(value: str | None, nonce: str | None) -> None:
    """§8.1: visible characters; one that would not fit is no nonce."""
    assert nonce_of(httpx2.Response(200, headers={"DPoP-Nonce": value} if value is not None else {})) == nonce


# At the token endpoint --------------------------------------------------------------------------------------------------------


def exchanging() -> Flow[TokenSet]:
    return exchange(replace(REQUEST, dpop_key=MINE), SecretStr("the-code"), SERVER, NOW)


def refreshing() -> Flow[TokenSet]:
    return refresh(BOUND, SERVER, NOW)


BOTH = pytest.mark.parametrize("start", [exchanging, refreshing])


@BOTH
def test_a_token_request_has_a_proof(start: Callable[[], Flow[TokenSet]]) -> None:
    """§5: with the login's own key; the answer must be bound to it."""
    tokens, [asked] = run(start(), answer(GOOD))
    assert tokens.access_token == SecretStr("new")
    assert proof_of(asked)[1]["htu"] == f"{ISSUER}/token"


@BOTH
@pytest.mark.parametrize("status", [400, 401])
def test_a_nonce_is_used_once_it_is_given(start: Callable[[], Flow[TokenSet]], status: int) -> None:
    """§8: the same request again, with a new proof; what it redeems was not touched. Once: a server that asks for ever gets an error."""
    wanted = answer(WANTS_NONCE, status, {"DPoP-Nonce": "n-1"})
    _, asked = run(start(), wanted, answer(GOOD))
    assert [proof_of(one)[1].get("nonce") for one in asked] == [None, "n-1"]
    assert asked[0].content == asked[1].content
    with pytest.raises(TokenEndpointError) as refusal:
        run(start(), wanted, wanted)
    assert refusal.value.oauth_error == "use_dpop_nonce"


@BOTH
@pytest.mark.parametrize("headers", [{"DPoP-Nonce": "n-1"}, {}])
def test_other_refusals_are_final(start: Callable[[], Flow[TokenSet]], headers: dict[str, str]) -> None:
    """§8.2: a nonce in any other answer is for the next request; a code is not sent twice."""
    with pytest.raises(TokenEndpointError):
        run(start(), answer({"error": "invalid_grant"}, 400, headers))


@BOTH
@pytest.mark.parametrize("kind", ["Bearer", None])
def test_a_token_that_is_not_bound(start: Callable[[], Flow[TokenSet]], kind: str | None) -> None:
    """§5: it is not what was asked for, and is not kept."""
    with pytest.raises(TokenEndpointError, match="token_type is not DPoP"):
        run(start(), answer({**GOOD, "token_type": kind}))


def test_bearer_logins_have_no_proof() -> None:
    """Nothing of this where it is not wanted."""
    assert "dpop" not in next(refresh(GRANT, SERVER, NOW)).headers


def test_the_code_is_bound_too() -> None:
    """§10: `dpop_jkt` in the authorization request."""
    made = build_authorization_request(
        key=KEY,
        reason=Reason.LOGIN,
        server=SERVER,
        discovery=DISCOVERY,
        client=CLIENT,
        scopes=(),
        redirect_uri=REDIRECT_URI,
        now=NOW,
        lifetime=NOW - NOW,
        random=lambda size: "x" * size,
        dpop_key=MINE,
    )
    assert made.dpop_key == MINE
    assert parse_qs(urlsplit(made.authorization_url.get_secret_value()).query)["dpop_jkt"] == [thumbprint(MINE)]
