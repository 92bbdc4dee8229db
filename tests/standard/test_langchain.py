"""LangChain's standard tests for tools, over a real MCP server with a stored login."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_mcp_oauth import AuthRequired, MCPOAuthToolkit
from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.e2e.conftest import KEY, REDIRECT_URI

pytestmark = [pytest.mark.standard, pytest.mark.anyio]


@pytest.fixture
async def add(anyio_backend: str) -> AsyncIterator[BaseTool]:
    """Made anew for each test: connections belong to the test's event loop, and are closed on it."""
    with ProtectedServer() as server:
        options: dict[str, Any] = {
            "allowed_private_hosts": server.allowed_private_hosts,
            "encryption_key": KEY,
            "redirect_uri": REDIRECT_URI,
        }
        async with MCPOAuthToolkit({"demo": server.url}, store="sqlite://", user_id="alice", **options) as toolkit:
            with pytest.raises(AuthRequired) as asked:
                await toolkit.aget_tools()
            await toolkit.complete_authorization(await Person("alice").aapprove(asked.value.authorization_url))
            yield next(tool for tool in await toolkit.aget_tools() if tool.name == "demo__add")


class OurTool:
    """`add(a, b)` of the example server, as whoever logged in."""

    made: BaseTool

    @pytest.fixture(autouse=True)
    def _made(self, add: BaseTool) -> None:
        type(self).made = add

    @property
    def tool_constructor(self) -> Any:
        return self.made

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"a": 1, "b": 2}


class TestUnit(OurTool, ToolsUnitTests):
    """Without a call."""


class TestIntegration(OurTool, ToolsIntegrationTests):
    """With calls, synchronous and asynchronous."""


def test_nothing_was_left_out() -> None:
    """The suites are as large as they are known to be; a new version that brings more is looked at."""
    names = {name for suite in (ToolsUnitTests, ToolsIntegrationTests) for name in dir(suite) if name.startswith("test_")}
    assert len(names) >= 10
    assert cast("Any", TestUnit).test_init is not None
