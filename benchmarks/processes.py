"""The server and the subjects, each in a process of its own: the server on one core, whatever is measured on another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ADAPTERS = "langchain-mcp-adapters==0.3.2"
"""Needs mcp 1.x, and so an environment of its own."""


class Child:
    """A process that answers one JSON line with one JSON line."""

    def __init__(self, module: str, *arguments: str, core: int, python: str = sys.executable) -> None:
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(self._process.pid, {cores[core % len(cores)]})

    def read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A process of the benchmark has ended: {self._process.args!r}")
        return json.loads(line)

    def tell(self, command: str, **options: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, options]) + "\n")
        self._process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self._process.communicate()


class Server(Child):
    """The common server. Its URLs are `url(era)`, and `url(era, port=1)` is another origin."""

    def __init__(self, ports: int = 1) -> None:
        super().__init__("benchmarks.server", "--ports", str(ports), core=0)
        self.ports: list[int] = self.read()

    def url(self, era: str, *, port: int = 0, tools: int = 1, ttl: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[port]}/{era}/mcp?tools={tools}&ttl={ttl}"

    def counts(self) -> dict[str, int]:
        """So far: `connections` (`open` of them still), `requests`, requests by method, `token` requests."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[0]}/counts") as answer:
            counted: dict[str, int] = json.load(answer)
        return counted


class Subject(Child):
    """One subject in its own process."""

    def __init__(self, name: str) -> None:
        super().__init__("benchmarks.worker", name, core=1, python=python_of(name))


@contextmanager
def running(*children: Child) -> Iterator[None]:
    """End them all at the end."""
    try:
        yield
    finally:
        for child in children:
            child.close()


def python_of(subject: str) -> str:
    """The interpreter that has what the subject needs."""
    return adapters_python() if subject.startswith("adapters") else sys.executable


def adapters_python() -> str:
    """Made when it is first asked for, and kept in `build/`."""
    home = ROOT / "build" / "adapters"
    python = home / "bin" / "python"
    if not (home / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", ADAPTERS], check=True)
        (home / "made").touch()
    return str(python)
