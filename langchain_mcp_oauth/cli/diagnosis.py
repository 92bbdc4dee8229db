"""`doctor`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

import typer

from langchain_mcp_oauth.cli.printing import Exit, Printer
from langchain_mcp_oauth.cli.settings import Allow, AsJson, Config, Proxy, Server, read_settings
from langchain_mcp_oauth.doctor import Finding, examine
from langchain_mcp_oauth.errors import ConfigurationError
from langchain_mcp_oauth.http import check_proxy, drive, guarded_client
from langchain_mcp_oauth.loopback import LoopbackBrowser
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.servers.remote import MCPServer
from langchain_mcp_oauth.service.private_hosts import own_hosts

__all__ = ["doctor"]

T = TypeVar("T")

MARKS = {"ok": ("ok      ", "green"), "note": ("note    ", "yellow"), "problem": ("problem ", "bold red")}


def doctor(server: Server, *, config: Config = None, allow: Allow = None, proxy: Proxy = None, as_json: AsJson = False) -> None:
    """Say what a server gets wrong, and which option helps.

    It walks the way to a login step by step. Nobody is asked, and nothing is registered.
    """
    printer = Printer(as_json=as_json)
    found: list[Finding] = []

    def note(finding: Finding) -> None:
        found.append(finding)
        if not as_json:
            _say(printer, finding)

    async def do() -> None:
        settings = read_settings(config, "-", None, allow, proxy)
        try:
            configured = settings.named(server)
        except ConfigurationError as error:
            if "://" not in server:
                raise
            note(Finding("server", "problem", str(error)))
            return
        if not isinstance(configured, MCPServer):
            note(Finding("server", "problem", "It is a program on this machine: there is no login to look at."))
            return
        allowed = frozenset(settings.allowed) | own_hosts({server: configured})
        proxy_url = check_proxy(settings.proxy) if settings.proxy else None
        async with guarded_client(allowed_hosts=allowed, proxy=proxy_url) as client:

            async def send(flow: Flow[T], /) -> T:
                with printer.working("Asking …"):
                    return await drive(flow, client)

            async for finding in examine(configured, send, redirect_uri=LoopbackBrowser().redirect_uri, now=datetime.now(UTC)):
                note(finding)

    printer.run(do())
    well = not any(finding.verdict == "problem" for finding in found)
    if as_json:
        document: dict[str, Any] = {"server": server, "ok": well, "findings": [finding.as_dict() for finding in found]}
        printer.document(document)
    raise typer.Exit(Exit.OK if well else Exit.UNHEALTHY)


def _say(printer: Printer, finding: Finding) -> None:
    mark, style = MARKS[finding.verdict]
    printer.marked(mark, style, finding.text)
    if finding.advice:
        printer.marked(" " * len(mark), "", finding.advice)
