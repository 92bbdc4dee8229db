"""What every page is made of: one document, one style, one policy. No build step, no file of its own, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from types import MappingProxyType

__all__ = ["HEADERS", "LIVE_HEADERS", "START_HEADERS", "document"]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #f4f5f7; --card: #fff; --line: #d3d8df; --edge: #7d8590;
  --good: #176f3d; --good-paper: #e2f4e8; --bad: #8f4700; --bad-paper: #fdeed9; --idle: #4c5561; --idle-paper: #e9ecf0;
  --accent: #1f5fbf; --on-accent: #fff; --danger: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #a9b3bf; --paper: #15181c; --card: #20252b; --line: #3b434d; --edge: #7f8a96;
    --good: #7ee2a0; --good-paper: #183726; --bad: #ffb86b; --bad-paper: #402c14; --idle: #c0c8d1; --idle-paper: #313840;
    --accent: #8ab4f8; --on-accent: #10151c; --danger: #ff8a80; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; background: var(--paper); }
body { margin: 0; min-height: 100vh; min-height: 100dvh; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1, h2, p, dl, dd, ul { margin: 0; padding: 0; }
ul { list-style: none; }
code { font: .9em ui-monospace, monospace; color: var(--soft); }
a { color: var(--accent); }
.code { font: 700 1.25em/1.2 ui-monospace, monospace; letter-spacing: .08em; white-space: nowrap; color: var(--ink); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }
.button, button, summary { display: inline-flex; align-items: center; min-height: 2.75rem; padding: .5rem 1.25rem; border-radius: .5rem;
  border: 1px solid var(--accent); background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600;
  text-decoration: none; cursor: pointer; }
.button:hover, button:hover, summary:hover { text-decoration: underline; }
.quiet, summary { background: transparent; color: var(--accent); border-color: var(--edge); }
.danger { background: var(--danger); border-color: var(--danger); }
summary { color: var(--danger); border-color: transparent; font-weight: 500; }
.outcome, .leave { width: 100%; max-width: 32rem; margin: max(1rem, 12vh) auto 1rem; padding: 2.5rem 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }
.outcome { text-align: center; }
.outcome h1 { margin: 1.25rem 0 .75rem; }
.outcome p { text-wrap: balance; }
.outcome p + p { margin-top: .75rem; color: var(--soft); }
.outcome .button { margin: 1.5rem .25rem 0; }
h1 { font-size: 1.5rem; line-height: 1.25; text-wrap: balance; }
.mark { width: 3.5rem; height: 3.5rem; padding: .875rem; border-radius: 50%; fill: none; stroke: currentColor; stroke-width: 2.5;
  stroke-linecap: round; stroke-linejoin: round; }
.good { color: var(--good); background: var(--good-paper); }
.bad { color: var(--bad); background: var(--bad-paper); }
.idle { color: var(--idle); background: var(--idle-paper); }
.leave p { margin-top: .75rem; }
.facts { margin-top: 1.25rem; }
.facts dt { color: var(--soft); font-size: .9375rem; }
.facts dd + dt { margin-top: .75rem; }
.facts li { padding: .125rem 0; }
.leave .actions { margin-top: 1.75rem; }
.small { font-size: .9375rem; color: var(--soft); }
.connections { width: 100%; max-width: 46rem; margin: 2rem auto; }
.connections > p { margin: .375rem 0 1.5rem; color: var(--soft); }
.server { margin-bottom: 1rem; padding: 1.5rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
.empty { padding: 2.5rem 1.5rem; border: 1px dashed var(--edge); border-radius: .75rem; text-align: center; color: var(--soft); }
.server:target { border-color: var(--accent); }
.server header { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: center; justify-content: space-between; }
h2 { font-size: 1.1875rem; line-height: 1.3; }
.state { display: inline-flex; align-items: center; gap: .5rem; padding: .125rem .75rem; border-radius: 1rem; font-size: .9375rem;
  font-weight: 600; }
.state::before { content: ""; width: .5rem; height: .5rem; border-radius: 50%; background: currentColor; }
.server > p { margin-top: .5rem; }
.server .facts { display: grid; grid-template-columns: 9rem 1fr; gap: .375rem 1.25rem; margin-top: 1rem; font-size: .9375rem; }
.server .facts dd + dt { margin-top: 0; }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.25rem; align-items: flex-start; }
details[open] { flex-basis: 100%; padding: 1rem; border: 1px solid var(--edge); border-radius: .5rem; }
details[open] summary { padding: 0; min-height: 0; font-weight: 600; }
details p { margin: .75rem 0 1rem; }
summary { list-style: none; }
summary.calm { color: var(--accent); }
.keys { flex-basis: 100%; }
.keys label { display: block; font-weight: 600; }
.keys .small { margin: 0; }
.keys input { width: 100%; min-height: 2.75rem; margin: .375rem 0 1rem; padding: .5rem .75rem; border: 1px solid var(--edge);
  border-radius: .5rem; background: var(--paper); color: var(--ink); font: inherit; }
summary::-webkit-details-marker { display: none; }
@media (max-width: 34rem) {
  .outcome, .leave { margin-top: 1rem; padding: 2rem 1.25rem; }
  .connections { margin: .5rem auto; }
  .server { padding: 1.25rem; }
  .server .facts { grid-template-columns: 6.75rem 1fr; gap: .5rem .75rem; }
  .leave .actions > *, .actions form button, summary { width: 100%; justify-content: center; }
  .server .actions > * { flex: 1 1 8rem; }
  .server .actions .keys, .server .actions details[open] { flex-basis: 100%; }
}
"""

