"""The page that asks a person: who are you, and may this client do that? Plain HTML, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from langchain_mcp_oauth.testing.authorization_server import Question

__all__ = ["consent_page", "gone_page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #f4f5f7; --card: #fff; --line: #717986; --accent: #1f5fbf; --on-accent: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --paper: #15181c; --card: #20252b; --line: #8b94a1; --accent: #8ab4f8; --on-accent: #10151c; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 28rem; padding: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
h1 { margin: 0 0 1rem; font-size: 1.375rem; line-height: 1.3; overflow-wrap: anywhere; }
label, legend { font-weight: 600; }
input[type=text] { width: 100%; margin: .25rem 0 1.25rem; padding: .625rem; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--line); border-radius: .375rem; }
fieldset { margin: 0 0 1.25rem; padding: .5rem 1rem 1rem; border: 1px solid var(--line); border-radius: .375rem; }
fieldset label { display: block; padding: .25rem 0; font-weight: 400; overflow-wrap: anywhere; }
button { min-height: 2.75rem; padding: .5rem 1.25rem; font: inherit; font-weight: 600; border-radius: .375rem; cursor: pointer;
  border: 1px solid var(--accent); background: transparent; color: var(--accent); }
button[value=approve] { background: var(--accent); color: var(--on-accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
p { overflow-wrap: anywhere; }
small { display: block; margin-top: 1.25rem; }
"""


def consent_page(name: str, ticket: str, question: Question) -> HTMLResponse:
    """The question, with a field for the user's name, a box for each scope, and the buttons Allow and Deny."""
    boxes = "".join(
        f'<label><input type="checkbox" name="scope" value="{escape(scope)}" checked> {escape(scope)}</label>' for scope in question.scopes
    )
    back = urlsplit(question.redirect_uri)
    body = f"""
<h1>Let {escape(question.client_name)} use {escape(name)}?</h1>
<form method="post" action="consent">
<input type="hidden" name="ticket" value="{escape(ticket)}">
<label for="user">Your name</label>
<input type="text" id="user" name="user" autocomplete="username" maxlength="64" required autofocus>
<fieldset><legend>It asks to be allowed</legend>{boxes or "<p>nothing in particular</p>"}</fieldset>
<button type="submit" name="decision" value="approve">Allow</button>
<button type="submit" name="decision" value="deny" formnovalidate>Deny</button>
</form>
<small>Afterwards you return to {escape(back.netloc)}. Allow only what you have just asked for yourself.</small>"""
    return _page(f"{name}: allow access?", body, form_target=f"{back.scheme}://{back.netloc}")


def gone_page(name: str) -> HTMLResponse:
    """There is no such question (any more)."""
    text = "<h1>This request is over</h1><p>It was answered before, or it waited too long. Start again in the application.</p>"
    return _page(name, text, status=400)


def _page(title: str, body: str, *, status: int = 200, form_target: str = "") -> HTMLResponse:
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"""
    # Browsers hold the redirect after a form to `form-action` too, so the client's origin is named there.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; form-action 'self' {form_target}; base-uri 'none'; frame-ancestors 'none'"
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(text, status_code=status, headers=headers)
