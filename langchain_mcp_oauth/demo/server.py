"""A protected MCP server with its authorization server, as a program of its own:

    python -m langchain_mcp_oauth.demo.server --port 8000 --data-dir ./demo-data

Everybody may list its tools; calling one needs a login. Access tokens are short-lived on purpose, refresh tokens rotate, and what it
remembers is in `--data-dir`, so it can be stopped and started. It listens on 127.0.0.1 only and takes everybody's word for who they are:
it is there to be tried, not to be deployed.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import AsyncIterator, MutableSequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from langchain_mcp_oauth.demo.library import Hit, Library, Notes, documents
from langchain_mcp_oauth.testing.authorization_server import AuthorizationServer
from langchain_mcp_oauth.testing.endpoints import authorization_routes
from langchain_mcp_oauth.testing.guard import Guard, guarded, make_mcp_server, resource_routes
from langchain_mcp_oauth.testing.observed import Observer, SeenRequest
from langchain_mcp_oauth.testing.records import Records
from langchain_mcp_oauth.testing.serving import listen, origin

__all__ = ["demo_app", "main"]

NAME = "Demo library"
SCOPES = ("library",)
PUBLIC = frozenset({"initialize", "notifications/initialized", "server/discover", "tools/list"})
"""What needs no login: to see what there is."""

SEEN_KEPT = 10_000


def demo_app(at: str, data_dir: Path, *, token_lifetime: int) -> ASGIApp:
    """Both servers at the origin `at`, e.g. `http://127.0.0.1:8000`: MCP at `/mcp`, and `/seen` lists the requests so far.

    Args:
        at: The origin it is served at; the `issuer`.
        data_dir: Where clients, grants and notes are kept.
        token_lifetime: Seconds an access token lives.
    """
    resource = f"{at}/mcp"
    seen: MutableSequence[SeenRequest] = deque(maxlen=SEEN_KEPT)
    records, library = Records(data_dir / "authorization.db"), Library(documents())
    server = AuthorizationServer(at, resource=resource, scopes=SCOPES, records=records, token_lifetime=token_lifetime)
    mcp_app = _mcp(library, Notes(data_dir / "notes.db")).streamable_http_app()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with mcp_app.router.lifespan_context(app):
            yield
        records.close()
        library.close()

    async def show_seen(request: Request) -> Response:
        return JSONResponse([asdict(one) for one in seen])

    routes: list[Route | Mount] = [
        Route("/seen", show_seen),
        *authorization_routes(server, name=NAME, metadata={}),
        *resource_routes(resource, at, name=NAME, scopes=SCOPES),
        Mount("/", guarded(Guard(mcp_app, resource=resource, scopes=SCOPES, anonymous=PUBLIC), server, resource=resource)),
    ]
    return Observer(Starlette(routes=routes, lifespan=lifespan), seen)


def _mcp(library: Library, notes: Notes) -> MCPServer:
    mcp = make_mcp_server(NAME)

    @mcp.tool()
    def search_docs(query: str) -> list[Hit]:
        """Search the documentation and source of langchain_mcp_oauth; returns paths and excerpts, best first."""
        return library.search(query)

    @mcp.tool()
    def read_doc(path: str) -> str:
        """Read one document whole, by a path that search_docs returned."""
        text = library.read(path)
        if text is None:
            raise ToolError(f"There is no document {path!r}; search_docs says which there are.")
        return text

    @mcp.tool()
    def add_note(text: str) -> str:
        """Keep a private note for the user."""
        notes.add(_user(), text)
        return f"Noted for {_user()}."

    @mcp.tool()
    def list_notes() -> list[str]:
        """The user's own notes, oldest first."""
        return notes.of(_user())

    return mcp


def _user() -> str:
    token = get_access_token()
    assert token is not None  # the guard lets no call through without one
    assert token.subject is not None  # the consent page insists on a name
    return token.subject


def main() -> None:
    """Serve until interrupted. The first line printed is the MCP endpoint's URL; by then requests are accepted."""
    parser = argparse.ArgumentParser(prog="python -m langchain_mcp_oauth.demo.server", description="A protected MCP server, to be tried.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    parser.add_argument("--data-dir", type=Path, default=Path("demo-data"), help="default: ./demo-data")
    parser.add_argument("--token-lifetime", type=int, default=60, help="seconds an access token lives (default: 60)")
    options = parser.parse_args()
    options.data_dir.mkdir(parents=True, exist_ok=True)
    listener = listen(options.port)
    app = demo_app(origin(listener), options.data_dir, token_lifetime=options.token_lifetime)
    print(f"{origin(listener)}/mcp", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)).run(sockets=[listener])


if __name__ == "__main__":
    main()
