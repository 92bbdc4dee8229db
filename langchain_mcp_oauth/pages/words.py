"""Scopes in words. What a scope allows is for its server to say (RFC 6749 §3.3); its name mostly tells, and is always shown beside."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["in_words"]

_STANDARD = {
    "openid": "Know who you are",
    "profile": "See your name and picture",
    "email": "See your email address",
    "address": "See your postal address",
    "phone": "See your phone number",
    "offline_access": "Stay connected until you disconnect",
}
"""OpenID Connect Core §5.4 and §11."""

_VERBS = {
    "read": "Read",
    "readonly": "Read",
    "view": "See",
    "list": "List",
    "search": "Search",
    "write": "Change",
    "edit": "Change",
    "update": "Change",
    "readwrite": "Read and change",
    "create": "Create",
    "delete": "Delete",
    "manage": "Manage",
    "admin": "Manage",
    "send": "Send",
    "execute": "Run",
    "run": "Run",
    "call": "Use",
    "use": "Use",
}


def in_words(scope: str, own: Mapping[str, str]) -> str | None:
    """What the scope seems to allow; None where its name does not tell.

    Args:
        scope: As the server writes it.
        own: The application's own words by scope, which come first.
    """
    if scope in own or scope in _STANDARD:
        return own.get(scope) or _STANDARD.get(scope)
    parts = [part for part in re.split(r"[:./_-]", scope.rpartition("/")[2].lower()) if part]
    verb = next((part for part in (*parts[-1:], *parts[:1]) if part in _VERBS), None)
    things = [part for part in parts if part != verb]
    return f"{_VERBS[verb]} {' '.join(things)}" if verb and things and all(map(str.isalpha, things)) else None
