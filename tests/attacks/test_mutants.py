"""Every attack can fail: with the guard that it is about taken out, it gets through. See `mutants.MUTANTS`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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


def run(copy: Path, attacks: set[str]) -> set[str]:
    """Attack the copy in a process of its own; return the attacks that failed, that is, got through or never ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=line", "-p", "no:cacheprovider", "-m", ""]
    try:
        done = subprocess.run(
            [*command, *(f"tests/attacks/{attack}" for attack in sorted(attacks))],
            cwd=copy,
            env={**environment, "LANGCHAIN_MCP_OAUTH_MUTANT": str(copy)},
            capture_output=True,
            text=True,
            timeout=240,
        )
    except subprocess.TimeoutExpired:
        return attacks
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert (done.returncode == 1) == ("failed" in done.stdout), done.stdout
    return {name for name in attacks if re.search(rf"^FAILED tests/attacks/{re.escape(name)}\b", done.stdout, re.MULTILINE)}


def test_every_mutant_can_be_made() -> None:
    """Its text stands in its file exactly once, and its attacks exist."""
    for name, mutant in zip(IDS, MUTANTS, strict=True):
        assert (PACKAGE / mutant.file).read_text().count(mutant.old) == 1, name
        assert mutant.attacks, name
        assert set(mutant.attacks) <= ATTACKS, name


@pytest.mark.slow
def test_without_a_mutant_no_attack_gets_through(copy: Path) -> None:
    """The control: the same copy as it is withstands all that the mutants do not."""
    assert run(copy, {attack for mutant in MUTANTS for attack in mutant.attacks}) == set()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=IDS)
def test_a_mutant_is_caught(copy: Path, mutant: Mutant) -> None:
    """Each of its attacks gets through."""
    changed = copy / PACKAGE.name / mutant.file
    changed.write_text(changed.read_text().replace(mutant.old, mutant.new))
    assert run(copy, set(mutant.attacks)) == set(mutant.attacks)
