"""Which servers a command knows: arguments, files, and what one is logged in to."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_mcp_oauth.cli.settings import parse_argument, read_settings
from langchain_mcp_oauth.errors import ConfigurationError


@pytest.mark.parametrize(
    ("argument", "name", "url"),
    [
        ("linear", "linear", None),
        ("linear=https://mcp.example/mcp", "linear", "https://mcp.example/mcp"),
        ("https://mcp.example/mcp", "mcp.example", "https://mcp.example/mcp"),
        ("http://127.0.0.1:8000/mcp", "127.0.0.1:8000", "http://127.0.0.1:8000/mcp"),
        ("https://mcp.example/mcp?a=b", "mcp.example", "https://mcp.example/mcp?a=b"),
        ("linear=https://mcp.example/mcp?a=b", "linear", "https://mcp.example/mcp?a=b"),
    ],
)
def test_how_a_server_is_named(argument: str, name: str, url: str | None) -> None:
    """NAME, NAME=URL, or a URL, which is called by its host; the same every time, as it is part of the login's identity."""
    parsed, server = parse_argument(argument)
    assert (parsed, server.url if server else None) == (name, url)


FILES = {
    "servers.toml": '[servers]\nlinear = "https://mcp.example/mcp"\n[servers.github]\nurl = "https://gh.example/mcp"\nscopes = ["repo"]\n',
    "servers.json": '{"servers": {"linear": "https://mcp.example/mcp", "github": {"url": "https://gh.example/mcp", "scopes": ["repo"]}}}',
    "mcp.json": '{"mcpServers": {"linear": {"type": "http", "url": "https://mcp.example/mcp"}, "local": {"command": "x"}, '
    '"github": {"url": "https://gh.example/mcp"}}}',
}


@pytest.mark.parametrize("name", FILES)
def test_files(tmp_path: Path, name: str) -> None:
    """TOML, JSON, and the JSON of other MCP clients, of which servers without a URL are left out."""
    path = tmp_path / name
    path.write_text(FILES[name])
    settings = read_settings(path, "ada", None, None)
    assert {server: options.url for server, options in settings.servers.items()} == {
        "linear": "https://mcp.example/mcp",
        "github": "https://gh.example/mcp",
    }


def test_the_rest_of_a_file(tmp_path: Path) -> None:
    """User, store, private hosts and proxy; what is said on the command line comes first, or is added."""
    path = tmp_path / "servers.toml"
    path.write_text('user = "grace"\nstore = "sqlite:///a.db"\nallowed_private_hosts = ["10.0.0.1:80"]\nproxy = "http://p:1"\n')
    settings = read_settings(path, None, None, ["10.0.0.2:80"])
    assert (settings.user, settings.store, settings.allowed) == ("grace", "sqlite:///a.db", ("10.0.0.1:80", "10.0.0.2:80"))
    assert read_settings(path, "ada", "sqlite:///b.db", None).user == "ada"
    assert [read_settings(path, None, None, None, proxy).proxy for proxy in (None, "http://q:2")] == ["http://p:1", "http://q:2"]


@pytest.mark.parametrize(("name", "text"), [("a.toml", "x ="), ("a.json", "{"), ("a.json", "[]"), ("a.toml", '[servers]\na = "ftp://x"')])
def test_files_that_cannot_be(tmp_path: Path, name: str, text: str) -> None:
    """One error, which names the file or the option."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        read_settings(path, "ada", None, None)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_settings(tmp_path / "nowhere.toml", "ada", None, None)
