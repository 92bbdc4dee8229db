"""What a person gives a server themselves, such as an API key: the form for it, and the question before it is forgotten.

What was given is never shown, not even how long it is; a field that is left empty keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

__all__ = ["PREFIX", "keys_form"]

PREFIX = "value-"
"""Begins the names of the fields that hold a person's values."""


def keys_form(number: int, server: str, keys: Mapping[str, str], *, missing: tuple[str, ...], hidden: str, action: str) -> str:
    """The form, open where something is missing.

    Args:
        number: The server's place on the page.
        server: What the toolkit calls it.
        keys: What it asks for, with what the operator says of each.
        missing: What of that is not there yet.
        hidden: The fields that a person does not fill in, as markup.
        action: The path that the form is sent to.
    """
    fields = "".join(_field(f"{number}-{n}", name, text, is_missing=name in missing) for n, (name, text) in enumerate(keys.items(), 1))
    form = f"""<form method="post" action="{escape(action)}" class="keys" autocomplete="off">{hidden}{fields}
<button id="keep-{number}" aria-label="Save for {escape(server)}">Save</button></form>"""
    if missing:
        return form
    return f"""<details id="keys-{number}"><summary class="calm" aria-label="Change what you gave {escape(server)}">Change keys</summary>
{form}</details>"""


def _field(place: str, name: str, text: str, *, is_missing: bool) -> str:
    hint = " ".join(filter(None, (text, "" if is_missing else "Empty: what you gave stays.")))
    described = f' aria-describedby="about-{place}"' if hint else ""
    about = f'<p class="small" id="about-{place}">{escape(hint)}</p>' if hint else ""
    return f"""
<label for="value-{place}">{escape(name)}</label>{about}
<input id="value-{place}" name="{PREFIX}{escape(name)}" type="password" autocomplete="off" spellcheck="false"{described}{
        " required" if is_missing else ""
    }>"""
