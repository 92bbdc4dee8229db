"""What users supply themselves, such as API keys: the values that a call may use, or the event that asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from langchain_mcp_oauth.errors import CredentialsRequired, UnknownServerError
from langchain_mcp_oauth.models import Credentials, GrantKey
from langchain_mcp_oauth.servers.remote import AnyServer
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["CredentialBook"]


class CredentialBook:
    """The users' own values, for the servers whose configuration holds `{{NAME}}`. The database row is the truth."""

    def __init__(self, servers: Mapping[str, AnyServer], store: TokenStore, *, on_change: Callable[[GrantKey], None]) -> None:
        self._servers = servers
        self._store = store
        self._on_change = on_change

    async def acquire(self, key: GrantKey, refused: Credentials | None = None) -> Credentials | None:
        """What to make the next request with; None where the server needs nothing of its users.

        Args:
            key: Whose, and where.
            refused: What this call's last request was refused with.

        Raises:
            CredentialsRequired: something is missing, or what there is was refused.
        """
        names = self._servers[key.server].names
        if not names:
            return None
        kept = await self._store.load_credentials(key)
        missing = tuple(name for name in names if kept is None or name not in kept.values)
        if missing or kept is None:
            raise self._event(key, missing, "missing")
        if refused is not None and refused.version == kept.version:
            raise self._event(key, names, "rejected")
        return kept

    async def save(self, key: GrantKey, values: Mapping[str, str]) -> None:
        """Keep these; others of this user for this server stay. Raises `ConfigurationError` for what cannot be sent."""
        await self._store.save_credentials(key, self._servers[key.server].check(values))
        self._on_change(key)

    async def missing(self, key: GrantKey) -> CredentialsRequired | None:
        """What a call would ask for, if it would."""
        try:
            await self.acquire(key)
        except CredentialsRequired as needed:
            return needed
        return None

    def server_for(self, named: str | None, asked: str | None) -> str:
        """Whose values an answer brings: what it says, else the one that was asked for, else the only one that asks at all.

        Raises:
            UnknownServerError: none of these says it.
        """
        asking = [name for name, server in self._servers.items() if server.names]
        server = named or asked or (asking[0] if len(asking) == 1 else "")
        if server not in asking:
            raise UnknownServerError(server, asking)
        return server

    def _event(self, key: GrantKey, names: tuple[str, ...], reason: str) -> CredentialsRequired:
        described = self._servers[key.server].variables
        return CredentialsRequired(
            server=key.server,
            names=names,
            descriptions=tuple(described.get(name, "") for name in names),
            reason=reason,
            save=lambda values: self.save(key, values),
        )
