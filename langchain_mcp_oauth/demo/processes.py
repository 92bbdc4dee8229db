"""Real processes for the demo: programs that serve, and programs that do one thing and end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["run", "serving"]


@contextmanager
def serving(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """A program that serves until the end of the block. Gives the first line it prints: its address.

    Raises:
        RuntimeError: it ended before it printed one; its own output says why.
    """
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(environment)) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError(f"{module} did not start.")
            yield address
        finally:
            process.terminate()


def run(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, Any]:
    """Run a program to its end; what it printed as JSON.

    Raises:
        RuntimeError: it failed; its own output says why.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=dict(environment), check=False)  # noqa: S603 - ours
    if done.returncode:
        raise RuntimeError(f"{module} failed; what it said is above.")
    return dict(json.loads(done.stdout))
