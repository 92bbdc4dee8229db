"""OAuth-protected MCP servers as LangChain tools; the login is a durable, per-user, interruptible event of the agent.

This is the front door: names not listed here may move. Each is imported when it is first used, with what it needs.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_mcp_oauth.client_document import client_metadata_document
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
    from langchain_mcp_oauth.events import (
        AuthorizationCompleted,
        AuthorizationFailed,
        AuthorizationRequested,
        CallFinished,
        Disconnected,
        Event,
        Refreshed,
    )
    from langchain_mcp_oauth.grants.client_credentials import ClientCredentials
    from langchain_mcp_oauth.grants.enterprise import EnterpriseManaged
    from langchain_mcp_oauth.grants.provided import TokenProvider
    from langchain_mcp_oauth.grants.workload import WorkloadIdentity
    from langchain_mcp_oauth.interrupts.graph import (
        auth_interrupts,
        interrupt_run,
        is_auth_interrupt,
        raise_auth_required,
        resume_command,
    )
    from langchain_mcp_oauth.loopback import LoopbackBrowser, NotebookBrowser
    from langchain_mcp_oauth.middleware import MCPOAuthMiddleware
    from langchain_mcp_oauth.servers.programs import StdioServer
    from langchain_mcp_oauth.servers.remote import MCPServer, RegisteredClient
    from langchain_mcp_oauth.store.contract import TokenStore
    from langchain_mcp_oauth.store.sqlmodel import SQLModelTokenStore
    from langchain_mcp_oauth.toolkit import MCPOAuthToolkit
    from langchain_mcp_oauth.tools.tool import MCPTool
    from langchain_mcp_oauth.web import StartLinkCookie, callback_routes, client_metadata_route, connection_routes

__version__ = "0.1.0"

__all__ = [
    "AuthRequired",
    "AuthorizationCompleted",
    "AuthorizationDenied",
    "AuthorizationError",
    "AuthorizationFailed",
    "AuthorizationRequested",
    "CallFinished",
    "CallbackError",
    "ClientCredentials",
    "ConfigurationError",
    "ConnectionFailed",
    "CredentialsRequired",
    "Disconnected",
    "DiscoveryError",
    "EnterpriseManaged",
    "Event",
    "IssuerMismatchError",
    "LoopbackBrowser",
    "MCPOAuthError",
    "MCPOAuthMiddleware",
    "MCPOAuthToolkit",
    "MCPServer",
    "MCPTool",
    "NotebookBrowser",
    "PersonRequired",
    "ProtocolError",
    "Refreshed",
    "RegisteredClient",
    "RegistrationError",
    "RequestExpiredError",
    "RequestUsedError",
    "SQLModelTokenStore",
    "ScopeNotGrantedError",
    "ServerPaused",
    "ServersFailed",
    "StartLinkCookie",
    "StdioServer",
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
    "WorkloadIdentity",
    "WrongUserError",
    "__version__",
    "auth_interrupts",
    "callback_routes",
    "client_metadata_document",
    "client_metadata_route",
    "connection_routes",
    "interrupt_run",
    "is_auth_interrupt",
    "raise_auth_required",
    "resume_command",
]

_HOMES = {
    "AuthorizationCompleted": "events",
    "AuthorizationFailed": "events",
    "AuthorizationRequested": "events",
    "CallFinished": "events",
    "ClientCredentials": "grants.client_credentials",
    "Disconnected": "events",
    "EnterpriseManaged": "grants.enterprise",
    "Event": "events",
    "LoopbackBrowser": "loopback",
    "MCPOAuthMiddleware": "middleware",
    "MCPOAuthToolkit": "toolkit",
    "MCPServer": "servers.remote",
    "MCPTool": "tools.tool",
    "NotebookBrowser": "loopback",
    "Refreshed": "events",
    "RegisteredClient": "servers.remote",
    "SQLModelTokenStore": "store.sqlmodel",
    "StartLinkCookie": "web",
    "StdioServer": "servers.programs",
    "TokenProvider": "grants.provided",
    "TokenStore": "store.contract",
    "WorkloadIdentity": "grants.workload",
    "auth_interrupts": "interrupts.graph",
    "callback_routes": "web",
    "client_metadata_document": "client_document",
    "client_metadata_route": "web",
    "connection_routes": "web",
    "interrupt_run": "interrupts.graph",
    "is_auth_interrupt": "interrupts.graph",
    "raise_auth_required": "interrupts.graph",
    "resume_command": "interrupts.graph",
}
"""Where names live; all others are errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
