"""Which tools a user has, over all servers: listed in parallel, each failure judged by what the application chose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import Literal, TypeAlias, cast

from langchain_mcp_oauth.connections import ListedTools
from langchain_mcp_oauth.errors import ConfigurationError, ConnectionFailed, MCPOAuthError, PersonRequired, ServersFailed, UserRequiredError
from langchain_mcp_oauth.service.service import Service

__all__ = ["Lister", "Offer", "OnServerError", "OnUnauthorized"]

logger = logging.getLogger(__name__)

OnServerError: TypeAlias = Literal["raise", "skip"]
OnUnauthorized: TypeAlias = Literal["raise", "cached", "placeholder"]

Offer: TypeAlias = ListedTools | None
"""What a server offers a user; None: a login, before anything else."""


@dataclass(frozen=True, slots=True)
class Lister:
    """Lists as the application wants it, see `MCPOAuthToolkit`."""

    service: Service
    on_server_error: OnServerError
    on_unauthorized: OnUnauthorized
    choose: Callable[[Sequence[PersonRequired]], PersonRequired] = itemgetter(0)
    """What is asked, of all that have to be."""
    max_age: timedelta = timedelta()
    """Listings as young as this are good enough."""

    async def list_missing(self, user_id: str | None, offers: dict[str, Offer]) -> None:
        """Add the servers that are not in `offers` yet; raise a `PersonRequired` when all others have had their turn.

        Raises:
            AuthRequired, ServersFailed, UserRequiredError, ConfigurationError, …: as `MCPOAuthToolkit.aget_tools`.
        """
        names = [name for name in self.service.servers if name not in offers]
        outcomes = await asyncio.gather(*(self._offer(user_id, name) for name in names), return_exceptions=True)
        failures: dict[str, BaseException] = {}
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                failures[name] = outcome
            else:
                offers[name] = outcome
        needed = [error for error in failures.values() if isinstance(error, PersonRequired)]
        self._judge({name: error for name, error in failures.items() if not isinstance(error, PersonRequired)})
        if needed:
            raise self.choose(needed)

    async def _offer(self, user_id: str | None, server: str) -> Offer:
        try:
            if user_id is None:
                return await self._offer_to_anybody(server)
            return await self.service.list_tools(user_id, server, max_age=self.max_age)
        except (PersonRequired, ConnectionFailed) as failure:
            if self.on_unauthorized == "cached" and (last := await self.service.last_listed(user_id, server)) is not None:
                return last
            if self.on_unauthorized == "placeholder" and isinstance(failure, PersonRequired):
                return None
            raise

    async def _offer_to_anybody(self, server: str) -> Offer:
        listed = await self.service.list_for_anybody(server)
        if listed is None and self.on_unauthorized == "cached":
            listed = await self.service.last_listed(None, server)
        if listed is None and self.on_unauthorized != "placeholder":
            raise UserRequiredError(
                f"{server!r} shows its tools only to users who are logged in, and nobody says whose to list. Build the graph with "
                "MCPOAuthMiddleware, or with on_unauthorized='placeholder', or give a user_id."
            )
        return listed

    def _judge(self, failures: Mapping[str, BaseException]) -> None:
        for error in failures.values():
            if isinstance(error, ConfigurationError) or not isinstance(error, MCPOAuthError):  # no server's failure
                raise error
        if failures and self.on_server_error == "raise":
            raise ServersFailed(cast("dict[str, Exception]", failures))
        for name, error in failures.items():
            logger.warning("Going on without the tools of %r: %s", name, error)
