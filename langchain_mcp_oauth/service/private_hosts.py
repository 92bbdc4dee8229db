"""Which addresses on loopback may be contacted because servers are configured there (development), and by whom they may be named (R3)."""

from __future__ import annotations

from collections.abc import Mapping

from langchain_mcp_oauth.http import host_port
from langchain_mcp_oauth.oauth.headers import Place
from langchain_mcp_oauth.oauth.urls import is_loopback_host, origin
from langchain_mcp_oauth.servers.remote import AnyServer, MCPServer

__all__ = ["foreign_hosts", "own_hosts"]


def _on_loopback(servers: Mapping[str, AnyServer]) -> dict[str, str]:
    """The URLs of configured servers on loopback, by server."""
    urls = {name: server.url for name, server in servers.items() if isinstance(server, MCPServer)}
    return {name: url for name, url in urls.items() if is_loopback_host(origin(url)[1])}


def own_hosts(servers: Mapping[str, AnyServer]) -> frozenset[str]:
    """A configured server on loopback needs no permission (development); nothing that the network names gets one."""
    return frozenset(map(host_port, _on_loopback(servers).values()))


def foreign_hosts(servers: Mapping[str, AnyServer], allowed: frozenset[str]) -> dict[str, frozenset[Place]]:
    """By server, what is on loopback only because another server is configured there, and may be named by nobody else."""
    here = frozenset(origin(url)[1:] for url in _on_loopback(servers).values() if host_port(url) not in allowed)
    return {name: here - {origin(server.url)[1:]} for name, server in servers.items() if isinstance(server, MCPServer)}
