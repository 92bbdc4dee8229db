"""What a grant without a person is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from langchain_mcp_oauth.models import BearerChallenge, Grant, GrantKey
from langchain_mcp_oauth.oauth import Drive

if TYPE_CHECKING:
    from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["SilentGrant", "Wanted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A token that is needed now."""

    key: GrantKey
    """Where it will be kept; for a service identity the user is the empty string, which nobody can be."""
    user_id: str
    """For whom it is needed, as the application has authenticated them."""
    server: MCPServer
    scopes: tuple[str, ...] = ()
    """At least these; empty: what the server suggests."""
    challenge: BearerChallenge | None = None
    """What the server answered, if it did."""
    previous: Grant | None = None
    """The grant that has expired or was refused."""
    now: datetime


@runtime_checkable
class SilentGrant(Protocol):
    """How tokens come about where nobody has to be asked.

    Its class says three things: `source`, what its grants are marked with, so that no other configuration uses them; `per_user`, false
    where every user of the toolkit is the same service to the server; `extensions`, the MCP extensions it implements.
    """

    source: ClassVar[str]
    per_user: ClassVar[bool]
    extensions: ClassVar[tuple[str, ...]]

    def problem(self, server: MCPServer) -> str | None:
        """Why it cannot work with the server's other options, if it cannot."""
        ...

    async def obtain(self, wanted: Wanted, drive: Drive) -> Grant:
        """A new token. Asked once at a time for each key, over all processes; raises what makes the call fail."""
        ...
