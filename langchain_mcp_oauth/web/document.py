"""Our client-ID metadata document, published by the application itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from langchain_mcp_oauth.client_document import client_metadata_document
from langchain_mcp_oauth.web.callback import path_below

if TYPE_CHECKING:
    from langchain_mcp_oauth.toolkit import MCPOAuthToolkit

__all__ = ["client_metadata_route"]

HOUR = "max-age=3600"
"""How long authorization servers may keep it (draft-ietf-oauth-client-id-metadata-document §5.2)."""


def client_metadata_route(toolkit: MCPOAuthToolkit, *, base_url: str | None = None, **document: Any) -> Route:
    """A route that serves `client_metadata_document` at the path of its own URL, to everybody.

    Example:
        ```python
        app = Starlette(routes=[client_metadata_route(toolkit, client_name="Our App"), *callback_routes(toolkit, get_user=...)])
        ```

    Args:
        toolkit: As for `client_metadata_document`.
        base_url: The public URL under which the route is mounted. Default: the root of the document's host.
        document: `client_name` and the other arguments of `client_metadata_document`.

    Raises:
        ConfigurationError: as `client_metadata_document`; or the document's URL is not below `base_url`.
    """
    content = client_metadata_document(toolkit, **document)

    async def answer(_: Request) -> JSONResponse:
        return JSONResponse(content, headers={"Cache-Control": HOUR})

    url: str = content["client_id"]
    base = (base_url or urljoin(url, "/")).rstrip("/")
    return Route(path_below(base, url, "The client_metadata_url"), answer, name="mcp_oauth_client_metadata")
