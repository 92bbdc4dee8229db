"""What a user of the library configures for one MCP server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, TypeGuard
from urllib.parse import urlsplit

from mcp_types import CallToolResult
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationInfo, field_validator, model_validator

from langchain_mcp_oauth.errors import ConfigurationError, UnsafeURLError
from langchain_mcp_oauth.grants.contract import SilentGrant
from langchain_mcp_oauth.oauth.client_keys import import_private_key
from langchain_mcp_oauth.oauth.urls import check_url, is_loopback_host
from langchain_mcp_oauth.servers.configured import Configured, names_in
from langchain_mcp_oauth.servers.programs import StdioServer

__all__ = ["AnyServer", "MCPServer", "RegisteredClient", "StdioServer", "is_name", "parse_servers"]

_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")

AuthMethod: TypeAlias = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint")
_REQUIRED_METADATA = ("issuer", "authorization_endpoint", "token_endpoint")

_OUR_AUTHORIZATION_PARAMETERS = frozenset(
    {
        *("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method", "resource"),
        *("request", "request_uri", "response_mode", "dpop_jkt"),
    }
)
"""What ties the answer to our request, and what could replace or reroute it as a whole (RFC 9101, OAuth 2.0 Multiple Response Types)."""

_OUR_TOKEN_PARAMETERS = frozenset(
    {
        *("grant_type", "code", "code_verifier", "redirect_uri", "refresh_token", "resource", "device_code", "assertion"),
        *("client_id", "client_secret", "client_assertion", "client_assertion_type", "subject_token", "subject_token_type"),
    }
)


class RegisteredClient(BaseModel):
    """A client that was registered by hand at one authorization server; see `MCPServer.clients`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    client_id: str
    client_secret: SecretStr | None = None
    """Never stored: it is read from here whenever it is needed."""
    private_key: SecretStr | None = None
    """See `MCPServer.private_key`."""
    client_auth_method: AuthMethod | None = None
    """Default: `private_key_jwt` with a `private_key`; else what the server supports, `client_secret_basic` first (RFC 7591 §2)."""

    @field_validator("private_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        return value and _check_key(value)

    @model_validator(mode="after")
    def _one_credential(self) -> RegisteredClient:
        if self.private_key and self.client_secret:
            raise ValueError("client_secret and private_key exclude each other")
        return self

    @property
    def credential(self) -> SecretStr | None:
        """What it authenticates with."""
        return self.private_key or self.client_secret


class MCPServer(Configured):
    """One MCP server, reached over HTTP. Only `url` is needed: everything else is found out or has a safe default.

    Example:
        ```python
        MCPServer("https://mcp.example.com/mcp", scopes=["files:read"])
        MCPServer("https://mcp.example.com/mcp", headers={"Authorization": "Bearer {{EXAMPLE_KEY}}"})
        ```

    `${NAME}` is an environment variable, which must be set: in `url`, `headers`, `query`, `client_id`, `client_secret`, `private_key` and
    `oauth_headers`. `{{NAME}}` is a value of each user's own: in `headers` and `query`. A call that needs one that is not there asks for it
    (`CredentialsRequired`), and it is kept sealed in the store.

    Raises:
        ConfigurationError: a value cannot work; the message names it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    EXPANDED = frozenset({"url", "headers", "query", "client_id", "client_secret", "private_key", "oauth_headers"})

    url: str
    """The MCP endpoint. https, or http on loopback for development. Its exact text is part of the identity of every login, so it is no
    place for a secret: `query` is."""
    transport: Literal["http", "sse"] = "http"
    """`sse`: the HTTP+SSE transport of the MCP revision 2024-11-05, where `url` is the event stream's."""
    auth: Literal["oauth", "none"] | None = None
    """`none`: no login. Whatever the server wants is in `headers` or `query`, and a 401 means that it is wrong. Default: `none` where
    `headers` holds `Authorization`, else `oauth`, which asks nobody as long as the server wants nothing."""
    scopes: tuple[str, ...] | None = None
    """Asked for at login instead of what the server suggests; nothing from the network widens them. Default: the server decides."""
    client_id: str | None = None
    """A client registered beforehand at `issuer`. Default: a client-ID metadata document or dynamic registration."""
    client_secret: SecretStr | None = None
    """Its secret. Never stored: it is read from here whenever it is needed."""
    private_key: SecretStr | None = None
    """Its private key instead of a secret, RSA or EC, PEM or JWK: it signs an assertion for each token request (`private_key_jwt`,
    RFC 7523 §2.2). Never stored."""
    client_auth_method: AuthMethod | None = None
    """How the pre-registered client authenticates. Default: `private_key_jwt` with a `private_key`; else what the server supports,
    `client_secret_basic` first (RFC 7591 §2)."""
    issuer: str | None = None
    """The authorization server to use, of those the MCP server names (default: the first). Compared exactly. Required with `client_secret`
    or `private_key`, and with grants that send an assertion, so that no server can have it sent elsewhere (but for servers on loopback)."""
    clients: Mapping[str, RegisteredClient] = {}
    """Clients registered beforehand at several authorization servers, by issuer, for MCP servers that move from one to another. With any,
    an authorization server that is not among them is an error, and nothing is registered."""
    client_metadata_url: str | None = None
    """Our client-ID metadata document (CIMD): an https URL with a path, used where the authorization server supports it."""
    assume_pkce: bool = False
    """For authorization servers that support PKCE but do not say so in their metadata (Microsoft Entra ID, Amazon Cognito)."""
    default_endpoints: bool = False
    """For servers of the MCP revision 2025-03-26 that publish no metadata at all: `/authorize`, `/token` and `/register` at the server's
    own origin, as that revision prescribes (§2.3.3). Metadata that is found is used instead. Default: nothing is guessed."""
    start: Literal["anonymous", "login"] = "anonymous"
    """`login`: ask for the login before the first request, for servers that answer anonymous ones with less."""
    grant: SilentGrant | None = None
    """How tokens come about without a browser: `ClientCredentials`, `EnterpriseManaged`, `WorkloadIdentity` or `TokenProvider`.
    Default: a person logs in."""
    dpop: bool = False
    """Bind tokens to a key, one for each login, and prove with every request that we have it (DPoP, RFC 9449). Default: where the MCP
    server takes nothing else. True for servers that take both: a stolen token is then worth nothing. Costs a signature per request."""
    headers: Mapping[str, SecretStr] | None = None
    """Sent with every MCP request to this server's origin. `Authorization` rules out a login, which would set it."""
    query: Mapping[str, SecretStr] = {}
    """Added to the URL of every MCP request, for servers that want their key there."""
    oauth_headers: Mapping[str, SecretStr] = {}
    """Sent with every OAuth request (discovery, registration, tokens, revocation) to the origins of `url`, of `issuer` and of the endpoints
    in `authorization_server`, and to no other; for gateways that want a key of their own. `Authorization` is refused."""
    send_resource: bool = True
    """False leaves out `resource` (RFC 8707), for Microsoft Entra ID, which refuses it beside scopes of its own (AADSTS9010010)."""
    authorization_parameters: Mapping[str, str | None] = {}
    """Added to the authorization URL: `{"audience": "https://api.example.com"}` (Auth0), `{"access_type": "offline"}` (Google),
    `{"kc_idp_hint": "github"}` (Keycloak), `{"prompt": "select_account"}`. `{"prompt": None}` leaves out the `prompt=consent` that goes
    with `offline_access`, for Entra ID tenants where only an administrator may consent. What is ours to set is refused."""
    token_parameters: Mapping[str, str] = {}
    """Added to every token request, for codes and refresh tokens alike: `{"audience": "…"}`. No `scope` is sent when refreshing, as
    Salesforce wants it; `{"scope": "…"}` sends one. What is ours to set is refused."""
    authorization_server: Mapping[str, Any] | None = None
    """The authorization server's metadata (RFC 8414), for one that publishes none (GitHub): at least `issuer`, `authorization_endpoint` and
    `token_endpoint`. With it nothing is discovered, and `issuer` is that one."""
    unauthorized_result: Callable[[CallToolResult], bool] | None = None
    """Recognises "not authorized" in the result of a failed call (`isError`), for servers that answer 200 instead of 401. True is treated
    like a 401: the token is refreshed, or a person is asked, and the call is made again, so say so only of calls that did nothing."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url=url, **options)

    @field_validator("transport", mode="before")
    @classmethod
    def _as_others_call_it(cls, value: object) -> object:
        return "http" if value in {"streamable_http", "streamable-http"} else value

    @field_validator("url", "issuer")
    @classmethod
    def _https_or_loopback(cls, value: str | None) -> str | None:
        if names_in([value or ""]):
            raise ValueError("must be the same for every user; `query` and `headers` take what each user supplies")
        if value is not None and not _is_allowed(value):
            raise ValueError("must be an absolute https:// URL (http:// only on loopback), without user, password or fragment")
        return value

    @field_validator("private_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr | None) -> SecretStr | None:
        return value and _check_key(value)

    @field_validator("client_metadata_url")
    @classmethod
    def _https_with_path(cls, value: str | None) -> str | None:
        if value is not None and not (_is_allowed(value) and urlsplit(value).scheme == "https" and urlsplit(value).path.strip("/")):
            raise ValueError("must be an https:// URL with a path (OAuth Client ID Metadata Document §3)")
        return value

    @field_validator("authorization_parameters", "token_parameters")
    @classmethod
    def _not_ours(cls, value: Mapping[str, str | None], info: ValidationInfo) -> Mapping[str, str | None]:
        ours = _OUR_TOKEN_PARAMETERS if info.field_name == "token_parameters" else _OUR_AUTHORIZATION_PARAMETERS
        taken = sorted(name for name in value if name.lower() in ours)
        if taken:
            raise ValueError(f"must not hold {', '.join(taken)}: ours to set")
        if any(text is None and name != "prompt" for name, text in value.items()):
            raise ValueError("must be strings; only `prompt` may be None")
        return value

    @field_validator("authorization_server")
    @classmethod
    def _complete_metadata(cls, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if value is None:
            return None
        for name in (*_REQUIRED_METADATA, *filter(value.get, _ENDPOINTS)):
            if not isinstance(value.get(name), str) or not _is_allowed(value[name]):
                raise ValueError(f"needs an https:// URL as {name} (http:// only on loopback)")
        return value

    @field_validator("clients")
    @classmethod
    def _by_issuer(cls, value: Mapping[str, RegisteredClient]) -> Mapping[str, RegisteredClient]:
        if not all(map(_is_allowed, value)):
            raise ValueError("must map issuers, which are https:// URLs, to clients")
        return value

    @field_validator("oauth_headers")
    @classmethod
    def _no_authorization(cls, value: Mapping[str, SecretStr] | None) -> Mapping[str, SecretStr] | None:
        if value and any(name.lower() == "authorization" for name in value):
            raise ValueError("must not hold Authorization; the login sets it")
        return value

    @model_validator(mode="before")
    @classmethod
    def _issuer_of_its_metadata(cls, values: dict[str, Any]) -> dict[str, Any]:
        metadata = values.get("authorization_server")
        if not isinstance(metadata, Mapping):
            return values
        if values.get("issuer") not in {None, metadata.get("issuer")}:
            raise ValueError("issuer is not that of authorization_server")
        return {**values, "issuer": metadata.get("issuer")}

    @model_validator(mode="after")
    def _login_or_authorization(self) -> MCPServer:
        if self.auth == "oauth" and self._has_authorization:
            raise ValueError("headers must not hold Authorization with auth='oauth'; the login sets it")
        return self

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> MCPServer:
        if self.clients and self.client_id:
            raise ValueError("clients and client_id say the same; put the client among clients, under its issuer")
        return self

    @model_validator(mode="after")
    def _secret_needs_its_client(self) -> MCPServer:
        if self.private_key and self.client_secret:
            raise ValueError("client_secret and private_key exclude each other")
        if not (self.private_key or self.client_secret):
            return self
        name = "private_key" if self.private_key else "client_secret"
        if not self.client_id:
            raise ValueError(f"{name} needs client_id")
        if self.needs_issuer:
            raise ValueError(f"{name} needs issuer: the only authorization server it may be sent to")
        return self

    @property
    def uses_oauth(self) -> bool:
        """Whether a login can help."""
        return self.auth == "oauth" or (self.auth is None and not self._has_authorization)

    @property
    def _has_authorization(self) -> bool:
        return any(name.lower() == "authorization" for name in self.headers or {})

    @property
    def templates(self) -> Iterable[str]:
        return [value.get_secret_value() for value in (*(self.headers or {}).values(), *self.query.values())]

    @property
    def configured_urls(self) -> tuple[str, ...]:
        """Every URL that was written here rather than found out."""
        endpoints = (self.authorization_server or {}).get
        return tuple(filter(None, (self.url, self.issuer, *map(endpoints, _ENDPOINTS))))

    @model_validator(mode="after")
    def _grant_can_work(self) -> MCPServer:
        if self.grant is not None and (problem := self.grant.problem(self)):
            raise ValueError(problem)
        return self

    @property
    def needs_issuer(self) -> bool:
        """Whether nothing says where a credential may be sent. On loopback nothing has to."""
        return not (self.issuer or self.clients) and not is_loopback_host(urlsplit(self.url).hostname)

    def client_at(self, issuer: str) -> RegisteredClient | None:
        """The client registered beforehand at this authorization server, compared exactly; None if there is none."""
        if self.client_id is None or self.issuer not in {None, issuer}:
            return self.clients.get(issuer)
        return RegisteredClient(
            client_id=self.client_id,
            client_secret=self.client_secret,
            private_key=self.private_key,
            client_auth_method=self.client_auth_method,
        )


def _check_key(key: SecretStr) -> SecretStr:
    import_private_key(key.get_secret_value())
    return key


AnyServer: TypeAlias = MCPServer | StdioServer


def _is_allowed(url: str) -> bool:
    """Whether the rule for URLs from the network lets it pass: what is configured obeys the same one."""
    try:
        return bool(check_url(url, "The URL"))
    except UnsafeURLError:
        return False


def parse_servers(servers: Mapping[str, str | Mapping[str, Any] | AnyServer]) -> dict[str, AnyServer]:
    """Read the toolkit's `servers` argument: a name to a URL, a dict of a server's options, or a server."""
    return {_parse_name(name): _parse_server(name, value) for name, value in servers.items()}


def _parse_name(name: str) -> str:
    if not is_name(name):
        raise ConfigurationError(f"A server's name must be 1 to 255 characters without NUL or half a surrogate pair, not {name!r}.")
    return name


def is_name(value: object) -> TypeGuard[str]:
    """Whether every database keeps it exactly (R34): 1 to 255 characters that UTF-8 can write, without NUL."""
    return isinstance(value, str) and 0 < len(value) <= 255 and _UNSTORABLE.search(value) is None


def _parse_server(name: str, value: str | Mapping[str, Any] | AnyServer) -> AnyServer:
    if isinstance(value, MCPServer | StdioServer):
        return value
    if isinstance(value, str):
        return MCPServer(value)
    if isinstance(value, Mapping) and "url" in value:
        return MCPServer(**value)
    if isinstance(value, Mapping) and "command" in value and value.get("transport", "stdio") == "stdio":
        return StdioServer(**{option: setting for option, setting in value.items() if option != "transport"})
    raise ConfigurationError(f"Server {name!r} must be a URL, a dict with `url` or `command`, an MCPServer or a StdioServer.")
