"""`login`, `logout`, `status`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

import typer

from langchain_mcp_oauth.authorizer.status import LoginState, ServerStatus
from langchain_mcp_oauth.cli.printing import Printer
from langchain_mcp_oauth.cli.settings import Allow, AsJson, Config, Proxy, Server, Servers, Store, User, read_settings
from langchain_mcp_oauth.errors import AuthRequired
from langchain_mcp_oauth.loopback import LoopbackBrowser

__all__ = ["login", "logout", "status"]

STYLES = {LoginState.CONNECTED: "green", LoginState.NEEDS_SCOPES: "yellow", LoginState.EXPIRED: "yellow", LoginState.NOT_CONNECTED: "dim"}

LOOK_EVERY = 1.0
"""Seconds between two looks into the database whether a code has been entered."""

Look: TypeAlias = Callable[[], Awaitable[AuthRequired | None]]
"""What a person still has to open; None when there is nothing left."""

Again = Annotated[bool, typer.Option("--again", help="Log in anew although there is a login, e.g. with another account.")]
Paste = Annotated[
    bool, typer.Option("--paste", help="The browser is on another machine: ask for the address that it ends up at, instead of listening.")
]
Device = Annotated[bool, typer.Option("--device", help="Log in with a code that is entered on any machine, where that is offered.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait for the person.")]

Port = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="For a client that is registered with this port. Default: the first free of ten."),
]


def login(
    server: Server,
    *,
    again: Again = False,
    paste: Paste = False,
    device: Device = False,
    timeout: Timeout = 300.0,
    port: Port = None,
    config: Config = None,
    user: User = None,
    store: Store = None,
    allow: Allow = None,
    proxy: Proxy = None,
    as_json: AsJson = False,
) -> None:
    """Log in to a server with a browser on this machine."""
    printer = Printer(as_json=as_json)
    ask = _Code(printer, timeout) if device else _Pasted(printer, port) if paste else _Browser(printer, timeout, port)

    async def do() -> dict[str, Any]:
        settings = read_settings(config, user, store, allow, proxy)
        async with settings.toolkit(server, redirect_uri=ask.redirect_uri) as (toolkit, name):
            if again or not (await toolkit.status())[name].connected:
                needed = await printer.wait(f"Asking {name} who gives logins …", toolkit.begin_authorization(name))
                if needed is not None:
                    await ask(needed, lambda: toolkit.begin_authorization(name))
                elif not (await toolkit.status())[name].connected:
                    return {"server": name, "state": "no_login_needed", "issuer": None, "scopes": []}
            return _document((await toolkit.status())[name])

    document = printer.run(do())
    name, issuer = document["server"], document["issuer"]
    text = f"Connected to {name} through {issuer}." if issuer else f"{name} needs no login."
    printer.result(document, lambda: printer.line(text, "green"))


class _Browser:
    """Opens the browser on this machine and waits for it to come back."""

    def __init__(self, printer: Printer, timeout: float, port: int | None) -> None:
        self._printer = printer
        self._browser = LoopbackBrowser(port=port, timeout=timeout, show=printer.say)
        self.redirect_uri = self._browser.redirect_uri

    async def __call__(self, needed: AuthRequired, look: Look) -> None:
        self._printer.say(f"Log in at {needed.issuer} in the browser; this command then goes on by itself.")
        await self._printer.wait("Waiting for the browser …", self._browser(needed))


class _Pasted:
    """Shows the address and takes the one that the browser ends up at; that page need not load."""

    def __init__(self, printer: Printer, port: int | None) -> None:
        self._printer = printer
        self.redirect_uri = LoopbackBrowser(port=port).redirect_uri

    async def __call__(self, needed: AuthRequired, look: Look) -> None:
        self._printer.say(f"Open this in any browser, and log in:\n\n{needed.authorization_url}\n")
        self._printer.say("The browser ends up at an address that may not load. Paste it here:")
        await needed.complete((await asyncio.to_thread(input)).strip())


class _Code:
    """Shows the address and the code (RFC 8628 §3.3), and looks whether it has been entered; the library asks no more often than it may."""

    redirect_uri = None

    def __init__(self, printer: Printer, timeout: float) -> None:
        self._printer = printer
        self._timeout = timeout

    async def __call__(self, needed: AuthRequired, look: Look) -> None:
        waiting: AuthRequired | None = needed
        try:
            async with asyncio.timeout(self._timeout):
                while waiting is not None:
                    shown = waiting
                    self._printer.say(f"Open this on any machine:\n\n{shown.authorization_url}\n\nand enter the code {shown.user_code}")
                    with self._printer.working("Waiting for the code to be entered …"):
                        while waiting is not None and waiting.auth_id == shown.auth_id:
                            await asyncio.sleep(LOOK_EVERY)
                            waiting = await look()
        except TimeoutError:
            raise needed from None


def logout(
    server: Server,
    *,
    config: Config = None,
    user: User = None,
    store: Store = None,
    allow: Allow = None,
    proxy: Proxy = None,
    as_json: AsJson = False,
) -> None:
    """Forget a login here, and revoke it at the authorization server."""
    printer = Printer(as_json=as_json)

    async def do() -> dict[str, Any]:
        async with read_settings(config, user, store, allow, proxy).toolkit(server) as (toolkit, name):
            was_connected = (await toolkit.status())[name].issuer is not None
            revoked = await printer.wait(f"Logging out of {name} …", toolkit.disconnect(name))
            return {"server": name, "was_connected": was_connected, "revoked": revoked}

    document = printer.run(do())
    text = f"Logged out of {document['server']}." if document["was_connected"] else f"There was no login to {document['server']}."
    if document["was_connected"] and not document["revoked"]:
        text += " The authorization server could not be told; its tokens end by themselves."
    printer.result(document, lambda: printer.line(text))


def status(
    servers: Servers = None,
    *,
    config: Config = None,
    user: User = None,
    store: Store = None,
    allow: Allow = None,
    proxy: Proxy = None,
    as_json: AsJson = False,
) -> None:
    """Where each login stands, from the database alone."""
    printer = Printer(as_json=as_json)

    async def do() -> list[dict[str, Any]]:
        async with read_settings(config, user, store, allow, proxy).toolkit(*(servers or ())) as (toolkit, _):
            return [{**_document(status), "url": toolkit.servers[name].url} for name, status in (await toolkit.status()).items()]

    documents = printer.run(do())
    if not documents and not as_json:
        printer.say("No servers are known. Log in to one: langchain-mcp-oauth login NAME=URL")
        return
    rows = [
        [d["server"], d["state"].replace("_", " "), d["url"], d["issuer"] or "", " ".join(d["scopes"]), d["last_used"] or ""]
        for d in documents
    ]
    styles = [STYLES[LoginState(document["state"])] for document in documents]
    titles = ["SERVER", "STATE", "URL", "ISSUER", "SCOPES", "LAST USED"]
    printer.result(documents, lambda: printer.rows(titles, rows, styles))


def _document(status: ServerStatus) -> dict[str, Any]:
    """The stable keys."""
    return {
        "server": status.server,
        "state": status.state.value,
        "issuer": status.issuer,
        "scopes": list(status.scopes),
        "expires_at": status.expires_at.isoformat() if status.expires_at else None,
        "refreshable": status.refreshable,
        "last_used": status.last_used.isoformat(timespec="seconds") if status.last_used else None,
        "waiting_until": status.waiting.expires_at.isoformat() if status.waiting else None,
    }
