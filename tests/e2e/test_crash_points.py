"""Killed at every step: between any two database writes or HTTP requests of every story; see `crash_points.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_mcp_oauth.testing import ProtectedServer
from tests.databases import ready_database

from .conftest import KEY, REDIRECT_URI
from .crash_points import ACTS, IN_SESSIONS, Act, Sees, page
from .processes import Story, run

Place = tuple[str, str]
"""The era of the server, and the database."""

ON_SQLITE, ON_POSTGRES, WITH_SESSIONS = ("2026-07-28", "sqlite"), ("2026-07-28", "postgres"), ("2025-11-25", "sqlite")

EVERYWHERE: tuple[tuple[Place, tuple[Act, ...], Any], ...] = (
    (ON_SQLITE, ACTS, pytest.mark.slow),
    (WITH_SESSIONS, IN_SESSIONS, pytest.mark.slow),
    (ON_POSTGRES, ACTS, pytest.mark.postgres),
)


def acts() -> Iterable[Any]:
    for place, stories, mark in EVERYWHERE:
        for act in stories:
            yield pytest.param(place, act, marks=mark, id=f"{act.title}-{'-'.join(place)}")


def points() -> Iterable[Any]:
    for place, stories, mark in EVERYWHERE:
        for act in stories:
            for number, (name, sees) in enumerate(act.points):
                yield pytest.param(place, act, number, sees, marks=mark, id=f"{act.title}: {number} {name}-{'-'.join(place)}")


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[ProtectedServer]:
    with ProtectedServer(era=place[0]) as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture
def database(place: Place, tmp_path: Path) -> Iterator[str]:
    with ready_database(place[1], tmp_path) as url:
        yield url


@pytest.fixture
def story(server: ProtectedServer, database: str) -> Story:
    return Story(server.url, server.allowed_private_hosts, database, KEY, REDIRECT_URI)


@pytest.mark.parametrize(("place", "act"), list(acts()), scope="module")
def test_the_list_is_whole(server: ProtectedServer, story: Story, act: Act) -> None:
    """A process that lives passes exactly the listed points, in their order."""
    assert run(act.step, *act.prepare(server, story)).points == tuple(name for name, _ in act.points)


@pytest.mark.parametrize(("place", "act", "number", "sees"), list(points()), scope="module")
def test_killed(server: ProtectedServer, story: Story, act: Act, number: int, sees: Sees) -> None:
    """The next process finds what the list says."""
    arguments = act.prepare(server, story)
    ended = run(act.step, *arguments, kill_at=number)
    assert ended.killed
    assert ended.points[-1] == act.points[number][0]
    sees.holds(server, *arguments)


def test_the_page_says_what_the_list_says() -> None:
    """`python -m tests.e2e.crash_points > docs/crash-points.md` was run after the last change."""
    assert (Path(__file__).parents[2] / "docs" / "crash-points.md").read_text() == page()
