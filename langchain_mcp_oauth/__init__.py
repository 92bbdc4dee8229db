"""OAuth-protected MCP servers as LangChain tools; the login is a durable, per-user, interruptible event of the agent.

This is the front door: names not listed here may move. Edges that need an optional package are imported when first used.
"""

from typing import TYPE_CHECKING, Any

from langchain_mcp_oauth.errors import (
    AuthorizationDenied,
    AuthorizationError,
    AuthRequired,
    CallbackError,
    ConfigurationError,
    ConnectionFailed,
    CredentialsRequired,
    DiscoveryError,
    IssuerMismatchError,
    MCPOAuthError,
    PersonRequired,
    ProtocolError,
    RegistrationError,
    RequestExpiredError,
    RequestUsedError,
    ScopeNotGrantedError,
    ServerPaused,
    ServersFailed,
    StoreCorruptError,
    StoreError,
    StoreKeyError,
    StoreUnavailable,
    StoreVersionError,
    TokenEndpointError,
    TokenRejectedError,
    ToolsChanged,
    UnknownServerError,
    UnknownStateError,
    UnsafeURLError,
    UserRequiredError,
    WrongUserError,
)
from langchain_mcp_oauth.grants.client_credentials import ClientCredentials
from langchain_mcp_oauth.grants.provided import TokenProvider
from langchain_mcp_oauth.interrupts import (
    auth_interrupts,
    interrupt_run,
    is_auth_interrupt,
    raise_auth_required,
    resume_command,
)
from langchain_mcp_oauth.servers import MCPServer, RegisteredClient
from langchain_mcp_oauth.store.contract import TokenStore
from langchain_mcp_oauth.toolkit import MCPOAuthToolkit
from langchain_mcp_oauth.tools import MCPTool

if TYPE_CHECKING:
    from langchain_mcp_oauth.loopback import LoopbackBrowser
    from langchain_mcp_oauth.store.sqlmodel import SQLModelTokenStore
    from langchain_mcp_oauth.web import StartLinkCookie, callback_routes, connection_routes

__version__ = "0.1.0"

__all__ = [
    "AuthRequired",
    "AuthorizationDenied",
    "AuthorizationError",
    "CallbackError",
    "ClientCredentials",
    "ConfigurationError",
    "ConnectionFailed",
    "CredentialsRequired",
    "DiscoveryError",
    "IssuerMismatchError",
    "LoopbackBrowser",
    "MCPOAuthError",
    "MCPOAuthToolkit",
    "MCPServer",
    "MCPTool",
    "PersonRequired",
    "ProtocolError",
    "RegisteredClient",
    "RegistrationError",
    "RequestExpiredError",
    "RequestUsedError",
    "SQLModelTokenStore",
    "ScopeNotGrantedError",
    "ServerPaused",
    "ServersFailed",
    "StartLinkCookie",
    "StoreCorruptError",
    "StoreError",
    "StoreKeyError",
    "StoreUnavailable",
    "StoreVersionError",
    "TokenEndpointError",
    "TokenProvider",
    "TokenRejectedError",
    "TokenStore",
    "ToolsChanged",
    "UnknownServerError",
    "UnknownStateError",
    "UnsafeURLError",
    "UserRequiredError",
    "WrongUserError",
    "__version__",
    "auth_interrupts",
    "callback_routes",
    "connection_routes",
    "interrupt_run",
    "is_auth_interrupt",
    "raise_auth_required",
    "resume_command",
]

_ON_DEMAND = {
    "LoopbackBrowser": "langchain_mcp_oauth.loopback",
    "SQLModelTokenStore": "langchain_mcp_oauth.store.sqlmodel",
    "StartLinkCookie": "langchain_mcp_oauth.web",
    "callback_routes": "langchain_mcp_oauth.web",
    "connection_routes": "langchain_mcp_oauth.web",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ON_DEMAND[name]), name)
