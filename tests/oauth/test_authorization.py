"""The front channel: which scopes, the URL a person opens, and what their browser comes back with."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from langchain_mcp_oauth.errors import CallbackError, IssuerMismatchError, UnsafeURLError
from langchain_mcp_oauth.models import AuthorizationRequest, ClientRegistration, Reason, RequestStatus
from langchain_mcp_oauth.oauth.authorization import (
    Callback,
    build_authorization_request,
    check_issuer,
    choose_scopes,
    is_as_configured,
    parse_callback,
)
from langchain_mcp_oauth.oauth.discovery import Discovery
from langchain_mcp_oauth.servers.remote import MCPServer

from .oauth_samples import CANARY, CLIENT, DISCOVERY, ISSUER, KEY, NOW, REDIRECT_URI, REQUEST, SECRET_CLIENT, URL, chain


def build(
    discovery: Discovery = DISCOVERY,
    scopes: tuple[str, ...] = (),
    random: Callable[[int], str] = secrets.token_urlsafe,
    client: ClientRegistration = CLIENT,
    **options: Any,
) -> AuthorizationRequest:
    return build_authorization_request(
        key=KEY,
        reason=Reason.STEP_UP,
        server=MCPServer(URL, **options),
        discovery=discovery,
        client=client,
        scopes=scopes,
        redirect_uri=REDIRECT_URI,
        now=NOW,
        lifetime=timedelta(minutes=10),
        random=random,
    )


def parameters(request: AuthorizationRequest) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(request.authorization_url.get_secret_value()).query, keep_blank_values=True, strict_parsing=True)


# Scopes -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "wanted", "listed", "offline", "expected"),
    [
        (None, (), (), False, ()),
        (None, (), (), True, ()),
        (None, (), ("a", "b"), False, ("a", "b")),
        (None, (), ("a", "b"), True, ("a", "b", "offline_access")),
        (None, ("c",), ("a", "b"), False, ("c",)),
        (None, ("c",), ("a", "b"), True, ("c", "offline_access")),
        (None, ("offline_access", "c", "c"), (), True, ("offline_access", "c")),
        (("x",), ("c",), ("a", "b"), True, ("x",)),
        (("x", "x"), (), (), False, ("x",)),
        (("x", "offline_access"), (), (), True, ("x", "offline_access")),
        ((), ("c",), ("a",), True, ()),
    ],
)
def test_choose_scopes(
    configured: tuple[str, ...] | None, wanted: tuple[str, ...], listed: tuple[str, ...], expected: tuple[str, ...], *, offline: bool
) -> None:
    """MCP scope selection: configured ones are a ceiling; else the challenge's, else the resource's, else none. SEP-2207 for the rest."""
    discovery = replace(DISCOVERY, resource_scopes=listed, offline_access=offline)
    assert choose_scopes(MCPServer(URL, scopes=configured), discovery, wanted) == expected


# The request ------------------------------------------------------------------------------------------------------------------


def test_the_url() -> None:
    """RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2.1: these parameters, each once, and no others."""
    request = build(scopes=("read", "files:write"))
    digest = hashlib.sha256(request.code_verifier.get_secret_value().encode()).digest()
    assert request.authorization_url.get_secret_value().startswith(f"{ISSUER}/authorize?")
    assert sorted(parameters(request)) == [
        ("client_id", "client-1"),
        ("code_challenge", base64.urlsafe_b64encode(digest).rstrip(b"=").decode()),
        ("code_challenge_method", "S256"),
        ("redirect_uri", REDIRECT_URI),
        ("resource", URL),
        ("response_type", "code"),
        ("scope", "read files:write"),
        ("state", request.state.get_secret_value()),
    ]


def test_what_is_recorded_before_the_url_leaves() -> None:
    """RFC 9700 §4.4, RFC 9207 §2.4: everything the callback will need, from discovery, so that it needs none of its own."""
    discovery = replace(DISCOVERY, iss_required=True)
    request = build(discovery, ("read",))
    assert request == AuthorizationRequest(
        auth_id=request.auth_id,
        key=KEY,
        status=RequestStatus.PENDING,
        reason=Reason.STEP_UP,
        state=request.state,
        code_verifier=request.code_verifier,
        authorization_url=request.authorization_url,
        issuer=ISSUER,
        iss_required=True,
        token_endpoint=f"{ISSUER}/token",
        revocation_endpoint=f"{ISSUER}/revoke",
        resource=URL,
        scopes=("read",),
        redirect_uri=REDIRECT_URI,
        client=CLIENT,
        created_at=NOW,
        expires_at=NOW + timedelta(minutes=10),
    )


def test_state_and_verifier_are_random_and_their_own() -> None:
    """RFC 9700 §2.1.1, RFC 7636 §7.1: 256 bits each, in 43 characters; the public handle is neither of them."""
    asked: list[int] = []

    def random(size: int) -> str:
        asked.append(size)
        return secrets.token_urlsafe(size)

    one, other = build(random=random), build(random=random)
    values = [secret.get_secret_value() for request in (one, other) for secret in (request.state, request.code_verifier)]
    assert sorted(asked) == [16, 16, 32, 32, 32, 32]
    assert [len(value) for value in values] == [43] * 4
    assert len({*values, one.auth_id, other.auth_id}) == 6


def test_secrets_are_starred() -> None:
    """A logged request shows neither state nor verifier nor URL."""
    request = replace(build(random=lambda size: CANARY), auth_id="a", client=SECRET_CLIENT)
    assert CANARY not in repr(request)
    assert CANARY not in str(request)


def test_the_endpoints_own_query_is_kept() -> None:
    """RFC 6749 §3.1: MUST be retained; one `?`."""
    request = build(replace(DISCOVERY, authorization_endpoint=f"{ISSUER}/authorize?tenant=a%20b&empty="))
    assert parameters(request)[:2] == [("tenant", "a b"), ("empty", "")]
    assert request.authorization_url.get_secret_value().count("?") == 1


OURS = ["response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method", "resource", "prompt"]


@pytest.mark.parametrize("value", ["=x", "=", ""])
@pytest.mark.parametrize("name", [*OURS, "%73tate"])
def test_an_endpoint_with_one_of_our_parameters_is_refused(name: str, value: str) -> None:
    """RFC 6749 §3.1: no parameter twice; the server would choose which of the two counts."""
    with pytest.raises(UnsafeURLError, match="ours to set"):
        build(replace(DISCOVERY, authorization_endpoint=f"{ISSUER}/authorize?a=b&{name}{value}"))


@pytest.mark.parametrize("endpoint", ["javascript:alert(1)", "http://as.example.com/authorize", f"{ISSUER}/authorize#x", f"{ISSUER}/$(id)"])
def test_no_url_leaves_that_the_rule_refuses(endpoint: str) -> None:
    """MCP security best practices: checked where it is made, whatever it was made from."""
    with pytest.raises(UnsafeURLError, match="authorization_endpoint"):
        build(replace(DISCOVERY, authorization_endpoint=endpoint))


def test_a_url_is_at_most_16_kib() -> None:
    """Browsers and proxies cut or refuse longer ones."""
    room = 16_384 - len(build(scopes=("x",)).authorization_url.get_secret_value())
    assert len(build(scopes=("x" * (room + 1),)).authorization_url.get_secret_value()) == 16_384
    with pytest.raises(UnsafeURLError, match="16,384"):
        build(scopes=("x" * (room + 2),))


@pytest.mark.parametrize(("scopes", "prompt"), [((), []), (("read",), []), (("read", "offline_access"), ["consent"])])
def test_prompt(scopes: tuple[str, ...], prompt: list[str]) -> None:
    """OpenID Connect Core §11: `offline_access` needs `prompt=consent`; nothing else does."""
    assert [value for name, value in parameters(build(scopes=scopes)) if name == "prompt"] == prompt


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"resource": URL, "prompt": "consent"}),
        ({"send_resource": False}, {"prompt": "consent"}),
        ({"authorization_parameters": {"prompt": None}}, {"resource": URL}),
        ({"authorization_parameters": {"prompt": "login consent"}}, {"resource": URL, "prompt": "login consent"}),
        ({"authorization_parameters": {"audience": "https://api"}}, {"resource": URL, "prompt": "consent", "audience": "https://api"}),
    ],
)
def test_parameters_of_the_operators_own(options: dict[str, Any], expected: dict[str, str]) -> None:
    """They are added, or take the place of `prompt` alone; without `send_resource` there is no `resource`."""
    names = {"resource", "prompt", "audience"}
    assert {name: value for name, value in parameters(build(scopes=("offline_access",), **options)) if name in names} == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"send_resource": False}),
        ({"send_resource": False}, {}),
        ({}, {"authorization_parameters": {"audience": "https://api"}}),
        ({}, {"authorization_parameters": {"prompt": None}}),
        ({"authorization_parameters": {"prompt": None}}, {}),
        ({"authorization_parameters": {"audience": "https://api"}}, {}),
        ({"authorization_parameters": {"audience": "https://api"}}, {"authorization_parameters": {"audience": "https://b"}}),
        ({}, {"scopes": ["read"]}),
    ],
)
def test_a_request_of_other_options_is_told(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Whoever has changed an option gets a new URL, not the one that did not work."""
    request = build(scopes=("offline_access",), **before)
    assert is_as_configured(request, MCPServer(URL, **before))
    assert not is_as_configured(request, MCPServer(URL, **after))


