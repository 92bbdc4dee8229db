"""What a command prints, and how it ends. Words for people, one JSON document for programs; never a token."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from langchain_mcp_oauth.errors import (
    AuthorizationDenied,
    AuthRequired,
    ConfigurationError,
    MCPOAuthError,
    ScopeNotGrantedError,
    TokenRejectedError,
    UnknownServerError,
)

__all__ = ["Exit", "Printer", "exit_of"]

T = TypeVar("T")


class Exit(IntEnum):
    """Exit statuses, each with its meaning."""

    OK = 0
    """It is done."""
    FAILED = 1
    """It could not be done; the message says why."""
    USAGE = 2
    """The command, the configuration or the name of a server cannot be."""
    LOGIN_NEEDED = 3
    """A person has to log in first: `login SERVER`."""
    REFUSED = 4
    """The person, or a server, said no."""
    TRY_LATER = 5
    """A server or the database could not be reached; the same command may succeed later."""
    UNHEALTHY = 6
    """`doctor` found a problem."""
    TOOL_FAILED = 7
    """The tool was called and reported a failure."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""


def exit_of(error: MCPOAuthError) -> Exit:
    """The exit status for an error."""
    if isinstance(error, ConfigurationError):
        return Exit.USAGE
    if isinstance(error, AuthRequired):
        return Exit.LOGIN_NEEDED
    if isinstance(error, AuthorizationDenied | ScopeNotGrantedError | TokenRejectedError):
        return Exit.REFUSED
    return Exit.TRY_LATER if error.retryable else Exit.FAILED


def _sentence(error: MCPOAuthError) -> str:
    """The error's own words, or, where a command helps, which."""
    if isinstance(error, AuthRequired):
        return f"{error.server!r} needs a login, or more of one. Log in: langchain-mcp-oauth login {error.server}"
    if isinstance(error, UnknownServerError):
        return f"{error} Give NAME=URL, or name it in the configuration file."
    return str(error)


class Printer:
    """Standard output for results, standard error for everything said on the way.

    Args:
        as_json: Print one JSON document instead of words; also for errors: `{"error": {"code", "message", "retryable"}}`.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = Console(highlight=False)
        self._err = Console(highlight=False, stderr=True)

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Do it; an error of the library becomes a sentence and an exit status."""
        try:
            return asyncio.run(what)
        except MCPOAuthError as error:
            self.fail(error)
        except KeyboardInterrupt:
            raise typer.Exit(Exit.INTERRUPTED) from None

    def fail(self, error: MCPOAuthError) -> NoReturn:
        """End with the error's status."""
        if self.as_json:
            self.document({"error": {"code": error.code, "message": str(error), "retryable": error.retryable}})
        else:
            self.say(_sentence(error), style="red")
        raise typer.Exit(exit_of(error))

    def document(self, value: object) -> None:
        """The result for programs."""
        sys.stdout.write(f"{json.dumps(value, indent=2, ensure_ascii=False)}\n")

    def result(self, value: object, words: Callable[[], None]) -> None:
        """The result: `value` for programs, `words` for people."""
        if self.as_json:
            self.document(value)
        else:
            words()

    def line(self, text: str, style: str = "") -> None:
        """A line of the result; long ones are the terminal's to wrap, so that addresses stay whole."""
        self._out.print(Text(text, style), soft_wrap=True)

    def marked(self, mark: str, style: str, text: str) -> None:
        """A line of the result that begins with a mark in a style."""
        self._out.print(Text.assemble((mark, style), text), soft_wrap=True)

    def rows(self, titles: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str] = ()) -> None:
        """A table without lines; `styles` go with the rows' second column."""
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        self._out.print(Text("  ".join(map(str.ljust, titles, widths)).rstrip(), "bold"), soft_wrap=True)
        for number, row in enumerate(rows):
            line = Text()
            for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
                style = styles[number] if styles and column == 1 else ""
                line.append(cell.ljust(width), style).append("  ")
            line.rstrip()
            self._out.print(line, soft_wrap=True)

    def say(self, text: str, style: str = "") -> None:
        """Something on the way; not part of the result."""
        self._err.print(Text(text, style), soft_wrap=True)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show that something is going on, at a terminal."""
        if self.as_json or not self._err.is_terminal:
            yield
            return
        with self._err.status(Text(text)):
            yield

    async def wait(self, text: str, awaitable: Awaitable[T]) -> T:
        """Wait for it, and show what for."""
        with self.working(text):
            return await awaitable
