"""Coming from another adapter: what docs/migration.md shows as "before" runs as it stands, and what it shows as "after" does the same.

langchain-mcp-adapters needs mcp 1.x, and so an environment of its own, which is made when it is first asked for.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from benchmarks.processes import adapters_python
from langchain_mcp_oauth.testing import ProtectedServer
from tests.docs.pages import PAGES, Block, model_that_calls, read_blocks
from tests.docs.test_code_blocks import run

pytestmark = [
    pytest.mark.standard,
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
]

PAGE = "docs/migration.md"


@pytest.fixture
def linear() -> Iterator[ProtectedServer]:
    with ProtectedServer(one_origin=True) as server:
        yield server


@pytest.fixture(autouse=True)
def _a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", "A" * 43 + "=")


def blocks_of(title: str) -> list[Block]:
    """The block of this title, and the one after it."""
    blocks = [block for block in read_blocks(PAGE) if block.language == "python"]
    [number] = [number for number, block in enumerate(blocks) if block.title == title]
    return blocks[number : number + 2]


def done(block: Block, then: str, names: dict[str, Any], server: ProtectedServer) -> Any:
    """What `result` is after the block, and then this."""
    return run([block, Block(PAGE, 0, "python", then)], names, lambda text: PAGES[PAGE].replace(text, server))["result"]


def token_of(user: str, server: ProtectedServer) -> str:
    return server.authorization_server.issue_to("somebody's program", user, ["tools"]).access_token


LOG_IN = """
from langchain_mcp_oauth.testing import Person
needed = await toolkit.begin_authorization("linear", user_id="ada")
await needed.complete(await Person("ada").aapprove(needed.authorization_url))
"""

CALL_ALL = """
called = {tool.name: tool for tool in tools}
result = [await called[prefix_linear + "whoami"].ainvoke({}), await called[prefix_files + "echo"].ainvoke({"text": "a file"})]
"""

RUNNER = """
import ast, asyncio, inspect, json, sys
names = json.loads(sys.argv[1])
code = compile(sys.stdin.read(), "docs/migration.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
async def main():
    outcome = eval(code, names)
    if inspect.iscoroutine(outcome):
        await outcome
asyncio.run(main())
print(json.dumps(names["result"]))
"""


def test_from_langchain_mcp_adapters(linear: ProtectedServer) -> None:
    """The same dictionary, without the token: the same tools, under longer names, give the same."""
    before, after = blocks_of("before, langchain-mcp-adapters")
    names = {"token": token_of("ada", linear), "prefix_linear": "", "prefix_files": ""}
    program = PAGES[PAGE].replace(before.text, linear) + CALL_ALL
    command = [adapters_python(), "-c", RUNNER, json.dumps(names)]
    ended = subprocess.run(command, input=program, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    theirs = json.loads(ended.stdout.splitlines()[-1])
    listed, logged_in = after.text.rsplit("\n", 1), LOG_IN
    names = {"prefix_linear": "linear__", "prefix_files": "files__"}
    ours = done(after._replace(text="\n".join([listed[0], logged_in, listed[1]])), CALL_ALL, names, linear)
    assert [blocks[0]["text"] for blocks in theirs] == [blocks[0]["text"] for blocks in ours] == ["ada", "a file"]


ASK = """
result = await agent.ainvoke({"messages": [{"role": "user", "content": "Who am I there?"}]}, {"configurable": {"thread_id": "1"}})
"""

GO_ON = f"""
{LOG_IN}
result = await agent.ainvoke(resume_command(result), config)
"""


def test_from_langchain_mcp(linear: ProtectedServer) -> None:
    """One client for one identity, or one toolkit for all: the agent's tool says the same."""
    before, after = blocks_of("before, langchain.mcp")
    names = {"model": model_that_calls("whoami"), "checkpointer": InMemorySaver(), "token": token_of("ada", linear)}
    theirs = done(before, ASK, names, linear)
    names = {"model": model_that_calls("linear__whoami"), "checkpointer": InMemorySaver()}
    ours = done(after._replace(text=f"from langchain_mcp_oauth import MCPOAuthToolkit\n{after.text}"), GO_ON, names, linear)
    assert [answer["messages"][-2].text for answer in (theirs, ours)] == ["ada", "ada"]
