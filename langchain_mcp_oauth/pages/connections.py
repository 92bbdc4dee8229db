"""The page of connections, and the page before the person leaves for an authorization server.

Names, hosts and scopes are other people's words: they are shown as text, and decide nothing. Times are UTC, as the server knows no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from urllib.parse import urlsplit

from langchain_mcp_oauth.authorizer.status import LoginState, OpenLogin, ServerStatus
from langchain_mcp_oauth.models import AuthorizationRequest
from langchain_mcp_oauth.pages.frame import document
from langchain_mcp_oauth.pages.keys import keys_form
from langchain_mcp_oauth.pages.words import in_words

__all__ = ["Card", "connections_page", "start_page"]


@dataclass(frozen=True, slots=True)
class Card:
    """What is shown of one server: where its login stands, its URL, whether it answers, and whether it has logins of people at all."""

    status: ServerStatus
    url: str
    reachable: bool = True
    has_logins: bool = True
    """False: nobody logs in to it. The application has its tokens without a person, or sends what it was configured with."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """What the person supplies, by name, with what the operator says of it."""

    @property
    def look(self) -> _Look:
        """How the server looks now."""
        if not self.reachable:
            return _UNREACHABLE
        if self.status.missing:
            return _WITHOUT_KEYS
        if self.has_logins:
            return _LOOKS[self.status.state]
        return _WITH_KEYS if self.keys else _BY_ITSELF

    @property
    def has_keys(self) -> bool:
        """Whether the person has given anything."""
        return bool(set(self.keys) - set(self.status.missing))


@dataclass(frozen=True, slots=True)
class _Look:
    """How a state looks: its colour and words, a sentence, and what the button to log in says."""

    colour: str
    label: str
    text: str
    login: str


_LOOKS = {
    LoginState.CONNECTED: _Look("good", "Connected", "The application can use it as you.", "Reconnect"),
    LoginState.EXPIRED: _Look("bad", "Expired", "Access has ended. Connect again to go on using it.", "Reconnect"),
    LoginState.NEEDS_SCOPES: _Look("bad", "Needs more access", "It works, but a call needs more than you have allowed.", "Allow more"),
    LoginState.NOT_CONNECTED: _Look("idle", "Not connected", "The application has no access to it.", "Connect"),
}

_UNREACHABLE = _Look("bad", "Not answering", "The server could not be reached just now. Nothing is lost; try again later.", "Reconnect")

_WITHOUT_KEYS = _Look("bad", "Needs your keys", "The application cannot use it before you have given what it asks for.", "Connect")

_WITH_KEYS = _Look("good", "Connected", "The application can use it with what you gave.", "")

_BY_ITSELF = _Look("idle", "No login needed", "The application gets access to it by itself; there is nothing for you to do.", "")


def connections_page(cards: Iterable[Card], *, user: str, action: str, token: str, words: Mapping[str, str]) -> bytes:
    """A user's connections. Send it with `frame.LIVE_HEADERS`.

    Args:
        cards: One for each server, in order.
        user: Who is signed in, as it is shown.
        action: The path that the forms are sent to.
        token: What proves that a form came from this page.
        words: The application's own words for scopes.
    """
    servers = [_server(number, card, action, token, words) for number, card in enumerate(cards, 1)]
    listed = "\n".join(servers) or '<li class="empty">No servers are configured in the application.</li>'
    waiting = any(" data-waiting" in server for server in servers)
    main = f"""<main class="connections">
<h1>Connections</h1>
<p>Signed in as <strong>{escape(user)}</strong>. These are the servers that the application can use as you.</p>
<p id="news" class="small" role="status" aria-live="polite"></p>
<ul id="servers" data-version="{hashlib.sha256(listed.encode()).hexdigest()[:16]}">
{listed}
</ul>
</main>"""
    # Without a script, the page itself looks for news while a login is open.
    typing = any('type="password"' in server for server in servers)  # which reloading would throw away
    head = '\n<noscript><meta http-equiv="refresh" content="5"></noscript>' if waiting and not typing else ""
    return document("Connections", main, head=head, live=True)


def start_page(request: AuthorizationRequest, *, words: Mapping[str, str], back: str | None) -> bytes:
    """Where the person is about to go, and what they will be asked. Send it with `frame.START_HEADERS`.

    Args:
        request: Open, and the user's own.
        words: The application's own words for scopes.
        back: The path of the page of connections, if there is one.
    """
    server, issuer = escape(request.key.server), escape(_host(request.issuer))
    code = f"\n<p>Enter this code there: {_code(request.user_code)}, then come back.</p>" if request.user_code else ""
    no = f'\n<a class="button quiet" href="{escape(back)}">Not now</a>' if back else ""
    main = f"""<main class="leave">
