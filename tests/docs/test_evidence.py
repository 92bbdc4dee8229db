"""What the documentation names as proof is there: every test, every module, every scenario; and no obligation is left out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import langchain_mcp_oauth
from langchain_mcp_oauth import MCPServer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = Path(langchain_mcp_oauth.__file__).parent
TABLES = ["behaviour.md", "obligations.md", "providers.md"]

TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
MODULE = re.compile(r"`((?:\w+/)*\w+(?:\.py|/))`")
NUMBER = re.compile(r"^\| (\d+) \|", re.MULTILINE)
SCENARIO = re.compile(r"`((?:auth/)?[a-z0-9]+(?:-[a-z0-9]+)+)`")


def rows_of(page: str) -> list[list[str]]:
    """The cells of every table row, without the heads and the lines under them."""
    lines = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def defined_in(path: str) -> frozenset[str]:
    """The names of the test functions that a file defines, read and not run."""
    if not (ROOT / path).is_file():
        return frozenset()
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    return frozenset(
        node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("page", TABLES)
def test_every_test_that_is_named_exists(page: str) -> None:
    """By file and name; a test that is renamed takes its mention along."""
    named = set(TEST.findall((DOCS / page).read_text()))
    assert named, f"{page} names no test at all"
    assert sorted(f"{path}::{name}" for path, name in named if name not in defined_in(path)) == []


def test_no_obligation_is_left_out() -> None:
    """1 to 76, once each, in order."""
    assert [int(number) for number in NUMBER.findall((DOCS / "obligations.md").read_text())] == list(range(1, 77))


def test_every_obligation_has_its_proof() -> None:
    """A test, or the reason why it does not apply."""
    rows = [row for row in rows_of("obligations.md") if row[0].isdigit()]
    assert len(rows) == 76
    unproved = [row[0] for row in rows if not TEST.search(row[4]) and not row[4].startswith("Does not apply: ")]
    assert unproved == []


def test_every_module_that_is_named_exists() -> None:
    """Where an obligation is met is a module or a package of the library."""
    for row in rows_of("obligations.md"):
        if row[0].isdigit():
            assert [name for name in MODULE.findall(row[3]) if not (PACKAGE / name).exists()] == [], row[0]


def test_every_scenario_that_is_named_is_run() -> None:
    """By the name the conformance suite gives it."""
    run = (ROOT / "tests/conformance/test_conformance.py").read_text()
    for row in rows_of("obligations.md"):
        if row[0].isdigit():
            assert [name for name in SCENARIO.findall(row[4]) if f'"{name}"' not in run] == [], row[0]


def test_every_behaviour_has_its_test() -> None:
    """A promise to operators without a test is none."""
    rows = [row for row in rows_of("behaviour.md") if row[-1] != "test"]
    assert len(rows) > 20
    assert [row[0] for row in rows if not TEST.search(row[-1])] == []


def test_nothing_unproved_looks_proved() -> None:
    """A provider is proved here by a test, or expected from documentation that is named."""
    rows = [row for row in rows_of("providers.md") if len(row) == 3 and row[-1] != "evidence"]
    assert len(rows) > 10
    for row in rows:
        proved, expected = row[-1].startswith("proved: "), row[-1].startswith("expected: ")
        assert proved != expected, row
        assert bool(TEST.search(row[-1])) == proved, row
        assert expected == bool(re.search(r"\]\(https://[^)]+\)", row[-1])), row


def test_every_option_is_explained() -> None:
    """An option of a server that nobody can look up is not to be had."""
    named = {name for row in rows_of("providers.md") if len(row) == 2 for name in re.findall(r"`(\w+)", row[0])}
    assert sorted(MCPServer.model_fields.keys() - {"url"} - named) == []
