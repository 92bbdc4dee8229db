"""Every block of Python in the README and the documentation runs, from the top of its page to the end, against a real protected server.

The only thing that is replaced is the address of the server, and of what a reader brings along: a model, a checkpointer, a signed-in user.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import sys
import types
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from langchain_mcp_oauth import MCPOAuthToolkit
from langchain_mcp_oauth.loopback import browser
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .pages import PAGES, page_names

ROOT = Path(__file__).parents[2]

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)(?P<title>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    title: str = ""

    @property
    def is_ours(self) -> bool:
        """Python of this library's; that which shows another's is run by tests/standard/test_migration.py."""
        return self.language == "python" and not self.title.startswith("before")


def read_blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            inspect.cleandoc(found["text"]),
            found["title"].strip().removeprefix("title=").strip('"'),
        )
        for found in FENCE.finditer(text)
    ]


@pytest.fixture
def linear() -> Iterator[ProtectedServer]:
    """What stands at the address in the examples. Its authorization server is at the same origin, so it needs no permission."""
    with ProtectedServer(one_origin=True, anonymous={"server/discover", "initialize", "notifications/initialized", "tools/list"}) as server:
        yield server


@pytest.fixture(autouse=True)
def _a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody with an empty home, who says yes in the browser that opens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", "A" * 43 + "=")

    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    monkeypatch.setattr(browser, "PORTS", range(8930 + worker, 8931 + worker))  # other processes open the usual ones
    monkeypatch.setattr(webbrowser, "open", lambda url: Person("ada").approve_in_app(url).is_success)


def run(blocks: list[Block], names: dict[str, Any], replaced: Callable[[str], str]) -> dict[str, Any]:
    """Run the blocks one after the other in one module, on one event loop; `await` works at the top level, as in a notebook."""
    module = types.ModuleType("__main__")
    module.__dict__.update(names)
    toolkits: dict[int, MCPOAuthToolkit] = {}
    with pytest.MonkeyPatch.context() as patched, asyncio.Runner() as runner:
        patched.setitem(sys.modules, "__main__", module)  # where annotations of the examples are looked up
        try:
            for block in blocks:
                source = "\n" * block.line + replaced(block.text)
                code = compile(source, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                outcome = eval(code, module.__dict__)
                if inspect.iscoroutine(outcome):
                    runner.run(outcome)
                toolkits.update({id(value): value for value in module.__dict__.values() if isinstance(value, MCPOAuthToolkit)})
        finally:
            for toolkit in toolkits.values():  # an example need not show how it ends
                runner.run(toolkit.aclose())
    return module.__dict__


@pytest.mark.parametrize("page", sorted(PAGES))
def test_the_python_runs(page: str, linear: ProtectedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """No block fails, and the page shows what it says."""
    blocks = [block for block in read_blocks(page) if block.is_ours]
    example = PAGES[page]
    run(blocks, example.names(linear), lambda text: example.replace(text, linear))
    shown = capsys.readouterr().out
    for text in example.shows:
        assert text in shown


def test_every_page_is_run() -> None:
    """A new page with Python is named in `pages.py` with what its reader brings along."""
    assert {page for page in page_names(ROOT) if any(block.language == "python" for block in read_blocks(page))} == set(PAGES)


@pytest.mark.parametrize("page", page_names(ROOT))
def test_no_block_is_without_a_language(page: str) -> None:
    """So that none escapes: a block says what it is, and a drawing says `text`."""
    fences = [line.strip() for line in (ROOT / page).read_text().splitlines() if line.strip().startswith("```")]
    assert all(fence != "```" for fence in fences[::2])
