"""Our client-ID metadata document: what an authorization server reads about us at the URL that is our `client_id`.

draft-ietf-oauth-client-id-metadata-document §4, §8; MCP authorization, client registration; SEP-991, SEP-837.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from langchain_mcp_oauth.errors import ConfigurationError
from langchain_mcp_oauth.oauth.urls import check_redirect_uri, is_loopback_host
from langchain_mcp_oauth.servers.remote import MCPServer

if TYPE_CHECKING:
    from langchain_mcp_oauth.toolkit import MCPOAuthToolkit

__all__ = ["client_metadata_document"]

MAX_SIZE = 5 * 1024
"""Bytes that authorization servers read (§8.7)."""

_SECRETS = frozenset({"client_secret", "client_secret_expires_at"})


def client_metadata_document(
    toolkit: MCPOAuthToolkit,
    *,
    client_name: str,
    more_redirect_uris: Iterable[str] = (),
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The document to publish at `MCPServer.client_metadata_url`: as `application/json`, without redirects, where the internet can read it.

    ```python
    toolkit = MCPOAuthToolkit({"files": {"url": url, "client_metadata_url": "https://app.example/client.json"}}, redirect_uri=...)
    Path("client.json").write_text(json.dumps(client_metadata_document(toolkit, client_name="Our App")))
    ```

    Args:
        toolkit: Its redirect URI is in the document, and the `client_metadata_url` of its servers is the `client_id`: one that says
            something else would be refused at every login.
        client_name: Shown to the person by the authorization server.
        more_redirect_uris: Of other deployments that share the document.
        details: Further members (RFC 7591 §2), such as `client_uri`, `logo_uri`, `policy_uri`, `tos_uri`.

    Raises:
        ConfigurationError: the toolkit has no redirect URI, or its servers name no document or several; a redirect URI cannot work; a
            detail is ours to set, or secret; the document is larger than 5 KiB.
    """
    redirect_uris = list(dict.fromkeys([_redirect_uri(toolkit), *map(check_redirect_uri, more_redirect_uris)]))
    document = {
        "client_id": _client_id(toolkit),
        "client_name": client_name,
        "redirect_uris": redirect_uris,
        "application_type": "native" if all(is_loopback_host(urlsplit(uri).hostname) for uri in redirect_uris) else "web",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    taken = sorted((document.keys() | _SECRETS) & (details or {}).keys())
    if taken:
        raise ConfigurationError(f"A client metadata document's details must not hold {', '.join(taken)}.")
    document |= details or {}
    if len(json.dumps(document).encode()) > MAX_SIZE:
        raise ConfigurationError(f"The client metadata document has more than {MAX_SIZE // 1024} KiB; authorization servers read no more.")
    return document


def _redirect_uri(toolkit: MCPOAuthToolkit) -> str:
    if toolkit.redirect_uri is None:
        raise ConfigurationError("A client metadata document names the toolkit's redirect_uri; give MCPOAuthToolkit one.")
    return toolkit.redirect_uri


def _client_id(toolkit: MCPOAuthToolkit) -> str:
    """§3: the document's own URL, to the letter."""
    urls = {server.client_metadata_url for server in toolkit.servers.values() if isinstance(server, MCPServer)} - {None}
    if len(urls) != 1:
        raise ConfigurationError(
            "A client metadata document's client_id is the `client_metadata_url` of the toolkit's servers, of which there must be exactly "
            f"one; there are {len(urls)}."
        )
    [url] = urls
    return str(url)
