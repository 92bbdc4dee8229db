"""A login in a notebook's output: a card, as HTML that stands alone among whatever else the notebook shows."""

from __future__ import annotations

from html import escape

from langchain_mcp_oauth.errors import AuthRequired

__all__ = ["authorize_card", "settled_card"]

CARD = "max-width:34rem;margin:.5rem 0;padding:1rem 1.25rem;border:1px solid #8b949e;border-radius:.5rem;font:1rem/1.5 system-ui,sans-serif"
BUTTON = "display:inline-block;padding:.5rem 1rem;border-radius:.375rem;background:#1f5fbf;color:#fff;font-weight:600;text-decoration:none"
SOFT = "opacity:.75;font-size:.9375rem"
"""Inline, for a notebook's output is no document of ours; the ink is the notebook's own, so that it is right on light and dark."""


def authorize_card(needed: AuthRequired) -> str:
    """Which server, at whom, for what, and a link that opens beside the notebook, which does not learn about the new window."""
    if needed.user_code is None:
        then = "This cell goes on by itself when you are done."
    else:  # nobody comes back from there (RFC 8628 §3.3)
        then = f"Enter the code <strong>{escape(needed.user_code)}</strong> there, then run this cell again."
    scopes = f", for <code>{escape(' '.join(needed.scopes))}</code>" if needed.scopes else ""
    return (
        f'<div style="{CARD}" role="group" aria-label="Login">'
        f"<div><strong>{escape(needed.server)}</strong> needs you to log in at <strong>{escape(needed.issuer)}</strong>{scopes}.</div>"
        f'<div style="margin:.75rem 0"><a style="{BUTTON}" href="{escape(needed.authorization_url)}" target="_blank" '
        'rel="noopener noreferrer">Authorize</a></div>'
        f'<div style="{SOFT}">{then} The link is good until '
        f"{needed.expires_at:%H:%M} UTC.</div></div>"
    )


def settled_card(server: str, text: str) -> str:
    """What takes the card's place when it is over. The link, which held the request's `state`, is gone from the notebook then."""
    return f'<div style="{CARD}" role="status"><strong>{escape(server)}</strong> {escape(text)}</div>'
