"""`db upgrade`, `keys new`, `keys rotate`."""

from __future__ import annotations

from typing import Any

import typer

from langchain_mcp_oauth.cli.printing import Printer
from langchain_mcp_oauth.cli.settings import AsJson, Store
from langchain_mcp_oauth.store import SQLModelTokenStore, default_database, upgrade
from langchain_mcp_oauth.store.sealing import generate_key

__all__ = ["database", "keys"]

database = typer.Typer(help="The database that logins are kept in.", no_args_is_help=True, rich_markup_mode=None)
keys = typer.Typer(help="The keys that seal logins at rest.", no_args_is_help=True, rich_markup_mode=None)


@database.command("upgrade")
def upgrade_database(*, store: Store = None, as_json: AsJson = False) -> None:
    """Make the tables, or bring older ones forward. Needs no encryption key; run it once for each release, before the library is used."""
    printer = Printer(as_json=as_json)

    async def do() -> dict[str, Any]:
        with printer.working("Upgrading …"):
            before, now = upgrade(store or default_database())
        return {"before": before, "version": now}

    document = printer.run(do())
    before, now = document["before"], document["version"]
    text = f"The tables are at version {now}{'' if before == now else f'; they were at {before}' if before else '; they are new'}."
    printer.result(document, lambda: printer.line(text))


@keys.command("new")
def new_key(*, as_json: AsJson = False) -> None:
    """Print a new key, for LANGCHAIN_MCP_OAUTH_KEY. It is kept nowhere."""
    printer, key = Printer(as_json=as_json), generate_key()
    printer.result({"key": key}, lambda: printer.line(key))


@keys.command("rotate")
def rotate_keys(*, store: Store = None, as_json: AsJson = False) -> None:
    """Seal everything with the first of the configured keys. Put the new key in front, run this, then take the old one away. It may be
    stopped and run again; what none of the keys opens stays as it is, and is an error."""
    printer = Printer(as_json=as_json)

    async def do() -> dict[str, Any]:
        opened = SQLModelTokenStore(store or default_database())
        try:
            return {"resealed": await printer.wait("Sealing …", opened.rotate())}
        finally:
            await opened.aclose()

    document = printer.run(do())
    printer.result(document, lambda: printer.line(f"{document['resealed']} rows were sealed anew; no row needs an older key now."))
