"""Who guards an MCP server. RFC 9728, RFC 8414, OpenID Connect Discovery 1.0; MCP authorization, authorization server discovery.

Every document is looked for in the order of the specification, and what it says is used to the letter or not at all:

0. `MCPServer.authorization_server`, if it is configured, is all there is: nothing is looked for.
1. Protected resource metadata: where the challenge says, at the server's path, at its root. It names the resource and its issuers.
2. Authorization server metadata of one issuer: the configured one, else the first.

Without protected resource metadata, `MCPServer.issuer` stands in for it. Failing that, metadata at the server's own origin that names this
very origin as issuer is accepted (MCP authorization of 2025-03-26, §2.3); endpoints are never guessed, unless `default_endpoints` asks for
that revision's own (§2.3.3). A document that is there but wrong ends the search: falling back from it would let whoever broke it choose
the fallback.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    create_oauth_metadata_request,
    issuers_match,
)
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from langchain_mcp_oauth.errors import DiscoveryError, UnsafeURLError
from langchain_mcp_oauth.models import BearerChallenge
from langchain_mcp_oauth.oauth import Flow
from langchain_mcp_oauth.oauth.answers import check_available, parse_scopes, read_object
from langchain_mcp_oauth.oauth.urls import check_url, covers, redacted, same_origin
from langchain_mcp_oauth.servers.remote import MCPServer

__all__ = ["Discovery", "discover"]

logger = logging.getLogger(__name__)

_UNPLAIN = re.compile(r"\?|[^:]//|/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)

Document: TypeAlias = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What has to be known to get a token for one MCP server. Strings are exactly those of the documents, never normalised."""

    resource: str
    """For the `resource` parameter (RFC 8707): the metadata's, or the configured URL where there is no metadata."""
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    """RFC 8628 §4."""
    resource_scopes: tuple[str, ...] = ()
    """`scopes_supported` of the resource, not of the authorization server."""
    offline_access: bool = False
    """Whether the authorization server lists the scope `offline_access` (SEP-2207)."""
    iss_required: bool = False
    """`authorization_response_iss_parameter_supported` (RFC 9207 §3)."""
    token_endpoint_auth_methods: tuple[str, ...] = ("client_secret_basic",)
    """RFC 8414 §2 gives the default."""
    grant_types: tuple[str, ...] | None = None
    """None: it does not say."""
    dpop_required: bool = False
    """`dpop_bound_access_tokens_required` of the resource (RFC 9728 §2)."""
    dpop_algorithms: tuple[str, ...] | None = None
    """`dpop_signing_alg_values_supported` (RFC 9449 §5.1). None: it does not say."""
    metadata_document_supported: bool = False
    """`client_id_metadata_document_supported` (CIMD)."""


def discover(server: MCPServer, challenge: BearerChallenge | None) -> Flow[Discovery]:
    """Find out who guards `server`. At most six requests, all GET; no redirect is followed.

    Args:
        server: `url`, `issuer`, `authorization_server`, `assume_pkce` and `default_endpoints` are used.
        challenge: What the server answered, if it did: its `resource_metadata` is looked at first. One on another origin than the
            server's is ignored with a warning: a proxy that publishes its inner address is common, and the two places on the server's
            own origin that are tried next are what RFC 9728 §3 calls authoritative anyway.

    Raises:
        DiscoveryError: nothing was found, or what was found contradicts the standards; the message says where and which option helps.
        UnsafeURLError: a document names a URL that is refused.
        ConnectionFailed: a server answered 429 or 5xx.
    """
    if server.authorization_server is not None:
        return _discovery(dict(server.authorization_server), server.url, (), server)
    resource, scopes, issuer, bound = yield from _protected_resource(server, challenge)
    metadata = yield from (_issuer_metadata(issuer) if issuer else _own_origin_metadata(server))
    return _discovery(metadata, resource, scopes, server, dpop_required=bound)


