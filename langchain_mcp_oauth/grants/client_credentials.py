"""The application itself, without any person. RFC 6749 §4.4; SEP-1046."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from langchain_mcp_oauth.grants.contract import Wanted
from langchain_mcp_oauth.models import Grant
from langchain_mcp_oauth.oauth import Drive
from langchain_mcp_oauth.oauth.silent import client_credentials, locate

if TYPE_CHECKING:
    from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["ClientCredentials"]


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """For `MCPServer(grant=...)`: the application is known to the server by itself, and nobody is ever asked.

    The client is the server's `client_id` with `client_secret` or `private_key`, registered beforehand at `issuer`. All users of the
    toolkit are this one service to the server: they share one token, kept under no user, and no `user_id` is needed where every server of
    the toolkit is used so. `disconnect` gives that one token back; the next call gets another.

    Example:
        ```python
        MCPServer(url, issuer="https://as.example.com", client_id="reports", client_secret=secret, grant=ClientCredentials())
        ```

    A call raises `TokenEndpointError` when the authorization server refuses the client, and `TokenRejectedError` or `ScopeNotGrantedError`
    when the MCP server refuses a second new token.
    """

    source: ClassVar[str] = "client_credentials"
    per_user: ClassVar[bool] = False
    extensions: ClassVar[tuple[str, ...]] = ("io.modelcontextprotocol/oauth-client-credentials",)

    def problem(self, server: MCPServer) -> str | None:
        """RFC 6749 §4.4: only confidential clients may."""
        clients = [*server.clients.values(), *filter(None, [server.client_at(server.issuer or "")])]
        confidential = clients and all(client.credential for client in clients)
        return None if confidential else "ClientCredentials needs client_id, and client_secret or private_key"

    async def obtain(self, wanted: Wanted, drive: Drive) -> Grant:
        """See `SilentGrant`."""
        place = await drive(locate(wanted))
        return place.granted(wanted, await drive(client_credentials(place, wanted.now)), self.source)
