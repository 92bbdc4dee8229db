"""`serve`: the page of connections for the person at this machine."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from typing import Annotated

import typer

from langchain_mcp_oauth.cli.printing import Exit, Printer
from langchain_mcp_oauth.cli.settings import Allow, Config, Settings, Store, User, read_settings
from langchain_mcp_oauth.errors import ConfigurationError

__all__ = ["serve"]

SESSION = "mcp-oauth-session"

Port = Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1. It is part of the redirect URI that clients are registered with.")]
Open = Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")]


def serve(
    *, port: Port = 8917, open_page: Open = True, config: Config = None, user: User = None, store: Store = None, allow: Allow = None
) -> None:
    """Serve the page of connections on this machine, until Ctrl-C. Only who has the printed address gets in."""
    printer = Printer(as_json=False)

    async def do() -> None:
        await _serve(printer, read_settings(config, user, store, allow), port, open_page=open_page)

    printer.run(do())
    raise typer.Exit(Exit.OK)


async def _serve(printer: Printer, settings: Settings, port: int, *, open_page: bool) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import RedirectResponse, Response
    from starlette.routing import Route

    from langchain_mcp_oauth.web import connection_routes

    listener = _listen(port)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    ticket, session = secrets.token_urlsafe(32), secrets.token_urlsafe(32)

    async def enter(request: Request) -> Response:
        """The ticket is good while the command runs: whoever can read this terminal is the person."""
        if not secrets.compare_digest(request.path_params["ticket"], ticket):
            return Response(status_code=404)
        response = RedirectResponse("/oauth/connections", 303, {"Referrer-Policy": "no-referrer"})
        response.set_cookie(SESSION, session, httponly=True, samesite="lax")
        return response

    def signed_in(request: Request) -> str | None:
        return settings.user if secrets.compare_digest(request.cookies.get(SESSION, ""), session) else None

    async with settings.toolkit(redirect_uri=f"{address}/oauth/callback", start_url=f"{address}/oauth/start") as (toolkit, _):
        app = Starlette(
            routes=[Route("/enter/{ticket}", enter), *connection_routes(toolkit, get_user=signed_in)],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"])],  # no other name leads here
        )
        link = f"{address}/enter/{ticket}"
        printer.line(link)
        printer.say("Your connections are at this address, until Ctrl-C.")
        if open_page:
            webbrowser.open(link)
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
