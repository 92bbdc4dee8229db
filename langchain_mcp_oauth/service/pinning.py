"""Tools as they were when they were first seen: a server cannot change one behind its user's back (R44).

What a user, or whoever reviewed the tools for them, has agreed to is a name with a description and a schema. The first listing pins them;
a later one that says something else is refused until the change is accepted. A tool that is new is pinned as it comes: servers get new
tools all the time, and the first listing was believed too. One that disappears stays pinned, so that it cannot come back as another.
"""

from __future__ import annotations

import hashlib
import json

from mcp_types import Tool

from langchain_mcp_oauth.connections import ListedTools
from langchain_mcp_oauth.errors import ToolsChanged
from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.store.contract import TokenStore

__all__ = ["check_pins", "fingerprint"]


def fingerprint(tool: Tool) -> str:
    """SHA-256 of a tool's name, description and input schema, in hexadecimal; the order of the schema's members does not matter."""
    definition = json.dumps([tool.name, tool.description, tool.input_schema], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(definition.encode()).hexdigest()


async def check_pins(store: TokenStore, key: GrantKey, listed: ListedTools) -> ListedTools:
    """The listing, if every tool in it is as it was pinned for this user and server, or is pinned now.

    Raises:
        ToolsChanged: it is not; nothing was changed.
    """
    fingerprints = {tool.name: fingerprint(tool) for tool in listed.tools}
    pinned = await store.pin_tools(key, fingerprints)
    changed = {name: found for name, found in fingerprints.items() if pinned.get(name) != found}
    if changed:
        raise ToolsChanged(key.server, changed)
    return listed
