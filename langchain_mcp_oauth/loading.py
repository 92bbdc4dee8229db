"""What is imported when it is first needed, and not by whoever imports this library.

The MCP SDK brings a web server along, and two revisions' models: half a second of CPU, which a process pays with its first connection, and
one that only completes logins never. Reading so many files is nothing to do on an event loop.
"""

from __future__ import annotations

import sys
from importlib import import_module

from anyio import to_thread

__all__ = ["load"]


async def load(module: str) -> None:
    """Import it in a worker thread, unless it has been: what then imports it waits for nothing."""
    if module not in sys.modules:
        await to_thread.run_sync(import_module, module)
