"""The guard that keeps tests on this machine does so."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import LeftLoopback


def connect(address: Any, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> None:
    with socket.socket(family, kind) as one:
        one.settimeout(0.01)
        one.connect(address)


@pytest.mark.parametrize(
    "leave",
    [
        lambda: connect(("192.0.2.1", 80)),
        lambda: connect(("192.0.2.1", 53), kind=socket.SOCK_DGRAM),
        lambda: socket.getaddrinfo("example.com", 80),
        lambda: socket.gethostbyname("example.com"),
    ],
    ids=["TCP", "UDP", "a look-up", "an old look-up"],
)
def test_leaving_loopback_fails_the_test(leave: Callable[[], Any]) -> None:
    """Whatever the way out."""
    with pytest.raises(LeftLoopback):
        leave()


def test_loopback_is_open() -> None:
    """A control: servers on this machine can be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(server.getsockname())
    assert socket.getaddrinfo("localhost", 80)
