"""What a person sees: readable in light and dark, harmless whatever the names are, and telling nothing it should not."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from langchain_mcp_oauth import errors, pages
from langchain_mcp_oauth.pages import HEADERS, Page, connected_page, error_page, frame, outcomes, render

PAGES = [
    connected_page("linear"),
    connected_page("linear", missing_scopes=True),
    pages.NOT_FOUND,
    pages.NOT_FROM_HERE,
    pages.NOT_REACHED,
    pages.NOT_YOURS,
    pages.NO_LOGIN_NEEDED,
    pages.ONLY_GET,
    pages.ONLY_GET_AND_POST,
    pages.SIGN_IN_FIRST,
    pages.UNREADABLE,
    *outcomes._ERROR_PAGES.values(),
]

STATUSES = {
    errors.CallbackError: 400,
    errors.UnknownStateError: 403,
    errors.WrongUserError: 403,
    errors.RequestExpiredError: 410,
    errors.RequestUsedError: 409,
    errors.IssuerMismatchError: 400,
    errors.AuthorizationDenied: 403,
    errors.TokenEndpointError: 502,
    errors.DiscoveryError: 502,
    errors.ConnectionFailed: 503,
    errors.StoreUnavailable: 503,
    errors.StoreKeyError: 500,
    errors.ConfigurationError: 500,
    RuntimeError: 500,
}


class Tags(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(render(page).decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.mark.parametrize(("error", "status"), STATUSES.items(), ids=lambda value: getattr(value, "__name__", value))
def test_every_kind_of_error_has_its_status(error: type[Exception], status: int) -> None:
    """A bad callback is 4xx, trouble elsewhere 5xx; a class without a row takes its parent's."""
    assert error_page(error("CANARY")).status == status


@pytest.mark.parametrize("error", STATUSES, ids=lambda error: error.__name__)
def test_a_page_repeats_nothing_of_the_error(error: type[Exception]) -> None:
    """The text depends on the class alone."""
    assert b"CANARY" not in render(error_page(error("CANARY")))


def test_unknown_and_foreign_requests_look_the_same() -> None:
    """Nobody learns from the page whether a state exists."""
    assert error_page(errors.UnknownStateError("")) is error_page(errors.WrongUserError(""))


@pytest.mark.parametrize("error", [kind for kind in STATUSES if issubclass(kind, errors.MCPOAuthError)], ids=lambda kind: kind.__name__)
def test_the_page_says_try_again_exactly_when_the_error_is_retryable(error: type[errors.MCPOAuthError]) -> None:
    """Loading the address again is offered where it may help, and only there."""
    page = error_page(error(""))
    assert page.retry is error.retryable
    assert (("a", {"class": "button", "href": ""}) in Tags(page).seen) is error.retryable


def test_names_are_text_never_markup() -> None:
    """A server may be called anything."""
    page = render(connected_page("""<script>alert(1)</script>&"'{x}"""))
    assert b"<script" not in page
    assert b"&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#x27;{x}" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_a_page_loads_and_runs_nothing(page: Page) -> None:
    """No script, no style attribute, no address of anything; the retry link is the page itself."""
    for tag, attributes in Tags(page).seen:
        assert tag not in {"script", "link", "img", "iframe", "form", "base", "object"}
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "src", "srcset", "action"}]
        assert attributes.get("href", "") == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_a_page_can_be_read_by_everybody(page: Page) -> None:
    """Language, title, viewport, one main with one heading; decoration is hidden from screen readers."""
    tags = Tags(page).seen
    names = [tag for tag, _ in tags]
    assert ("html", {"lang": "en"}) in tags
    assert [names.count(name) for name in ("title", "main", "h1")] == [1, 1, 1]
    assert any(attributes.get("name") == "viewport" for _, attributes in tags)
    assert all(attributes.get("aria-hidden") == "true" for tag, attributes in tags if tag == "svg")


def test_the_policy_allows_exactly_our_style() -> None:
    """The hash in the policy is that of the style in the page, byte for byte."""
    style = re.search(rb"<style>(.*)</style>", render(pages.NOT_FOUND), re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1]).digest()).decode()
    policy = HEADERS["Content-Security-Policy"].split("; ")
    assert policy == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        *(("ink", paper) for paper in ("card", "paper")),
        *(("soft", paper) for paper in ("card", "paper")),
        *((state, f"{state}-paper") for state in ("good", "bad", "idle")),
        ("on-accent", "accent"),
        ("accent", "card"),
        ("danger", "card"),
        ("on-accent", "danger"),
    ],
)
def test_contrast_is_at_least_4_5(scheme: str, ink: str, paper: str) -> None:
    """WCAG 2.2 §1.4.3, level AA, in both colour schemes."""
    assert contrast(scheme, ink, paper) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_can_be_told_from_what_they_stand_on(scheme: str) -> None:
    """WCAG 2.2 §1.4.11: the edge of a button is at least 3 : 1."""
    assert contrast(scheme, "edge", "card") >= 3


def contrast(scheme: str, ink: str, paper: str) -> float:
    """WCAG 2.2, contrast ratio of two of the style's colours."""
    light, dark = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", part)) for part in frame.STYLE.split("prefers-color-scheme: dark"))
    colours = light if scheme == "light" else dark
    bright, dim = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