def _protected_resource(server: MCPServer, challenge: BearerChallenge | None) -> Flow[tuple[str, tuple[str, ...], str | None, bool]]:
    """The resource, its scopes, the issuer to ask (None for the server's own origin), and whether it takes no bearer tokens."""
    hint = _usable_hint(server, challenge)
    found = yield from _first_document(build_protected_resource_metadata_discovery_urls(hint, server.url))
    if found is None:
        return server.url, (), server.issuer, False
    url, document = found
    where = f"the protected resource metadata at {redacted(url)}"
    metadata = _parse(ProtectedResourceMetadata, document, _RESOURCE_FIELDS, where)
    resource = check_url(document["resource"], f"The resource in {where}")
    if not covers(resource, server.url):
        raise DiscoveryError(f"The resource in {where} is not the server at {redacted(server.url)} or a parent of it (RFC 9728 §3.3).")
    issuer = _choose_issuer(document["authorization_servers"], server, where)
    bound = document.get("dpop_bound_access_tokens_required") is True
    return resource, parse_scopes(" ".join(metadata.scopes_supported or ())), issuer, bound


def _usable_hint(server: MCPServer, challenge: BearerChallenge | None) -> str | None:
    hint = challenge.resource_metadata if challenge else None
    if hint and not same_origin(hint, server.url):
        logger.warning("resource_metadata at %s is not on the origin of %s; it is ignored.", redacted(hint), redacted(server.url))
        return None
    return hint


def _choose_issuer(issuers: list[str], server: MCPServer, where: str) -> str:
    """The configured issuer, if the resource names it, else the first (RFC 9728 §7.6 leaves the choice to the client)."""
    if server.issuer is None:
        return _check_issuer(issuers[0], f"The first authorization server in {where}")
    if server.issuer not in issuers:
        raise DiscoveryError(
            f"The configured issuer {server.issuer} is not among the authorization servers in {where}. "
            "Issuers are compared exactly, a slash at the end included; set `issuer` to one that is, or leave it out."
        )
    return server.issuer


def _check_issuer(issuer: str, what: str) -> str:
    """RFC 8414 §2: a URL without a query. With `//` or `..` in its path, its metadata would be read from another place than it says."""
    if _UNPLAIN.search(check_url(issuer, what)):
        raise UnsafeURLError(f"{what} is refused: an issuer has no query, and a path without empty or dot segments (RFC 8414 §2).")
    return issuer


def _issuer_metadata(issuer: str) -> Flow[Document]:
    """RFC 8414 §3 and OpenID Connect Discovery §4, in the order of the MCP specification; §3.3: the issuer must be identical."""
    urls = build_oauth_authorization_server_metadata_discovery_urls(issuer, issuer)
    found = yield from _first_document(urls)
    if found is None:
        raise DiscoveryError(
            f"The authorization server {issuer} publishes no metadata: looked at {_listed(urls)}. "
            "Its endpoints are not guessed; ask its operator, or set `issuer` if the MCP server names another one."
        )
    url, document = found
    if document.get("issuer") != issuer:
        raise DiscoveryError(
            f"The metadata at {redacted(url)} is not that of the issuer {issuer} (RFC 8414 §3.3): the two must be identical, "
            "a slash at the end included. Only the operator of the MCP server or of the authorization server can mend that."
        )
    return document


def _own_origin_metadata(server: MCPServer) -> Flow[Document]:
    """MCP authorization of 2025-03-26, §2.3: the server is its own authorization server, and its metadata says so."""
    urls = build_oauth_authorization_server_metadata_discovery_urls(None, server.url)
    found = yield from _first_document(urls)
    base = urls[0].removesuffix("/.well-known/oauth-authorization-server")
    if found is None and server.default_endpoints:
        return _default_metadata(base)
    if found is None or not issuers_match(str(found[1].get("issuer")), base):
        raise DiscoveryError(
            f"{redacted(server.url)} asks for authorization, but says nowhere who gives it: no protected resource metadata (RFC 9728) "
            f"under {base}/.well-known/, and no authorization server metadata of its own. Set `issuer` if you know who guards it, or "
            "`default_endpoints=True` if it is a server of the MCP revision 2025-03-26 that does so itself."
        )
    return found[1]


