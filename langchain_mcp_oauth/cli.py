"""The terminal edge: `langchain-mcp-oauth`. Needs the `cli` extra; `demo` needs the `demo` extra."""

from __future__ import annotations

import sys
from typing import Annotated

try:
    import typer
except ImportError:  # the console script exists in every installation
    sys.exit('The command line needs more packages: pip install "langchain-mcp-oauth[demo]"')

import langchain_mcp_oauth

__all__ = ["app", "main"]

app = typer.Typer(
    name="langchain-mcp-oauth",
    help="OAuth-protected MCP servers as LangChain tools.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals can hold tokens
)


@app.callback()
def _about() -> None:
    """OAuth-protected MCP servers as LangChain tools."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(langchain_mcp_oauth.__version__)


@app.command()
def demo(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Approve by itself instead of opening a browser.")] = False,
) -> None:
    """An agent needs a login, a person gives it in another process, a third process goes on. Exit status 0: every step held."""
    try:
        from langchain_mcp_oauth.demo.story import run_demo
    except ImportError as missing:
        sys.exit(f'The demo needs more packages ({missing.name}): pip install "langchain-mcp-oauth[demo]"')
    raise typer.Exit(run_demo(yes=yes))


def main() -> None:
    """Run the command line."""
    app()
