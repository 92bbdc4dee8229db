"""The terminal edge: `langchain-mcp-oauth`. Needs the `cli` extra; `demo` needs the `demo` extra.

- `logins`: login, logout, status
- `calls`: tools, call
- `serving`: serve
- `diagnosis`: doctor
- `storage`: db upgrade, keys rotate, keys new
- `settings`: servers, users and stores from arguments, the environment and a file
- `printing`: words, JSON and exit statuses
"""

from __future__ import annotations

import sys
from typing import Annotated

try:
    import typer
    from rich import console as _  # noqa: F401 - the commands need both
except ImportError:  # the console script exists in every installation
    sys.exit('The command line needs more packages: pip install "langchain-mcp-oauth[cli]"')

import langchain_mcp_oauth
from langchain_mcp_oauth.cli import calls, diagnosis, logins, serving, storage
from langchain_mcp_oauth.cli.printing import Printer
from langchain_mcp_oauth.cli.settings import AsJson

__all__ = ["app", "main"]

app = typer.Typer(
    name="langchain-mcp-oauth",
    help="OAuth-protected MCP servers as LangChain tools.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # locals can hold tokens
    rich_markup_mode=None,
)

for command in (logins.login, logins.logout, logins.status, calls.tools, calls.call, serving.serve, diagnosis.doctor):
    app.command()(command)
app.add_typer(storage.database, name="db")
app.add_typer(storage.keys, name="keys")


@app.callback()
def _about() -> None:
    """OAuth-protected MCP servers as LangChain tools."""


@app.command()
def version(*, as_json: AsJson = False) -> None:
    """Print the version."""
    known = langchain_mcp_oauth.__version__
    printer = Printer(as_json=as_json)
    printer.result({"version": known}, lambda: printer.line(known))


@app.command()
def demo(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Approve by itself instead of opening a browser.")] = False,
) -> None:
    """See a login outlive its process.

    An agent needs a login, a person gives it in another process, a third process goes on. Exit status 0: every step held.
    """
    try:
        from langchain_mcp_oauth.demo.story import run_demo
    except ImportError as missing:
        sys.exit(f'The demo needs more packages ({missing.name}): pip install "langchain-mcp-oauth[demo]"')
    raise typer.Exit(run_demo(yes=yes))


def main() -> None:
    """Run the command line."""
    app()
