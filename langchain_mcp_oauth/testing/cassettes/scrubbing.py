"""What may be written into a cassette: secrets become pseudonyms, and what changes with every run is left out.

A value that a server issues (a token, a code, a client, a session) becomes `REDACTED-<field>-<number>`: always the same one for the
same value, so that matching a request on its `Authorization` still proves that the right token went with it. A secret that the client
makes up or is configured with (`state`, `code_verifier`, a client secret) becomes `REDACTED-<field>`: it has to be there, whatever it is.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode, urlsplit

from vcr.request import Request

from langchain_mcp_oauth.testing.cassettes.messages import edit_documents, edit_leaves, is_stream

__all__ = ["Pseudonyms", "find_secrets", "scrub_request", "scrub_response"]

MARK = "REDACTED-"

CREDENTIALS = frozenset({"access_token", "refresh_token", "id_token", "client_secret", "registration_access_token", "code"})
CLIENT_MADE = frozenset({"token", "state", "code_verifier", "code_challenge", "client_assertion"})
DOCUMENT = CREDENTIALS | CLIENT_MADE | {"client_id"}
"""Fields of OAuth's documents, forms and queries."""

OPAQUE = frozenset({"requestState", "elicitationId"})
"""Fields of JSON-RPC messages that hold something random. Any others, a tool's `code` say, are data."""

IN_HEADERS = frozenset({"cookie", "session", "event"})

ISSUED = CREDENTIALS | OPAQUE | IN_HEADERS | {"client_id"}
SECRET = CREDENTIALS | OPAQUE | IN_HEADERS | CLIENT_MADE

TIMES = frozenset({"client_id_issued_at", "client_secret_expires_at"})
"""Points in time in a registration (RFC 7591 §3.2.1), written as 0: "does not expire" for the second."""

FORM = re.compile(rb"[\w.-]+=\S*\Z", re.ASCII)
EVENT_ID = re.compile(rb"^id: ?(.+)$", re.MULTILINE)

Rename: TypeAlias = Callable[[str, str], str]
"""`rename(field, value)` is what to write for the value; the field is empty where the value has no name."""


class Pseudonyms:
    """The names of one cassette's secrets."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def issue(self, field: str, value: str) -> str:
        """Rename what a server says; values of issued fields get a name of their own."""
        if field in ISSUED and value and value not in self._names and not value.startswith(MARK):
            self._counts[field] += 1
            self._names[value] = f"{MARK}{field}-{self._counts[field]}"
        return self.hide(field, value)

    def hide(self, field: str, value: str) -> str:
        """Rename what a client says; doing it twice changes nothing."""
        if value in self._names:
            return self._names[value]
        if field in SECRET and value and not value.startswith(MARK):
            return f"{MARK}{field}"
        for secret, name in self._names.items():
            if len(secret) >= 8:
                value = value.replace(secret, name)
        return value


def scrub_request(request: Request, names: Pseudonyms) -> Request:
    """A copy that may be written, and compared with one that was."""
    headers = _headers({name: [value] for name, value in request.headers.items()}, names.hide)
    body = request.body and _body(request.body, names.hide, _forget_client)
    return Request(request.method, _url(request.uri, names.hide), body, headers)


def scrub_response(response: Mapping[str, Any], names: Pseudonyms) -> dict[str, Any]:
    """A copy, in vcrpy's form, that may be written."""
    body = _body(response["body"]["string"], names.issue, lambda document: document)
    return {**response, "headers": _headers(response["headers"], names.issue), "body": {"string": body}}


def _forget_client(message: Any) -> Any:
    """Who calls, with which version and trace, is not part of what is asked."""
    if not isinstance(message, dict) or not isinstance(message.get("params"), dict):
        return message
    return {**message, "params": {name: value for name, value in message["params"].items() if name not in {"_meta", "clientInfo"}}}


def _body(body: bytes, rename: Rename, edit: Callable[[Any], Any]) -> bytes:
    if FORM.match(body):
        return _query(body.decode(), rename).encode()
    if is_stream(body):
        body = EVENT_ID.sub(lambda line: f"id: {rename('event', line[1].decode())}".encode(), body)
    return edit_documents(body, lambda document: _document(edit(document), rename))


def _document(document: Any, rename: Rename) -> Any:
    named = OPAQUE if isinstance(document, dict) and "jsonrpc" in document else DOCUMENT

    def edit(key: str, leaf: Any) -> Any:
        if isinstance(leaf, str):
            return rename(key if key in named else "", leaf)
        return 0 if key in TIMES else leaf

    return edit_leaves(document, edit)


