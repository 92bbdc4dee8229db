"""Who guards an MCP server: RFC 9728, then RFC 8414 or OpenID Connect Discovery, to the letter and without guessing."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_mcp_oauth.errors import ConnectionFailed, DiscoveryError, MCPOAuthError, UnsafeURLError
from langchain_mcp_oauth.models import BearerChallenge
from langchain_mcp_oauth.oauth.discovery import Discovery, discover
from langchain_mcp_oauth.servers.remote import MCPServer

from .oauth_samples import CANARY, ISSUER, URL, answer, chain, serve

ORIGIN = "https://mcp.example.com"
AT_PATH = f"{ORIGIN}/.well-known/oauth-protected-resource/team/mcp"
AT_ROOT = f"{ORIGIN}/.well-known/oauth-protected-resource"
RFC8414 = f"{ISSUER}/.well-known/oauth-authorization-server"
OIDC = f"{ISSUER}/.well-known/openid-configuration"
OWN = f"{ORIGIN}/.well-known/oauth-authorization-server"

RESOURCE: dict[str, Any] = {"resource": URL, "authorization_servers": [ISSUER]}


def metadata(issuer: str = ISSUER, **more: Any) -> dict[str, Any]:
    endpoints = {"authorization_endpoint": f"{issuer}/authorize", "token_endpoint": f"{issuer}/token"}
    return {"issuer": issuer, **endpoints, "code_challenge_methods_supported": ["S256"], **more}


SITE: dict[str, Any] = {AT_PATH: RESOURCE, RFC8414: metadata()}
FOUND = Discovery(resource=URL, issuer=ISSUER, authorization_endpoint=f"{ISSUER}/authorize", token_endpoint=f"{ISSUER}/token")


def found(site: dict[str, Any], challenge: BearerChallenge | None = None, **options: Any) -> tuple[Discovery, list[str]]:
    return serve(discover(MCPServer(URL, **options), challenge), site)


def refusal(site: dict[str, Any], error: type[MCPOAuthError] = DiscoveryError, **options: Any) -> str:
    with pytest.raises(error) as refused:
        found(site, **options)
    assert CANARY not in chain(refused.value)
    return str(refused.value)


# Where it looks ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_made_up() -> None:
    """Two documents with what they must have give that, and the defaults of RFC 8414 §2 and RFC 9728 §2."""
    assert found(SITE) == (FOUND, [AT_PATH, RFC8414])


def test_everything_that_the_documents_say() -> None:
    """RFC 8414 §2, RFC 9207 §3, RFC 8628 §4, RFC 9449 §5.1, RFC 9728 §2, CIMD, SEP-2207."""
    more = {
        "registration_endpoint": f"{ISSUER}/register",
        "revocation_endpoint": f"{ISSUER}/revoke",
        "scopes_supported": ["openid", "offline_access"],
        "grant_types_supported": ["authorization_code"],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
        "device_authorization_endpoint": f"{ISSUER}/device",
        "dpop_signing_alg_values_supported": ["ES256", 7],
    }
    resource = {**RESOURCE, "scopes_supported": ["read", "write"], "dpop_bound_access_tokens_required": True}
    site = {AT_PATH: resource, RFC8414: metadata(**more)}
    assert found(site)[0] == Discovery(
        resource=URL,
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}/authorize",
        token_endpoint=f"{ISSUER}/token",
        registration_endpoint=f"{ISSUER}/register",
        device_authorization_endpoint=f"{ISSUER}/device",
        dpop_required=True,
        dpop_algorithms=("ES256",),
        revocation_endpoint=f"{ISSUER}/revoke",
        resource_scopes=("read", "write"),
        offline_access=True,
        iss_required=True,
        token_endpoint_auth_methods=("none", "private_key_jwt"),
        grant_types=("authorization_code",),
        metadata_document_supported=True,
    )


def test_requests_are_plain_gets() -> None:
    """RFC 9728 §3.1, RFC 8414 §3.1: GET, with no credentials of any kind."""
    request = next(discover(MCPServer(URL, headers={"X-Api-Key": CANARY}), None))
    assert request.method == "GET"
    assert not {"authorization", "cookie", "x-api-key"} & set(request.headers)


def test_the_challenge_is_looked_at_first() -> None:
    """RFC 9728 §5.1: `resource_metadata` outranks the well-known places."""
    odd = f"{ORIGIN}/somewhere/odd.json"
    assert found({odd: RESOURCE, RFC8414: metadata()}, BearerChallenge(401, resource_metadata=odd)) == (FOUND, [odd, RFC8414])


def test_without_it_the_path_then_the_root() -> None:
    """SEP-985; where the challenge's place has nothing, too. No place is asked twice."""
    root = {**RESOURCE, "resource": ORIGIN}
    discovery, asked = found({AT_ROOT: root, RFC8414: metadata()}, BearerChallenge(401, resource_metadata=AT_PATH))
    assert asked == [AT_PATH, AT_ROOT, RFC8414]
    assert discovery.resource == ORIGIN


