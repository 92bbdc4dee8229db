"""These tests need packages that cannot be installed beside ours (langchain-tests wants an older vcrpy): `.ci/run` has a step for them."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only `pytest -m standard` imports them; it fails if it finds nothing to run."""
    return None if config.option.markexpr == "standard" else True
