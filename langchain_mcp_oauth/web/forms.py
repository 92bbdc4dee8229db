"""What proves that a form was sent by our own page, for this user, in this browser. No state on the server, so any process can check it.

Two proofs, both needed. The browser says that the request comes from our own origin (Fetch Metadata; `Origin` where that is missing). And
the form carries an HMAC of the user under a random key that only this browser's cookie holds: another site can send the cookie along, but
can neither read nor set it, and a page from before a sign-in, or of another user, is no longer good.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from langchain_mcp_oauth.servers.configured import LONGEST_VALUE

__all__ = ["Seal", "is_same_origin", "read_form"]

MAX_FORM = 8 * 1024
"""Bytes: an action, a server's name and a token."""

MAX_VALUE = 3 * LONGEST_VALUE + 1024
"""Bytes of a user's value with its name, each character as `%XX`."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The cookie and the tokens made with it.

    Attributes:
        secure: Whether the pages are served by https. Then only this very host can set the cookie (RFC 6265bis §4.1.3.2).
    """

    secure: bool

    @property
    def cookie(self) -> str:
        """Its name."""
        return "__Host-mcp-oauth-page" if self.secure else "mcp-oauth-page"

    def key(self, request: Request) -> str | None:
        """This browser's key, if it has one."""
        value = request.cookies.get(self.cookie, "")
        return value if re.fullmatch(r"[A-Za-z0-9_-]{43}", value) else None

    def new_key(self) -> str:
        """256 random bits."""
        return secrets.token_urlsafe(32)

    def set(self, response: Response, key: str) -> None:
        """Give the browser its key, until it is closed."""
        response.set_cookie(self.cookie, key, path="/", secure=self.secure, httponly=True, samesite="lax")

    def token(self, key: str, user: str) -> str:
        """What this user's forms carry in this browser."""
        return hmac.new(key.encode(), user.encode(), hashlib.sha256).hexdigest()

    def fits(self, request: Request, user: str, token: str) -> bool:
        """Whether a form's token was made for this user in this browser."""
        key = self.key(request)
        return key is not None and hmac.compare_digest(self.token(key, user).encode(), token.encode())


def is_same_origin(headers: Mapping[str, str], origin: str) -> bool:
    """Whether the browser says that its request comes from a page at `origin` (Fetch Metadata §2.3; Fetch §3.1 for older ones)."""
    site = headers.get("sec-fetch-site")
    return site == "same-origin" if site is not None else headers.get("origin") == origin


async def read_form(request: Request, *, values: int = 0) -> dict[str, str] | None:
    """The fields of a URL-encoded form; None if it is none, is too large, or repeats a field.

    Args:
        request: Its body is read.
        values: How many values of a person's own it may hold besides.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM + values * MAX_VALUE:
            return None
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=8 + values, errors="strict")
    except ValueError:
        return None
    return {name: values[0] for name, values in fields.items()} if all(len(values) == 1 for values in fields.values()) else None
