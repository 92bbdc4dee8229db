"""For tests of applications as well as our own: a protected MCP server, and a person without a browser.

    with ProtectedServer() as server:
        ...
        callback_url = Person("ada").approve(authorization_url)

Imported on demand: a test that needs only one part does not pay for the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_mcp_oauth.testing.gates import Gate
    from langchain_mcp_oauth.testing.observed import SeenRequest, ToolCall
    from langchain_mcp_oauth.testing.person import Person
    from langchain_mcp_oauth.testing.servers import ProtectedServer

__all__ = ["Gate", "Person", "ProtectedServer", "SeenRequest", "ToolCall"]

_HOMES = {"Gate": "gates", "Person": "person", "ProtectedServer": "servers", "SeenRequest": "observed", "ToolCall": "observed"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
