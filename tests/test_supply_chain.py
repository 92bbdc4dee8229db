"""What is installed with the library, and what the library never does: no known hole below a floor, no code made from text."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import langchain_mcp_oauth

PACKAGE = Path(langchain_mcp_oauth.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


class Hole(NamedTuple):
    package: str
    name: str
    fixed_in: str
    source: str


HOLES = [
    Hole("langchain-core", "CVE-2025-68664", "1.2.5", "https://www.cve.org/CVERecord?id=CVE-2025-68664"),
    Hole("langchain-core", "CVE-2026-26013", "1.2.11", "https://github.com/advisories/GHSA-2g6r-c272-w58r"),
    Hole("langchain-core", "CVE-2026-34070", "1.2.22", "https://github.com/advisories/GHSA-qh6h-p6c9-ff54"),
    Hole("langgraph", "CVE-2026-28277", "1.0.10", "https://github.com/advisories/GHSA-g48c-2wqr-h844"),
    Hole("langgraph-checkpoint", "CVE-2025-64439", "3.0.0", "https://www.cve.org/CVERecord?id=CVE-2025-64439"),
    Hole("langgraph-checkpoint-sqlite", "CVE-2025-67644", "3.0.1", "https://github.com/advisories/GHSA-9rwj-6rc7-p77c"),
    Hole("mcp", "CVE-2025-66416", "1.23.0", "https://www.cve.org/CVERecord?id=CVE-2025-66416"),
    Hole("authlib", "CVE-2026-41425", "1.7.2", "https://github.com/advisories/GHSA-jj8c-mmj3-mmgv"),
    Hole("authlib", "CVE-2026-44681", "1.7.2", "https://github.com/advisories/GHSA-r95x-qfjj-fjj2"),
    Hole("cryptography", "CVE-2026-26007", "46.0.5", "https://github.com/advisories/GHSA-r6ph-v2qm-q3c2"),
    Hole("starlette", "CVE-2025-62727", "0.49.1", "https://github.com/advisories/GHSA-7f5h-v6xp-fcq8"),
]
"""Published holes of what the library requires. `pip-audit` says more where it can ask an index that knows of them."""


def floors() -> dict[str, Version]:
    """The lowest version of each package that can be installed with the library or one of its extras."""
    texts = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
    wanted = [Requirement(text) for text in texts]
    return {
        one.name: max(Version(each.version) for each in one.specifier if each.operator in (">=", "=="))
        for one in wanted
        if any(each.operator in (">=", "==") for each in one.specifier)
    }


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: hole.name)
def test_no_floor_lets_a_known_hole_in(hole: Hole) -> None:
    """The lowest version that can be installed has it mended."""
    assert floors()[hole.package] >= Version(hole.fixed_in), hole.source


NEVER = {"eval", "exec", "compile", "__import__", "execfile"}
NEVER_IMPORTED = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "xml.etree.ElementTree", "xmlrpc"}


def dangers(tree: ast.AST) -> Iterator[str]:
    """What makes code or objects of any kind from text, or hands text to a shell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in NEVER or called.rpartition(".")[2] in {"system", "popen"}:
                yield called
            if called.startswith("yaml.") and called not in {"yaml.safe_load", "yaml.safe_dump", "yaml.dump"}:
                yield called
            if any(keyword.arg == "shell" and ast.unparse(keyword.value) != "False" for keyword in node.keywords):
                yield f"{called}(shell=…)"
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in NEVER_IMPORTED)
        if isinstance(node, ast.ImportFrom) and node.module in NEVER_IMPORTED:
            yield str(node.module)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_made_code(path: Path) -> None:
    """No dynamic code, no pickle, no unsafe YAML, no shell."""
    assert list(dangers(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    "text",
    ["eval('1')", "import pickle", "from marshal import loads", "yaml.load(x)", "subprocess.run(x, shell=True)", "os.system(x)"],
)
def test_the_search_finds_what_is_there(text: str) -> None:
    """A control: each of them is found."""
    assert list(dangers(ast.parse(text)))
