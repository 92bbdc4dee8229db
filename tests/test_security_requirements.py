"""The table of security requirements is complete, and every test and file it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import langchain_mcp_oauth
from tests.attacks.mutants import MUTANTS

TESTS = Path(__file__).parent
PACKAGE = Path(langchain_mcp_oauth.__file__).parent
TABLE = (TESTS.parent / "docs" / "security-requirements.md").read_text()

ROWS = {
    int(number): {"held": re.findall(r"`([^`]+)`", held), "tests": re.findall(r"`([^`]+)`", attacked), "mutant": mutant}
    for number, held, attacked, mutant in re.findall(r"^\| R(\d+) \| .*? \| ([^|]*) \| ([^|]*) \| (yes|no) \|$", TABLE, re.MULTILINE)
}


def test_every_requirement_has_a_row() -> None:
    """R1 to R45, each once."""
    assert list(ROWS) == list(range(1, 46))
    assert len(re.findall(r"^\| R\d", TABLE, re.MULTILINE)) == 45


@pytest.mark.parametrize("number", range(1, 46))
def test_a_row_names_what_is_there(number: int) -> None:
    """Files that exist, tests that exist, at least one attack, and a mutant where it says so."""
    row = ROWS[number]
    assert all((PACKAGE / name).exists() for name in row["held"]), row["held"]
    for name in row["tests"]:
        path, _, function = name.partition("::")
        assert re.search(rf"^(?:async )?def {function}\b", (TESTS / path).read_text(), re.MULTILINE), name
    assert any(name.startswith("attacks/") for name in row["tests"])
    assert (row["mutant"] == "yes") == (number in {mutant.requirement for mutant in MUTANTS})
