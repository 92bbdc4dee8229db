"""A pytest plugin: `pytest_plugins = ["langchain_mcp_oauth.testing.plugin"]` in the top `conftest.py`.

    async def test_login(mcp_cassette):
        with mcp_cassette("login.yaml", servers=start_servers) as conversation:
            ...                                     # the library talks as always
            callback_url = await conversation.visit(error.authorization_url, Person("ada").aapprove)

`pytest` replays, without a network; a cassette that is missing is a failure. `pytest --record-mcp` starts the servers and records
again, replacing the cassettes of the tests that pass.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from langchain_mcp_oauth.testing.cassettes import CassetteTransport, use_cassette

__all__ = ["mcp_cassette"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-mcp", action="store_true", help="Record MCP conversations from running servers instead of replaying them.")
    parser.addini("mcp_cassettes", "The folder of recorded MCP conversations, from the root of the project.", default="cassettes")


@pytest.fixture
def mcp_cassette(pytestconfig: pytest.Config) -> Callable[..., AbstractContextManager[CassetteTransport]]:
    """`mcp_cassette(name, *, servers=...)`: `use_cassette` for a file in the folder of cassettes, as the command line says."""
    folder = pytestconfig.rootpath / pytestconfig.getini("mcp_cassettes")
    recording = pytestconfig.getoption("--record-mcp")
    return lambda name, **options: use_cassette(folder / name, recording=recording, **options)
