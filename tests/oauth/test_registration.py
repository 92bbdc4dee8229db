"""Who we are to an authorization server: registered beforehand, by document, before, or now."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from langchain_mcp_oauth.errors import ConnectionFailed, RegistrationError
from langchain_mcp_oauth.models import ClientRegistration
from langchain_mcp_oauth.oauth.discovery import Discovery
from langchain_mcp_oauth.oauth.registration import choose_client, register
from langchain_mcp_oauth.servers.remote import MCPServer

from .oauth_samples import CANARY, CLIENT, DISCOVERY, ISSUER, NOW, REDIRECT_URI, SECRET_CLIENT, URL, answer, chain, run

DOCUMENT_URL = "https://app.example.com/client.json"
SECRET = SecretStr(CANARY)

NATIVE = "http://127.0.0.1:8917/oauth/callback"


def methods(*names: str) -> Discovery:
    return replace(DISCOVERY, token_endpoint_auth_methods=names)


def choose(
    known: ClientRegistration | None = None, discovery: Discovery = DISCOVERY, *, wanted: tuple[str, ...] = (), **options: Any
) -> ClientRegistration | None:
    return choose_client(discovery, MCPServer(URL, **options), REDIRECT_URI, wanted, known, NOW)


def registered(document: object, discovery: Discovery = DISCOVERY, status: int = 201) -> ClientRegistration:
    return run(register(discovery, REDIRECT_URI, ("read",), NOW), answer(document, status))[0]


def sent(discovery: Discovery = DISCOVERY, redirect_uri: str = REDIRECT_URI, scopes: tuple[str, ...] = ()) -> dict[str, Any]:
    request = next(register(discovery, redirect_uri, scopes, NOW))
    return dict(json.loads(request.content))


# Which client -----------------------------------------------------------------------------------------------------------------


def test_the_order() -> None:
    """MCP authorization, client registration: pre-registered, document where supported, known, else register (None)."""
    everything: dict[str, Any] = {"client_id": "mine", "client_metadata_url": DOCUMENT_URL}
    supported = replace(DISCOVERY, metadata_document_supported=True)
    kinds = [
        choose(CLIENT, supported, **everything),
        choose(CLIENT, supported, client_metadata_url=DOCUMENT_URL),
        choose(CLIENT, DISCOVERY, client_metadata_url=DOCUMENT_URL),
        choose(None, DISCOVERY, client_metadata_url=DOCUMENT_URL),
    ]
    assert [client and client.kind for client in kinds] == ["preregistered", "metadata_document", "dynamic", None]


def test_a_metadata_document_is_a_public_client() -> None:
    """CIMD: the client_id is the document's URL, and goes with every issuer."""
    assert choose(None, replace(DISCOVERY, metadata_document_supported=True), client_metadata_url=DOCUMENT_URL) == ClientRegistration(
        issuer=ISSUER, client_id=DOCUMENT_URL, kind="metadata_document", redirect_uri=REDIRECT_URI
    )


@pytest.mark.parametrize(
    ("options", "supported", "expected"),
    [
        ({}, ("client_secret_basic",), "none"),
        ({}, (), "none"),
        ({"client_secret": SECRET}, ("none", "client_secret_post", "client_secret_basic"), "client_secret_basic"),
        ({"client_secret": SECRET}, ("client_secret_post", "none"), "client_secret_post"),
        ({"client_secret": SECRET}, ("private_key_jwt",), "client_secret_basic"),
        ({"client_secret": SECRET, "client_auth_method": "client_secret_post"}, ("client_secret_basic",), "client_secret_post"),
        ({"client_secret": SECRET, "client_auth_method": "none"}, ("client_secret_basic",), "none"),
    ],
)
def test_how_a_configured_client_authenticates(options: dict[str, Any], supported: tuple[str, ...], expected: str) -> None:
    """As configured; else by what the server lists, basic first (RFC 7591 §2); without a secret not at all."""
    client = choose(None, methods(*supported), client_id="mine", issuer=ISSUER, **options)
    assert client == ClientRegistration(
        issuer=ISSUER,
        client_id="mine",
        client_secret=None if expected == "none" else SECRET,
        auth_method=expected,
        kind="preregistered",
        redirect_uri=REDIRECT_URI,
    )


