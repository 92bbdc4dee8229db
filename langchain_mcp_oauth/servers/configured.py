"""What all kinds of configured servers share: how mistakes are told, and the placeholders in what the operator wrote.

`${NAME}` is the environment's, filled in when the server is configured; `{{NAME}}` is each user's own value, filled in when that user
connects. Each is one pass over the operator's text, in this order: a user's value that reads `${SECRET}` or `{{OTHER}}` is sent as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, model_validator

from langchain_mcp_oauth.errors import ConfigurationError

__all__ = ["Configured", "expand", "fill", "names_in"]

_ENVIRONMENT = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_USERS = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}")

_OURS = "LANGCHAIN_MCP_OAUTH_"
"""Variables of this library, its encryption key among them, are never sent anywhere."""

LONGEST_VALUE = 8 * 1024
"""Characters of one user's value."""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Put environment variables in the place of `${NAME}`.

    Raises:
        ValueError: a variable is not set, or is this library's own. Nothing is sent with a hole in it.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith(_OURS):
            raise ValueError(f"the environment variable {name} is this library's own and is given to no server")
        if name not in environment:
            raise ValueError(f"the environment variable {name} is not set")
        return environment[name]

    return _ENVIRONMENT.sub(value_of, text)


def names_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The names of all `{{NAME}}`, each once, in order."""
    return tuple(dict.fromkeys(name for text in texts for name in _USERS.findall(text)))


def fill(text: str, values: Mapping[str, SecretStr]) -> str:
    """Put a user's values in the place of `{{NAME}}`; there is one for each."""
    return _USERS.sub(lambda match: values[match[1]].get_secret_value(), text)


def _expand_all(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return expand(value, environment)
    if isinstance(value, SecretStr):
        return SecretStr(expand(value.get_secret_value(), environment))
    if isinstance(value, Mapping):
        return {name: _expand_all(item, environment) for name, item in value.items()}
    return [_expand_all(item, environment) for item in value] if isinstance(value, (list, tuple)) else value


def _expand_option(name: str, value: Any) -> Any:
    try:
        return _expand_all(value, os.environ)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class Configured(BaseModel):
    """One server, as the application configures it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    EXPANDED: ClassVar[frozenset[str]]
    """The options in which `${NAME}` is looked for."""

    variables: Mapping[str, str] = {}
    """What each user supplies, by name, with a sentence that tells them what it is and where they find it. Every `{{NAME}}` in the other
    options is asked for, also one that is not described here."""

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'server'}: {e['msg']}" for e in error.errors())
            raise ConfigurationError(f"This MCP server's options cannot work: {problems}.") from None

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {name: _expand_option(name, value) if name in cls.EXPANDED else value for name, value in options.items()}

    @model_validator(mode="after")
    def _variables_are_used(self) -> Configured:
        unused = sorted(self.variables.keys() - set(self.names))
        if unused:
            raise ValueError(f"variables describes {', '.join(unused)}, which no other option holds as {{{{{unused[0]}}}}}")
        return self

    @property
    def templates(self) -> Iterable[str]:
        """The texts in which `{{NAME}}` is looked for."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """What each user supplies."""
        return names_in(self.templates)

    def check(self, values: Mapping[str, str]) -> dict[str, SecretStr]:
        """A user's values as they are kept: without the white space around them that comes with pasting.

        Raises:
            ConfigurationError: a name that is not asked for, or a value that cannot be sent; it is not repeated.
        """
        foreign = sorted(str(name) for name in values.keys() - set(self.names))
        if foreign:
            raise ConfigurationError(f"This server does not ask for {', '.join(foreign)}, but for {', '.join(self.names) or 'nothing'}.")
        return {name: SecretStr(_sendable(name, value)) for name, value in values.items()}


def _sendable(name: str, value: object) -> str:
    """Visible ASCII and spaces: what an HTTP header, a query and an environment can all hold, and every key is made of (RFC 9110 §5.5)."""
    text = value.strip() if isinstance(value, str) else ""
    if not 0 < len(text) <= LONGEST_VALUE or not (text.isascii() and text.isprintable()):
        raise ConfigurationError(f"The value of {name} must be 1 to {LONGEST_VALUE:,} characters of printable ASCII.")
    return text
