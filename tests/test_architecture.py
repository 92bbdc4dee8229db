"""Imports go down only, each outside world has one door, and the core knows nothing of LangChain (read from the source, not run)."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import langchain_mcp_oauth

PACKAGE = Path(langchain_mcp_oauth.__file__).parent
NAME = "langchain_mcp_oauth"

FLOORS = [
    {"errors", "models", "events", "telemetry", "loading"},
    {"oauth", "servers", "grants"},
    {"http", "store"},
    {"authorizer", "doctor"},
    {"connections", "service"},
    {"profiles", "interrupts", "tools", "toolkit", "client_document"},
    {"middleware", "pages", "web", "loopback"},
    {"testing", "demo"},
    {"cli"},
]
"""The rooms, from the ground up. A room imports its own floor and those below."""

CORE = set().union(*FLOORS[:5])

DOORS = {
    "sqlmodel": {"store"},
    "sqlalchemy": {"store"},
    "cryptography": {"store"},
    "httpcore2": {"http"},
    "authlib": {"oauth"},
    "joserfc": {"oauth"},
    "mcp.client.auth": {"oauth"},
    "mcp.shared.auth": {"oauth"},
    "mcp.client.session": {"connections"},
    "mcp.client.stdio": {"connections"},
    "mcp.shared.dispatcher": {"connections"},
    "langgraph": {"interrupts"},
    "langchain": {"middleware"},
    "starlette": {"web", "pages", "loopback"},
    "alembic": {"store"},
    "opentelemetry": {"telemetry"},
    "typer": {"cli"},
}
"""Who may import what. Test servers and the demo are outside the library and exempt."""

OUTSIDE = {"testing", "demo"}

MODULES = sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py"})
"""All but the front door, which imports everything."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    """Every module that the file imports when it runs, at its top or inside a function; not what only type checkers read."""
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} uses a relative import"
            yield str(node.module)


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    """A room imports rooms of its own floor and below."""
    for name in imports_of(path):
        if name.startswith(f"{NAME}."):
            assert floor_of(name.split(".")[1]) <= floor_of(room_of(path)), f"{path.name} imports {name} from a floor above"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_outside_world_has_one_door(path: Path) -> None:
    """Only the room that keeps the door to a library imports it."""
    room = room_of(path)
    if room in OUTSIDE:
        return
    for name in imports_of(path):
        for library, rooms in DOORS.items():
            if name == library or name.startswith(f"{library}."):
                assert room in rooms, f"{path.name} imports {name}; only {sorted(rooms)} may"


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) in CORE], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_knows_nothing_of_langchain(path: Path) -> None:
    """The core is usable without LangChain."""
    assert not [name for name in imports_of(path) if name.startswith(("langchain_core", "langchain.", "langgraph"))]


def test_every_room_has_a_floor() -> None:
    """A new room is put on a floor, so that the other tests see it."""
    assert {room_of(path) for path in MODULES} <= set().union(*FLOORS)
