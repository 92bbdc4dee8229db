"""Other people's software, which runs on Node.js: the MCP conformance suite and an authorization server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

INSTALL = "npm install --ignore-scripts --no-package-lock --prefix tests/conformance"


@pytest.fixture(scope="session")
def node() -> str:
    """The program. Without it, or without the packages: a skip, or with `REQUIRE_ALL=1` a failure."""
    node = shutil.which("node")
    if node is None:
        _missing("There is no Node.js on the PATH.")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < 22:
        _missing(f"Node.js 22 or newer is needed; {node} is {version}.")
    if not (Path(__file__).parent / "node_modules").exists():
        _missing(f"The packages are not installed: {INSTALL}")
    return node


def _missing(what: str) -> NoReturn:
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(what)
    pytest.skip(what)
