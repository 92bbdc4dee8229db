"""The browser edge of a web application: start links, the callback that the browser comes back to, and a page of connections. Starlette
routes, for FastAPI and every other ASGI application too.

- `callback`: start links and the callback, for the user who started and nobody else
- `connections`: a user's servers, with connect, reconnect and disconnect
- `document`: the client-ID metadata document
- `forms`: what proves that a form was sent by our own page
"""

from langchain_mcp_oauth.web.callback import GetUser, StartLinkCookie, callback_routes
from langchain_mcp_oauth.web.connections import connection_routes
from langchain_mcp_oauth.web.document import client_metadata_route

__all__ = ["GetUser", "StartLinkCookie", "callback_routes", "client_metadata_route", "connection_routes"]
