"""The story of this library, with real processes: `langchain-mcp-oauth demo`, or `python -m langchain_mcp_oauth.demo.story`.

An MCP server with its authorization server runs in one process and the application's web pages in another. An agent asks a question,
needs a login and ends; a person logs in; another process goes on; others find the login there; it is refreshed when it has expired,
also after everything was restarted. Each step is checked against what the server saw. All that the application's processes share is a
directory with SQLite files.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urljoin, urlsplit

import httpx2
from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.padding import Padding

from langchain_mcp_oauth.demo import processes
from langchain_mcp_oauth.testing.person import Person

__all__ = ["run_demo"]

ACCOUNT = "ada"
"""The name that `--yes` types into the consent page."""

QUESTIONS = (
    "How is a refresh token kept from being used twice?",
    "Where is PKCE checked?",
    "Which file parses a WWW-Authenticate challenge?",
)

PATIENCE = 600.0
"""Seconds a person has, the lifetime of an authorization request."""

INDENT = (0, 0, 0, 3)

Visit: TypeAlias = Callable[[str], None]
"""Opens the link and returns; the login may take its time."""


def run_demo(*, yes: bool, port: int = 0, token_lifetime: int = 5, console: Console | None = None) -> int:
    """Tell the story, step by step.

    Args:
        yes: Log in by itself instead of opening a browser.
        port: Of the MCP server; 0 takes a free one.
        token_lifetime: Seconds an access token lives; the last step waits that long.
        console: Where the story is told.

    Returns:
        The exit status: 0 if every step held.
    """
    narrator = Narrator(console or Console())
    with tempfile.TemporaryDirectory(prefix="langchain-mcp-oauth-demo-") as directory:
        stage = Stage(Path(directory), port, token_lifetime)
        try:
            _tell(stage, narrator, _approve if yes else _browse)
        except (RuntimeError, TimeoutError) as error:
            narrator.check(str(error), held=False)
    narrator.conclude()
    return 0 if narrator.all_held else 1


def _tell(stage: Stage, narrator: Narrator, visit: Visit) -> None:
    with stage.mcp_server() as server, stage.web(server) as web:
        narrator.say(f"An MCP server is at {server}; calling its tools needs a login. The application's web pages are at {web}.")
        link = _an_agent_asks(stage, narrator)
        _a_person_logs_in(stage, narrator, visit, link)
        _another_process_goes_on(stage, narrator)
        _nobody_is_asked_again(stage, narrator)
    narrator.chapter("Everything is restarted, and the access token has expired")
    narrator.say(f"All processes have ended. Waiting {stage.token_lifetime} seconds, the token's lifetime.")
    time.sleep(stage.token_lifetime)
    with stage.mcp_server() as server, stage.web(server):
        _the_login_is_refreshed(stage, narrator)


def _an_agent_asks(stage: Stage, narrator: Narrator) -> str:
    narrator.chapter("An agent asks, in a process of its own")
    narrator.say(QUESTIONS[0])
    outcome = stage.application("ask", "--thread", "1", QUESTIONS[0])
    interrupts = outcome["interrupts"]
    narrator.check("The run stopped at one interrupt, and the process ended.", held=len(interrupts) == 1)
    narrator.check("No tool has run.", held=stage.tools_run() == [])
    if not interrupts:
        raise RuntimeError("Without an interrupt there is nothing to show a person.")
    narrator.show(interrupts[0])
    return str(interrupts[0]["authorization_url"])


def _a_person_logs_in(stage: Stage, narrator: Narrator, visit: Visit, link: str) -> None:
    narrator.chapter("A person opens the link; the browser comes back to the web process")
    narrator.link(link)
    visit(link)
    stage.wait_until(lambda: bool(stage.count(grant_type="authorization_code")))
    narrator.check("The web process redeemed the code.", held=stage.count(grant_type="authorization_code", status=200) == 1)


def _another_process_goes_on(stage: Stage, narrator: Narrator) -> None:
    narrator.chapter("Another process goes on where the first one stopped")
    outcome = stage.application("resume", "--thread", "1")
    narrator.quote(outcome["answer"])
    narrator.check("The agent answered.", held=bool(outcome["answer"]) and not outcome["interrupts"])
    ran = stage.tools_run()
    narrator.check("The tool ran exactly once for each time the model called it.", held=0 < len(ran) == outcome["tool_calls"])
    narrator.check(f"It ran as {', '.join(set(ran))}, who logged in.", held=len(set(ran)) == 1)


def _nobody_is_asked_again(stage: Stage, narrator: Narrator) -> None:
    narrator.chapter("A second question, in yet another process and conversation")
    _answer_silently(stage, narrator, thread="2", question=QUESTIONS[1])
    narrator.check("There has been one authorization request in all.", held=stage.count(path="/authorize") == 1)


def _the_login_is_refreshed(stage: Stage, narrator: Narrator) -> None:
    _answer_silently(stage, narrator, thread="3", question=QUESTIONS[2])
    narrator.check("The token was refreshed.", held=stage.count(grant_type="refresh_token", status=200) > 0)
    narrator.check("No refresh was refused.", held=stage.count(grant_type="refresh_token", status=400) == 0)
    narrator.check("There was no authorization request.", held=stage.count(path="/authorize") == 0)


def _answer_silently(stage: Stage, narrator: Narrator, *, thread: str, question: str) -> None:
    narrator.say(question)
    outcome = stage.application("ask", "--thread", thread, question)
    narrator.quote(outcome["answer"])
    narrator.check("The agent answered, and nobody was asked.", held=bool(outcome["answer"]) and not outcome["interrupts"])


def _approve(link: str) -> None:
    Person(ACCOUNT).approve_in_app(link)


def _browse(link: str) -> None:
    webbrowser.open(link)


@dataclass
class Stage:
    """The processes and what they share. The ports become those that were taken, so that what is restarted is where it was."""

    data_dir: Path
    port: int
    token_lifetime: int
    web_port: int = 0
    server: str = ""
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: {**os.environ, "LANGCHAIN_MCP_OAUTH_KEY": _new_key()})

    @contextmanager
    def mcp_server(self) -> Iterator[str]:
        """The MCP server and its authorization server."""
        arguments = ["--port", str(self.port), "--data-dir", str(self.data_dir), "--token-lifetime", str(self.token_lifetime)]
        with processes.serving("langchain_mcp_oauth.demo.server", arguments, self.environment) as self.server:
            self.port = urlsplit(self.server).port or 0
            yield self.server

    @contextmanager
    def web(self, server: str) -> Iterator[str]:
        """The application's web pages."""
        arguments = ["--server", server, "--data-dir", str(self.data_dir), "web", "--port", str(self.web_port)]
        with processes.serving("langchain_mcp_oauth.demo.application", arguments, self.environment) as self.address:
            self.web_port = urlsplit(self.address).port or 0
            yield self.address

    def application(self, what: str, *arguments: str) -> dict[str, Any]:
        """`ask` or `resume`, in a process of its own."""
        shared = ["--server", self.server, "--data-dir", str(self.data_dir), what, "--web", self.address]
        return processes.run("langchain_mcp_oauth.demo.application", [*shared, *arguments], self.environment)

    def seen(self) -> list[dict[str, Any]]:
        """The requests that the MCP server has seen since it was started."""
        return list(httpx2.get(urljoin(self.server, "/seen"), trust_env=False).json())

    def count(self, **fields: Any) -> int:
        """How many of them have these values."""
        return sum(all(one[name] == value for name, value in fields.items()) for one in self.seen())

    def tools_run(self) -> list[str]:
        """For each tool that ran, whose token it was."""
        return [one["user"] for one in self.seen() if one["tool"] and one["status"] == 200]

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Return as soon as it has happened. Raises `TimeoutError` when the person's time is over."""
        end = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > end:
                raise TimeoutError("Nobody logged in; the link is no longer good.")
            time.sleep(0.2)


