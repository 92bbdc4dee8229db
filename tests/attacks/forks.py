"""Runs pytest again and again, each time in a fork of one process that has imported everything but the library: seconds are spent once.

A program: it reads orders from standard input, one line of JSON each, and answers each with pytest's exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

PRELOADED = (
    "pytest",
    "_pytest.assertion.rewrite",
    "hypothesis.strategies",
    "anyio._backends._asyncio",
    "anyio.pytest_plugin",
    "httpx2",
    "mcp.client.session",
    "mcp.client.auth.utils",
    "mcp.types",
    "authlib.oauth2.auth",
    "authlib.oauth2.rfc7636",
    "langchain_core.tools",
    "langchain_core.runnables",
    "langgraph.graph",
    "langgraph.checkpoint.memory",
    "sqlmodel",
    "sqlalchemy.dialects.sqlite",
    "cryptography.hazmat.primitives.ciphers.aead",
    "starlette.applications",
    "uvicorn",
)


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    assert "langchain_mcp_oauth" not in sys.modules, "the forks would all have this one"
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            obey(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def obey(order: dict[str, Any]) -> NoReturn:
    """Run pytest in `directory` with `arguments`, its output in the file `output`, for `seconds` at most; then end."""
    import pytest

    signal.alarm(order["seconds"])
    os.chdir(order["directory"])
    sys.path.insert(0, order["directory"])
    os.environ.update(order["environment"])
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = pytest.main(order["arguments"])
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
