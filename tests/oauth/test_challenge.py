"""`WWW-Authenticate: Bearer …` is read with a tokeniser: no text inside a value can pretend to be a parameter."""

from __future__ import annotations

import logging
import time

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_mcp_oauth.models import BearerChallenge
from langchain_mcp_oauth.oauth import challenge
from langchain_mcp_oauth.oauth.challenge import read_challenge

from .oauth_samples import CANARY

METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"


def response(*fields: str, status: int = 401) -> httpx2.Response:
    return httpx2.Response(status, headers=[(b"WWW-Authenticate", field.encode("latin-1")) for field in fields])


def read(*fields: str, status: int = 401) -> BearerChallenge | None:
    return read_challenge(response(*fields, status=status))


@pytest.mark.parametrize("status", [200, 302, 400, 402, 404, 407, 429, 500, 503])
def test_only_401_and_403_challenge(status: int) -> None:
    """RFC 9110 §15.5.2: other answers are about something else, whatever their header says."""
    assert read('Bearer error="insufficient_scope", scope="x"', status=status) is None


@pytest.mark.parametrize("fields", [(), ("",), ("Basic realm=x",), ("Negotiate abc==",), ('"',)])
def test_a_401_asks_for_authorization_even_without_a_bearer_challenge(fields: tuple[str, ...]) -> None:
    """MCP authorization, protected resource metadata: the header is one way, the well-known places the other."""
    assert read(*fields) == BearerChallenge(401)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((f'DPoP algs="ES256", resource_metadata="{METADATA}"',), BearerChallenge(401, resource_metadata=METADATA, dpop=True)),
        (("Basic realm=x, dpop scope=a",), BearerChallenge(401, scopes=("a",), dpop=True)),
        (('DPoP algs="ES256", Bearer scope=a',), BearerChallenge(401, scopes=("a",))),
        (("DPoP algs=ES256", "Bearer"), BearerChallenge(401)),
    ],
)
def test_a_server_that_takes_no_bearer_token(fields: tuple[str, ...], expected: BearerChallenge) -> None:
    """RFC 9449 §7.1, §7.2: only a server that does not offer Bearer as well insists on DPoP."""
    assert read(*fields) == expected


@pytest.mark.parametrize("field", ["", "Bearer", 'Bearer error="invalid_token"', 'Basic error="insufficient_scope"', 'Bearer scope="x"'])
def test_a_403_is_about_authorization_only_if_it_says_so(field: str) -> None:
    """RFC 6750 §3.1: 403 is `insufficient_scope`; every other 403 is the caller's."""
    assert read(field, status=403) is None


def test_insufficient_scope() -> None:
    """RFC 6750 §3.1, SEP-835."""
    challenge = read(f'Bearer error="insufficient_scope", scope="a b", resource_metadata="{METADATA}"', status=403)
    assert challenge == BearerChallenge(403, error="insufficient_scope", scopes=("a", "b"), resource_metadata=METADATA)
    assert challenge.insufficient_scope


@pytest.mark.parametrize(
    "field",
    [
        'Bearer scope="a b"',
        'bearer SCOPE="a b"',
        'BEARER\tscope="a b"',
        'Bearer scope = "a b"',
        'Bearer ,, scope="a b",,',
        'Bearer realm="x", scope="a b"',
        'Bearer realm=x, scope="a b"',
        'Bearer realm=, scope="a b"',
        'Bearer realm="", scope="a b"',
        'Bearer realm="x" scope="a b"',
        'Bearer scope="\\a b"',
        'Bearer scope="a b", scope="c"',
        'Basic realm="x", Bearer scope="a b"',
        'Bearer scope="a b", Basic realm="x", scope="c"',
        'Negotiate YWJj==, Bearer scope="a b"',
        'Negotiate, Bearer scope="a b", DPoP scope="c"',
        'Basic realm="scope=c, Bearer scope=d", Bearer scope="a b"',
        'Bearer realm="a \\", scope=c", scope="a b"',
        'Bearer error_description="needs scope=admin, Bearer scope=root", scope="a b"',
        'Bearer xscope="c", scope="a b"',
        'Bearer scopes="c", scope="a b"',
        'Bearer scope="a b", Bearer scope="c"',
        'Bearer scope="a b", realm="never closed, scope=c',
    ],
)
def test_scope_is_read_from_where_it_is(field: str) -> None:
    """RFC 9110 §11.2, §5.6: names and schemes in any case, quoting, escapes, several challenges, and lists as sloppy as §5.6.1 allows."""
    challenge = read(field)
    assert challenge is not None
    assert challenge.scopes == ("a", "b")


