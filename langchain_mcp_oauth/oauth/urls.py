"""The one rule for URLs that come from elsewhere: refuse, never repair.

What passes here is shown to people, opened in browsers and contacted. Whether the *address* behind the name may be contacted is decided
later, on the resolved address (`http.py`); nothing here resolves anything.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from langchain_mcp_oauth.errors import ConfigurationError, UnsafeURLError

__all__ = [
    "DEFAULT_PORTS",
    "MAX_AUTHORIZATION_URL_LENGTH",
    "Origin",
    "check_redirect_uri",
    "check_url",
    "covers",
    "is_loopback_host",
    "origin",
    "redacted",
    "same_origin",
]

MAX_URL_LENGTH = 2_000
"""Characters. Longer ones do not survive browsers and proxies either."""

MAX_AUTHORIZATION_URL_LENGTH = 16_384
"""Characters: an endpoint with our parameters, `scope` and `resource` among them."""

Origin: TypeAlias = tuple[str, str, int]
"""Scheme and host in lower case, and the port, the scheme's own if none is written (RFC 6454 §4)."""

DEFAULT_PORTS = {"https": 443, "http": 80}

# Blanks, controls and non-ASCII; what a shell, a quoting bug or a markup language could take for its own; encoded controls.
_FORBIDDEN = re.compile(r"""[^\x21-\x7e]|["'`<>\\^{}|]|\$\(|%(?:[01][0-9A-Fa-f]|7[Ff])""")
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_NETLOC = re.compile(rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*\.?)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::[0-9]{{1,5}})?")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")


def check_url(url: str, what: str, *, limit: int = MAX_URL_LENGTH) -> str:
    """Return `url` unchanged, or refuse it.

    Allowed are absolute https URLs, and http ones on loopback, of printable ASCII (RFC 3986 §2), with a host, without userinfo or
    fragment.

    Args:
        url: The URL as it stood in the document, header or option.
        what: What it is and where it stood, the subject of the error's sentence.
        limit: The longest that is allowed, in characters.

    Raises:
        UnsafeURLError: the message says which rule is broken, and holds nothing of the URL.
    """
    problem = _problem(url, limit)
    if problem:
        raise UnsafeURLError(f"{what} is refused: {problem}.")
    return url


def check_redirect_uri(uri: str) -> str:
    """Return the application's redirect URI, or refuse it: https, or http on loopback (MCP authorization, RFC 8252 §7.3).

    Raises:
        ConfigurationError: as above.
    """
    problem = _problem(uri, MAX_URL_LENGTH)
    if problem:
        raise ConfigurationError(f"redirect_uri cannot work: {problem}.")
    return uri


def origin(url: str) -> Origin:
    """The origin of a URL that `check_url` lets pass."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


def same_origin(one: str, other: str) -> bool:
    """Whether two checked URLs have the same scheme, host and port."""
    return origin(one) == origin(other)


def covers(resource: str, url: str) -> bool:
    """Whether `resource` is the MCP server at `url` or a parent of it, by whole path segments on the same origin (RFC 9728 §3.3).

    A slash at the end makes no difference. A resource with a query covers only URLs with the same query.
    """
    parent, child = urlsplit(resource), urlsplit(url)
    inside = f"{child.path.rstrip('/')}/".startswith(f"{parent.path.rstrip('/')}/")
    return same_origin(resource, url) and inside and parent.query in ("", child.query)


def is_loopback_host(host: str | None) -> bool:
    """`localhost`, an address of `127.0.0.0/8` or `::1`, by the text of the host (RFC 8252 §7.3, §8.3)."""
    if host in ("localhost", "::1"):
        return True
    try:
        return IPv4Address(host or "").is_loopback
    except ValueError:
        return False


def redacted(url: str) -> str:
    """Origin and path, for logs and messages: no userinfo, query or fragment, printable, at most 200 characters. Never raises."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"
    plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return _FORBIDDEN.sub("?", plain)[:200]


def _problem(url: str, limit: int) -> str | None:
    """The first rule that `url` breaks."""
    if len(url) > limit:
        return f"it has more than {limit:,} characters"
    if _FORBIDDEN.search(url):
        return "it holds a character that a URL must not have"
    if "#" in url:
        return "it must not have a fragment"
    try:
        return _problem_in(urlsplit(url))
    except ValueError:
        return "its host or port cannot be"


def _problem_in(parts: SplitResult) -> str | None:
    if not _is_place(parts.netloc) or parts.port == 0:
        return "it must be absolute, with a plain host and no user or password"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback_host(parts.hostname)):
        return "it must be https (http only on loopback)"
    return None


def _is_place(netloc: str) -> bool:
    """A name, an IPv4 address in four parts or an IPv6 address in brackets; then perhaps a port. ValueError: an address, but a wrong one.

    Browsers, resolvers and Python read `127.1`, `0x7f.1` and `2130706433` each in their own way, so nobody may use them.
    """
    match = _NETLOC.fullmatch(netloc)
    if match is None:
        return False
    if match["ipv6"]:
        IPv6Address(match["ipv6"])
    elif _NUMERIC.fullmatch(match["name"]):
        IPv4Address(match["name"])
    return True
