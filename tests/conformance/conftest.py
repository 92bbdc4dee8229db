"""Other people's software, which runs on Node.js: the MCP conformance suite and an authorization server."""

from __future__ import annotations

import pytest

from .node import find_node


@pytest.fixture(scope="session")
def node() -> str:
    """The program."""
    return find_node()
