"""Every attack can fail: with the guard that it is about taken out, it gets through. See `mutants.MUTANTS`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import langchain_mcp_oauth
from tests.attacks.mutants import MUTANTS, Mutant

PACKAGE = Path(langchain_mcp_oauth.__file__).parent
PROJECT = Path(__file__).parents[2]
NEEDED = ("pyproject.toml", "tests/__init__.py", "tests/conftest.py", "tests/attacks", "tests/http", "tests/e2e")

ATTACKS = {
    f"{path.name}::{name}"
    for path in Path(__file__).parent.glob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_r\d\d_\w+)", path.read_text(), re.MULTILINE)
}

IDS = [f"R{mutant.requirement}-{Path(mutant.file).stem}-{number}" for number, mutant in enumerate(MUTANTS)]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and what the attacks need, in a place of their own."""
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name)
    for name in NEEDED:
        source, target = PROJECT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(source, target)
    return tmp_path


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    """The process in whose forks the attacks run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with subprocess.Popen(
        [sys.executable, "-P", Path(__file__).parent / "forks.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd="/",
        text=True,
    ) as process:
        yield process
        process.communicate()


def run(forks: subprocess.Popen[str], copy: Path, attacks: set[str], seconds: int = 120) -> set[str]:
    """Attack the copy; return the attacks that got through or never ended, that is, the tests that failed."""
    assert forks.stdin is not None
    assert forks.stdout is not None
    chosen = [f"tests/attacks/{attack}" for attack in sorted(attacks)]
    order = {
        "directory": str(copy),
        "arguments": [
            "-q",
            "-rfE",
            "--tb=line",
            "--assert=plain",
            "-W",
            "ignore::pytest.PytestUnraisableExceptionWarning",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-m",
            "",
            *chosen,
        ],
        "environment": {"LANGCHAIN_MCP_OAUTH_MUTANT": str(copy)},
        "output": str(copy / "output"),
        "seconds": seconds,
    }
    forks.stdin.write(json.dumps(order) + "\n")
    forks.stdin.flush()
    code = int(forks.stdout.readline())
    output = (copy / "output").read_text()
    if code == -signal.SIGALRM:
        return attacks
    assert code in (0, 1), output
    return {name for name in attacks if re.search(rf"^FAILED tests/attacks/{re.escape(name)}\b", output, re.MULTILINE)}


def test_every_mutant_can_be_made() -> None:
    """Its text stands in its file exactly once, and its attacks exist."""
    for name, mutant in zip(IDS, MUTANTS, strict=True):
        assert (PACKAGE / mutant.file).read_text().count(mutant.old) == 1, name
        assert mutant.attacks, name
        assert set(mutant.attacks) <= ATTACKS, name


@pytest.mark.slow
def test_without_a_mutant_no_attack_gets_through(forks: subprocess.Popen[str], copy: Path) -> None:
    """The control: the same copy as it is withstands all that the mutants do not."""
    assert run(forks, copy, {attack for mutant in MUTANTS for attack in mutant.attacks}, seconds=600) == set()
    assert "failed" not in (copy / "output").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=IDS)
def test_a_mutant_is_caught(forks: subprocess.Popen[str], copy: Path, mutant: Mutant) -> None:
    """Each of its attacks gets through."""
    changed = copy / PACKAGE.name / mutant.file
    changed.write_text(changed.read_text().replace(mutant.old, mutant.new))
    assert run(forks, copy, set(mutant.attacks)) == set(mutant.attacks)