visible = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)


@given(visible, visible)
def test_no_value_can_break_out_of_its_parameter(scope: str, client_id: str) -> None:
    """Whatever scope or client_id says, the URL has the same parameters and obeys the rule for URLs."""
    values = parameters(build(scopes=(scope,), client=replace(CLIENT, client_id=client_id)))
    assert ("scope", scope) in values
    assert ("client_id", client_id) in values
    assert {name for name, _ in values} - {"prompt"} == {name for name, _ in parameters(build(scopes=("x",)))}


# The callback -----------------------------------------------------------------------------------------------------------------

STATE, CODE = f"state-{CANARY}", f"code-{CANARY}"


def callback(**fields: str) -> str:
    return f"{REDIRECT_URI}?{urlencode(fields)}"


@pytest.mark.parametrize(
    "text",
    [
        f"{REDIRECT_URI}?code={CODE}&state={STATE}",
        f"  {REDIRECT_URI}?code={CODE}&state={STATE}\n",
        f"http://127.0.0.1:8917/cb?code={CODE}&state={STATE}#_=_",
        f"/oauth/callback?state={STATE}&code={CODE}",
        f"//app.example.com/oauth/callback?state={STATE}&code={CODE}",
        f"?code={CODE}&state={STATE}",
        f"code={CODE}&state={STATE}",
        f"code={CODE}&state={STATE}#_=_",
        f"{REDIRECT_URI}?tenant=1&code={CODE}&state={STATE}&session_state=x&scope=a+b",
        f"https://app.example.com/a=b/cb?code={CODE}&state={STATE}",
        f"{REDIRECT_URI}?code={quote(CODE)}&state={STATE}&flag",
    ],
)
def test_a_callback_with_a_code(text: str) -> None:
    """RFC 6749 §4.1.2: a whole URL, a path or a query string, as a route or a person hands it over."""
    assert parse_callback(text) == Callback(state=SecretStr(STATE), code=SecretStr(CODE))


