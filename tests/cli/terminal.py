"""A process at a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PATIENCE", "at_a_terminal", "command"]

PATIENCE = 120.0
"""Seconds; a process takes three to start where nothing else runs."""


class Terminal:
    """A process at a pseudo-terminal: what it has printed, and a keyboard."""

    def __init__(self, program: Sequence[str], environment: Mapping[str, str], directory: Path | None) -> None:
        self._fd, other = pty.openpty()
        self.process = subprocess.Popen(
            program, stdin=other, stdout=other, stderr=other, env=environment, cwd=directory, start_new_session=True, close_fds=True
        )
        os.close(other)
        self.shown = ""

    def wait_for(self, pattern: str, *, after: int = 0, patience: float = PATIENCE) -> re.Match[str]:
        """Read until it has printed this, beyond so many characters."""
        end = time.monotonic() + patience
        while True:
            if found := re.search(pattern, self.shown[after:]):
                return found
            if time.monotonic() > end or not self._read(end):
                raise AssertionError(f"{pattern!r} was not printed, but:\n{self.shown}")

    def type(self, text: str) -> None:
        os.write(self._fd, f"{text}\n".encode())

    def end(self) -> int:
        """Read to the end; its exit status."""
        while self._read(time.monotonic() + PATIENCE):
            pass
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)

    def _read(self, end: float) -> bool:
        if not select.select([self._fd], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._fd, 65_536)
        except OSError:  # Linux says so when the other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def command(*arguments: str) -> list[str]:
    """Ours, with this Python."""
    return [sys.executable, "-c", "from langchain_mcp_oauth.cli import main; main()", *arguments]


@contextmanager
def at_a_terminal(program: Sequence[str], environment: Mapping[str, str], *, directory: Path | None = None) -> Iterator[Terminal]:
    """The program, with that environment besides this process's own, from `with` to the end of its block."""
    terminal = Terminal(program, {**os.environ, **environment}, directory)
    try:
        yield terminal
    finally:
        terminal.close()
