"""Tool names that every model provider accepts: `server__tool`, `[A-Za-z0-9_-]{1,64}`, starting with a letter or `_`, injective (R42)."""

from __future__ import annotations

import hashlib
import re

__all__ = ["connect_name", "may_be_ours", "tool_name"]

SEPARATOR = "__"
LONGEST = 64
"""Characters; OpenAI's and Gemini's limit, and MCP's own (SEP-986)."""

FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
HASHED = re.compile(r"_[0-9a-f]{10}\Z")
"""No plain name looks like a hashed one."""


def tool_name(server: str, tool: str) -> str:
    """The LangChain name of an MCP tool.

    A name that needed no change is `server__tool`. Where anything had to change, or could be read in two ways (`__` within a part, `_` at
    its seam), a hash of both original names is added, so that two different pairs never share a name.
    """
    plain = f"{server}{SEPARATOR}{tool}"
    if _is_unambiguous(server, tool) and PLAIN.match(plain) and not HASHED.search(plain):
        return plain
    return _hashed(plain, f"{len(server)}:{server}{tool}")


def connect_name(server: str) -> str:
    """The name of the tool that stands in for a server's own until its user has logged in: `connect_server`, never one of theirs."""
    plain = f"connect_{server}"
    if SEPARATOR not in plain and PLAIN.match(plain) and not HASHED.search(plain):
        return plain
    return _hashed(plain, f"connect {server}")


def may_be_ours(name: str) -> bool:
    """Whether `tool_name` or `connect_name` could have made this name; false spares a search."""
    return SEPARATOR in name or name.startswith("connect_") or bool(HASHED.search(name))


def _hashed(plain: str, original: str) -> str:
    suffix = "_" + hashlib.sha256(original.encode()).hexdigest()[:10]
    safe = FOREIGN.sub("_", plain)
    safe = safe if re.match(r"[A-Za-z_]", safe) else f"_{safe}"
    return safe[: LONGEST - len(suffix)] + suffix


def _is_unambiguous(server: str, tool: str) -> bool:
    """Whether `server__tool` can be split in one way only."""
    return bool(tool) and SEPARATOR not in server and SEPARATOR not in tool and not server.endswith("_") and not tool.startswith("_")
