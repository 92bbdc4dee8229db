"""Tokens that the application has from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from langchain_mcp_oauth.grants.contract import Wanted
from langchain_mcp_oauth.models import ClientRegistration, Grant
from langchain_mcp_oauth.oauth import Drive
from langchain_mcp_oauth.oauth.tokens import read_token_response

if TYPE_CHECKING:
    from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["TokenProvider"]

Provide: TypeAlias = Callable[[str, str], Awaitable[str | Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class TokenProvider:
    """For `MCPServer(grant=...)`: the application has the tokens, from a token broker or its own sign-in, and this library fetches none.

    Args:
        provide: `async (user_id, server) -> token`, `server` being the toolkit's name for it. Returns the access token, or a token
            response (RFC 6749 §5.1: `access_token`, `expires_in` in seconds, `scope`). Asked when a token is first needed, when it has
            expired (without `expires_in`: after an hour), and once more in a call in which the server has refused it. What it raises makes
            the call fail. It has 29 seconds.

    Tokens are kept sealed in the store, so that all processes share them. `disconnect` forgets a user's; the next call asks again.
    """

    provide: Provide

    source: ClassVar[str] = "provided"
    per_user: ClassVar[bool] = True
    extensions: ClassVar[tuple[str, ...]] = ()

    def problem(self, server: MCPServer) -> str | None:
        """It sends nothing anywhere, so nothing else is needed."""
        return None

    async def obtain(self, wanted: Wanted, drive: Drive) -> Grant:
        """See `SilentGrant`."""
        given = await self.provide(wanted.user_id, wanted.key.server)
        answer = {"access_token": given} if isinstance(given, str) else given
        client = wanted.server.client_at(wanted.server.issuer or "")
        where = "your TokenProvider"
        return Grant(
            key=wanted.key,
            issuer=wanted.server.issuer or "",
            resource=wanted.server.url,
            token_endpoint="",
            client=ClientRegistration(issuer=where, client_id=client.client_id if client else "", kind="preregistered", redirect_uri=""),
            tokens=read_token_response(
                {"token_type": "Bearer", **answer, "refresh_token": None}, where, scopes=wanted.scopes, refresh_token=None, now=wanted.now
            ),
            scopes_requested=wanted.scopes,
            source=self.source,
        )
