"""The example server as a program, which says on request what it was started with; `stubborn` ends only when it is killed."""

from __future__ import annotations

import os
import signal
import sys

from mcp_servers import Example, add_reporting_tools


def started_with() -> dict[str, object]:
    return {"pid": os.getpid(), "args": sys.argv[1:], "env": dict(os.environ)}


def quit_now() -> None:
    os._exit(3)


if __name__ == "__main__":
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    example = Example()
    example.mcp.add_tool(started_with)
    example.mcp.add_tool(quit_now)
    add_reporting_tools(example.mcp)
    example.mcp.run("stdio")
    if "stubborn" in sys.argv:
        signal.pause()
