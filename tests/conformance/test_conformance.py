"""The official MCP conformance suite against our client: every authorization scenario on its timeline, judged by the suite's own checks.

It needs Node.js 22 or newer, and the packages of `package.json`; run it with `pytest -m node`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.node

HERE = Path(__file__).parent
SUITE = HERE / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"

BOTH = ("2025-11-25", "2026-07-28")
MODERN = ("2026-07-28",)
LEGACY = ("2025-03-26",)

DONE = '["test"]'
"""What the client says when it has called the tool: the tool's answer. The suite itself does not look at it."""

SCENARIOS: dict[str, tuple[tuple[str, ...], str]] = {
    "2025-03-26-oauth-endpoint-fallback": (LEGACY, DONE),
    "2025-03-26-oauth-metadata-backcompat": (LEGACY, DONE),
    "authorization-server-migration": (MODERN, DONE),
    "basic-cimd": (BOTH, DONE),
    "iss-normalized": (MODERN, "IssuerMismatchError"),
    "iss-not-advertised": (MODERN, DONE),
    "iss-supported": (MODERN, DONE),
    "iss-supported-missing": (MODERN, "IssuerMismatchError"),
    "iss-unexpected": (MODERN, "IssuerMismatchError"),
    "iss-wrong-issuer": (MODERN, "IssuerMismatchError"),
    "metadata-default": (BOTH, DONE),
    "metadata-issuer-mismatch": (MODERN, "DiscoveryError"),
    "metadata-var1": (BOTH, DONE),
    "metadata-var2": (BOTH, DONE),
    "metadata-var3": (BOTH, DONE),
    "offline-access-not-supported": (MODERN, DONE),
    "offline-access-scope": (MODERN, DONE),
    "pre-registration": (BOTH, DONE),
    "resource-mismatch": (MODERN, "DiscoveryError"),
    "scope-from-scopes-supported": (BOTH, DONE),
    "scope-from-www-authenticate": (BOTH, DONE),
    "scope-omitted-when-undefined": (BOTH, DONE),
    "scope-retry-limit": (BOTH, "ScopeNotGrantedError"),
    "scope-step-up": (BOTH, DONE),
    "token-endpoint-auth-basic": (BOTH, DONE),
    "token-endpoint-auth-none": (BOTH, DONE),
    "token-endpoint-auth-post": (BOTH, DONE),
}
"""At which revisions each is run, and how the client must end: a refusal has to be ours, not a crash, which the suite cannot tell."""

RUNS = [(scenario, version, end) for scenario, (versions, end) in SCENARIOS.items() for version in versions]


@pytest.fixture(scope="session")
def suite(node: str) -> list[str]:
    """The command line of the suite."""
    return [node, str(SUITE)]


def test_no_scenario_is_left_out(suite: list[str]) -> None:
    """The table names what the suite has, extensions of the protocol aside."""
    listed = subprocess.run([*suite, "list", "--client"], capture_output=True, text=True, check=True).stdout
    offered = {name: set(versions.split(",")) for name, versions in re.findall(r"- auth/(\S+) \[([-\d,]+)\]", listed)}
    assert offered == {name: {*versions, *(_older(name))} for name, (versions, _) in SCENARIOS.items()}


def _older(scenario: str) -> set[str]:
    """2025-06-18 has three scenarios, which are the same at 2025-11-25."""
    return {"2025-06-18"} if scenario.startswith("token-endpoint-auth-") else set()


@pytest.mark.parametrize("option", [pytest.param("", id="one process"), pytest.param(" --apart", id="a process for each step")])
@pytest.mark.parametrize(("scenario", "version", "end"), RUNS, ids=[f"{scenario} {version}" for scenario, version, _ in RUNS])
def test_scenario(suite: list[str], scenario: str, version: str, end: str, option: str, tmp_path: Path) -> None:
    """No failure and no warning, and the client ended as it should; also when every step of the login is another process."""
    command = f"{sys.executable} {HERE / 'client.py'}{option}"
    options = ["--scenario", f"auth/{scenario}", "--spec-version", version, "--timeout", "90000", "--output-dir", str(tmp_path)]
    ended = subprocess.run([*suite, "client", "--command", command, *options], capture_output=True, text=True, timeout=120, check=False)
    [results] = tmp_path.glob("**/checks.json")
    said = results.with_name("stdout.txt").read_text() + results.with_name("stderr.txt").read_text()
    assert said.startswith(end), said
    checks: list[dict[str, Any]] = json.loads(results.read_text())
    assert [check for check in checks if check["status"] in {"FAILURE", "WARNING"}] == []
    assert "SUCCESS" in {check["status"] for check in checks}
    assert ended.returncode == 0, ended.stdout
