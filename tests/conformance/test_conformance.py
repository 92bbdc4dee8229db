"""The official MCP conformance suite against our client: every scenario on its timeline, judged by its own checks.

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
SESSIONS = ("2025-11-25",)
MODERN = ("2026-07-28",)
LEGACY = ("2025-03-26",)

DONE = '["test"]'
"""What the client says when it has called the tool: the tool's answer. The suite itself does not look at it."""

SCENARIOS: dict[str, tuple[tuple[str, ...], str]] = {
    "auth/2025-03-26-oauth-endpoint-fallback": (LEGACY, DONE),
    "auth/2025-03-26-oauth-metadata-backcompat": (LEGACY, DONE),
    "auth/authorization-server-migration": (MODERN, DONE),
    "auth/basic-cimd": (BOTH, DONE),
    "auth/iss-normalized": (MODERN, "IssuerMismatchError"),
    "auth/iss-not-advertised": (MODERN, DONE),
    "auth/iss-supported": (MODERN, DONE),
    "auth/iss-supported-missing": (MODERN, "IssuerMismatchError"),
    "auth/iss-unexpected": (MODERN, "IssuerMismatchError"),
    "auth/iss-wrong-issuer": (MODERN, "IssuerMismatchError"),
    "auth/metadata-default": (BOTH, DONE),
    "auth/metadata-issuer-mismatch": (MODERN, "DiscoveryError"),
    "auth/metadata-var1": (BOTH, DONE),
    "auth/metadata-var2": (BOTH, DONE),
    "auth/metadata-var3": (BOTH, DONE),
    "auth/offline-access-not-supported": (MODERN, DONE),
    "auth/offline-access-scope": (MODERN, DONE),
    "auth/pre-registration": (BOTH, DONE),
    "auth/resource-mismatch": (MODERN, "DiscoveryError"),
    "auth/scope-from-scopes-supported": (BOTH, DONE),
    "auth/scope-from-www-authenticate": (BOTH, DONE),
    "auth/scope-omitted-when-undefined": (BOTH, DONE),
    "auth/scope-retry-limit": (BOTH, "ScopeNotGrantedError"),
    "auth/scope-step-up": (BOTH, DONE),
    "auth/token-endpoint-auth-basic": (BOTH, DONE),
    "auth/token-endpoint-auth-none": (BOTH, DONE),
    "auth/token-endpoint-auth-post": (BOTH, DONE),
    "http-custom-headers": (MODERN, '["Custom headers test completed", "Custom headers test completed"]'),
    "http-invalid-tool-headers": (MODERN, '["Tool call received"]'),
    "http-standard-headers": (MODERN, '["Headers test completed", "Headers test completed"]'),
    "initialize": (SESSIONS, "[]"),
    "json-schema-2020-12-preservation": (BOTH, '["ok", "echoed"]'),
    "json-schema-ref-no-deref": (MODERN, "[]"),
    "request-metadata": (MODERN, "[]"),
    "sse-retry": (SESSIONS, '["Reconnection test completed successfully"]'),
    "tools_call": (BOTH, '["The sum of 2 and 3 is 5"]'),
}
"""At which revisions each is run, and how the client must end: a refusal has to be ours, not a crash, which the suite cannot tell."""

EXTENSIONS: dict[str, str] = {
    "auth/client-credentials-basic": DONE,
    "auth/client-credentials-jwt": DONE,
    "auth/dpop": DONE,
    "auth/dpop-nonce": DONE,
    "auth/enterprise-managed-authorization": DONE,
    "auth/wif-jwt-bearer": DONE,
}
"""Extensions of the protocol: they belong to no revision, and are run at both."""

LEFT_OUT = {"elicitation-sep1034-client-defaults", "sep-2322-client-request-state"}
"""The tools do not tell servers that they may ask questions, so these have nothing to ask."""

RUNS = [
    *((scenario, version, end) for scenario, (versions, end) in SCENARIOS.items() for version in versions),
    *((scenario, version, end) for scenario, end in EXTENSIONS.items() for version in BOTH),
]


@pytest.fixture(scope="session")
def suite(node: str) -> list[str]:
    """The command line of the suite."""
    return [node, str(SUITE)]


def test_no_scenario_is_left_out(suite: list[str]) -> None:
    """The tables name what the suite has, but for 2025-06-18, whose scenarios are 2025-11-25's, and extensions beside authorization."""
    listed = subprocess.run([*suite, "list", "--client"], capture_output=True, text=True, check=True).stdout
    offered = {name: set(versions.split(",")) - {"2025-06-18"} for name, versions in re.findall(r"- (\S+) \[([-\d,]+)\]", listed)}
    assert offered.keys() - SCENARIOS.keys() == LEFT_OUT
    assert {name: offered[name] for name in SCENARIOS} == {name: set(versions) for name, (versions, _) in SCENARIOS.items()}
    assert set(re.findall(r"- (auth/\S+) \[extension\]", listed)) == EXTENSIONS.keys()


@pytest.mark.parametrize("option", [pytest.param("", id="one process"), pytest.param(" --apart", id="a process for each step")])
@pytest.mark.parametrize(("scenario", "version", "end"), RUNS, ids=[f"{scenario} {version}" for scenario, version, _ in RUNS])
def test_scenario(suite: list[str], scenario: str, version: str, end: str, option: str, tmp_path: Path) -> None:
    """No failure and no warning, and the client ended as it should; also when every step of the login is another process."""
    command = f"{sys.executable} {HERE / 'client.py'}{option}"
    options = ["--scenario", scenario, "--spec-version", version, "--timeout", "90000", "--output-dir", str(tmp_path)]
    options += ["--force"] if scenario in EXTENSIONS else []  # they belong to no revision
    ended = subprocess.run([*suite, "client", "--command", command, *options], capture_output=True, text=True, timeout=120, check=False)
    [results] = tmp_path.glob("**/checks.json")
    said = results.with_name("stdout.txt").read_text() + results.with_name("stderr.txt").read_text()
    assert said.startswith(end), said
    checks: list[dict[str, Any]] = json.loads(results.read_text())
    assert [check for check in checks if check["status"] in {"FAILURE", "WARNING"}] == []
    assert "SUCCESS" in {check["status"] for check in checks}
    assert ended.returncode == 0, ended.stdout