def test_several_fields_are_one_list() -> None:
    """RFC 9110 §5.3: one field with commas or several fields mean the same."""
    assert read("Basic realm=x", 'Bearer scope="a"') == read('Basic realm=x, Bearer scope="a"') == BearerChallenge(401, scopes=("a",))


def test_a_403_takes_the_challenge_that_is_about_scope() -> None:
    """Two Bearer challenges, as behind a gateway: the one that explains the 403 counts."""
    challenge = read('Bearer realm="gateway", Bearer error="insufficient_scope", scope="a"', status=403)
    assert challenge == BearerChallenge(403, error="insufficient_scope", scopes=("a",))


def test_a_url_without_its_quotes() -> None:
    """Not RFC 9110, but common; nothing else could be meant."""
    assert read(f"Bearer resource_metadata={METADATA}, scope=a") == BearerChallenge(401, scopes=("a",), resource_metadata=METADATA)


@pytest.mark.parametrize("scope", ["a\u00e9", "a\\\\b", 'a\\"b', "a" * 1001, "", "a\tb"])
def test_a_scope_list_that_is_none_is_dropped_whole(scope: str) -> None:
    """RFC 6749 §3.3; a part of it would be a request nobody made."""
    assert read(f'Bearer scope="{scope}", error="invalid_token"') == BearerChallenge(401, error="invalid_token")


@pytest.mark.parametrize("error", ["Invalid Token", "x" * 65, f"<b>{CANARY}</b>", ""])
def test_an_error_that_is_no_code_is_dropped(error: str) -> None:
    """RFC 6750 §3.1: free text of a server goes nowhere."""
    assert read(f'Bearer error="{error}", scope="a"') == BearerChallenge(401, scopes=("a",))


BAD_URLS = [f"javascript:{CANARY}", f"http://10.0.0.1/{CANARY}", f"https://u:{CANARY}@mcp.example.com/", "/relative", ""]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_bad_resource_metadata_is_dropped_and_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """MCP security best practices: suspicious URLs are logged, without their text; the rest of the challenge stands."""
    with caplog.at_level(logging.DEBUG):
        assert read(f'Bearer resource_metadata="{url}", scope="a"') == BearerChallenge(401, scopes=("a",))
    assert "resource_metadata" in caplog.text
    assert CANARY not in caplog.text


def test_more_than_8_kib_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    """All fields together; a 401 stays a 401, a 403 is no challenge then, and the log says why."""
    bearer = 'Bearer scope="a", error="insufficient_scope"'
    most = [bearer, "x" * (8192 - len(bearer))]
    assert read(*most) == BearerChallenge(401, error="insufficient_scope", scopes=("a",))
    assert not caplog.text
    assert read(*most, "x") == BearerChallenge(401)
    assert read(*most, "x", status=403) is None
    assert "WWW-Authenticate" in caplog.text


HARD = ['a="', 'a="\\', "a=", "a ", ",", "Bearer a=b", '\\"=', "=", "a/=", '"', 'Bearer a="\\"', " \t"]


@pytest.mark.parametrize("piece", HARD)
def test_time_is_linear(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of the worst, were it let in, takes about a second; a quadratic reader would take hours."""
    monkeypatch.setattr(challenge, "MAX_CHALLENGE_LENGTH", 2**20)
    start = time.process_time()
    assert read(piece * (2**20 // len(piece))) is not None
    assert time.process_time() - start < 20


@given(st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n")), max_size=3))
@example(['Bearer a="'])
@example(["Bearer \\"])
def test_never_raises(fields: list[str]) -> None:
    """Any header gives a challenge whose parts obey their own rules."""
    challenge = read(*fields)
    assert challenge is not None
    assert len(" ".join(challenge.scopes)) <= 1000


quoted = st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(lambda text: text.replace("\\", "\\\\").replace('"', '\\"'))


@given(quoted, quoted)
def test_no_quoted_text_can_change_the_scopes(realm: str, description: str) -> None:
    """Whatever a description says, the scopes are those of the scope parameter."""
    challenge = read(f'Basic realm="{realm}", Bearer error_description="{description}", scope="read"')
    assert challenge == BearerChallenge(401, scopes=("read",))
