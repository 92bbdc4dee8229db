"""What the MCP SDK's own OAuth client keeps its tokens in, for tests that hold our servers and recordings against it."""

from __future__ import annotations

from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken


class Memory:
    """The SDK's `TokenStorage` in two attributes; `auth` is the provider that uses it, `logins` counts what a test counts."""

    auth: OAuthClientProvider
    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None
    logins = 0

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info
