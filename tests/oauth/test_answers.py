"""What all answers of other servers have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_mcp_oauth.errors import ConnectionFailed
from langchain_mcp_oauth.oauth.answers import check_available, error_code, is_visible_ascii, parse_scopes, read_object, retry_after

from .oauth_samples import answer

DATE = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 599])
def test_try_later(status: int) -> None:
    """RFC 9110 §15.6, RFC 6585 §4: retryable, with the wait the server asked for; says who and what."""
    with pytest.raises(ConnectionFailed, match=rf"^The token endpoint answered {status}; ") as failure:
        check_available(answer("secret", status, {"Retry-After": "7"}), "The token endpoint")
    assert failure.value.retryable
    assert failure.value.retry_after == 7.0


@pytest.mark.parametrize("status", [200, 201, 204, 302, 400, 401, 403, 404, 428, 430, 499])
def test_final_answers_pass(status: int) -> None:
    """Anything else will not change by waiting."""
    check_available(answer("", status), "The token endpoint")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 120 "}, 120.0),
        ({"Retry-After": "999999"}, 3600.0),
        ({"Retry-After": "9" * 50}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Mon, 23 Nov 2026 12:01:00 GMT", "Date": DATE}, 60.0),
        ({"Retry-After": "Mon, 23 Nov 2026 11:00:00 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": "Tue, 23 Nov 2027 12:00:00 GMT", "Date": DATE}, 3600.0),
        ({"Retry-After": "Mon, 23 Nov 2026 12:01:00 GMT"}, None),
        ({"Retry-After": "Mon, 23 Nov 2026 12:01:00 -0000", "Date": DATE}, None),
        ({"Retry-After": "Mon, 99 Nov 2026 12:01:00 GMT", "Date": DATE}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """RFC 9110 §10.2.3: seconds or a date, which counts from the answer's own `Date`; at most an hour."""
    assert retry_after(answer("", 503, headers)) == seconds


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_retry_after_never_raises(value: str, date: str) -> None:
    """Whatever the header holds: None, or 0 to 3,600 seconds."""
    seconds = retry_after(answer("", 503, {"Retry-After": value, "Date": date}))
    assert seconds is None or 0 <= seconds <= 3600


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 10_000])
def test_not_an_object(body: bytes) -> None:
    """RFC 8259: anything that is not one JSON object, or nested too deep, is None, never another error."""
    assert read_object(answer(body)) is None


def test_an_object() -> None:
    """Strings come as they stood."""
    assert read_object(answer(b'{"issuer": "https://AS.example:443"}')) == {"issuer": "https://AS.example:443"}


@given(st.binary(max_size=200))
def test_read_object_never_raises(body: bytes) -> None:
    """Bytes of a hostile server are an object or None."""
    document = read_object(answer(body))
    assert document is None or isinstance(document, dict)


@pytest.mark.parametrize("code", ["access_denied", "invalid_grant", "x", "a" * 64])
def test_error_codes(code: str) -> None:
    """RFC 6749 §5.2 and the IANA registry: lower-case words with underscores."""
    assert error_code(code) == code


@pytest.mark.parametrize("code", ["", "a" * 65, "Access denied", "invalid-grant", "x\n", "e1", "\u0430", None, 1, ["invalid_grant"], {}])
def test_other_text_is_not_repeated(code: object) -> None:
    """Free text of a server is no error code."""
    assert error_code(code) is None


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("read", ("read",)),
        ("read write", ("read", "write")),
        ("  read   write ", ("read", "write")),
        ("write read write", ("write", "read")),
        ("files:read https://x.example/y.z !#[]~", ("files:read", "https://x.example/y.z", "!#[]~")),
        ("", ()),
        (" ", ()),
        ('say "x"', ()),
        ("a\\b", ()),
        ("a\tb", ()),
        ("a\nb", ()),
        ("é", ()),
        ("a\x7f", ()),
        ("a" * 1000, ("a" * 1000,)),
        ("a" * 1001, ()),
        (None, ()),
        (["read"], ()),
    ],
)
def test_parse_scopes(text: object, scopes: tuple[str, ...]) -> None:
    """RFC 6749 §3.3: all of the list or nothing of it; once each, in order, at most 1,000 characters."""
    assert parse_scopes(text) == scopes


@pytest.mark.parametrize(
    ("value", "visible"),
    [("!~", True), ("a" * 8, True), ("a" * 9, False), ("", False), ("a b", False), ("a\n", False), ("é", False), (None, False), (1, False)],
)
def test_is_visible_ascii(value: object, *, visible: bool) -> None:
    """What fits into a header or a form, whole: `!` to `~`, not too long."""
    assert is_visible_ascii(value, 8) is visible
