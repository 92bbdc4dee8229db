"""The commands, one after the other, as a person and as a program use them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import langchain_mcp_oauth
from langchain_mcp_oauth import MCPOAuthToolkit, errors
from langchain_mcp_oauth.cli import app, logins
from langchain_mcp_oauth.cli.printing import Exit, Printer, exit_of
from langchain_mcp_oauth.store import SQLModelTokenStore
from langchain_mcp_oauth.store.sealing import generate_key
from langchain_mcp_oauth.testing import ProtectedServer
from tests.http.web_server import WebServer
from tests.web.test_notebook_browser import an_event

from .conftest import KEY, Run, document

pytestmark = pytest.mark.anyio


def tokens(home: dict[str, str]) -> list[str]:
    """Every secret of every login that is stored."""

    async def read() -> list[str]:
        store = SQLModelTokenStore(f"sqlite:///{home['XDG_DATA_HOME']}/langchain-mcp-oauth/tokens.db", encryption_key=KEY)
        grants = await store.list_grants("ada")
        await store.aclose()
        secrets = [(g.tokens.access_token, g.tokens.refresh_token, g.client.client_secret) for g in grants]
        return [secret.get_secret_value() for row in secrets for secret in row if secret is not None]

    return asyncio.run(read())


def test_from_login_to_logout(run: Run, server: ProtectedServer, browser: list[str], home: dict[str, str]) -> None:
    """Named once, the server is known; every step is said in words, and no output ever holds a token."""
    results = [run("tools", f"demo={server.url}")]
    assert results[-1].exit_code == Exit.LOGIN_NEEDED
    assert "langchain-mcp-oauth login demo" in results[-1].stderr
    results.append(run("login", f"demo={server.url}"))
    assert results[-1].exit_code == Exit.OK, results[-1].output
    assert "Connected to demo" in results[-1].stdout
    results.append(run("status"))
    assert ["demo", "connected", server.url, server.issuer, "tools"] == results[-1].stdout.splitlines()[1].split()[:5]
    results.append(run("tools", "demo"))
    assert "whoami" in results[-1].stdout
    results.append(run("call", "demo", "whoami"))
    assert (results[-1].exit_code, results[-1].stdout) == (Exit.OK, "ada\n")
    results.append(run("call", "demo", "fail", "message=broken"))
    assert results[-1].exit_code == Exit.TOOL_FAILED
    secrets = tokens(home)
    assert len(secrets) == 3
    results.append(run("login", "demo"))
    assert len(browser) == 1, "there is a login; nobody is asked again"
    results.append(run("login", "demo", "--again"))
    assert len(browser) == 2
    secrets += tokens(home)
    results.append(run("logout", "demo"))
    assert "Logged out of demo." in results[-1].stdout
    assert run("call", f"demo={server.url}", "whoami").exit_code == Exit.LOGIN_NEEDED
    assert not [secret for secret in secrets for result in results if secret in result.output]


def test_a_script_uses_the_login_of_the_terminal(run: Run, server: ProtectedServer, browser: list[str]) -> None:
    """Same server, address and user; the database is the same without being named."""
    assert run("login", f"demo={server.url}", "--user=me").exit_code == Exit.OK

    async def whose() -> list[bool]:
        async with MCPOAuthToolkit({"demo": server.url}, allowed_private_hosts=server.allowed_private_hosts) as toolkit:
            return [(await toolkit.status(user_id=user))["demo"].connected for user in ("me", "ada")]

    assert asyncio.run(whose()) == [True, False]


def test_every_command_has_a_document_with_stable_keys(run: Run, server: ProtectedServer, browser: list[str]) -> None:
    """What programs read; errors too."""
    login = document(run("login", f"demo={server.url}", "--json"))
    assert (login["server"], login["state"], login["scopes"], login["refreshable"]) == ("demo", "connected", ["tools"], True)
    [status] = document(run("status", "--json"))
    assert status == {**login, "url": server.url}
    assert {"name", "description", "input_schema"} == set(document(run("tools", "demo", "--json"))[0])
    added = document(run("call", "demo", "add", "a=1", "--arguments", '{"b": 2}', "--json"))
    assert (added["isError"], added["structuredContent"]) == (False, {"total": 3})
    assert document(run("logout", "demo", "--json")) == {"server": "demo", "was_connected": True, "revoked": True}
    refused = run("call", "nobody", "whoami", "--json")
    assert (refused.exit_code, document(refused)["error"]["code"]) == (Exit.USAGE, "unknown_server")
    later = run("tools", "gone=http://127.0.0.1:9/mcp", "--json")
    assert (later.exit_code, document(later)["error"]["retryable"]) == (Exit.TRY_LATER, True)


@pytest.mark.parametrize("values", [["a"], ["--arguments", "x"], ["--arguments", "[]"]])
def test_arguments_that_cannot_be(run: Run, server: ProtectedServer, values: list[str]) -> None:
    """Are said to be wrong before anything is sent."""
    before = len(server.requests)
    assert run("call", f"demo={server.url}", "add", *values).exit_code == Exit.USAGE
    assert len(server.requests) == before


ERRORS = {
    errors.ConfigurationError("x"): Exit.USAGE,
    errors.UnknownServerError("x"): Exit.USAGE,
    errors.AuthorizationDenied("x"): Exit.REFUSED,
    errors.ScopeNotGrantedError("x"): Exit.REFUSED,
    errors.TokenRejectedError("x"): Exit.REFUSED,
    errors.ConnectionFailed("x"): Exit.TRY_LATER,
    errors.StoreUnavailable("x"): Exit.TRY_LATER,
    errors.DiscoveryError("x"): Exit.FAILED,
    errors.StoreKeyError("x"): Exit.FAILED,
}


@pytest.mark.parametrize(("error", "status"), ERRORS.items(), ids=lambda value: type(value).__name__)
def test_every_kind_of_error_has_its_exit_status(error: errors.MCPOAuthError, status: Exit) -> None:
    """One table."""
    assert exit_of(error) is status


def test_the_exit_statuses_are_documented() -> None:
    """Each with its number, in the page on the command line."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    assert [f"| {status.value} |" in page for status in Exit] == [True] * len(Exit)


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every command with the names of its options."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, [option for parameter in command.params for option in parameter.opts]