def test_resource_metadata_on_another_origin_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """Not even asked, so a challenge cannot make us contact anybody; the server's own well-known places decide. It is logged."""
    elsewhere = "https://evil.example/prm"
    with caplog.at_level(logging.WARNING):
        discovery, asked = found({**SITE, elsewhere: RESOURCE}, BearerChallenge(401, resource_metadata=f"{elsewhere}?{CANARY}"))
    assert (discovery, asked) == (FOUND, [AT_PATH, RFC8414])
    assert elsewhere in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("issuer", "places"),
    [
        (ISSUER, [RFC8414, OIDC]),
        (f"{ISSUER}/", [RFC8414, OIDC]),
        (f"{ISSUER}/t1", [f"{RFC8414}/t1", f"{OIDC}/t1", f"{ISSUER}/t1/.well-known/openid-configuration"]),
    ],
)
def test_metadata_is_looked_for_in_the_order_of_the_specification(issuer: str, places: list[str]) -> None:
    """MCP authorization, authorization server metadata discovery: three places with a path, two without; the last one is enough."""
    site = {AT_PATH: {**RESOURCE, "authorization_servers": [issuer]}, places[-1]: metadata(issuer)}
    discovery, asked = found(site)
    assert asked == [AT_PATH, *places]
    assert discovery.issuer == issuer


@pytest.mark.parametrize(
    "nothing",
    [
        httpx2.Response(301, headers={"Location": "https://evil.example/"}),
        httpx2.Response(401),
        httpx2.Response(404),
        httpx2.Response(410),
        httpx2.Response(204),
        answer("<!doctype html>"),
        answer(["not", "an", "object"]),
        answer(""),
    ],
    ids=["redirect", "401", "404", "410", "204", "web page", "array", "empty"],
)
def test_no_document_means_the_next_place(nothing: httpx2.Response) -> None:
    """SEP-985; redirects are not followed, and sites that answer every path with their web page are common."""
    site = {AT_PATH: nothing, AT_ROOT: {**RESOURCE, "resource": ORIGIN}, RFC8414: nothing, OIDC: metadata()}
    assert found(site)[1] == [AT_PATH, AT_ROOT, RFC8414, OIDC]


# Strings are compared as they stand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", ["https://MCP.example.com:443/team/mcp", "https://mcp.example.com", f"{URL}/"])
def test_the_resource_keeps_its_spelling(resource: str) -> None:
    """RFC 8707 §2: what the metadata published goes into the requests, byte for byte."""
    assert found({**SITE, AT_PATH: {**RESOURCE, "resource": resource}})[0].resource == resource


def test_the_issuer_keeps_its_spelling() -> None:
    """RFC 9207 §2.4 compares it with `iss` byte for byte; a URL class would lower the host and drop the port."""
    issuer = "https://AS.Example.com:443"
    place = f"{issuer}/.well-known/oauth-authorization-server"
    site = {AT_PATH: {**RESOURCE, "authorization_servers": [issuer]}, str(httpx2.URL(place)): metadata(issuer)}
    discovery, _ = found(site)
    assert discovery.issuer == issuer
    assert discovery.token_endpoint == f"{issuer}/token"


@pytest.mark.parametrize("other", [f"{ISSUER}/", "https://AS.example.com", f"{ISSUER}:443", "https://evil.example", None, 1])
def test_another_issuers_metadata_is_not_used(other: object) -> None:
    """RFC 8414 §3.3, SEP-2468: identical, by simple string comparison; and no other place is tried then."""
    message = refusal({**SITE, RFC8414: {**metadata(), "issuer": other}, OIDC: metadata()})
    assert RFC8414 in message
    assert "RFC 8414 §3.3" in message


@pytest.mark.parametrize(
    "resource", ["https://evil.example/mcp", f"{ORIGIN}/other", f"{URL}/tool", "https://mcp.example.com:8443/team/mcp"]
)
def test_metadata_of_another_resource_is_not_used(resource: str) -> None:
    """RFC 9728 §3.3: else a hostile server could name an honest one's resource and be given its token."""
    assert AT_PATH in refusal({**SITE, AT_PATH: {**RESOURCE, "resource": resource}, AT_ROOT: RESOURCE})


