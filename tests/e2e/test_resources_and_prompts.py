"""A server's resources as LangChain blobs, its prompts as messages: by the same login, asked for in the same way."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.prompts.base import AssistantMessage, UserMessage

from langchain_mcp_oauth import AuthRequired, MCPOAuthToolkit, ProtocolError
from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.connections.mcp_servers import ERAS, app_of, serving

from .conftest import KEY, MakeToolkit

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _with_resources(server: ProtectedServer) -> None:
    @server.mcp.resource("notes://one", mime_type="text/markdown")
    def note() -> str:
        """A note."""
        return "# One – é"

    @server.mcp.resource("files://two", mime_type="application/octet-stream")
    def file() -> bytes:
        """A file."""
        return bytes(range(256))

    @server.mcp.prompt()
    def review(code: str) -> list[UserMessage | AssistantMessage]:
        """Review some code."""
        return [UserMessage(f"Review: {code}"), AssistantMessage("Gladly.")]


async def test_both_come_with_the_users_login(make_toolkit: MakeToolkit, alice: Person) -> None:
    """The event says what was about to be done; text and bytes arrive as they are, in the order asked for."""
    toolkit = make_toolkit()
    for stage, act in {
        "list_resources": lambda: toolkit.aget_resources("demo"),
        "read_resource": lambda: toolkit.aget_resources("demo", ["notes://one"]),
        "list_prompts": lambda: toolkit.alist_prompts("demo"),
        "get_prompt": lambda: toolkit.aget_prompt("demo", "review", {"code": "x"}),
    }.items():
        with pytest.raises(AuthRequired) as asked:
            await act()
        assert (asked.value.stage, asked.value.server) == (stage, "demo")
    await toolkit.complete_authorization(await alice.aapprove(asked.value.authorization_url))

    assert [(str(one.uri), one.mime_type) for one in await toolkit.alist_resources("demo")] == [
        ("notes://one", "text/markdown"),
        ("files://two", "application/octet-stream"),
    ]
    file, note = await toolkit.aget_resources("demo", ["files://two", "notes://one"])
    assert (note.as_string(), note.mimetype, note.metadata) == ("# One – é", "text/markdown", {"uri": "notes://one"})
    assert file.as_bytes() == bytes(range(256))
    assert len(await toolkit.aget_resources("demo")) == 2

    [prompt] = await toolkit.alist_prompts("demo")
    assert [argument.name for argument in prompt.arguments or []] == ["code"]
    asking, answer = await toolkit.aget_prompt("demo", "review", {"code": "x = 1"})
    assert (type(asking), asking.text) == (HumanMessage, "Review: x = 1")
    assert (type(answer), answer.text) == (AIMessage, "Gladly.")
    with pytest.raises(ProtocolError):
        await toolkit.aget_resources("demo", ["notes://none"])


@pytest.mark.parametrize("era", ERAS)
async def test_what_servers_say_of_how_to_use_them(era: str) -> None:
    """With the listing, for whoever it was for; without what a person reading it would not see; of a server that says nothing, nothing."""
    kind, quiet = MCPServer("kind", instructions="Be kind.\u202e", log_level="ERROR"), MCPServer("quiet", log_level="ERROR")
    with serving(app_of(kind, era)) as first, serving(app_of(quiet, era)) as second:
        servers = {"kind": f"{first}/mcp", "quiet": f"{second}/mcp"}
        async with MCPOAuthToolkit(servers, store="sqlite://", encryption_key=KEY, user_id="alice") as toolkit:
            assert await toolkit.aget_instructions() == {}
            await toolkit.aget_tools()
            assert await toolkit.aget_instructions() == {"kind": "Be kind."}