SCRIPT = """
(() => {
  const look = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", redirect: "error" });
      if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("servers"));
    } catch { /* the page as it is will do */ }
  };
  const show = (fresh) => {
    const shown = document.getElementById("servers");
    if (!fresh || fresh.dataset.version === shown.dataset.version) return;
    if ([...shown.querySelectorAll("input:not([type=hidden])")].some((input) => input.value)) return; // somebody is typing
    const before = new Map([...shown.children].map((server) => [server.id, server.dataset.state]));
    const focused = document.activeElement && document.activeElement.id;
    const open = [...shown.querySelectorAll("details[open]")].map((details) => details.id);
    shown.replaceWith(document.adoptNode(fresh));
    open.forEach((id) => { const details = document.getElementById(id); if (details) details.open = true; });
    if (focused && document.getElementById(focused)) document.getElementById(focused).focus();
    document.getElementById("news").textContent = [...fresh.children]
      .filter((server) => before.get(server.id) !== server.dataset.state)
      .map((server) => server.querySelector("h2").textContent + ": " + server.querySelector(".state").textContent)
      .join(". ");
  };
  let beat = 0;
  setInterval(() => { if (document.querySelector("[data-waiting]") || ++beat % 3 === 0) look(); }, 2000);
  document.addEventListener("visibilitychange", look);
})();
"""
"""Looks for news every two seconds while a login is open, else every six, and whenever the tab comes to the front. Shows what the server
has rendered and makes nothing of its own, so the page is the same without it."""

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>{head}
<style>{style}</style>
</head>
<body>
{main}{script}
</body>
</html>
"""


def document(title: str, main: str, *, head: str = "", live: bool = False) -> bytes:
    """A whole page as UTF-8 HTML. `main`, its one landmark, and `head` are markup already; the title is text."""
    script = f"\n<script>{SCRIPT}</script>" if live else ""
    return _DOCUMENT.format(title=escape(title), head=head, style=STYLE, main=main, script=script).encode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _headers(*, script: bool = False, form: bool = False, referrer: str = "no-referrer", allow: str = "GET") -> Mapping[str, str]:
    policy = {
        "default-src": "'none'",
        "style-src": _hash(STYLE),
        "script-src": _hash(SCRIPT) if script else None,
        "connect-src": "'self'" if script else None,
        "base-uri": "'none'",
        "form-action": "'self'" if form else "'none'",
        "frame-ancestors": "'none'",
    }
    return MappingProxyType(
        {
            "Allow": allow,  # required with 405, allowed with the others (RFC 9110 §10.2.1)
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": "no-store",
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items() if value),
            "Referrer-Policy": referrer,
            "X-Content-Type-Options": "nosniff",
        }
    )


HEADERS = _headers()
"""Of a page that only tells (R28). `no-referrer` keeps the callback's query from wherever the person goes next."""

START_HEADERS = HEADERS
"""Of the page before the person leaves. It leads on by a link: `form-action` would also forbid where the issuer redirects a form to."""

LIVE_HEADERS = _headers(script=True, form=True, referrer="same-origin", allow="GET, POST")
"""Of the page of connections. With `no-referrer` browsers would send its forms with `Origin: null` (Fetch §4.1), which proves nothing."""
