"""Killed at every step: between any two database writes or HTTP requests of every story; see `crash_points.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_mcp_oauth.testing import ProtectedServer

from .conftest import KEY, REDIRECT_URI
from .crash_points import ACTS, Act, Sees, page
from .processes import Story, run

POINTS = [
    pytest.param(act, number, sees, id=f"{act.title}: {number} {name}") for act in ACTS for number, (name, sees) in enumerate(act.points)
]


@pytest.fixture(scope="module")
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer(era="2026-07-28") as running:
        yield running


@pytest.fixture
def story(server: ProtectedServer, tmp_path: Path) -> Story:
    return Story(server.url, server.allowed_private_hosts, f"sqlite:///{tmp_path / 'tokens.db'}", KEY, REDIRECT_URI)


@pytest.mark.slow
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.title)
def test_the_list_is_whole(server: ProtectedServer, story: Story, act: Act) -> None:
    """A process that lives passes exactly the listed points, in their order."""
    assert run(act.step, *act.prepare(server, story)).points == tuple(name for name, _ in act.points)


@pytest.mark.slow
@pytest.mark.parametrize(("act", "number", "sees"), POINTS)
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
