"""`@modelcontextprotocol/server-everything`, a server that we did not write, as a program: results of every kind, resources and prompts.

Over HTTP it listens on all interfaces and has no option against it, so it is used over its standard input and output only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_mcp_oauth import MCPOAuthToolkit
from tests.e2e.conftest import KEY
from tests.e2e.logins import message, tools_of

pytestmark = [pytest.mark.node, pytest.mark.anyio]

SERVER = Path(__file__).parent / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"


@pytest.fixture
async def toolkit(node: str) -> AsyncIterator[MCPOAuthToolkit]:
    servers = {"everything": {"command": node, "args": [str(SERVER), "stdio"]}}
    async with MCPOAuthToolkit(servers, store="sqlite://", encryption_key=KEY, user_id="alice") as made:
        yield made


def kinds(blocks: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(block["type"], block.get("mime_type")) for block in blocks]


async def test_results_of_every_kind(toolkit: MCPOAuthToolkit) -> None:
    """In the order in which the server gave them; links are text."""
    tools = await tools_of(toolkit)

    async def content(tool: str, **arguments: Any) -> list[dict[str, Any]]:
        return list((await message(tools[tool], **arguments)).content)

    assert kinds(await content("get-tiny-image")) == [("text", None), ("image", "image/png"), ("text", None)]
    annotated = await content("get-annotated-message", messageType="error", includeImage=True)
    assert kinds(annotated) == [("text", None), ("image", "image/png")]
    embedded = await content("get-resource-reference", resourceType="Blob", resourceId=1)
    assert kinds(embedded) == [("text", None), ("file", "text/plain"), ("text", None)]
    links = await content("get-resource-links", count=2)
    assert [block["text"].partition(": ")[2] for block in links[1:]] == ["demo://resource/dynamic/blob/1", "demo://resource/dynamic/text/2"]
    structured = await message(tools["get-structured-content"], location="Chicago")
    assert structured.artifact["structured_content"].keys() == {"temperature", "conditions", "humidity"}


async def test_resources_and_prompts(toolkit: MCPOAuthToolkit) -> None:
    """Everything that it lists can be read, and a prompt takes arguments."""
    listed = await toolkit.alist_resources("everything")
    blobs = await toolkit.aget_resources("everything")
    assert [blob.metadata["uri"] for blob in blobs] == [str(one.uri) for one in listed] != []
    assert {prompt.name for prompt in await toolkit.alist_prompts("everything")} >= {"simple-prompt", "args-prompt"}
    [asked] = await toolkit.aget_prompt("everything", "args-prompt", {"city": "Bern"})
    assert isinstance(asked, HumanMessage)
    assert "Bern" in asked.text