def test_a_configured_client_is_shown_to_no_other_issuer() -> None:
    """SEP-2352: said, not replaced by a registration; and the secret goes nowhere."""
    with pytest.raises(RegistrationError, match=r"registered at https://old\.example, .* guarded by https://as\.example\.com") as error:
        choose(CLIENT, client_id="mine", client_secret=SECRET, issuer="https://old.example")
    assert CANARY not in chain(error.value)


@pytest.mark.parametrize("issuer", [ISSUER, "https://new.example"])
def test_a_client_for_each_issuer(issuer: str) -> None:
    """The one that was registered there; where the resource has moved to an authorization server without one, that is said."""
    clients = {ISSUER: {"client_id": "here", "client_secret": SECRET}, "https://new.example": {"client_id": "there"}}
    chosen = choose(CLIENT, replace(DISCOVERY, issuer=issuer), clients=clients)
    assert chosen is not None
    assert (chosen.client_id, chosen.client_secret) == (("here", SECRET) if issuer == ISSUER else ("there", None))
    with pytest.raises(RegistrationError, match=r"registered at https://as\.example\.com, https://new\.example, .* guarded by https://x"):
        choose(CLIENT, replace(DISCOVERY, issuer="https://x.example"), clients=clients)


def test_a_method_that_needs_a_secret() -> None:
    """Better said now than by the token endpoint after a person has logged in."""
    with pytest.raises(RegistrationError, match="client_secret_post"):
        choose(client_id="mine", client_auth_method="client_secret_post")


@pytest.mark.parametrize(
    ("change", "usable"),
    [
        ({}, True),
        ({"secret_expires_at": NOW + timedelta(seconds=1)}, True),
        ({"secret_expires_at": NOW}, False),
        ({"secret_expires_at": NOW - timedelta(days=1)}, False),
        ({"issuer": f"{ISSUER}/"}, False),
        ({"redirect_uri": NATIVE}, False),
        ({"kind": "preregistered"}, False),
        ({"kind": "metadata_document"}, False),
    ],
)
def test_when_a_known_client_is_used_again(change: dict[str, Any], *, usable: bool) -> None:
    """SEP-2352, RFC 7591 §3.2.1: at its own issuer, with its own redirect URI, while its secret lasts; a configured one never."""
    known = replace(SECRET_CLIENT, **change)
    assert choose(known) == (known if usable else None)


@pytest.mark.parametrize(
    ("wanted", "usable"), [((), True), (("read",), True), (("write", "read"), True), (("admin",), False), (("read", "admin"), False)]
)
def test_a_known_client_asks_for_what_it_was_registered_with(wanted: tuple[str, ...], *, usable: bool) -> None:
    """RFC 7591 §2, `scope`: a server may refuse any other, so a step-up beyond it needs a new registration."""
    known = replace(CLIENT, scopes=("read", "write"))
    assert choose(known, wanted=wanted) == (known if usable else None)


# What is asked for ------------------------------------------------------------------------------------------------------------


def test_the_registration_request() -> None:
    """RFC 7591 §3.1, and nothing but what the server needs to know."""
    request = next(register(DISCOVERY, REDIRECT_URI, ("read", "write"), NOW, client_name="My agent"))
    assert (request.method, str(request.url)) == ("POST", f"{ISSUER}/register")
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert json.loads(request.content) == {
        "client_name": "My agent",
        "redirect_uris": [REDIRECT_URI],
        "application_type": "web",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": "read write",
    }


def test_the_redirect_uri_keeps_its_spelling() -> None:
    """Authorization servers compare it as a string (RFC 9700 §4.1.3); a URL class would add a slash."""
    assert sent(redirect_uri="http://localhost:3000")["redirect_uris"] == ["http://localhost:3000"]


def test_no_scope_is_no_parameter() -> None:
    """RFC 7591 §2: left out, the server's default applies; an empty one would be no scope at all."""
    assert "scope" not in sent()


@pytest.mark.parametrize(
    ("redirect_uri", "kind"),
    [
        (REDIRECT_URI, "web"),
        (NATIVE, "native"),
        ("http://localhost:1/", "native"),
        ("http://[::1]:1/", "native"),
        ("https://localhost/", "native"),
    ],
)
def test_application_type(redirect_uri: str, kind: str) -> None:
    """SEP-837: native for loopback, web for a remote host."""
    assert sent(redirect_uri=redirect_uri)["application_type"] == kind


