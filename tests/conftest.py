"""What every test has: asyncio as the only event loop, and no way out of this machine."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

import anyio
import pytest

pytest_plugins = ["langchain_mcp_oauth.testing.plugin"]


class LeftLoopback(BaseException):
    """Not an `Exception`, so that no code under test takes it for an unreachable server."""


def _is_loopback(host: object) -> bool:
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return host in {"localhost", "", None}


def _stay_on_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    """Every connection and every look-up of this process passes here, whatever library makes it (PEP 578)."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    elif event == "socket.sendto" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if not _is_loopback(host):
        raise LeftLoopback(f"A test tried to reach {host!r}.")


sys.addaudithook(_stay_on_loopback)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every attempt to connect anywhere; none succeeds."""
    made: list[tuple[str, int]] = []

    async def connect_tcp(remote_host: str, remote_port: int, **_: Any) -> None:
        made.append((remote_host, remote_port))
        raise OSError

    monkeypatch.setattr(anyio, "connect_tcp", connect_tcp)
    return made
