"""The one rule for URLs from elsewhere: refuse, never repair."""

from __future__ import annotations

import ipaddress

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_mcp_oauth.errors import ConfigurationError, UnsafeURLError
from langchain_mcp_oauth.oauth.urls import (
    check_redirect_uri,
    check_url,
    covers,
    is_loopback_host,
    origin,
    redacted,
    same_origin,
)

from .oauth_samples import CANARY, chain

GOOD = [
    "https://as.example.com",
    "https://as.example.com/",
    "https://AS.Example.com:443/a/b?tenant=1&x=%20y",
    "https://as.example.com:8443/authorize?",
    "https://10.0.0.1/token",
    "https://[2001:db8::1]:8443/token",
    "https://xn--bcher-kva.example/~user/a@b;c=d,e!*()",
    "http://localhost:8000/mcp",
    "http://127.0.0.1/mcp",
    "http://127.8.9.1:1/mcp",
    "http://[::1]:8000/mcp",
    "https://as.example.com/" + "a" * 1976,
]

BAD = {
    "empty": "",
    "relative": "/authorize",
    "no scheme": "as.example.com/authorize",
    "network-path": "//as.example.com/authorize",
    "javascript": "javascript:alert(1)",
    "javascript with slashes": "javascript://as.example.com/%0aalert(1)",
    "data": "data:text/html,x",
    "file": "file:///etc/passwd",
    "ftp": "ftp://as.example.com/",
    "custom scheme": "com.example.app:/callback",
    "http off loopback": "http://as.example.com/",
    "http on a name like loopback": "http://localhost.example.com/",
    "http on 127 as a name": "http://127.0.0.1.example.com/",
    "http on localhost.": "http://localhost./",
    "no host": "https:///authorize",
    "only a port": "https://:443/",
    "user": "https://user@as.example.com/",
    "user and password": "https://user:secret@as.example.com/",
    "empty user": "https://@as.example.com/",
    "honest host as user": "https://as.example.com@evil.example/",
    "fragment": "https://as.example.com/#x",
    "empty fragment": "https://as.example.com/#",
    "blank": "https://as.example.com/a b",
    "leading blank": " https://as.example.com/",
    "trailing newline": "https://as.example.com/\n",
    "tab in the scheme": "ht\ttps://as.example.com/",
    "NUL": "https://as.example.com/\x00",
    "DEL": "https://as.example.com/\x7f",
    "not ASCII": "https://as.example.com/é",
    "look-alike host": "https://аs.example.com/",
    "full-width dot": "https://as.example.com。evil.example/",
    "right-to-left mark": "https://as.example.com/\u202e",
    "double quote": 'https://as.example.com/"',
    "single quote": "https://as.example.com/'",
    "backquote": "https://as.example.com/`id`",
    "backslash": "https://as.example.com\\@evil.example/",
    "angle brackets": "https://as.example.com/<script>",
    "caret": "https://as.example.com/^",
    "braces": "https://as.example.com/{x}",
    "bar": "https://as.example.com/|calc",
    "command substitution": "https://as.example.com/$(id)",
    "encoded newline": "https://as.example.com/%0a",
    "encoded carriage return": "https://as.example.com/%0D",
    "encoded NUL": "https://as.example.com/%00",
    "encoded DEL": "https://as.example.com/?x=%7f",
    "encoded host": "https://%6cocalhost/",
    "port 0": "https://as.example.com:0/",
    "port too large": "https://as.example.com:65536/",
    "port with letters": "https://as.example.com:8o/",
    "empty port": "https://as.example.com:/",
    "IPv4 in two parts": "https://127.1/",
    "IPv4 as a number": "https://2130706433/",
    "IPv4 in hexadecimal": "https://0x7f.0.0.1/",
    "IPv4 in octal": "https://0177.0.0.1/",
    "IPv4 out of range": "https://1.2.3.400/",
    "last part hexadecimal": "https://example.0x7f/",
    "IPv6 broken": "https://[::g]/",
    "IPv6 too long": "https://[1:2:3:4:5:6:7:8:9]/",
    "IPv6 with a zone": "https://[fe80::1%25eth0]/",
    "IPv6 and more": "https://[::1]evil.example/",
    "brackets open": "https://[::1/",
    "empty label": "https://as..example.com/",
    "long label": f"https://{'a' * 64}.example.com/",
    "too long": "https://as.example.com/" + "a" * 1977 + "a",
}


@pytest.mark.parametrize("url", GOOD)
def test_good_urls_come_back_as_they_were(url: str) -> None:
    """Nothing is normalised: the same string comes back."""
    assert check_url(url, "The URL") is url


@pytest.mark.parametrize("url", BAD.values(), ids=BAD.keys())
def test_bad_urls_are_refused(url: str) -> None:
    """MCP security best practices, URL validation; and every other reading of a URL than ours is ruled out by its characters."""
    with pytest.raises(UnsafeURLError, match=r"^The token_endpoint is refused: "):
        check_url(url, "The token_endpoint")


@pytest.mark.parametrize("url", [f"http://as.example.com/{CANARY}?{CANARY}", f"https://{CANARY}@as.example.com", f"https://h/{CANARY}\n"])
def test_the_error_repeats_nothing_of_the_url(url: str) -> None:
    """An attacker's text does not reach a log or a model through the refusal."""
    with pytest.raises(UnsafeURLError) as refusal:
        check_url(url, "The URL")
    assert CANARY not in chain(refusal.value)


