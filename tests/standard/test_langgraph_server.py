"""An agent on a real LangGraph Server, as `langgraph dev` runs it: whoever it has authenticated is the run's user, and nobody else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from langgraph_sdk import get_client

from langchain_mcp_oauth import MCPOAuthToolkit, auth_interrupts
from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.e2e.conftest import KEY, REDIRECT_URI
from tests.e2e.test_catalogue import LISTING

pytestmark = [pytest.mark.standard, pytest.mark.anyio]

GRAPH = """
import os
from langchain.agents import create_agent
from langchain_mcp_oauth import MCPOAuthMiddleware, MCPOAuthToolkit
from tests.e2e.agents import calling

options = {"store": os.environ["STORE"], "encryption_key": os.environ["KEY"], "redirect_uri": os.environ["REDIRECT_URI"]}
toolkit = MCPOAuthToolkit({"demo": os.environ["URL"]}, **options)
graph = create_agent(calling("demo__whoami"), middleware=[MCPOAuthMiddleware(toolkit)])
"""

AUTH = """
from langgraph_sdk import Auth

auth = Auth()

@auth.authenticate
async def authenticate(authorization: str | None) -> Auth.types.MinimalUserDict:
    return {"identity": (authorization or "").removeprefix("Bearer ")}
"""

CONFIG = {"dependencies": ["."], "graphs": {"agent": "./graph.py:graph"}, "auth": {"path": "./auth.py:auth"}}

HELLO: Any = {"messages": [{"role": "user", "content": "go"}]}


@pytest.fixture(scope="module")
def demo() -> Iterator[ProtectedServer]:
    with ProtectedServer(one_origin=True, anonymous=LISTING) as server:
        yield server


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'tokens.db'}"


@pytest.fixture(scope="module")
def langgraph_server(demo: ProtectedServer, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL; the server of `langgraph-cli[inmem]`, which refuses code that blocks its event loop."""
    home = tmp_path_factory.mktemp("langgraph")
    for name, text in {"graph.py": GRAPH, "auth.py": AUTH, "langgraph.json": json.dumps(CONFIG)}.items():
        (home / name).write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours = {"URL": demo.url, "STORE": database, "KEY": KEY, "REDIRECT_URI": REDIRECT_URI, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment = os.environ | ours | {"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}", process, home / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx2.get(f"{url}/ok", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    pytest.fail(f"LangGraph's server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture
async def toolkit(demo: ProtectedServer, database: str) -> AsyncIterator[MCPOAuthToolkit]:
    """The web application's, in another process than the agent."""
    async with MCPOAuthToolkit({"demo": demo.url}, store=database, encryption_key=KEY, redirect_uri=REDIRECT_URI) as made:
        yield made


async def test_the_authenticated_user_is_the_runs(langgraph_server: str, toolkit: MCPOAuthToolkit) -> None:
    """The run stops on the server, and goes on there with the login of the user who was asked."""
    async with get_client(url=langgraph_server, api_key=None, headers={"authorization": "Bearer alice"}) as client:
        thread = (await client.threads.create())["thread_id"]
        await client.runs.wait(thread, "agent", input=HELLO)
        stopped = await client.threads.get(thread)
        [payload] = auth_interrupts(stopped)
        assert (stopped["status"], payload["tool_name"]) == ("interrupted", "demo__whoami")
        await toolkit.complete_authorization(await Person("alice").aapprove(payload["authorization_url"]), user_id="alice")
        finished: Any = await client.runs.wait(thread, "agent", command={"resume": {"status": "authorized"}})
    assert [message["content"] for message in finished["messages"] if message["type"] == "tool"] == [[{"type": "text", "text": "alice"}]]


@pytest.mark.parametrize(
    "lie", [{"context": {"user_id": "alice"}}, {"config": {"configurable": {"user_id": "alice"}}}], ids=["context", "config"]
)
async def test_nobody_can_say_that_they_are_another(langgraph_server: str, demo: ProtectedServer, lie: dict[str, Any]) -> None:
    """The server hands on what a client writes there, of which it believes nothing; the run is refused, and nothing is called."""
    before = list(demo.calls)
    async with get_client(url=langgraph_server, api_key=None, headers={"authorization": "Bearer mallory"}) as client:
        thread = (await client.threads.create())["thread_id"]
        with pytest.raises(Exception, match="names another user"):
            await client.runs.wait(thread, "agent", input=HELLO, **lie)
    assert demo.calls == before
