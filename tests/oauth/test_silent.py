"""Token requests without a browser: where they go, what is sent, and which answers are good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from langchain_mcp_oauth.errors import ConnectionFailed, DiscoveryError, RegistrationError, TokenEndpointError
from langchain_mcp_oauth.grants.contract import Wanted
from langchain_mcp_oauth.models import BearerChallenge, TokenSet
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.silent import Place, client_credentials, exchange_identity, jwt_bearer, locate
from langchain_mcp_oauth.servers.remote import MCPServer

from .oauth_samples import CANARY, CLIENT, GRANT, ISSUER, KEY, NOW, SECRET_CLIENT, URL, answer, chain, run, serve

SERVICE = replace(SECRET_CLIENT, kind="preregistered", client_secret=SecretStr(CANARY))
PLACE = Place(
    issuer=ISSUER,
    token_endpoint=f"{ISSUER}/token",
    revocation_endpoint=f"{ISSUER}/revoke",
    resource=URL,
    parameters={"resource": URL},
    scopes=("read", "write"),
    client=SERVICE,
)
SERVER = MCPServer(URL, issuer=ISSUER, client_id="client-1", client_secret=CANARY)
WANTED = Wanted(key=KEY, user_id="ada", server=SERVER, now=NOW)
GOOD: dict[str, Any] = {"access_token": "new", "token_type": "Bearer", "expires_in": 600}
ASSERTION = f"header.{CANARY}.signature"
IDP = replace(SECRET_CLIENT, issuer="https://idp.example.com", client_id="at-the-idp")
JAG = {"access_token": "the-id-jag", "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag", "token_type": "N_A"}

SITE = {
    "https://mcp.example.com/.well-known/oauth-protected-resource/team/mcp": {
        "resource": URL,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["read", "write"],
    },
    f"{ISSUER}/.well-known/oauth-authorization-server": {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "scopes_supported": ["read", "offline_access"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
    },
}


def by_secret() -> Flow[TokenSet]:
    return client_credentials(PLACE, NOW)


def by_assertion() -> Flow[TokenSet]:
    return jwt_bearer(PLACE, ASSERTION, NOW)


def exchanging() -> Flow[str]:
    return exchange_identity(PLACE, f"id-token-{CANARY}", "https://idp.example.com/token", IDP)


ALL = pytest.mark.parametrize("start", [by_secret, by_assertion, exchanging])


def form(request: httpx2.Request) -> dict[str, str]:
    pairs = parse_qs(request.content.decode("ascii"), strict_parsing=True)
    assert all(len(values) == 1 for values in pairs.values())
    return {name: values[0] for name, values in pairs.items()}


def test_client_credentials() -> None:
    """RFC 6749 §4.4.2 with RFC 8707 §2.2: no user, no code, this resource."""
    request = next(by_secret())
    assert str(request.url) == f"{ISSUER}/token"
    assert request.headers["authorization"].startswith("Basic ")
    assert form(request) == {"grant_type": "client_credentials", "resource": URL, "scope": "read write"}


def test_an_assertion() -> None:
    """RFC 7523 §2.1, for this resource; the client authenticates as well where it has something to do so with."""
    expected = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": ASSERTION,
        "resource": URL,
        "scope": "read write",
    }
    assert form(next(by_assertion())) == expected
    public = jwt_bearer(replace(PLACE, client=replace(CLIENT, client_id="workload")), ASSERTION, NOW)
    assert form(next(public)) == expected | {"client_id": "workload"}
    unnamed = next(jwt_bearer(replace(PLACE, client=replace(CLIENT, client_id="")), ASSERTION, NOW))
    assert form(unnamed) == expected
    assert "authorization" not in unnamed.headers


def test_the_exchange_at_the_identity_provider() -> None:
    """RFC 8693 §2.1, SEP-990 §4: the issuer as audience, the MCP server as resource, the client as the identity provider knows it."""
    request = next(exchanging())
    assert str(request.url) == "https://idp.example.com/token"
    assert form(request) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        "audience": ISSUER,
        "resource": URL,
        "scope": "read write",
        "subject_token": f"id-token-{CANARY}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    }
    assert run(exchanging(), answer(JAG))[0] == "the-id-jag"


@pytest.mark.parametrize(
    "wrong",
    [
        {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"},
        {"issued_token_type": None},
        {"access_token": None},
        {"access_token": f"{CANARY} x"},
        {"access_token": CANARY.ljust(16_385, "x")},
    ],
)
def test_something_else_than_an_id_jag(wrong: dict[str, Any]) -> None:
    """An access token of the identity provider's must not be sent to another authorization server."""
    with pytest.raises(TokenEndpointError, match="ID-JAG") as refusal:
        run(exchanging(), answer({**JAG, **wrong}))
    assert CANARY not in chain(refusal.value)


def test_tokens_without_a_refresh_token() -> None:
    """RFC 6749 §4.4.3: the next one comes as this one did, so one that is given all the same is not kept."""
    tokens = run(by_secret(), answer({**GOOD, "refresh_token": CANARY}))[0]
    grant = PLACE.granted(WANTED, tokens, "client_credentials")
    assert grant.tokens == TokenSet(
        access_token=SecretStr("new"), scopes=("read", "write"), obtained_at=NOW, expires_at=NOW + timedelta(minutes=10)
    )
    assert (grant.key, grant.source, grant.scopes_requested) == (KEY, "client_credentials", ("read", "write"))


