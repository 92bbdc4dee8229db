"""Every block of Python in the README and the documentation runs, from the top of its page to the end, against a real protected server.

The only thing that is replaced is the address of the server, and of what a reader brings along: a model, a checkpointer, a signed-in user.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from langchain_mcp_oauth import MCPOAuthToolkit
from langchain_mcp_oauth.testing import ProtectedServer

from .pages import PAGES, ROOT, Block, page_names, read_blocks


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
    assert {page for page in page_names() if any(block.language == "python" for block in read_blocks(page))} == set(PAGES)


@pytest.mark.parametrize("page", page_names())
def test_no_block_is_without_a_language(page: str) -> None:
    """So that none escapes: a block says what it is, and a drawing says `text`."""
    fences = [line.strip() for line in (ROOT / page).read_text().splitlines() if line.strip().startswith("```")]
    assert all(fence != "```" for fence in fences[::2])
