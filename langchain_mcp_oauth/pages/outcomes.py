"""What a person sees when the browser comes back. One page for every outcome, the same at the web route and at the loopback listener.

The text depends on the kind of outcome alone: never on the query, never on what another server wrote (R27, R28).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from langchain_mcp_oauth.errors import (
    AuthorizationDenied,
    AuthorizationError,
    CallbackError,
    ConnectionFailed,
    DiscoveryError,
    IssuerMismatchError,
    RegistrationError,
    RequestExpiredError,
    RequestUsedError,
    StoreUnavailable,
    UnknownStateError,
    WrongUserError,
)
from langchain_mcp_oauth.pages.frame import document

__all__ = [
    "NOT_FOUND",
    "NOT_FROM_HERE",
    "NOT_REACHED",
    "NOT_YOURS",
    "NO_LOGIN_NEEDED",
    "ONLY_GET",
    "ONLY_GET_AND_POST",
    "SIGN_IN_FIRST",
    "UNREADABLE",
    "UNUSABLE_VALUE",
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
    DiscoveryError: Page(
        502,
        "This server cannot be connected",
        "What it publishes about its login is missing or contradicts itself, so nothing was asked of anybody.",
        "Tell the people who run the application: the command `doctor` names what is wrong, and the option that may help.",
    ),
    RegistrationError: Page(
        502,
        "This server does not know the application",
        "Its authorization server would not register the application by itself.",
        "Tell the people who run the application: they can register it by hand.",
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
ONLY_GET_AND_POST = Page(405, "This address is for browsers", f"It can only be opened. {_NOTHING_CHANGED}", _START_AGAIN)
NOT_FROM_HERE = Page(
    403,
    "This was not sent by the page of connections",
    f"It came from another page, or from one that was opened before you signed in. {_NOTHING_CHANGED}",
    "Open your connections again and press the button there.",
)
NOT_REACHED = Page(
    503,
    "No answer right now",
    "The server, or the one that gives access to it, could not be reached.",
    "Wait a moment and try again from your connections.",
)
NO_LOGIN_NEEDED = Page(
    200,
    "No login is needed",
    "This server answers without one, and names nobody who could give access.",
    "There is nothing to do here: the application can use it already.",
)
NOT_FOUND = Page(404, "Nothing here", "There is no page at this address.", _START_AGAIN)
UNUSABLE_VALUE = Page(
    400,
    "This cannot be used",
    f"A key is 1 to 8,192 letters, digits and signs of plain ASCII. {_NOTHING_CHANGED}",
    "Copy it again where you got it from, and give it on the page of your connections.",
)
UNREADABLE = Page(400, "This request was not understood", _NOTHING_CHANGED, _START_AGAIN)

_MARKS = {
    True: '<svg class="mark good" viewBox="0 0 24 24" aria-hidden="true"><path d="M4 12.5 9.5 18 20 7"/></svg>',
    False: '<svg class="mark bad" viewBox="0 0 24 24" aria-hidden="true"><path d="M12 4v10M12 19.5v.01"/></svg>',
}

_RETRY = '\n<a class="button" href="">Try again</a>'
"""An empty reference is the address of the page itself, query and all (RFC 3986 §4.4), without writing it into the page."""

_OUTCOME = """<main class="outcome">
{mark}
<h1>{title}</h1>
<p>{text}</p>
<p>{advice}</p>{link}
</main>"""


def render(page: Page, *, connections: str | None = None) -> bytes:
    """The page as UTF-8 HTML: no script, nothing loaded from anywhere. Send it with `frame.HEADERS`.

    Args:
        page: What happened.
        connections: The path of the page of connections, if there is one to go back to.
    """
    back = f'\n<a class="button{" quiet" if page.retry else ""}" href="{escape(connections)}">Your connections</a>' if connections else ""
    main = _OUTCOME.format(
        mark=_MARKS[page.status < 400],
        title=escape(page.title),
        text=escape(page.text),
        advice=escape(page.advice),
        link=(_RETRY if page.retry else "") + back,
    )
    return document(page.title, main)
