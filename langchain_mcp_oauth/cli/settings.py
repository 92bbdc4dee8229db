"""Which servers, whose account, which store: from arguments, the environment and a small file."""

from __future__ import annotations

import getpass
import json
import os
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import platformdirs
import typer

from langchain_mcp_oauth import MCPOAuthToolkit, MCPServer
from langchain_mcp_oauth.errors import ConfigurationError, UnknownServerError
from langchain_mcp_oauth.servers.remote import AnyServer, parse_servers
from langchain_mcp_oauth.store import SQLModelTokenStore, TokenStore, default_database

__all__ = ["Allow", "AsJson", "Config", "Proxy", "Server", "Servers", "Settings", "Store", "User", "read_settings"]

ONE = "NAME of a server, NAME=URL, or a URL."

Server = Annotated[str, typer.Argument(metavar="SERVER", help=ONE)]
Servers = Annotated[list[str] | None, typer.Argument(metavar="[SERVER]...", help=f"{ONE} Default: all that are known.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, errors too.")]
User = Annotated[str | None, typer.Option(envvar="LANGCHAIN_MCP_OAUTH_USER", help="Whose logins. Default: your login name.")]
Store = Annotated[
    str | None,
    typer.Option(envvar="LANGCHAIN_MCP_OAUTH_STORE", help="URL of the database. Default: the SQLite file in your data directory."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        envvar="LANGCHAIN_MCP_OAUTH_CONFIG",
        help="A TOML or JSON file with a table `servers`. Default: servers.toml in your configuration directory, if it is there.",
    ),
]
Allow = Annotated[
    list[str] | None, typer.Option("--allow", metavar="HOST:PORT", help="An address that is not public and may be contacted. Repeatable.")
]
Proxy = Annotated[
    str | None,
    typer.Option(envvar="LANGCHAIN_MCP_OAUTH_PROXY", metavar="URL", help="The egress proxy. Default: none, whatever HTTPS_PROXY says."),
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the commands work with."""

    servers: Mapping[str, AnyServer]
    user: str
    store: str | None
    allowed: tuple[str, ...] = ()
    proxy: str | None = None

    @asynccontextmanager
    async def toolkit(self, *arguments: str, **options: Any) -> AsyncIterator[tuple[MCPOAuthToolkit, str]]:
        """A toolkit of the servers that the arguments mean, and the first one's name there; without arguments, of all that are known."""
        store = SQLModelTokenStore(self.store or default_database())
        try:
            known = {**self.servers, **await self._remembered(store)}
            servers = dict(self._named(argument, known) for argument in arguments) or known
            reach: dict[str, Any] = {"allowed_private_hosts": self.allowed, "proxy": self.proxy}
            async with MCPOAuthToolkit(servers, store=store, user_id=self.user, **reach, **options) as toolkit:
                yield toolkit, next(iter(servers), "")
        finally:
            await store.aclose()

    def named(self, argument: str) -> AnyServer:
        """The server that an argument means, of those that are configured or spelled out."""
        return self._named(argument, self.servers)[1]

    async def _remembered(self, store: TokenStore) -> dict[str, MCPServer]:
        """Servers that the user is logged in to, and that no file names: `login NAME=URL` is said once."""
        return {
            grant.key.server: MCPServer(grant.key.url)
            for grant in await store.list_grants(self.user)
            if grant.key.server not in self.servers
        }

    def _named(self, argument: str, servers: Mapping[str, AnyServer]) -> tuple[str, AnyServer]:
        if argument in servers:
            return argument, servers[argument]
        name, server = parse_argument(argument)
        if server is None:
            raise UnknownServerError(argument, servers)
        return name, server


def parse_argument(argument: str) -> tuple[str, MCPServer | None]:
    """`NAME=URL`; or a URL, which is called by its host; or a name alone, without a server."""
    name, equals, url = argument.partition("=")
    if equals and "://" in url and "/" not in name:
        return name, MCPServer(url)
    if "://" in argument:
        return urlsplit(argument).netloc or argument, MCPServer(argument)
    return argument, None


def read_settings(config: Path | None, user: str | None, store: str | None, allow: list[str] | None, proxy: str | None = None) -> Settings:
    """The settings of one command.

    Raises:
        ConfigurationError: the file cannot be read, or something in it cannot work; the message names it.
    """
    document = _read_file(config)
    return Settings(
        servers=_servers(document),
        user=user or document.get("user") or getpass.getuser(),
        store=store or document.get("store"),
        allowed=(*document.get("allowed_private_hosts", ()), *(allow or ())),
        proxy=proxy or document.get("proxy"),
    )


def _servers(document: Mapping[str, Any]) -> dict[str, AnyServer]:
    """`servers`, or `mcpServers` as other MCP clients write it, of which those without a URL are left out."""
    others = {name: value["url"] for name, value in document.get("mcpServers", {}).items() if isinstance(value, Mapping) and "url" in value}
    return parse_servers(others | document.get("servers", {}))


def _read_file(path: Path | None) -> dict[str, Any]:
    default = platformdirs.user_config_path("langchain-mcp-oauth", appauthor=False) / "servers.toml"
    if path is None:
        if not default.exists():
            return {}
        path = default
    try:
        text = path.read_text(encoding="utf-8")
        document: object = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {os.strerror(error.errno or 0)}.") from None
    except ValueError:
        raise ConfigurationError(f"{path} is not {'JSON' if path.suffix == '.json' else 'TOML'}.") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} must hold a table with `servers`.")
    return document