@pytest.mark.parametrize("code", ["invalid_client", "invalid_grant", "invalid_scope", "unauthorized_client", "unsupported_grant_type"])
@ALL
def test_refusals(start: Callable[[], Flow[object]], code: str) -> None:
    """RFC 6749 §5.2: said once, with the code and nothing else of the answer; not tried again and not in another way (SEP-1933)."""
    with pytest.raises(TokenEndpointError) as refusal:
        run(start(), answer({"error": code, "error_description": CANARY}, 400))
    assert refusal.value.oauth_error == code
    assert CANARY not in chain(refusal.value)


@ALL
def test_a_server_in_trouble(start: Callable[[], Flow[object]]) -> None:
    """Retryable."""
    with pytest.raises(ConnectionFailed):
        run(start(), answer(status=503))


# Where ------------------------------------------------------------------------------------------------------------------------


def test_the_place_is_found_like_a_logins() -> None:
    """Protected resource metadata, then the issuer's; without a word about PKCE, for there will be no code, nor `offline_access`."""
    place, asked = serve(locate(WANTED), SITE)
    assert place == replace(PLACE, revocation_endpoint=None, client=replace(SERVICE, redirect_uri=""))
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("scopes", "wanted", "expected"),
    [(None, (), ("read", "write")), (None, ("admin",), ("admin",)), (("a", "b"), ("admin",), ("a", "b")), ((), ("admin",), ())],
)
def test_which_scopes(scopes: tuple[str, ...] | None, wanted: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """The configured ones as they are; else what the server wants; else all that it lists."""
    asked = replace(WANTED, scopes=wanted, server=SERVER.model_copy(update={"scopes": scopes}))
    assert serve(locate(asked), SITE)[0].scopes == expected


def test_a_grant_that_has_expired_knows_the_place() -> None:
    """Nothing is looked up again; the secret comes from the configuration. After a refusal everything is (the issuer may be another)."""
    stored = replace(GRANT, client=replace(SERVICE, client_secret=None))
    expired = replace(WANTED, previous=stored, scopes=("read",))
    place, asked = serve(locate(expired), SITE)
    assert asked == []
    assert (place.client.client_secret, place.scopes, place.token_endpoint) == (SecretStr(CANARY), ("read",), GRANT.token_endpoint)
    assert len(serve(locate(replace(expired, challenge=BearerChallenge(401))), SITE)[1]) == 2


def test_a_secret_is_not_taken_elsewhere() -> None:
    """The MCP server names another authorization server than the one that the client is registered at."""
    moved = {
        **SITE,
        "https://mcp.example.com/.well-known/oauth-protected-resource/team/mcp": {
            "resource": URL,
            "authorization_servers": ["https://evil.example"],
        },
    }
    with pytest.raises((DiscoveryError, RegistrationError)):
        serve(locate(WANTED), moved)


# A key instead of a secret ----------------------------------------------------------------------------------------------------

RSA = RSAKey.generate_key(2048)
KEYS = [
    (RSA, RSA.as_pem(private=True).decode(), "RS256"),
    *(
        (key, key.as_pem(private=True).decode(), alg)
        for key, alg in [(ECKey.generate_key("P-256"), "ES256"), (ECKey.generate_key("P-384"), "ES384")]
    ),
]


@pytest.mark.parametrize(("key", "text", "algorithm"), KEYS, ids=[algorithm for _, _, algorithm in KEYS])
def test_private_key_jwt(key: RSAKey | ECKey, text: str, algorithm: str) -> None:
    """RFC 7523 §2.2, §3: issuer and subject are the client, the audience is the issuer alone, a minute, a new `jti` each time."""
    client = replace(SERVICE, auth_method="private_key_jwt", client_secret=SecretStr(text))
    sent = [form(next(client_credentials(replace(PLACE, client=client), NOW))) for _ in range(2)]
    assert sent[0]["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in sent[0]
    claims = [jwt.decode(one["client_assertion"], key, algorithms=[algorithm]).claims for one in sent]
    assert {name: claims[0][name] for name in ("iss", "sub", "aud")} == {"iss": "client-1", "sub": "client-1", "aud": ISSUER}
    assert claims[0]["exp"] - claims[0]["iat"] == 60
    assert claims[0]["jti"] != claims[1]["jti"]


def test_a_jwk_names_itself() -> None:
    """RFC 7515 §4.1.4: its `kid` tells the server which of the client's keys it is, and its `alg` is used."""
    jwk = RSAKey.generate_key(2048, {"kid": "2026", "alg": "PS256"}).as_dict(private=True)
    client = replace(
        SERVICE, auth_method="private_key_jwt", client_secret=SecretStr(httpx2.Request("POST", URL, json=jwk).content.decode())
    )
    assertion = form(next(client_credentials(replace(PLACE, client=client), NOW)))["client_assertion"]
    header = jws.extract_compact(assertion.encode()).headers()
    assert (header["kid"], header["alg"]) == ("2026", "PS256")