def _new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@dataclass
class Narrator:
    """Tells the story and keeps count of what did not hold."""

    console: Console
    all_held: bool = True
    chapters: int = 0

    def chapter(self, title: str) -> None:
        """Begin a step."""
        self.chapters += 1
        self.console.print(f"\n[bold]{self.chapters}. {escape(title)}[/bold]")

    def say(self, text: str) -> None:
        """Tell something."""
        self._print(escape(text))

    def link(self, url: str) -> None:
        """Show an address in one piece, to be clicked or copied."""
        self.console.print(escape(url), soft_wrap=True)

    def quote(self, text: str | None) -> None:
        """Show the beginning of an answer."""
        self._print(f"[italic]{escape(' '.join((text or 'nothing').split())[:200])} …[/italic]")

    def show(self, value: dict[str, Any]) -> None:
        """Show a value as JSON."""
        shown = JSON.from_data(value)
        shown.text.no_wrap, shown.text.overflow = False, "fold"
        self.console.print(Padding(shown, INDENT, expand=False))

    def check(self, claim: str, *, held: bool) -> None:
        """Say whether something holds."""
        self.all_held = self.all_held and held
        self._print(f"[green]✓[/green] {escape(claim)}" if held else f"[red]✗ Not so:[/red] {escape(claim)}")

    def _print(self, markup: str) -> None:
        self.console.print(Padding(markup, INDENT, expand=False))

    def conclude(self) -> None:
        """Say how it went."""
        self.console.print(
            "\n[bold green]Every step held.[/bold green]" if self.all_held else "\n[bold red]Not every step held.[/bold red]"
        )


def main() -> None:
    """Run the story from the command line."""
    parser = argparse.ArgumentParser(prog="python -m langchain_mcp_oauth.demo.story", description="A login that outlives its process.")
    parser.add_argument("--yes", action="store_true", help="log in by itself instead of opening a browser")
    parser.add_argument("--port", type=int, default=0, help="of the MCP server; 0 takes a free one")
    parser.add_argument("--token-lifetime", type=int, default=5, help="seconds an access token lives (default: 5)")
    options = parser.parse_args()
    sys.exit(run_demo(yes=options.yes, port=options.port, token_lifetime=options.token_lifetime))


if __name__ == "__main__":
    main()
