"""What docs/comparison.md says of other adapters, where it is cheap to show: each is run, as it is installed, against the same server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.types import CallToolResult

from benchmarks.processes import adapters_python
from langchain_mcp_oauth.testing import ProtectedServer
from tests.e2e.test_results import sound
from tests.tools.result_samples import RESULTS

pytestmark = pytest.mark.standard

COMMON = """
import asyncio, json, sys, warnings
warnings.simplefilter("ignore")
url, token = sys.argv[1:]

def reason(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__

def of(call):
    try:
        return call()
    except Exception as error:
        return reason(error)

async def aof(call):
    try:
        return await call
    except Exception as error:
        return reason(error)

async def facts(tools):
    blocks = await aof(tools["linked"].ainvoke({}))
    return {
        "whose": (await tools["whoami"].ainvoke({}))[0]["text"],
        "sync": of(lambda: tools["whoami"].invoke({})),
        "audio": await aof(tools["sound"].ainvoke({})),
        "link": [block.get("url") for block in blocks],
    }
"""

ON_ADAPTERS = """
from langchain_mcp_adapters.client import MultiServerMCPClient

def server(url):
    return {"transport": "http", "url": url, "headers": {"Authorization": f"Bearer {token}"}}

async def main():
    tools = {tool.name: tool for tool in await MultiServerMCPClient({"one": server(url)}).get_tools()}
    both = MultiServerMCPClient({"one": server(url), "gone": server("http://127.0.0.1:9/mcp")})
    print(json.dumps({**await facts(tools), "one server down": await aof(both.get_tools())}))

asyncio.run(main())
"""

ON_LANGCHAIN = """
from fastmcp.client import Client
from fastmcp.client.group import ClientGroup
from langchain.mcp import MCPAdapter

async def main():
    tools = {tool.name: tool for tool in await MCPAdapter(Client(url, auth=token)).list_tools()}
    both = MCPAdapter(ClientGroup({"one": Client(url, auth=token), "gone": Client("http://127.0.0.1:9/mcp")}))
    print(json.dumps({**await facts(tools), "one server down": await aof(both.list_tools())}))

asyncio.run(main())
"""


async def linked() -> CallToolResult:
    """A text and two links."""
    return CallToolResult(content=[RESULTS[name][0] for name in ("text", "linked file", "linked image")])


@pytest.fixture(scope="module")
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer(one_origin=True) as running:
        running.mcp.add_tool(sound)
        running.mcp.add_tool(linked)
        yield running


def shown_by(program: str, python: str, server: ProtectedServer) -> dict[str, Any]:
    token = server.authorization_server.issue_to("somebody's program", "ada", ["tools"]).access_token
    ended = subprocess.run([python, "-c", COMMON + program, server.url, token], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("peer", ["adapters", "langchain.mcp"])
def test_what_is_said_of_a_peer(peer: str, server: ProtectedServer) -> None:
    """No synchronous calls, no audio, links as URLs, and all is lost when one of several servers is."""
    program, python = (ON_ADAPTERS, adapters_python()) if peer == "adapters" else (ON_LANGCHAIN, sys.executable)
    found = shown_by(program, python, server)
    assert found.pop("one server down").endswith("Error")
    assert found == {
        "whose": "ada",
        "sync": "NotImplementedError",
        "audio": "NotImplementedError",
        "link": [None, "https://files.example/report.pdf", "https://files.example/plan.png"],
    }