# The choice of the issuer -----------------------------------------------------------------------------------------------------


def test_the_first_issuer_is_taken() -> None:
    """RFC 9728 §7.6 leaves the choice to the client; the others are not even asked."""
    site = {**SITE, AT_PATH: {**RESOURCE, "authorization_servers": [ISSUER, "https://other.example"]}}
    assert found(site)[1] == [AT_PATH, RFC8414]


def test_the_configured_issuer_is_taken() -> None:
    """`MCPServer.issuer` chooses among those that the resource names."""
    site = {**SITE, AT_PATH: {**RESOURCE, "authorization_servers": ["https://other.example", ISSUER]}}
    assert found(site, issuer=ISSUER) == (FOUND, [AT_PATH, RFC8414])


def test_a_configured_issuer_that_the_resource_does_not_name() -> None:
    """Said, not overruled: the token would be of no use, and the operator wants to know that the server has moved."""
    message = refusal(SITE, issuer=f"{ISSUER}/")
    assert f"{ISSUER}/" in message
    assert "`issuer`" in message


@pytest.mark.parametrize(
    "issuer",
    [
        "http://as.example.com",
        "https://user@as.example.com",
        "javascript:alert(1)",
        f"{ISSUER}?tenant=1",
        f"{ISSUER}//evil.example",
        f"{ISSUER}/a/../b",
        f"{ISSUER}/..",
        f"{ISSUER}/%2E%2e/b",
    ],
)
def test_a_bad_issuer_is_refused(issuer: str) -> None:
    """RFC 8414 §2, and no path that would lead to metadata of another place than the issuer's own."""
    refusal({**SITE, AT_PATH: {**RESOURCE, "authorization_servers": [issuer, ISSUER]}}, (UnsafeURLError, DiscoveryError))  # type: ignore[arg-type]


# Without protected resource metadata ------------------------------------------------------------------------------------------


def test_the_configured_issuer_stands_in() -> None:
    """MCP authorization, sequence diagram: without protected resource metadata, pre-configured values; the resource is the URL."""
    assert found({RFC8414: metadata()}, issuer=ISSUER) == (FOUND, [AT_PATH, AT_ROOT, RFC8414])


def test_metadata_may_be_configured() -> None:
    """For authorization servers that publish none: nothing is asked, and what was written obeys the same rules."""
    discovery, asked = found({}, authorization_server=metadata(token_endpoint=f"{ISSUER}/oauth/access_token"))
    assert asked == []
    assert discovery == replace(FOUND, token_endpoint=f"{ISSUER}/oauth/access_token")
    silent = metadata(code_challenge_methods_supported=None)
    assert "assume_pkce=True" in refusal({}, authorization_server=silent)
    assert found({}, authorization_server=silent, assume_pkce=True)[0] == FOUND


def test_a_server_of_2025_03_26_guards_itself() -> None:
    """MCP authorization of 2025-03-26, §2.3: metadata at the server's own origin."""
    discovery, asked = found({OWN: metadata(ORIGIN)})
    assert asked == [AT_PATH, AT_ROOT, OWN]
    assert (discovery.issuer, discovery.resource) == (ORIGIN, URL)


@pytest.mark.parametrize("issuer", [ISSUER, f"{ORIGIN}/team", "http://mcp.example.com", "https://MCP.example.com", None])
def test_but_only_if_its_issuer_is_that_origin(issuer: str | None) -> None:
    """RFC 8414 §3.3; a slash at the end of an origin is the one difference that is none, as nobody named the issuer before."""
    refusal({OWN: {**metadata(ORIGIN), "issuer": issuer}})
    assert found({OWN: metadata(f"{ORIGIN}/")})[0].issuer == f"{ORIGIN}/"


def test_endpoints_are_never_guessed() -> None:
    """Nothing anywhere: the message says where was looked and which option helps."""
    message = refusal({})
    assert f"{ORIGIN}/.well-known/" in message
    assert "`issuer`" in message
    assert "`default_endpoints=True`" in message


def test_the_default_endpoints_of_2025_03_26_on_request() -> None:
    """MCP authorization of 2025-03-26, §2.3.3: at the server's origin, whatever its path, after every other place had nothing."""
    expected = Discovery(
        resource=URL,
        issuer=ORIGIN,
        authorization_endpoint=f"{ORIGIN}/authorize",
        token_endpoint=f"{ORIGIN}/token",
        registration_endpoint=f"{ORIGIN}/register",
    )
    assert found({}, default_endpoints=True) == (expected, [AT_PATH, AT_ROOT, OWN])


