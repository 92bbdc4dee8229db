"""The pytest plugin, as a project uses it."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TEST = """
from contextlib import contextmanager
import httpx2, pytest
from langchain_mcp_oauth.testing import ProtectedServer

@contextmanager
def servers():
    with ProtectedServer() as server:
        yield {"https://auth.example.com": server.issuer}

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it(mcp_cassette):
    with mcp_cassette("it.yaml", servers=servers) as conversation:
        async with httpx2.AsyncClient(transport=conversation) as client:
            answer = await client.get("https://auth.example.com/.well-known/oauth-authorization-server")
    assert answer.json()["issuer"] == "https://auth.example.com"
"""


def test_a_project_records_once_and_replays(pytester: pytest.Pytester) -> None:
    """Replaying is the default and a missing cassette fails; `--record-mcp` records; the folder can be chosen."""
    pytester.makeconftest('pytest_plugins = ["langchain_mcp_oauth.testing.plugin"]')
    pytester.makeini("[pytest]\nmcp_cassettes = recorded\nfilterwarnings = error\n")
    pytester.makepyfile(TEST)
    pytester.runpytest_inprocess().stdout.fnmatch_lines(["*FileNotFoundError: There is no cassette *"])
    pytester.runpytest_inprocess("--record-mcp").assert_outcomes(passed=1)
    assert (pytester.path / "recorded" / "it.yaml").is_file()
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
