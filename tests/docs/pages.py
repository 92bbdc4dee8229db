"""The blocks of each page, what its reader brings along, and what its programs print."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from joserfc.jwk import ECKey, KeySet
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_mcp_oauth import MCPOAuthToolkit
from langchain_mcp_oauth.testing import Person, ProtectedServer

ROOT = Path(__file__).parents[2]

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)(?P<title>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)

ADDRESS = "https://mcp.linear.app/mcp"
"""The server in the examples."""


class ScriptedModel(FakeMessagesListChatModel):
    """Calls one tool, then says that it is done."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> ScriptedModel:
        return self


def model_that_calls(tool: str) -> ScriptedModel:
    call = {"type": "tool_call", "id": "1", "name": tool, "args": {}}
    return ScriptedModel(responses=[AIMessage("", tool_calls=[call]), AIMessage("Done.")])


FILES = '"npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "."]'
PROGRAM = f'"{sys.executable}", "args": ["{Path(__file__).parents[1] / "connections" / "program.py"}"]'
"""The program in the examples, and one that is here."""


class Example(NamedTuple):
    names: Callable[[ProtectedServer], dict[str, Any]] = lambda _server: {}
    shows: tuple[str, ...] = ()
    replaces: Mapping[str, str] = {}

    def replace(self, text: str, server: ProtectedServer) -> str:
        for old, new in {ADDRESS: server.url, **self.replaces}.items():
            text = text.replace(old, new)
        return text


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


def page_names() -> list[str]:
    return ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]


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


def an_agent(server: ProtectedServer) -> dict[str, Any]:
    """A model, a checkpointer, and a way to send links to people, who answer at once: the browser comes back to another toolkit."""

    async def send_link(user: str, url: str) -> None:
        callback_url = await Person(user).aapprove(url)
        async with MCPOAuthToolkit({"linear": server.url}, store="sqlite:///logins.db", redirect_uri=callback_url.partition("?")[0]) as web:
            await web.complete_authorization(callback_url, user_id=user)

    return {"model": model_that_calls("linear__whoami"), "checkpointer": InMemorySaver(), "send_link": send_link}


def services(server: ProtectedServer) -> dict[str, Any]:
    """Clients that are registered at the issuer, one with a secret and one with a key; and a broker that has everybody's tokens."""
    secret, key = "of-the-service", ECKey.generate_key("P-256")
    server.add_client("reports", redirect_uri="http://127.0.0.1/", client_secret=secret, auth_method="client_secret_basic")
    server.silent_grants.client_keys["nightly"] = KeySet([ECKey.import_key(key.as_dict(private=False))])

    class Broker:
        async def token_for(self, user_id: str, *, audience: str) -> dict[str, Any]:
            return server.authorization_server.issue_to("the broker", user_id, ["tools"]).model_dump(exclude_none=True)

    return {"issuer": server.issuer, "secret": secret, "key": key.as_pem(private=True).decode(), "broker": Broker(), "sessions": {}}


async def send(user: str, text: str) -> None:
    """As good as a mail."""
    print(f"{user}: {text}")


PAGES = {
    "docs/other-grants.md": Example(services, shows=("'text': 'reports'", "'text': 'nightly'", "'text': 'ada'")),
    "README.md": Example(an_agent, shows=("linear__whoami - ", "Done.")),
    "docs/agents.md": Example(an_agent, shows=("Done.",)),
    "docs/testing.md": Example(shows=("ToolCall(tool='whoami', user='ada')",)),
    "docs/index.md": Example(an_agent, shows=("linear__whoami", "'text': 'ada'", "Done.")),
    "docs/connections-page.md": Example(),
    "docs/migration.md": Example(an_agent, shows=("mcp_auth_required linear",), replaces={FILES: PROGRAM}),
    "docs/observability.md": Example(
        lambda _server: {"send": send}, shows=("ada: Please connect linear: https://app.example/oauth/start/",)
    ),
}