@pytest.mark.parametrize("site", [SITE, {OWN: metadata(ORIGIN)}])
def test_metadata_outranks_the_default_endpoints(site: dict[str, Any]) -> None:
    """They are for servers that publish nothing."""
    assert found(site, default_endpoints=True) == found(site)


@pytest.mark.parametrize("site", [{AT_PATH: RESOURCE}, {OWN: metadata(ISSUER)}, {OWN: {}}])
def test_default_endpoints_cover_nobodys_mistake(site: dict[str, Any]) -> None:
    """An issuer without metadata, or metadata that is wrong, is an error as without the option."""
    assert refusal(site, default_endpoints=True) == refusal(site)


def test_no_metadata_of_the_issuer_is_the_end() -> None:
    """MCP authorization: no fallback to the server's own origin once an issuer is named, even if it would offer one."""
    message = refusal({AT_PATH: RESOURCE, OWN: metadata(ORIGIN)})
    assert RFC8414 in message
    assert OIDC in message


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"resource": URL},
        {"resource": URL, "authorization_servers": []},
        {"resource": URL, "authorization_servers": ISSUER},
        {"resource": URL, "authorization_servers": [7]},
        {"resource": URL, "authorization_servers": [None]},
        {"resource": 7, "authorization_servers": [ISSUER]},
        {"resource": "", "authorization_servers": [ISSUER]},
        {"resource": CANARY, "authorization_servers": [ISSUER]},
        {"authorization_servers": [ISSUER], "error": CANARY},
        {**RESOURCE, "scopes_supported": CANARY},
        {**RESOURCE, "scopes_supported": [{"x": CANARY}]},
    ],
)
def test_broken_resource_metadata_is_the_end(document: dict[str, Any]) -> None:
    """A document that is there but wrong is not passed over: whoever broke it would choose what comes next."""
    assert AT_PATH in refusal({**SITE, AT_PATH: document, AT_ROOT: RESOURCE, OWN: metadata(ORIGIN)}, issuer=ISSUER)


@pytest.mark.parametrize("resource", ["https://mcp.example.com/team/mcp#x", "https://u@mcp.example.com/team/mcp", f"{URL}\n"])
def test_a_resource_is_a_url_without_fragment(resource: str) -> None:
    """RFC 8707 §2."""
    refusal({**SITE, AT_PATH: {**RESOURCE, "resource": resource}}, (UnsafeURLError, DiscoveryError))  # type: ignore[arg-type]


# What the authorization server must have --------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["issuer", "authorization_endpoint", "token_endpoint"])
@pytest.mark.parametrize("value", [None, "", 7, [], CANARY])
def test_broken_metadata_is_the_end(field: str, value: object) -> None:
    """RFC 8414 §2 requires these three; no other place is tried, and nothing of the document is repeated."""
    refusal({**SITE, RFC8414: {**metadata(), field: value}, OIDC: metadata()})


FIELDS = ["scopes_supported", "grant_types_supported", "token_endpoint_auth_methods_supported", "code_challenge_methods_supported"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [CANARY, 7, [7], {"S256": True}])
def test_lists_are_lists_of_strings(field: str, value: object) -> None:
    """RFC 8414 §2; `"S256" in "not S256"` must never be asked."""
    assert field in refusal({**SITE, RFC8414: metadata(**{field: value})})


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("field", ["registration_endpoint", "revocation_endpoint", "scopes_supported", "grant_types_supported"])
def test_placeholders_count_as_left_out(field: str, value: object) -> None:
    """RFC 8414 §3.2: what has no value is to be left out; many write `null` or `""` instead."""
    assert found({**SITE, RFC8414: metadata(**{field: value})})[0] == FOUND


def test_fields_we_do_not_use_may_be_wrong() -> None:
    """An empty `service_documentation` is no reason to lock people out."""
    wrong = {"service_documentation": "", "op_policy_uri": 7, "jwks_uri": "no URL", "response_types_supported": None}
    site = {AT_PATH: {**RESOURCE, "resource_documentation": "", "jwks_uri": 7}, RFC8414: metadata(**wrong)}
    assert found(site)[0] == FOUND


ENDPOINTS = ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"]
BAD_URLS = ["javascript:alert(1)", "data:text/html,x", "http://as.example.com/x", "http://10.0.0.1/x", "https://u:p@as.example.com/x"]


