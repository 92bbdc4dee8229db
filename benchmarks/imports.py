"""What an import costs: CPU of a process that does nothing else, in milliseconds, less that of a process that does nothing at all."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from benchmarks.results import Rounds

SUBJECTS = {
    "ours": "import langchain_mcp_oauth",
    "ours with the toolkit": "from langchain_mcp_oauth import MCPOAuthToolkit",
    "ours with a store": "from langchain_mcp_oauth import MCPOAuthToolkit, SQLModelTokenStore",
    "ours with a connection": "from langchain_mcp_oauth import MCPOAuthToolkit, SQLModelTokenStore; "
    "import langchain_mcp_oauth.connections.opening",  # which the first connection imports, in a worker thread
    "parts": "import mcp.client.session, langchain_core.tools, sqlmodel",
    "parts with BaseTool": "import mcp.client.session, sqlmodel; from langchain_core.tools import BaseTool",
    "langchain.mcp": "import langchain.mcp",
}


def measure(names: list[str], rounds: int) -> dict[str, Rounds]:
    """By subject."""
    programs = {"nothing": "pass"} | {name: SUBJECTS[name] for name in names}
    for program in programs.values():  # byte code is written, and read into memory
        _cpu(program)
    took: dict[str, Rounds] = {name: [] for name in programs}
    names = list(programs)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            took[name].append(_cpu(programs[name]))
    nothing = statistics.median(took.pop("nothing"))
    return {name: [max(one - nothing, 0.0) for one in figures] for name, figures in took.items()}


def _cpu(program: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
