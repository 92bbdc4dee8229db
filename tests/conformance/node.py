"""Where Node.js is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

INSTALL = "npm install --ignore-scripts --no-package-lock --prefix tests/conformance"


def find_node() -> str:
    """The program. Without it, or without the packages, the test fails: whoever asks for it wants to know."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("There is no Node.js on the PATH.")
    asked = [node, "-p", "`${process.version} ${process.execPath}`"]  # a wheel's `node` starts that, and would leave it behind
    version, _, program = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip().partition(" ")
    if int(version.removeprefix("v").partition(".")[0]) < 22:
        pytest.fail(f"Node.js 22 or newer is needed; {node} is {version}.")
    if not (Path(__file__).parent / "node_modules").exists():
        pytest.fail(f"The packages are not installed: {INSTALL}")
    return program
