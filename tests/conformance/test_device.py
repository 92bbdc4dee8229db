"""Device authorization (RFC 8628) at oidc-provider: nobody comes back, and any process finds out that the person has answered."""

from __future__ import annotations

import html
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest
import time_machine
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from starlette.applications import Starlette
from typer.testing import CliRunner

from langchain_mcp_oauth import AuthorizationDenied, AuthRequired, MCPOAuthToolkit, auth_interrupts, connection_routes, resume_command
from langchain_mcp_oauth.cli import app
from langchain_mcp_oauth.cli.printing import Printer
from langchain_mcp_oauth.testing.pages import Page

from .guarded_by_provider import Site, guarded_by_provider

pytestmark = [pytest.mark.node, pytest.mark.anyio]

KEY = "bm90IGEgc2VjcmV0LCBvbmx5IGZvciB0aGVzZSB0ZXM="

MakeToolkit = Callable[[], MCPOAuthToolkit]


@pytest.fixture
def site(node: str) -> Iterator[Site]:
    with guarded_by_provider(node, "2026-07-28") as running:
        yield running


@pytest.fixture
async def make_toolkit(site: Site, tmp_path: Path) -> AsyncIterator[MakeToolkit]:
    """A toolkit without a redirect URI, on the shared database; all are closed at the end."""
    made: list[MCPOAuthToolkit] = []

    def make() -> MCPOAuthToolkit:
        database = f"sqlite:///{tmp_path / 'tokens.db'}"
        hosts = site.allowed_private_hosts
        made.append(MCPOAuthToolkit({"demo": site.url}, store=database, encryption_key=KEY, user_id="alice", allowed_private_hosts=hosts))
        return made[-1]

    yield make
    for toolkit in made:
        await toolkit.aclose()


def answer(url: str, *, allow: bool = True) -> str:
    """What a person does on another machine: follow the pages from `url`, press the first button of each (or the refusal)."""
    with httpx2.Client(follow_redirects=True, trust_env=False) as browser:
        page = browser.get(url)
        for _ in range(6):
            form = re.search(r"<form.*?</form>", page.text, re.DOTALL)
            if form is None:
                return page.text
            action = re.search(r'action="([^"]+)"', form[0])
            assert action is not None
            fields = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form[0]))
            fields |= {name: "alice" for name in ("login", "password") if f'name="{name}"' in form[0]}
            refuse = not allow and "confirm" in fields
            page = browser.post(urljoin(str(page.url), html.unescape(action[1])), data=fields | ({"abort": "yes"} if refuse else {}))
            if refuse:
                return page.text
    raise AssertionError(page.text)


async def asked(toolkit: MCPOAuthToolkit) -> AuthRequired:
    with pytest.raises(AuthRequired) as needed:
        await toolkit.aget_tools()
    return needed.value


def later(seconds: float) -> time_machine.travel:
    return time_machine.travel(time.time() + seconds, tick=True)


async def test_a_code_is_entered_elsewhere(site: Site, make_toolkit: MakeToolkit) -> None:
    """One code for everybody who asks, in any process; not looked for more often than allowed; after the answer the next call has its
    login, with a refresh token, and nobody is asked again."""
    first, second = make_toolkit(), make_toolkit()
    needed = await asked(first)
    assert needed.user_code is not None
    assert needed.payload()["user_code"] == needed.user_code
    assert (await asked(second)).auth_id == needed.auth_id
    answer(needed.authorization_url)
    assert (await asked(second)).auth_id == needed.auth_id  # not yet: the first look is an interval away
    with later(6):
        tools = {tool.mcp_tool: tool for tool in await second.aget_tools()}  # type: ignore[attr-defined]
        assert (await tools["whoami"].ainvoke({}))[0]["text"] == "alice"
        assert {tool.mcp_tool for tool in await first.aget_tools()} == set(tools)  # type: ignore[attr-defined]
    [grant] = await first.store.list_grants("alice")
    assert grant.tokens.refresh_token is not None


