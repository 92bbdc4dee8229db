"""The notebooks run from top to bottom, in a kernel of their own, and show what they say."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from langchain_mcp_oauth.testing import Person

from .databases import postgres_schema
from .notebooks import Reader, shown

COOKBOOK = Path(__file__).parent.parent / "cookbook"

SHOWN = {
    "01_quickstart": ["example__whoami", "'text': 'ada'", "{'total': 5}", "logins: 1 refreshes: 1", "'text': 'hello'", "revoked: True"],
    "02_agent_interrupt_resume": ["mcp_auth_required", "missing_scopes=()", "Buy milk", "interrupted again: False"],
    "03_many_users": ["mail login", "You are ada in the calendar and ada in the mail.", "You are bob in the calendar and bob in the mail."],
    "04_web_app": ["200 True", "403 False", "ToolCall(tool='whoami', user='ada')"],
    "05_step_up": ["login ('tools',)", "step_up ('tools', 'numbers')", "{'total': 5}", "missing ('numbers',)", "2 error"],
    "06_cassettes": ["1 passed", "[]", "REDACTED-access_token-1", "was not recorded", "1 failed"],
    "07_production": ["/oauth/start/…", "200", "alice [ToolCall(tool='whoami', user='alice')]"],
    "08_migration": ["'refresh_token'", "'text': 'ada'", "refreshed: 1"],
}


def test_every_notebook_is_run() -> None:
    """A new notebook is named here with what it must show."""
    assert {path.stem for path in COOKBOOK.glob("*.ipynb")} == set(SHOWN)


ON_POSTGRES = "07_production"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(SHOWN) - {ON_POSTGRES}))
def test_the_notebook_runs(name: str) -> None:
    """No cell fails, and the outputs hold what the text promises."""
    check(name)


@pytest.mark.slow
@pytest.mark.postgres
def test_the_notebook_runs_on_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the one that needs it."""
    with postgres_schema() as url:
        monkeypatch.setenv("DATABASE_URL", url.replace("postgresql+psycopg://", "postgresql://"))
        check(ON_POSTGRES)


def check(name: str) -> None:
    notebook = nbformat.read(COOKBOOK / f"{name}.ipynb", as_version=4)
    Reader(notebook, press=Person("ada").approve_in_app).execute()
    outputs = shown(notebook)
    for text in SHOWN[name]:
        assert text in outputs, f"{text!r} is not among the outputs:\n{outputs}"


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_the_notebook_is_kept_without_outputs(name: str) -> None:
    """So that a change shows what was changed, and nothing a run has printed is committed."""
    notebook = nbformat.read(COOKBOOK / f"{name}.ipynb", as_version=4)
    assert [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")] == []
