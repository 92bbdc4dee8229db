"""What a person sees when the browser comes back. One page for every outcome, the same at the web route and at the loopback listener.

The text depends on the kind of outcome alone: never on the query, never on what another server wrote (R27, R28).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from types import MappingProxyType

from langchain_mcp_oauth.errors import (
    AuthorizationDenied,
    AuthorizationError,
    CallbackError,
    ConnectionFailed,
    IssuerMismatchError,
    RequestExpiredError,
    RequestUsedError,
    StoreUnavailable,
    UnknownStateError,
    WrongUserError,
)

__all__ = [
    "HEADERS",
    "NOT_FOUND",
    "NOT_YOURS",
    "ONLY_GET",
    "SIGN_IN_FIRST",
    "UNREADABLE",
    "Page",
    "connected_page",
    "error_page",
    "render",
]


@dataclass(frozen=True, slots=True)
class Page:
    """An HTTP status, what happened, and what to do next."""

    status: int
    title: str
    text: str
    advice: str
    retry: bool = False
    """Whether loading the same address again may help."""


def connected_page(server: str, *, missing_scopes: bool = False) -> Page:
    """The authorization for `server` is stored. Loading the address again shows this page again."""
    text = "Access was given, and the application can go on."
    if missing_scopes:
        text = "Access was given, though not to all that was asked for. The application will ask again if it needs more."
    return Page(200, f"Connected to {server}", text, "You can close this tab and go back to the application.")


def error_page(error: Exception) -> Page:
    """The page for an error: the row of its nearest class in the table. Raising the error again, or logging it, is the caller's."""
    return next(_ERROR_PAGES[kind] for kind in type(error).__mro__ if kind in _ERROR_PAGES)


_START_AGAIN = "Go back to the application and start again from there."
_NOTHING_CHANGED = "Nothing was changed."

NOT_YOURS = Page(
    403,
    "This cannot be completed here",
    f"This link does not belong to an authorization that you started in this browser. {_NOTHING_CHANGED}",
    "Go back to the application, make sure that you are signed in to the right account, and open its latest link.",
)
"""The same for an unknown request and for another user's, so that nobody learns which requests exist."""

_TRY_AGAIN = "Wait a moment and try again. If that does not help, go back to the application and start again from there."

_ERROR_PAGES: dict[type[BaseException], Page] = {
    UnknownStateError: NOT_YOURS,
    WrongUserError: NOT_YOURS,
    RequestExpiredError: Page(410, "This link has expired", "The answer came after its time had run out.", _START_AGAIN),
    RequestUsedError: Page(409, "This link is no longer open", "It was used before, or a newer one took its place.", _START_AGAIN),
    IssuerMismatchError: Page(
        400,
        "This answer was not accepted",
        f"It does not come from the authorization server that was asked. {_NOTHING_CHANGED}",
        _START_AGAIN,
    ),
    CallbackError: Page(
        400, "This link is not complete", f"It is not the answer of an authorization server. {_NOTHING_CHANGED}", _START_AGAIN
    ),
    AuthorizationDenied: Page(
        403,
        "Access was not given",
        "You declined, or the authorization server did. Nothing was connected.",
        "You can close this tab. To give access after all, start again from the application.",
    ),
    AuthorizationError: Page(
        502, "The connection was not made", "The authorization server did not accept the application's request.", _START_AGAIN
    ),
    ConnectionFailed: Page(503, "No answer yet", "The authorization server could not be reached.", _TRY_AGAIN, retry=True),
    StoreUnavailable: Page(503, "Not possible right now", "The application could not save the result.", _TRY_AGAIN, retry=True),
    Exception: Page(
        500,
        "Something went wrong",
        "The application could not complete the authorization.",
        "Try again later from the application. If it happens again, tell the people who run it.",
    ),
}

SIGN_IN_FIRST = Page(
    401,
    "Sign in first",
    f"The application does not know who you are in this browser. {_NOTHING_CHANGED}",
    "Sign in to the application in this browser, then open its link again.",
)
ONLY_GET = Page(405, "This address is for browsers", f"It can only be opened. {_NOTHING_CHANGED}", _START_AGAIN)
NOT_FOUND = Page(404, "Nothing here", "There is no page at this address.", _START_AGAIN)
UNREADABLE = Page(400, "This request was not understood", _NOTHING_CHANGED, _START_AGAIN)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #f4f5f7; --card: #fff; --line: #d3d8df;
  --good: #176f3d; --good-paper: #e2f4e8; --bad: #8f4700; --bad-paper: #fdeed9; --accent: #1f5fbf; --on-accent: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #a9b3bf; --paper: #15181c; --card: #20252b; --line: #3b434d;
    --good: #7ee2a0; --good-paper: #183726; --bad: #ffb86b; --bad-paper: #402c14; --accent: #8ab4f8; --on-accent: #10151c; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; min-height: 100dvh; display: grid; place-items: center; padding: 1rem;
  background: var(--paper); color: var(--ink); font: 1.0625rem/1.55 system-ui, sans-serif; }
main { width: 100%; max-width: 30rem; padding: 2.5rem 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; text-align: center; }
svg { width: 3.5rem; height: 3.5rem; padding: .875rem; border-radius: 50%; fill: none; stroke: currentColor; stroke-width: 2.5;
  stroke-linecap: round; stroke-linejoin: round; }
.good { color: var(--good); background: var(--good-paper); }
.bad { color: var(--bad); background: var(--bad-paper); }
h1 { margin: 1.25rem 0 .75rem; font-size: 1.5rem; line-height: 1.25; text-wrap: balance; overflow-wrap: anywhere; }
p { margin: 0; text-wrap: balance; }
p + p { margin-top: .75rem; color: var(--soft); }
a { display: inline-block; margin-top: 1.5rem; padding: .625rem 1.5rem; border-radius: .5rem; background: var(--accent);
  color: var(--on-accent); font-weight: 600; text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }
"""

_MARKS = {
    True: '<svg class="good" viewBox="0 0 24 24" aria-hidden="true"><path d="M4 12.5 9.5 18 20 7"/></svg>',
    False: '<svg class="bad" viewBox="0 0 24 24" aria-hidden="true"><path d="M12 4v10M12 19.5v.01"/></svg>',
}

_RETRY = '\n<a href="">Try again</a>'
"""An empty reference is the address of the page itself, query and all (RFC 3986 §4.4), without writing it into the page."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{mark}
<h1>{title}</h1>
<p>{text}</p>
<p>{advice}</p>{retry}
</main>
</body>
</html>
"""


def render(page: Page) -> bytes:
    """The page as UTF-8 HTML: no script, nothing loaded from anywhere. Send it with `HEADERS`."""
    return _PAGE.format(
        style=_STYLE,
        mark=_MARKS[page.status < 400],
        title=escape(page.title),
        text=escape(page.text),
        advice=escape(page.advice),
        retry=_RETRY if page.retry else "",
    ).encode()


_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = MappingProxyType(
    {
        "Allow": "GET",  # required with 405, allowed with the others (RFC 9110 §10.2.1)
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)
"""Of every page (R28). `no-referrer` keeps the callback's query from wherever the person goes next."""
