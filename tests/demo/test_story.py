"""The demo as a whole: real processes, and an exit status that can be trusted."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from langchain_mcp_oauth.demo import story
from langchain_mcp_oauth.demo.agent import REAL_MODELS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_real_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in REAL_MODELS:
        monkeypatch.delenv(key, raising=False)


def test_every_step_holds() -> None:
    """Five steps in at least eight processes, and the exit status is 0."""
    told = io.StringIO()
    status = story.run_demo(yes=True, token_lifetime=2, console=Console(file=told, width=200))
    assert status == 0, told.getvalue()
    assert told.getvalue().count("✓") == 12
    assert "Every step held." in told.getvalue()


def test_a_person_who_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step does not hold, the story says so and the exit status is 1."""
    monkeypatch.setattr(story, "PATIENCE", 1.0)
    monkeypatch.setattr(story, "_approve", lambda link: story.Person("ada").deny(link))
    told = io.StringIO()
    assert story.run_demo(yes=True, console=Console(file=told, width=200)) == 1
    assert "Nobody logged in" in told.getvalue()
