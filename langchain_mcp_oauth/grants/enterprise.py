"""The user's sign-in at the company, exchanged for a token of the MCP server. SEP-990; RFC 8693, RFC 7523."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pydantic import SecretStr

from langchain_mcp_oauth.errors import UnsafeURLError
from langchain_mcp_oauth.grants.contract import Wanted
from langchain_mcp_oauth.models import ClientRegistration, Grant
from langchain_mcp_oauth.oauth import Drive
from langchain_mcp_oauth.oauth.silent import exchange_identity, jwt_bearer, locate
from langchain_mcp_oauth.oauth.urls import check_url

if TYPE_CHECKING:
    from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["EnterpriseManaged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnterpriseManaged:
    """For `MCPServer(grant=...)`: the company's identity provider decides who may use the server, and nobody is sent to its login.

    The user is signed in to the application at the identity provider already. That sign-in is exchanged there for an assertion for this
    server (ID-JAG), and the assertion at the server's authorization server for an access token, as each user. The client there is the
    server's `client_id` with its secret or key, at `issuer`.

    Args:
        id_token: `async (user_id) -> ID token` that the identity provider gave `idp_client_id` when this user signed in. Asked for each new
            access token; what it raises makes the call fail. The whole exchange has 29 seconds.
        idp_token_endpoint: The identity provider's.
        idp_client_id: The application as the identity provider knows it.
        idp_client_secret: Its secret (sent by HTTP Basic), if it has one. Never stored.

    A call raises `TokenEndpointError` when either of the two refuses.
    """

    id_token: Callable[[str], Awaitable[str]]
    idp_token_endpoint: str
    idp_client_id: str
    idp_client_secret: SecretStr | str | None = field(default=None, repr=False)

    source: ClassVar[str] = "enterprise_managed"
    per_user: ClassVar[bool] = True
    extensions: ClassVar[tuple[str, ...]] = ("io.modelcontextprotocol/enterprise-managed-authorization",)

    def problem(self, server: MCPServer) -> str | None:
        """The assertion is good at one authorization server; which one must not be the MCP server's to say."""
        if server.needs_issuer:
            return "EnterpriseManaged needs issuer: the only authorization server the assertion may be sent to"
        if not (server.client_id or server.clients):
            return "EnterpriseManaged needs client_id"
        try:
            check_url(self.idp_token_endpoint, "idp_token_endpoint")
        except UnsafeURLError as error:
            return str(error)
        return None

    async def obtain(self, wanted: Wanted, drive: Drive) -> Grant:
        """See `SilentGrant`."""
        place = await drive(locate(wanted))
        id_token = await self.id_token(wanted.user_id)
        assertion = await drive(exchange_identity(place, id_token, self.idp_token_endpoint, self._at_the_idp()))
        return place.granted(wanted, await drive(jwt_bearer(place, assertion, wanted.now)), self.source)

    def _at_the_idp(self) -> ClientRegistration:
        secret = SecretStr(self.idp_client_secret) if isinstance(self.idp_client_secret, str) else self.idp_client_secret
        return ClientRegistration(
            issuer=self.idp_token_endpoint,
            client_id=self.idp_client_id,
            client_secret=secret,
            auth_method="client_secret_basic" if secret else "none",
            kind="preregistered",
            redirect_uri="",
        )