def _query(query: str, rename: Rename) -> str:
    return urlencode([(field, rename(field, value)) for field, value in parse_qsl(query, keep_blank_values=True)])


def _url(url: str, rename: Rename) -> str:
    parts = urlsplit(url)
    return rename("", parts._replace(query=_query(parts.query, rename)).geturl())


# Headers --------------------------------------------------------------------------------------------------------------------


def _authorization(value: str, rename: Rename) -> str:
    scheme, _, credentials = value.partition(" ")
    return f"{scheme} {_basic(credentials, rename) if scheme.lower() == 'basic' else rename('access_token', credentials)}"


def _basic(credentials: str, rename: Rename) -> str:
    client_id, _, secret = base64.b64decode(credentials).decode().partition(":")  # each form-encoded: RFC 6749 §2.3.1
    renamed = rename("client_id", unquote_plus(client_id)), rename("client_secret", unquote_plus(secret))
    return base64.b64encode(":".join(map(quote, renamed)).encode()).decode()


def _cookies(value: str, rename: Rename) -> str:
    pairs = (pair.strip().partition("=") for pair in value.split(";"))
    return "; ".join(f"{name}={rename('cookie', content)}" for name, _, content in pairs)


def _set_cookie(value: str, rename: Rename) -> str:
    return _cookies(value.partition(";")[0], rename)  # the rest may hold a date


def _named(field: str, value: str, rename: Rename) -> str:
    return rename(field, value)


_plain = partial(_named, "")

HEADERS: dict[str, Callable[[str, Rename], str]] = {
    "authorization": _authorization,
    "content-type": _plain,
    "cookie": _cookies,
    "last-event-id": partial(_named, "event"),
    "location": _url,
    "mcp-method": _plain,
    "mcp-name": _plain,
    "mcp-protocol-version": _plain,
    "mcp-session-id": partial(_named, "session"),
    "retry-after": _plain,
    "set-cookie": _set_cookie,
    "www-authenticate": _plain,
}
"""The headers that are kept, and how; all others (dates, lengths, versions, an application's own keys) are left out."""


def _headers(headers: Mapping[str, list[str]], rename: Rename) -> dict[str, list[str]]:
    kept = ((name.lower(), values) for name, values in sorted(headers.items()) if name.lower() in HEADERS)
    return {name: [HEADERS[name](value, rename) for value in values] for name, values in kept}


# The scan -------------------------------------------------------------------------------------------------------------------

_FIELDS = "access_token|refresh_token|id_token|client_secret|registration_access_token|code_verifier|client_assertion|requestState"
_VALUE = rf"(?!{MARK})[^\s\"'\\&,;]{{8,}}"

PATTERNS = {
    "JWT": r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    "bearer token": rf"(?i:bearer|dpop)\s+(?!\w+=[\"\\])(?!{MARK})[\w.~+/-]{{16,}}",
    "field of a document": rf"\b({_FIELDS})\\?[\"']\s*:\s*\\?[\"']{_VALUE}",
    "field of a form or query": rf"(?:^|[?&\s\"'])({_FIELDS}|code|state|token)={_VALUE}",
    "session": rf"(?i:mcp-session-id|set-cookie|cookie):?\s+(?:-\s+)?(?:[\w-]+=)?(?!{MARK})[\w.-]{{16,}}",
}
"""What a secret looks like in a cassette, by kind."""


def find_secrets(text: str) -> list[str]:
    """Everything in the text that looks like a live secret: its kind and its first characters, for a person to look for.

    Knows JSON Web Tokens, bearer and Basic credentials, session ids, cookies, and the fields of OAuth's documents, forms and URLs.
    """
    found = [f"{kind}: {match[0][:24]}…" for kind, pattern in PATTERNS.items() for match in re.finditer(pattern, text)]
    basic = re.findall(r"(?i:basic)\s+([A-Za-z0-9+/]{8,}={0,2})", text)
    return found + [f"basic credentials: {credentials[:8]}…" for credentials in basic if _is_live(credentials)]


def _is_live(credentials: str) -> bool:
    try:
        client_id, colon, secret = base64.b64decode(credentials).decode().partition(":")
    except ValueError:
        return False
    return bool(client_id and colon and secret and not secret.startswith(MARK))