def test_values_are_decoded_once() -> None:
    """RFC 6749 appendix B: form encoding, UTF-8."""
    answer = parse_callback(callback(state="a+b c&d=e?f%20", code="é%2B", iss=f"{ISSUER}/?x=1&y=2"))
    assert answer == Callback(state=SecretStr("a+b c&d=e?f%20"), code=SecretStr("é%2B"), iss=f"{ISSUER}/?x=1&y=2")


def test_a_bare_query_may_hold_a_question_mark() -> None:
    """RFC 3986 §3.4 allows it in a query."""
    assert parse_callback("code=a?b&state=c") == Callback(state=SecretStr("c"), code=SecretStr("a?b"))


@pytest.mark.parametrize(
    ("error", "code"),
    [("access_denied", "access_denied"), ("server_error", "server_error"), (f"<b>{CANARY}</b>", None), ("Access-Denied", None), ("", None)],
)
def test_a_callback_with_an_error(error: str, code: str | None) -> None:
    """RFC 6749 §4.1.2.1: an answer like the other; only a code of the registered form is kept, and no description."""
    more = {"error_description": CANARY, "error_uri": f"https://evil.example/{CANARY}", "iss": "x"}
    answer = parse_callback(callback(state=STATE, error=error, **more))
    assert answer == Callback(state=SecretStr(STATE), error=code, iss="x")


def test_a_callback_is_starred() -> None:
    """A logged callback shows nothing that came from outside but a well-formed error code."""
    answer = parse_callback(callback(state=STATE, code=CODE, iss=f"https://{CANARY}.example"))
    assert CANARY not in repr(answer)
    assert CANARY not in str(answer)