def test_every_command_can_speak_to_programs() -> None:
    """`--json`, but for the demo, which is for people alone."""
    assert [name for name, options in commands(typer.main.get_command(app)) if "--json" not in options] == ["demo"]
    assert document(CliRunner().invoke(app, ["version", "--json"])) == {"version": langchain_mcp_oauth.__version__}
    assert set(document(CliRunner().invoke(app, ["keys", "new", "--json"]))) == {"key"}


def test_every_command_is_documented() -> None:
    """In the same page."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    named = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    assert [name for name in [*named, "db upgrade", "keys new", "keys rotate"] if f"`{name}" not in page] == []


@pytest.mark.parametrize("command", ["login", "tools", "doctor"])
def test_the_proxy_is_the_one_that_is_named(run: Run, command: str) -> None:
    """Not the environment's: by `--proxy`, everything that is not on this machine goes through it."""

    def refuse(peer: socket.socket, head: bytes) -> None:
        peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with WebServer(refuse) as proxy:
        result = run(command, "far=https://mcp.example/mcp", f"--proxy={proxy.url}")
    assert result.exit_code == (Exit.UNHEALTHY if command == "doctor" else Exit.TRY_LATER)
    assert {head.split(b"\r\n")[0] for head in proxy.heads} == {b"CONNECT mcp.example:443 HTTP/1.1"}
    assert run(command, "far=https://mcp.example/mcp", "--proxy=socks5://p").exit_code == Exit.USAGE


class Told(Printer):
    """What was said on the way."""

    def __init__(self) -> None:
        super().__init__(as_json=True)
        self.said = ""

    def say(self, text: str, style: str = "") -> None:
        self.said += f"{text}\n"


async def test_a_code_to_enter_elsewhere_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the address (RFC 8628 §3.3); a new one when the first has expired; until nothing is left to be opened."""
    monkeypatch.setattr(logins, "LOOK_EVERY", 0.0)
    first, second = (an_event("files", code) for code in ("WDJB-MJHT", "ABCD-EFGH"))
    second.auth_id = "2"
    answers = [first, second, second, None]
    printer = Told()

    async def look() -> errors.AuthRequired | None:
        return answers.pop(0)

    await logins._Code(printer, 60)(first, look)
    assert answers == []
    assert [printer.said.count(code) for code in ("WDJB-MJHT", "ABCD-EFGH", first.authorization_url)] == [1, 1, 2]


async def test_a_code_that_nobody_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event, whose status says that a login is needed."""
    monkeypatch.setattr(logins, "LOOK_EVERY", 0.0)
    needed = an_event("files", "WDJB-MJHT")

    async def look() -> errors.AuthRequired | None:
        return needed

    with pytest.raises(errors.AuthRequired):
        await logins._Code(Told(), 0.05)(needed, look)


def test_tables_and_keys(run: Run, server: ProtectedServer, browser: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`db upgrade` makes the tables; `keys new` prints a key; `keys rotate` seals everything with it, and then the old one can go."""
    upgraded = CliRunner().invoke(app, ["db", "upgrade", "--json"])
    assert document(upgraded)["version"] >= 1
    assert run("login", f"demo={server.url}").exit_code == Exit.OK
    new = CliRunner().invoke(app, ["keys", "new"]).stdout.strip()
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", f"{new},{KEY}")
    rotated = document(CliRunner().invoke(app, ["keys", "rotate", "--json"]))
    assert rotated["resealed"] >= 1
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", new)
    assert run("call", "demo", "whoami").stdout == "ada\n"
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", KEY)
    assert run("call", "demo", "whoami").exit_code == Exit.FAILED


@pytest.mark.parametrize(
    ("keys", "status", "code"),
    [
        (generate_key, Exit.FAILED, "store_key"),
        (lambda: f"{generate_key()},{generate_key()}", Exit.FAILED, "store_key"),
        (lambda: f"{generate_key()},{KEY[:-4]}", Exit.USAGE, "configuration"),
        (lambda: "", Exit.USAGE, "configuration"),
    ],
    ids=["the old one is missing", "the old one is another", "half of the old one", "none"],
)
def test_rotating_without_the_old_key(
    keys: Callable[[], str],
    status: Exit,
    code: str,
    run: Run,
    server: ProtectedServer,
    browser: list[str],
    home: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that says what is wrong, with its exit status and no key in it; nothing is changed, and with the old key all is there."""
    assert run("login", f"demo={server.url}").exit_code == Exit.OK
    stored = tokens(home)
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", configured := keys())
    for options in ([], ["--json"]):
        rotated = CliRunner().invoke(app, ["keys", "rotate", *options])
        assert rotated.exit_code == status
        assert [key for key in configured.split(",") if key and key in rotated.output] == []
    assert (document(rotated)["error"]["code"], document(rotated)["error"]["retryable"]) == (code, False)
    assert tokens(home) == stored
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", KEY)
    assert run("call", "demo", "whoami").stdout == "ada\n"
