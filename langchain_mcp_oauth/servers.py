"""What a user of the library configures for one MCP server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeGuard
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator, model_validator

from langchain_mcp_oauth.errors import ConfigurationError, UnsafeURLError
from langchain_mcp_oauth.oauth.urls import check_url, is_loopback_host

__all__ = ["MCPServer", "is_name", "parse_servers"]

_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")


class MCPServer(BaseModel):
    """One MCP server, reached over streamable HTTP. Only `url` is needed: everything else is found out or has a safe default.

    Example:
        ```python
        MCPServer("https://mcp.example.com/mcp", scopes=["files:read"])
        ```

    Raises:
        ConfigurationError: a value cannot work; the message names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    """The MCP endpoint. https, or http on loopback for development. Its exact text is part of the identity of every login."""
    scopes: tuple[str, ...] | None = None
    """Asked for at login instead of what the server suggests; nothing from the network widens them. Default: the server decides."""
    client_id: str | None = None
    """A client registered beforehand at `issuer`. Default: a client-ID metadata document or dynamic registration."""
    client_secret: SecretStr | None = None
    """Its secret. Never stored: it is read from here whenever it is needed."""
    client_auth_method: Literal["none", "client_secret_basic", "client_secret_post"] | None = None
    """How the pre-registered client authenticates. Default: what the server supports, `client_secret_basic` first (RFC 7591 §2)."""
    issuer: str | None = None
    """The authorization server to use, of those the MCP server names (default: the first). Compared exactly. Required with
    `client_secret`, so that no server can have the secret sent elsewhere (servers on loopback excepted)."""
    client_metadata_url: str | None = None
    """Our client-ID metadata document (CIMD): an https URL with a path, used where the authorization server supports it."""
    assume_pkce: bool = False
    """For authorization servers that support PKCE but do not say so in their metadata (Microsoft Entra ID, Amazon Cognito)."""
    default_endpoints: bool = False
    """For servers of the MCP revision 2025-03-26 that publish no metadata at all: `/authorize`, `/token` and `/register` at the server's
    own origin, as that revision prescribes (§2.3.3). Metadata that is found is used instead. Default: nothing is guessed."""
    start: Literal["anonymous", "login"] = "anonymous"
    """`login`: ask for the login before the first request, for servers that answer anonymous ones with less."""
    headers: Mapping[str, SecretStr] | None = None
    """Sent with every MCP request to this server's origin. `Authorization` is refused here: the login sets it."""

    def __init__(self, url: str, **options: Any) -> None:
        try:
            super().__init__(url=url, **options)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'server'}: {e['msg']}" for e in error.errors())
            raise ConfigurationError(f"This MCP server's options cannot work: {problems}.") from None

    @field_validator("url", "issuer")
    @classmethod
    def _https_or_loopback(cls, value: str | None) -> str | None:
        if value is not None and not _is_allowed(value):
            raise ValueError("must be an absolute https:// URL (http:// only on loopback), without user, password or fragment")
        return value

    @field_validator("client_metadata_url")
    @classmethod
    def _https_with_path(cls, value: str | None) -> str | None:
        if value is not None and not (_is_allowed(value) and urlsplit(value).scheme == "https" and urlsplit(value).path.strip("/")):
            raise ValueError("must be an https:// URL with a path (OAuth Client ID Metadata Document §3)")
        return value

    @field_validator("headers")
    @classmethod
    def _no_authorization(cls, value: Mapping[str, SecretStr] | None) -> Mapping[str, SecretStr] | None:
        if value and any(name.lower() == "authorization" for name in value):
            raise ValueError("must not hold Authorization; the login sets it")
        return value

    @model_validator(mode="after")
    def _secret_needs_its_client(self) -> MCPServer:
        if self.client_secret is None:
            return self
        if not self.client_id:
            raise ValueError("client_secret needs client_id")
        if not self.issuer and not is_loopback_host(urlsplit(self.url).hostname):
            raise ValueError("client_secret needs issuer: the only authorization server it may be sent to")
        return self


def _is_allowed(url: str) -> bool:
    """Whether the rule for URLs from the network lets it pass: what is configured obeys the same one."""
    try:
        return bool(check_url(url, "The URL"))
    except UnsafeURLError:
        return False


def parse_servers(servers: Mapping[str, str | Mapping[str, Any] | MCPServer]) -> dict[str, MCPServer]:
    """Read the toolkit's `servers` argument: a name to a URL, a dict of `MCPServer`'s fields, or an `MCPServer`."""
    return {_parse_name(name): _parse_server(name, value) for name, value in servers.items()}


def _parse_name(name: str) -> str:
    if not is_name(name):
        raise ConfigurationError(f"A server's name must be 1 to 255 characters without NUL or half a surrogate pair, not {name!r}.")
    return name


def is_name(value: object) -> TypeGuard[str]:
    """Whether every database keeps it exactly (R34): 1 to 255 characters that UTF-8 can write, without NUL."""
    return isinstance(value, str) and 0 < len(value) <= 255 and _UNSTORABLE.search(value) is None


def _parse_server(name: str, value: str | Mapping[str, Any] | MCPServer) -> MCPServer:
    if isinstance(value, MCPServer):
        return value
    if isinstance(value, str):
        return MCPServer(value)
    if isinstance(value, Mapping) and "url" in value:
        return MCPServer(**value)
    raise ConfigurationError(f"Server {name!r} must be a URL, a dict with `url`, or an MCPServer.")