<h1>Connect {server}?</h1>
<p>You will leave this page and sign in at <strong>{issuer}</strong>, which then asks you whether the application may use
{server} as you.</p>{code}
<dl class="facts">
<dt>Server</dt><dd>{server} <code>{escape(_host(request.key.url))}</code></dd>
<dt>You sign in at</dt><dd>{issuer}</dd>
<dt>The application asks to</dt><dd>{_scopes(request.scopes, words, none="What the server gives by default")}</dd>
</dl>
<p class="small">Go on only if you have asked for this. Check the address bar before you type a password.</p>
<p class="actions"><a class="button" href="{escape(request.authorization_url.get_secret_value())}">Continue to {issuer}</a>{no}</p>
</main>"""
    return document(f"Connect {request.key.server}?", main)


def _server(number: int, card: Card, action: str, token: str, words: Mapping[str, str]) -> str:
    status = card.status
    look = card.look
    name, waiting = escape(status.server), status.waiting
    note = f"<p>{_open_login(waiting)}</p>" if waiting else ""
    return f"""<li class="server" id="server-{number}" data-state="{escape(look.label)}"{" data-waiting" if waiting else ""}>
<header><h2>{name}</h2><span class="state {look.colour}">{look.label}</span></header>
<p>{look.text}</p>{note}
<dl class="facts">
{_facts(card, words)}
</dl>
{_actions(number, card, action, token)}</li>"""


def _open_login(waiting: OpenLogin) -> str:
    until = _hour(waiting.expires_at)
    if waiting.user_code is None:
        return f"A login is open until {until}; finish it here or in the other tab."
    return f"A login is open until {until}. Its code is {_code(waiting.user_code)}; enter it at {escape(_host(waiting.issuer))}."


def _facts(card: Card, words: Mapping[str, str]) -> str:
    status = card.status
    issuer = status.issuer or (status.waiting.issuer if status.waiting else None)
    host = _host(card.url)  # a program has none
    facts = {"Server": f"<code>{escape(host)}</code>"} if host else {}
    if issuer:
        facts["You sign in at"] = escape(_host(issuer))
    if status.issuer:
        facts["Allowed"] = _scopes(status.scopes, words, none="What the server gives by default")
    if status.state is LoginState.NEEDS_SCOPES and status.waiting:
        facts["Also needed"] = _scopes(tuple(s for s in status.waiting.scopes if s not in status.scopes), words, none="Nothing more")
    if status.last_used and status.expires_at:
        facts["Last used"] = _date(status.last_used)
        if not status.refreshable:
            facts["Access until"] = _date(status.expires_at)
    return "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())


def _actions(number: int, card: Card, action: str, token: str) -> str:
    """What the person can do: give keys, log in, take it back."""
    name = card.status.server
    parts = [
        _keys(number, card, action, _hidden("supply", name, token)) if card.keys else "",
        _login(number, card, action, token) if card.has_logins else "",
        _logout(number, card, action, token),
    ]
    shown = "\n".join(filter(None, parts))
    return f'<div class="actions">\n{shown}\n</div>\n' if shown else ""


def _keys(number: int, card: Card, action: str, hidden: str) -> str:
    return keys_form(number, card.status.server, card.keys, missing=card.status.missing, hidden=hidden, action=action)


def _login(number: int, card: Card, action: str, token: str) -> str:
    """Continue what is open, or begin. Quiet where nothing needs doing."""
    status = card.status
    label = card.look.login if status.issuer or status.state is not LoginState.NOT_CONNECTED else "Connect"
    quiet = ' class="quiet"' if status.state is LoginState.CONNECTED or not card.reachable else ""
    return f"""<form method="post" action="{escape(action)}">{_hidden("connect", status.server, token)}
<button id="connect-{number}"{quiet} aria-label="{label} {escape(status.server)}">{label}</button></form>"""


def _logout(number: int, card: Card, action: str, token: str) -> str:
    if card.status.issuer is None and not card.has_keys:
        return ""
    name = escape(card.status.server)
    keys = " What you gave is forgotten here; end it at the server too if others may know it." if card.has_keys else ""
    return f"""<details id="disconnect-{number}"><summary aria-label="Disconnect {name}">Disconnect</summary>
<p>The application loses access to {name} at once. Work that needs it will ask you again.{keys}</p>
<form method="post" action="{escape(action)}">{_hidden("disconnect", card.status.server, token)}
<button id="sure-{number}" class="danger">Yes, disconnect {name}</button></form></details>"""


def _hidden(what: str, server: str, token: str) -> str:
    fields = {"action": what, "server": server, "token": token}
    return "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in fields.items())


def _code(user_code: str) -> str:
    return f'<strong class="code">{escape(user_code)}</strong>'


def _scopes(scopes: Iterable[str], words: Mapping[str, str], *, none: str) -> str:
    items = "".join(f"<li>{_scope(scope, words)}</li>" for scope in scopes)
    return f"<ul>{items}</ul>" if items else none


def _scope(scope: str, words: Mapping[str, str]) -> str:
    said = in_words(scope, words)
    return f"{escape(said)} <code>{escape(scope)}</code>" if said else f"<code>{escape(scope)}</code>"


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _date(when: datetime) -> str:
    return _time(when, f"{when.day} {when:%B %Y, %H:%M} UTC")


def _hour(when: datetime) -> str:
    return _time(when, f"{when:%H:%M} UTC")


def _time(when: datetime, shown: str) -> str:
    return f'<time datetime="{when.isoformat(timespec="seconds")}">{shown}</time>'
