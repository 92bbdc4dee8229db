"""Connections to MCP servers. The only door to the MCP session: nothing else opens, shares or closes one.

- `wire`: reading a JSON-RPC message
- `endpoint`: what goes on every HTTP request to a server, and what its answer's status means
- `call`: a request under way
- `dispatcher`: streamable HTTP, one POST for each request, in the caller's task
- `streams`: a session that has an owner task; `pipes` and `sse` are the transports that need one
- `questions`: a server's questions to a person, in one form for both eras
- `listings`: what a server lists, recognised when it comes again
- `session`: negotiating, listing, calling
- `opening`: a session with a server of each kind
- `connection`: one session for each user and server, opened when needed, renewed, closed
"""

from langchain_mcp_oauth.connections.connection import Connection, Connections, ToolResult, mcp_error
from langchain_mcp_oauth.connections.endpoint import Unauthorized
from langchain_mcp_oauth.connections.listings import ListedTools

__all__ = ["Connection", "Connections", "ListedTools", "ToolResult", "Unauthorized", "mcp_error"]
