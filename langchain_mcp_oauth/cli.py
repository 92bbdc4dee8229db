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


database = typer.Typer(name="db", help="The database that logins are kept in.", no_args_is_help=True)
app.add_typer(database)

Store = Annotated[
    str | None,
    typer.Option(envvar="LANGCHAIN_MCP_OAUTH_STORE", help="URL of the database. Default: the SQLite file in your data directory."),
]


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


@database.command("upgrade")
def upgrade_database(*, store: Store = None) -> None:
    """Make the tables, or bring older ones forward. Needs no encryption key; run it once for each release, before the library is used."""
    from langchain_mcp_oauth.store import default_database, upgrade

    try:
        before, now = upgrade(store or default_database())
    except langchain_mcp_oauth.MCPOAuthError as error:
        sys.exit(str(error))
    typer.echo(f"The tables are at version {now}{'' if before == now else f'; they were at {before}' if before else '; they are new'}.")


def main() -> None:
    """Run the command line."""
    app()
