"""Everything a person sees in a browser, as bytes: one look and one renderer for the web routes and the loopback listener.

- `frame`: the document, its style and its headers
- `outcomes`: how an authorization ended, and what to do next
- `connections`: a user's servers, and the page before the person leaves
- `keys`: the form for what a person supplies themselves
- `notebook`: a login in a notebook's output
- `words`: scopes in words
"""

from langchain_mcp_oauth.pages.connections import Card, connections_page, start_page
from langchain_mcp_oauth.pages.frame import HEADERS, LIVE_HEADERS, START_HEADERS
from langchain_mcp_oauth.pages.keys import PREFIX
from langchain_mcp_oauth.pages.notebook import authorize_card, settled_card
from langchain_mcp_oauth.pages.outcomes import (
    NO_LOGIN_NEEDED,
    NOT_FOUND,
    NOT_FROM_HERE,
    NOT_REACHED,
    NOT_YOURS,
    ONLY_GET,
    ONLY_GET_AND_POST,
    SIGN_IN_FIRST,
    UNREADABLE,
    UNUSABLE_VALUE,
    Page,
    connected_page,
    error_page,
    render,
)

__all__ = [
    "HEADERS",
    "LIVE_HEADERS",
    "NOT_FOUND",
    "NOT_FROM_HERE",
    "NOT_REACHED",
    "NOT_YOURS",
    "NO_LOGIN_NEEDED",
    "ONLY_GET",
    "ONLY_GET_AND_POST",
    "PREFIX",
    "SIGN_IN_FIRST",
    "START_HEADERS",
    "UNREADABLE",
    "UNUSABLE_VALUE",
    "Card",
    "Page",
    "authorize_card",
    "connected_page",
    "connections_page",
    "error_page",
    "render",
    "settled_card",
    "start_page",
]
