"""The example of `docs/many-machines.md`: two web workers and agent processes that have nothing but Postgres in common."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from langchain_mcp_oauth.store import upgrade
from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.databases import postgres_schema

from .conftest import KEY

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

PROGRAM = Path(__file__).parents[2] / "docs" / "examples" / "many_machines.py"

Run = Callable[..., str]


@pytest.fixture
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer() as running:
        yield running


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def ports() -> tuple[int, int]:
    """Of the two web workers."""
    return free_port(), free_port()


@pytest.fixture
def environment(server: ProtectedServer, ports: tuple[int, int]) -> Iterator[dict[str, str]]:
    with postgres_schema() as url:
        upgrade(url)
        yield {
            **os.environ,
            "DATABASE_URL": url.replace("postgresql+psycopg://", "postgresql://"),
            "LANGCHAIN_MCP_OAUTH_KEY": KEY,
            "PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
            "MCP_URL": server.url,
            "ALLOWED_PRIVATE_HOSTS": " ".join(server.allowed_private_hosts),
        }


@pytest.fixture
def agent(environment: dict[str, str]) -> Run:
    """A run of the agent in a process of its own: what it prints."""

    def run(*arguments: str) -> str:
        command = [sys.executable, str(PROGRAM), "agent", *arguments]
        ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    return run


@pytest.fixture
def workers(environment: dict[str, str], ports: tuple[int, int]) -> Iterator[None]:
    started = [subprocess.Popen([sys.executable, str(PROGRAM), "web", str(port)], env=environment) for port in ports]
    deadline = time.monotonic() + 120
    for port in ports:
        while not answers(port):
            assert time.monotonic() < deadline, "a web worker did not start"
            time.sleep(0.1)
    yield
    for process in started:
        process.terminate()
        process.wait(60)


def answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def signed_in(name: str) -> Person:
    person = Person(name)
    person.cookies.set("user", name, domain="127.0.0.1")
    return person


@pytest.mark.usefixtures("workers")
def test_the_example(agent: Run, ports: tuple[int, int], server: ProtectedServer) -> None:
    """The link of one process is opened at one worker, the callback comes to the other, a third process goes on; two users, no mixing."""
    alice, bob = signed_in("alice"), signed_in("bob")
    links = {name: agent(f"thread of {name}", name) for name in ("alice", "bob")}
    assert all(link.startswith(f"http://127.0.0.1:{ports[0]}/oauth/start/") for link in links.values())

    callback_url = alice.approve(links["alice"]).replace(str(ports[0]), str(ports[1]), 1)
    completed = httpx2.get(callback_url, cookies={"user": "alice"}, trust_env=False)
    assert completed.status_code == 200
    assert bob.approve_in_app(links["bob"]).status_code == 200

    assert [agent(f"thread of {name}", name) for name in ("alice", "bob")] == ["alice", "bob"]
    assert [call.user for call in server.calls] == ["alice", "bob"]