@pytest.mark.parametrize(
    ("supported", "asked"),
    [
        (("client_secret_basic",), "client_secret_basic"),
        (("none", "client_secret_post", "client_secret_basic"), "client_secret_basic"),
        (("none", "client_secret_post"), "client_secret_post"),
        (("none", "private_key_jwt"), "none"),
    ],
)
def test_the_method_is_always_asked_for(supported: tuple[str, ...], asked: str) -> None:
    """One that the server lists and we can do; a registration without one is answered with a secret and no word what it is for."""
    assert sent(methods(*supported))["token_endpoint_auth_method"] == asked


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        (None, ["authorization_code", "refresh_token"]),
        (("authorization_code", "refresh_token", "implicit"), ["authorization_code", "refresh_token"]),
        (("authorization_code",), ["authorization_code"]),
        (("implicit",), ["authorization_code"]),
    ],
)
def test_grant_types(listed: tuple[str, ...] | None, asked: list[str]) -> None:
    """SEP-2207: `refresh_token`, unless the server lists its grant types without it."""
    assert sent(replace(DISCOVERY, grant_types=listed))["grant_types"] == asked


# What may come back -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
def test_a_registration(status: int) -> None:
    """RFC 7591 §3.2.1; some answer 200."""
    document = {
        "client_id": "c-1",
        "client_secret": CANARY,
        "client_secret_expires_at": 1_900_000_000,
        "token_endpoint_auth_method": "client_secret_post",
        "issuer": "https://evil.example",
        "redirect_uris": ["https://evil.example/cb"],
    }
    assert registered(document, status=status) == ClientRegistration(
        issuer=ISSUER,
        client_id="c-1",
        client_secret=SECRET,
        auth_method="client_secret_post",
        kind="dynamic",
        redirect_uri=REDIRECT_URI,
        scopes=("read",),
        secret_expires_at=datetime.fromtimestamp(1_900_000_000, UTC),
    )


@pytest.mark.parametrize("left_out", [{}, {"token_endpoint_auth_method": None}, {"token_endpoint_auth_method": ""}])
@pytest.mark.parametrize(
    ("secret", "supported", "method"),
    [
        (None, ("client_secret_basic",), "none"),
        ("", ("client_secret_basic",), "none"),
        (CANARY, ("client_secret_basic",), "client_secret_basic"),
        (CANARY, ("client_secret_post",), "client_secret_post"),
        (CANARY, ("none",), "client_secret_basic"),
    ],
)
def test_a_method_that_was_left_out(left_out: dict[str, Any], secret: str | None, supported: tuple[str, ...], method: str) -> None:
    """RFC 7591 §2: basic, if a secret came; post where that is what the server lists; without a secret none."""
    client = registered({"client_id": "c-1", "client_secret": secret, **left_out}, methods(*supported))
    assert client.auth_method == method
    assert (client.client_secret is None) == (method == "none")


def test_scopes_that_are_refused_are_left_out() -> None:
    """A server that refuses metadata with scopes it does not know is asked once more without; without scopes it is asked once."""
    refused, granted = answer({"error": "invalid_client_metadata"}, 400), answer({"client_id": "c-1"}, 201)
    client, asked = run(register(DISCOVERY, REDIRECT_URI, ("read", "unknown"), NOW), refused, granted)
    assert client.scopes == ("read", "unknown")
    assert [json.loads(request.content).get("scope") for request in asked] == ["read unknown", None]
    for scopes, answers in (((), [refused]), (("read",), [refused, refused])):
        with pytest.raises(RegistrationError) as error:
            run(register(DISCOVERY, REDIRECT_URI, scopes, NOW), *answers)
        assert error.value.oauth_error == "invalid_client_metadata"


def test_a_secret_for_a_public_client_is_not_kept() -> None:
    """A secret that is never sent is one more to lose."""
    client = registered({"client_id": "c-1", "client_secret": CANARY, "token_endpoint_auth_method": "none"})
    assert client == replace(CLIENT, client_id="c-1", scopes=("read",))