BROKEN = {
    "empty": "",
    "no query": REDIRECT_URI,
    "only a word": CANARY,
    "no state": callback(code=CODE),
    "empty state": callback(code=CODE, state=""),
    "no code and no error": callback(state=STATE, iss=CANARY),
    "empty code": callback(state=STATE, code=""),
    "code and error": callback(state=STATE, code=CODE, error="access_denied"),
    "code and empty error": callback(state=STATE, code=CODE, error=""),
    "state twice": f"{callback(state=STATE, code=CODE)}&state={STATE}",
    "code twice": f"{callback(state=STATE, code=CODE)}&code=other",
    "iss twice": f"{callback(state=STATE, code=CODE, iss=ISSUER)}&iss=https://evil.example",
    "any parameter twice": f"{callback(state=STATE, code=CODE)}&x=1&x=1",
    "twice, once encoded": f"{callback(state=STATE, code=CODE)}&%63ode=other",
    "21 parameters": callback(state=STATE, code=CODE, **{f"x{number}": "" for number in range(19)}),
    "too long": callback(state=STATE, code=CODE).ljust(16_385, "x"),
    "not UTF-8": f"{callback(state=STATE, code=CODE)}&x=%ff",
    "control character": f"{callback(state=STATE, code=CODE)}\x00",
    "line break inside": f"{REDIRECT_URI}?code={CODE}\n&state={STATE}",
    "not ASCII": f"{callback(state=STATE, code=CODE)}é",
    "lone surrogate": f"{callback(state=STATE, code=CODE)}\ud800",
    "broken host": f"https://[::1?code={CODE}&state={STATE}",
    "in the fragment": f"{REDIRECT_URI}#code={CODE}&state={STATE}",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_broken_callbacks(text: str) -> None:
    """RFC 6749 §3.1, §4.1.2: refused before anything is looked up, without repeating a word of them."""
    with pytest.raises(CallbackError) as error:
        parse_callback(text)
    assert CANARY not in chain(error.value)


def test_16_kib_are_not_too_long() -> None:
    """Some codes are long."""
    assert parse_callback(callback(state=STATE, code=CODE).ljust(16_384, "x")).state == SecretStr(STATE)


def test_20_parameters_are_not_too_many() -> None:
    """The bound is on nonsense, not on servers that add a few of their own."""
    assert parse_callback(callback(state=STATE, code=CODE, **{f"x{number}": "" for number in range(18)})).code == SecretStr(CODE)


pieces = st.sampled_from(["state=a", "code=b", "error=c", "iss=d", "&", "=", "?", "#", "/", "//", "%41", "https://h", "[", ":", "\n"])


@given(st.one_of(st.text(), st.lists(pieces, max_size=12).map("".join)))
def test_any_text_is_a_callback_or_our_error(text: str) -> None:
    """Nothing else is raised, and what comes out is one answer or the other."""
    try:
        answer = parse_callback(text)
    except CallbackError:
        return
    assert answer.state.get_secret_value()
    assert answer.code is None or answer.error is None
    assert "error" in text or answer.code is not None


# The issuer -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [{"code": SecretStr(CODE)}, {"error": "access_denied"}, {}], ids=["code", "error", "odd error"])
@pytest.mark.parametrize(
    ("iss", "advertised", "accepted"),
    [
        (ISSUER, True, True),
        (ISSUER, False, True),
        (None, False, True),
        (None, True, False),
        ("https://evil.example", True, False),
        ("https://evil.example", False, False),
        (f"{ISSUER}/", True, False),
        (f"{ISSUER}:443", False, False),
        ("https://AS.example.com", False, False),
        ("", False, False),
    ],
)
def test_check_issuer(answer: dict[str, Any], iss: str | None, *, advertised: bool, accepted: bool) -> None:
    """RFC 9207 §2.4 as MCP makes it a table: present, it must be identical; advertised, it must be present; for errors as for codes."""
    came, request = Callback(state=SecretStr(STATE), iss=iss, **answer), replace(REQUEST, iss_required=advertised)
    if accepted:
        check_issuer(came, request)
        return
    with pytest.raises(IssuerMismatchError, match="RFC 9207") as error:
        check_issuer(came, request)
    assert "evil" not in chain(error.value)
    assert CANARY not in chain(error.value)


def test_the_issuer_is_compared_as_it_was_published() -> None:
    """RFC 9207 §2.4: simple string comparison, also where a URL class would see no difference."""
    issuer = "https://AS.Example.com:443"
    check_issuer(Callback(state=SecretStr(STATE), code=SecretStr(CODE), iss=issuer), replace(REQUEST, issuer=issuer, client=SECRET_CLIENT))
