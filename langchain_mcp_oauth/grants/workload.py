"""The platform that the program runs on vouches for it. SEP-1933; RFC 7523 §2.1."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from langchain_mcp_oauth.grants.contract import Wanted
from langchain_mcp_oauth.models import Grant
from langchain_mcp_oauth.oauth import Drive
from langchain_mcp_oauth.oauth.silent import jwt_bearer, locate

if TYPE_CHECKING:
    from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["WorkloadIdentity"]


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """For `MCPServer(grant=...)`: the program proves itself with a JWT of its platform (Kubernetes, SPIFFE, a cloud, a CI system).

    As with `ClientCredentials`, all users of the toolkit are one service to the server. No secret has to be configured; a `client_id` (with
    a secret or key) is sent where the server has one.

    Args:
        assertion: `async (issuer, resource) -> JWT` whose `aud` is that issuer, for example read from a projected token file. Asked for
            each new access token; what it raises makes the call fail. The whole exchange has 29 seconds.

    A call raises `TokenEndpointError` when the authorization server refuses the assertion, which is then neither sent again nor replaced by
    another way to log in.
    """

    assertion: Callable[[str, str], Awaitable[str]]

    source: ClassVar[str] = "workload_identity"
    per_user: ClassVar[bool] = False
    extensions: ClassVar[tuple[str, ...]] = ()

    def problem(self, server: MCPServer) -> str | None:
        """An assertion is a credential."""
        return "WorkloadIdentity needs issuer: the only authorization server the assertion may be sent to" if server.needs_issuer else None

    async def obtain(self, wanted: Wanted, drive: Drive) -> Grant:
        """See `SilentGrant`."""
        place = await drive(locate(wanted))
        assertion = await self.assertion(place.issuer, place.resource)
        return place.granted(wanted, await drive(jwt_bearer(place, assertion, wanted.now)), self.source)