def _default_metadata(base: str) -> Document:
    """MCP authorization of 2025-03-26, §2.3.3; that revision requires PKCE of everybody, so nothing has to say so."""
    return {
        "issuer": base,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "registration_endpoint": f"{base}/register",
        "code_challenge_methods_supported": ["S256"],
    }


def _first_document(urls: Iterable[str]) -> Flow[tuple[str, Document] | None]:
    """The first of `urls` that answers 200 with a JSON object, and that object.

    Everything else that is final, redirects and the web pages of catch-all sites included, means "not here" (RFC 9728 §3, SEP-985).
    """
    for url in dict.fromkeys(urls):
        response = yield create_oauth_metadata_request(url)
        check_available(response, redacted(url))
        document = read_object(response) if response.status_code == 200 else None
        if document is not None:
            return url, document
    return None


_RESOURCE_FIELDS = ("resource", "authorization_servers", "scopes_supported")
_ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "registration_endpoint",
    "revocation_endpoint",
    "device_authorization_endpoint",
)
_SERVER_FIELDS = (
    *_ENDPOINTS,
    "issuer",
    "scopes_supported",
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
    "code_challenge_methods_supported",
    "client_id_metadata_document_supported",
    "authorization_response_iss_parameter_supported",
)


def _parse(model: type[Model], document: Document, fields: tuple[str, ...], where: str) -> Model:
    """Check the types of the fields we use; the others may be as wrong as they like. `null` and `""` count as left out."""
    try:
        return model.model_validate({name: document[name] for name in fields if document.get(name) not in (None, "")})
    except ValidationError as error:
        broken = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors(include_input=False, include_url=False)}))
        raise DiscoveryError(f"Not usable: {where}, because of {broken}. Only its operator can mend that.") from None


def _discovery(document: Document, resource: str, scopes: tuple[str, ...], server: MCPServer, *, dpop_required: bool = False) -> Discovery:
    where = f"the metadata of the authorization server {redacted(document['issuer'])}"
    metadata = _parse(OAuthMetadata, document, _SERVER_FIELDS, where)
    _check_pkce(metadata, server, where)
    endpoints = {name: check_url(document[name], f"The {name} in {where}") for name in _ENDPOINTS if document.get(name)}
    return Discovery(
        resource=resource,
        issuer=document["issuer"],
        **endpoints,
        resource_scopes=scopes,
        offline_access="offline_access" in (metadata.scopes_supported or ()),
        iss_required=metadata.authorization_response_iss_parameter_supported is True,
        token_endpoint_auth_methods=tuple(metadata.token_endpoint_auth_methods_supported or ("client_secret_basic",)),
        grant_types=None if metadata.grant_types_supported is None else tuple(metadata.grant_types_supported),
        dpop_required=dpop_required,
        dpop_algorithms=_names(document.get("dpop_signing_alg_values_supported")),
        metadata_document_supported=metadata.client_id_metadata_document_supported is True,
    )


def _check_pkce(metadata: OAuthMetadata, server: MCPServer, where: str) -> None:
    """MCP authorization, code protection: without a word about PKCE the client must refuse to proceed."""
    methods = metadata.code_challenge_methods_supported
    if methods is None and not server.assume_pkce:
        raise DiscoveryError(f"Nothing in {where} says that it supports PKCE. If you know that it does, set `assume_pkce=True`.")
    if methods is not None and "S256" not in methods:
        raise DiscoveryError(f"PKCE with S256 is not among the methods in {where}, so codes would not be protected.")


def _names(value: object) -> tuple[str, ...] | None:
    return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list) else None


def _listed(urls: Iterable[str]) -> str:
    return ", ".join(map(redacted, urls))
