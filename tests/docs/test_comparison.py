"""The comparison names a test for each thing it says of us."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/comparison.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_is_named_is_there(path: str, name: str) -> None:
    """The file, and the test in it."""
    text = (ROOT / path).read_text(encoding="utf-8")
    assert f"def {name or 'test_'}" in text
    assert name or re.search(r"def test_", text)


def test_every_row_has_a_test_or_a_reason() -> None:
    """Ours is the last cell: a test, or a `no` that says why."""
    rows = [
        line
        for line in (ROOT / "docs/comparison.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and "---" not in line
    ]
    ours = [row.rstrip("| ").rsplit("|", 1)[1].strip() for row in rows]
    assert len(ours) > 20
    for cell in ours:
        assert cell == "here, shown by" or cell.startswith("`tests/") or (cell.startswith("no: ") and len(cell) > 20), cell