async def test_nobody_has_answered_yet(make_toolkit: MakeToolkit) -> None:
    """`authorization_pending`: the same code is asked for again."""
    toolkit = make_toolkit()
    needed = await asked(toolkit)
    with later(6):
        assert (await asked(toolkit)).auth_id == needed.auth_id


async def test_a_person_who_says_no(make_toolkit: MakeToolkit) -> None:
    """`access_denied`: a typed error; asking again gives another code."""
    toolkit = make_toolkit()
    needed = await asked(toolkit)
    answer(needed.authorization_url, allow=False)
    with later(6):
        with pytest.raises(AuthorizationDenied) as denied:
            await toolkit.begin_authorization("demo")
        assert denied.value.oauth_error == "access_denied"
        assert (await asked(toolkit)).user_code != needed.user_code


async def test_on_the_page(site: Site, make_toolkit: MakeToolkit) -> None:
    """Connect shows the code; the page shows it too while the login is open; once it was entered elsewhere the page finds out by itself."""
    toolkit = make_toolkit()
    pages = Starlette(routes=connection_routes(toolkit, get_user=lambda _: "alice", base_url="http://app.example"))
    headers = {"sec-fetch-site": "same-origin"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(pages), base_url="http://app.example", headers=headers) as browser:
        form = Page((await browser.get("/oauth/connections")).text).forms[0]
        start = await browser.post("/oauth/connections", data={name: value for _, name, value in form.inputs}, follow_redirects=True)
        [link] = re.findall(r'href="([^"]+)">Continue', start.text)
        code = (await asked(toolkit)).user_code
        assert code
        assert code in start.text
        assert code in (await browser.get("/oauth/connections")).text
        answer(html.unescape(link))
        with later(6):
            page = (await browser.get("/oauth/connections")).text
    assert (code in page, "Connected</span>" in page) == (False, True)


def test_at_a_terminal(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`login --device` shows address and code, and ends when it was entered."""
    monkeypatch.setenv("LANGCHAIN_MCP_OAUTH_KEY", KEY)
    shown: list[str] = []

    def say(printer: Printer, text: str, style: str = "") -> None:
        shown.append(text)
        answer(text.split()[5])

    monkeypatch.setattr(Printer, "say", say)
    [host] = site.allowed_private_hosts
    options = [f"--allow={host}", f"--store=sqlite:///{tmp_path / 'tokens.db'}", "--user=alice"]
    result = CliRunner().invoke(app, ["login", f"demo={site.url}", "--device", *options])
    assert result.exit_code == 0, result.output
    assert "Connected to demo" in result.stdout
    assert re.fullmatch(r"Open this on any machine:\n\nhttp://\S+\n\nand enter the code [A-Z]{4}-[A-Z]{4}", shown[0])


async def test_a_run_is_interrupted_and_resumed(make_toolkit: MakeToolkit) -> None:
    """As with a browser: the interrupt carries page and code, the run sleeps, and goes on in another process."""

    def graph(toolkit: MCPOAuthToolkit) -> object:
        async def work(state: dict[str, str]) -> dict[str, str]:
            tools = {tool.mcp_tool: tool for tool in await toolkit.aget_tools()}  # type: ignore[attr-defined]
            return {"who": (await tools["whoami"].ainvoke({}))[0]["text"]}

        builder = StateGraph(dict)
        builder.add_node("work", work)
        builder.add_edge(START, "work")
        builder.add_edge("work", END)
        return builder.compile(checkpointer=saver)

    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "1"}}
    stopped = await graph(make_toolkit()).ainvoke({"who": ""}, config)  # type: ignore[attr-defined]
    [request] = auth_interrupts(stopped)
    assert request["user_code"]
    answer(request["authorization_url"])
    with later(6):
        resumed = await graph(make_toolkit()).ainvoke(resume_command(stopped), config)  # type: ignore[attr-defined]
    assert resumed["who"] == "alice"