def test_the_limit_is_a_number_of_characters() -> None:
    """2,000 by default, another one where the caller says so."""
    url = "https://as.example.com/".ljust(2_001, "a")
    assert check_url(url, "The URL", limit=2_001) == url
    with pytest.raises(UnsafeURLError, match="more than 2,000 characters"):
        check_url(url, "The URL")


text_like_urls = st.one_of(
    st.text(),
    st.builds(str.__add__, st.sampled_from(["https://", "http://", "http://127.0.0.1", "https://as.example.com"]), st.text()),
    st.from_regex(r"\Ahttps?://[a-z0-9.:@%\[\]-]{0,30}/[!-~]{0,30}\Z"),
)


@given(text_like_urls)
def test_what_passes_can_be_sent_and_means_the_same_to_the_http_client(url: str) -> None:
    """No other error than ours, and no second opinion about scheme, host and port: that gap is what URL attacks live in."""
    try:
        check_url(url, "The URL")
    except UnsafeURLError:
        return
    sent = httpx2.Request("GET", url).url
    scheme, host, port = origin(url)
    assert (sent.scheme, sent.host, sent.port or {"https": 443, "http": 80}[scheme]) == (scheme, host, port)
    assert url.isascii()
    assert url.isprintable()
    assert not sent.userinfo
    assert scheme == "https" or host == "localhost" or ipaddress.ip_address(host).is_loopback


@pytest.mark.parametrize("uri", ["https://app.example.com/cb", "http://127.0.0.1:8917/cb", "http://localhost:3000/", "http://[::1]:1/cb"])
def test_good_redirect_uris(uri: str) -> None:
    """MCP authorization, communication security: https, or loopback."""
    assert check_redirect_uri(uri) == uri


@pytest.mark.parametrize("uri", ["http://app.example.com/cb", "com.example.app:/cb", "urn:ietf:wg:oauth:2.0:oob", "https://h/#x", ""])
def test_bad_redirect_uris_are_a_mistake_in_the_configuration(uri: str) -> None:
    """The message names the option."""
    with pytest.raises(ConfigurationError, match=r"^redirect_uri cannot work: "):
        check_redirect_uri(uri)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h.example/a", "https://h.example/b?c", True),
        ("https://H.example", "https://h.EXAMPLE:443/", True),
        ("http://localhost", "http://localhost:80", True),
        ("https://h.example", "https://h.example:8443", False),
        ("https://h.example", "https://g.example", False),
        ("https://localhost", "http://localhost", False),
        ("https://localhost:80", "http://localhost:80", False),
        ("https://h.example", "https://h.example.", False),
    ],
)
def test_same_origin(one: str, other: str, *, same: bool) -> None:
    """RFC 6454 §4: scheme, host and port, whoever writes the default port."""
    assert same_origin(one, other) is same_origin(other, one) is same


@pytest.mark.parametrize(
    ("resource", "url", "expected"),
    [
        ("https://h.example/mcp", "https://h.example/mcp", True),
        ("https://h.example", "https://h.example/mcp", True),
        ("https://h.example/", "https://h.example/mcp", True),
        ("https://h.example/a", "https://h.example/a/mcp", True),
        ("https://h.example/a/", "https://h.example/a/mcp", True),
        ("https://h.example/mcp/", "https://h.example/mcp", True),
        ("https://h.example/mcp", "https://h.example/mcp/", True),
        ("https://H.example:443/mcp", "https://h.example/mcp", True),
        ("https://h.example/mcp", "https://h.example/mcp?tenant=1", True),
        ("https://h.example/mcp?tenant=1", "https://h.example/mcp?tenant=1", True),
        ("https://h.example/mcp?tenant=2", "https://h.example/mcp?tenant=1", False),
        ("https://h.example/mcp?tenant=1", "https://h.example/mcp", False),
        ("https://h.example/mc", "https://h.example/mcp", False),
        ("https://h.example/mcp/a", "https://h.example/mcp", False),
        ("https://h.example/b", "https://h.example/a/mcp", False),
        ("https://h.example/MCP", "https://h.example/mcp", False),
        ("https://g.example/mcp", "https://h.example/mcp", False),
        ("https://h.example:8443/mcp", "https://h.example/mcp", False),
        ("http://localhost/mcp", "https://localhost/mcp", False),
    ],
)
def test_covers(resource: str, url: str, *, expected: bool) -> None:
    """RFC 9728 §3.3, MCP canonical server URI: the server itself or a parent of it by whole path segments."""
    assert covers(resource, url) is expected


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("127.1", False),
        ("127.0.0.256", False),
        ("128.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("localhost.example", False),
        ("", False),
        (None, False),
    ],
)
def test_is_loopback_host(host: str | None, *, loopback: bool) -> None:
    """RFC 8252 §7.3, by the text of the host alone."""
    assert is_loopback_host(host) is loopback


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/a/b?secret=1#frag", "https://h.example/a/b"),
        ("https://user:secret@h.example:8443/a", "https://h.example:8443/a"),
        ("https://h.example/a\nINFO forged line", "https://h.example/aINFO?forged?line"),
        ("https://[::1/a", "(unreadable URL)"),
        ("https://h.example/".ljust(201, "a"), "https://h.example/".ljust(200, "a")),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    """Logs get origin and path."""
    assert redacted(url) == shown


@given(st.text())
def test_redacted_never_raises_and_never_breaks_a_line(url: str) -> None:
    """Also for what was refused: short, printable, no query."""
    shown = redacted(f"{url}?{CANARY}")
    assert len(shown) <= 200
    assert shown.isprintable()
    assert CANARY not in shown
