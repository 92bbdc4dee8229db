"""The page of connections for one person at their own machine: whoever was told the address is let in, once the application runs."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from langchain_mcp_oauth.web.connections import connection_routes

if TYPE_CHECKING:
    from langchain_mcp_oauth.toolkit import MCPOAuthToolkit

__all__ = ["personal_app"]

SESSION = "mcp-oauth-session"


def personal_app(toolkit: MCPOAuthToolkit, user: str, host: str) -> tuple[Starlette, str]:
    """The application, and the path that lets a browser in: it holds 256 random bits, good while this process runs.

    Args:
        toolkit: Its `redirect_uri` is where the application is served.
        user: Whose page it is.
        host: The only name it answers to, so that no other name can be made to lead here (DNS rebinding).
    """
    ticket, session = secrets.token_urlsafe(32), secrets.token_urlsafe(32)

    async def enter(request: Request) -> Response:
        if not _same(request.path_params["ticket"], ticket):
            return Response(status_code=404)
        response = RedirectResponse("/oauth/connections", 303, {"Referrer-Policy": "no-referrer"})
        response.set_cookie(SESSION, session, httponly=True, samesite="lax")
        return response

    def signed_in(request: Request) -> str | None:
        return user if _same(request.cookies.get(SESSION, ""), session) else None

    routes = [Route("/enter/{ticket}", enter), *connection_routes(toolkit, get_user=signed_in)]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[host])]), f"/enter/{ticket}"


def _same(given: str, known: str) -> bool:
    return secrets.compare_digest(given.encode(), known.encode())