@pytest.mark.parametrize("field", ENDPOINTS)
@pytest.mark.parametrize("url", [*BAD_URLS, "https://as.example.com/#x", "https://as.example.com/$(id)", "https://as.example.com/%0a"])
def test_every_endpoint_obeys_the_rule_for_urls(field: str, url: str) -> None:
    """MCP security best practices, URL validation: such metadata is refused, and nothing is guessed instead."""
    with pytest.raises((UnsafeURLError, DiscoveryError), match=field):
        found({**SITE, RFC8414: metadata(**{field: url}), OIDC: metadata()})


def test_loopback_needs_no_tls() -> None:
    """MCP authorization, communication security, for development: everything on loopback may be http."""
    issuer, server = "http://127.0.0.1:9000", MCPServer("http://localhost:8000/mcp")
    site = {
        "http://localhost:8000/.well-known/oauth-protected-resource/mcp": {"resource": server.url, "authorization_servers": [issuer]},
        f"{issuer}/.well-known/oauth-authorization-server": metadata(issuer),
    }
    assert serve(discover(server, None), site)[0].token_endpoint == f"{issuer}/token"


@pytest.mark.parametrize(
    ("methods", "assume_pkce", "helps"),
    [(None, False, "assume_pkce=True"), (["plain"], False, "S256"), ([], False, "S256"), (["plain"], True, "S256")],
)
def test_no_pkce_no_login(methods: list[str] | None, helps: str, *, assume_pkce: bool) -> None:
    """MCP authorization, code protection (MUST refuse); `assume_pkce` is for silence, not for a server that says it cannot."""
    site = {**SITE, RFC8414: metadata(code_challenge_methods_supported=methods)}
    assert helps in refusal(site, assume_pkce=assume_pkce)


def test_pkce_may_be_assumed() -> None:
    """Microsoft Entra ID and Amazon Cognito support it and do not say so."""
    assert found({**SITE, RFC8414: metadata(code_challenge_methods_supported=None)}, assume_pkce=True)[0] == FOUND


@pytest.mark.parametrize("flag", ["client_id_metadata_document_supported", "authorization_response_iss_parameter_supported"])
@pytest.mark.parametrize("value", [False, None])
def test_flags_that_are_not_set(flag: str, value: object) -> None:
    """Absent, null and false are the same."""
    assert found({**SITE, RFC8414: metadata(**{flag: value})})[0] == FOUND


@pytest.mark.parametrize("scopes", [["a b", '"'], ["é"], ["x" * 1001], []])
def test_resource_scopes_that_are_none_are_dropped(scopes: list[str]) -> None:
    """RFC 6749 §3.3; then none are asked for."""
    assert found({**SITE, AT_PATH: {**RESOURCE, "scopes_supported": scopes}})[0].resource_scopes == ()


# Trouble on the way -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("place", [AT_PATH, AT_ROOT, RFC8414, OIDC, OWN])
def test_a_server_in_trouble_is_asked_again_later(place: str, status: int) -> None:
    """Not "nothing here": falling back while a document is out of reach would let an outage choose the authorization server."""
    sites = {
        AT_PATH: {**SITE, AT_ROOT: RESOURCE},
        AT_ROOT: {OWN: metadata(ORIGIN)},
        RFC8414: {**SITE, OIDC: metadata()},
        OIDC: {AT_PATH: RESOURCE},
        OWN: {},
    }
    with pytest.raises(ConnectionFailed, match=f"{place} answered {status}") as failure:
        found({**sites[place], place: httpx2.Response(status, headers={"Retry-After": "9"})})
    assert failure.value.retry_after == 9.0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([URL, ISSUER, "S256", f"{ISSUER}/token"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["resource", "authorization_servers", "scopes_supported"], json_values)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(["issuer", *ENDPOINTS, *FIELDS], json_values)),
    st.booleans(),
)
def test_any_documents_give_a_discovery_or_one_of_our_errors(resource: dict[str, Any], server: dict[str, Any], broken: bool) -> None:
    """However the two documents are broken; in at most six requests, and what comes out obeys the rules."""
    site = {AT_PATH: resource if broken else {**RESOURCE, **resource}, RFC8414: server if broken else {**metadata(), **server}}
    try:
        discovery, asked = found(site)
    except (DiscoveryError, UnsafeURLError):
        return
    assert len(asked) <= 6
    assert discovery.issuer == ISSUER
    assert discovery.token_endpoint.startswith("https://")
