"""`serve`: the page of connections for the person at this machine."""

from __future__ import annotations

import socket
import webbrowser
from typing import Annotated

import typer

from langchain_mcp_oauth.cli.printing import Exit, Printer
from langchain_mcp_oauth.cli.settings import Allow, AsJson, Config, Proxy, Servers, Settings, Store, User, read_settings
from langchain_mcp_oauth.errors import ConfigurationError

__all__ = ["serve"]

Port = Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1. It is part of the redirect URI that clients are registered with.")]
Open = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")]


def serve(
    servers: Servers = None,
    *,
    port: Port = 8917,
    open_page: Open = True,
    config: Config = None,
    user: User = None,
    store: Store = None,
    allow: Allow = None,
    proxy: Proxy = None,
    as_json: AsJson = False,
) -> None:
    """Serve the page of connections on this machine, until Ctrl-C. Only who has the printed address gets in."""
    printer = Printer(as_json=as_json)

    async def do() -> None:
        await _serve(printer, read_settings(config, user, store, allow, proxy), servers or [], port, open_page=open_page)

    printer.run(do())
    raise typer.Exit(Exit.INTERRUPTED)  # it ends by a signal alone; whether asyncio raises that again depends on when it came


async def _serve(printer: Printer, settings: Settings, servers: list[str], port: int, *, open_page: bool) -> None:
    import uvicorn

    from langchain_mcp_oauth.web.personal import personal_app

    listener = _listen(port)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with settings.toolkit(*servers, redirect_uri=f"{address}/oauth/callback", start_url=f"{address}/oauth/start") as (toolkit, _):
        app, entrance = personal_app(toolkit, settings.user, "127.0.0.1")
        url = f"{address}{entrance}"
        printer.result({"url": url}, lambda: printer.line(url))
        printer.say("Your connections are at this address, until Ctrl-C.")
        if open_page:
            webbrowser.open(url)
        config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", lifespan="off", timeout_graceful_shutdown=1)
        await uvicorn.Server(config).serve([listener])


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise ConfigurationError(f"Port {port} on 127.0.0.1 is taken; give another --port.") from None
    listener.listen()
    return listener
