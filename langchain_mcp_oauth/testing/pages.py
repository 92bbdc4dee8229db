"""Reads the forms and links of an HTML page; just enough to press its buttons."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from html.parser import HTMLParser

__all__ = ["Button", "Form", "Link", "Page"]

_TEXT = ("text", "email", "search", "")


@dataclass
class Button:
    """A submit button; `label` is what it says."""

    name: str
    value: str
    label: str = ""


@dataclass
class Link:
    """A link; `label` is what it says."""

    href: str
    label: str = ""


@dataclass
class Form:
    """A form: its inputs as (type, name, value), boxes only if ticked, and its buttons."""

    action: str
    method: str
    inputs: list[tuple[str, str, str]] = field(default_factory=list)
    buttons: list[Button] = field(default_factory=list)

    def fill(self, *, name: str, password: str, untick: Collection[str] = ()) -> dict[str, list[str]]:
        """The fields as a person of this name would send them, without a button's."""
        typed = {"password": password} | dict.fromkeys(_TEXT, name)
        fields: dict[str, list[str]] = {}
        for kind, key, value in self.inputs:
            if key and not (kind == "checkbox" and value in untick):
                fields.setdefault(key, []).append(typed.get(kind, value))
        return fields


class Page(HTMLParser):
    """The page's `forms` and `links`, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[Link] = []
        self._labelled: Button | Link | None = None
        self._in_form = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser."""
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values.get("action", ""), values.get("method", "get").lower()))
            self._in_form = True
        elif tag == "a" and values.get("href"):
            self.links.append(Link(values["href"]))
            self._labelled = self.links[-1]
        elif tag == "button" and self._in_form:
            self._add_button(values)
        elif tag == "input" and self._in_form:
            self._add_input(values, ticked=any(name == "checked" for name, _ in attrs))

    def _add_button(self, values: dict[str, str]) -> None:
        if values.get("type", "submit") == "submit":
            self.forms[-1].buttons.append(Button(values.get("name", ""), values.get("value", "")))
            self._labelled = self.forms[-1].buttons[-1]

    def _add_input(self, values: dict[str, str], *, ticked: bool) -> None:
        kind = values.get("type", "").lower()
        if kind == "submit":
            self.forms[-1].buttons.append(Button(values.get("name", ""), values.get("value", ""), values.get("value", "")))
        elif kind not in ("checkbox", "radio") or ticked:
            self.forms[-1].inputs.append((kind, values.get("name", ""), values.get("value", "on" if ticked else "")))

    def handle_data(self, data: str) -> None:
        """Called by the parser."""
        if self._labelled is not None:
            self._labelled.label += data

    def handle_endtag(self, tag: str) -> None:
        """Called by the parser."""
        if tag in ("a", "button"):
            self._labelled = None
        elif tag == "form":
            self._in_form = False