@pytest.mark.parametrize("expiry", [0, "0", None, "", "never", -1, 3600, 1e300, 10**400, True, [], {}, NOW.timestamp()])
def test_an_expiry_that_is_no_time_to_come_is_none(expiry: object) -> None:
    """RFC 7591 §3.2.1: 0 is never; so is what cannot be true of a secret given now, or each login would register anew."""
    assert registered({"client_id": "c-1", "client_secret": CANARY, "client_secret_expires_at": expiry}).secret_expires_at is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"client_id": ""},
        {"client_id": None},
        {"client_id": 7},
        {"client_id": ["c-1"]},
        {"client_id": f"{CANARY} x"},
        {"client_id": f"{CANARY}\n"},
        {"client_id": f"{CANARY}é"},
        {"client_id": CANARY.ljust(513, "x")},
        {"client_id": "c-1", "token_endpoint_auth_method": f"private_key_{CANARY}"},
        {"client_id": "c-1", "token_endpoint_auth_method": 7},
        {"client_id": "c-1", "token_endpoint_auth_method": ["none"]},
        {"client_id": "c-1", "token_endpoint_auth_method": "client_secret_basic"},
        {"client_id": "c-1", "token_endpoint_auth_method": "client_secret_post", "client_secret": ""},
        {"client_id": "c-1", "client_secret": f"{CANARY}\r\n"},
        {"client_id": "c-1", "client_secret": {"x": CANARY}},
        {"client_id": "c-1", "client_secret": CANARY.ljust(4_097, "x")},
    ],
)
def test_unusable_registrations(document: dict[str, Any]) -> None:
    """R22: 1 to 512 visible characters of id, a method we can do, a secret if it needs one; else it is said what to configure."""
    with pytest.raises(RegistrationError, match=f"{ISSUER} .*cannot be used.*`client_id`") as error:
        registered(document)
    assert CANARY not in chain(error.value)


def test_the_longest_registration() -> None:
    """512 characters of id and 4,096 of secret can be used."""
    client = registered({"client_id": "i" * 512, "client_secret": "s" * 4_096})
    assert client.client_id == "i" * 512
    assert client.client_secret == SecretStr("s" * 4_096)


@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 405])
@pytest.mark.parametrize("body", [f"<html>{CANARY}", f'{{"error": "{CANARY}"}}', f'{{"error_description": "{CANARY}"}}', "[]", "", "{}"])
def test_a_refusal_in_whatever_form(status: int, body: str) -> None:
    """RFC 7591 §3.2.2; nothing of the body is repeated, no redirect followed, and the message says what to configure."""
    with pytest.raises(RegistrationError, match=rf"refused .*\({status}\)\. .*`client_id`") as error:
        registered(body, status=status)
    assert CANARY not in chain(error.value)
    assert error.value.oauth_error is None


@pytest.mark.parametrize("code", ["invalid_redirect_uri", "invalid_software_statement", "unapproved_software_statement", "access_denied"])
def test_a_refusal_with_its_reason(code: str) -> None:
    """RFC 7591 §3.2.2: MUST cope with refused redirect URIs, and say so usefully."""
    with pytest.raises(RegistrationError, match=rf"\({code}\)\. .*`client_id`") as error:
        registered({"error": code, "error_description": CANARY}, status=400)
    assert error.value.oauth_error == code
    assert (REDIRECT_URI in str(error.value)) == (code == "invalid_redirect_uri")
    assert CANARY not in chain(error.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble(status: int) -> None:
    """Retryable: nothing was refused."""
    flow = register(DISCOVERY, REDIRECT_URI, (), NOW)
    next(flow)
    with pytest.raises(ConnectionFailed) as failure:
        flow.send(httpx2.Response(status, headers={"Retry-After": "30"}))
    assert failure.value.retry_after == 30.0


@pytest.mark.parametrize("supported", [False, True])
def test_no_registration_endpoint(supported: bool) -> None:
    """Nothing is sent anywhere, least of all to a guessed endpoint; the message says what to configure."""
    with pytest.raises(RegistrationError, match="`client_id`") as error:
        next(register(replace(DISCOVERY, registration_endpoint=None, metadata_document_supported=supported), REDIRECT_URI, (), NOW))
    assert ("`client_metadata_url`" in str(error.value)) == supported


def test_no_method_in_common() -> None:
    """Found out before anything is registered."""
    with pytest.raises(RegistrationError, match="none of the ways"):
        next(register(methods("private_key_jwt", "tls_client_auth"), REDIRECT_URI, (), NOW))


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(max_size=3), max_size=2)
fields = ["client_id", "client_secret", "token_endpoint_auth_method", "client_secret_expires_at"]


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(fields, values)))
def test_any_answer_gives_a_client_or_our_error(document: dict[str, Any]) -> None:
    """Whatever the fields hold."""
    try:
        client = registered(document)
    except RegistrationError:
        return
    assert client.client_id == document["client_id"]
    assert (client.auth_method == "none") == (client.client_secret is None)
