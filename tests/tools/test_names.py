"""Tool names that every provider accepts and that never collide (R42)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_mcp_oauth.tools.names import tool_name

PROVIDERS = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
"""What OpenAI, Anthropic and Gemini all accept."""

parts = st.text(min_size=1, max_size=80) | st.from_regex(r"[a-z_]{1,6}\Z") | st.from_regex(r"_?[0-9a-f]{10}\Z")


@pytest.mark.parametrize(
    ("server", "tool", "name"),
    [("linear", "search", "linear__search"), ("my-server", "get_issue", "my-server__get_issue"), ("a", "b", "a__b")],
)
def test_plain_names_stay_readable(server: str, tool: str, name: str) -> None:
    """A name that needs no change is `server__tool`."""
    assert tool_name(server, tool) == name


@pytest.mark.parametrize(
    ("server", "tool"),
    [("9lives", "x"), ("a", "files.read"), ("a b", "c"), ("a", "x" * 64), ("a__b", "c"), ("a_", "b"), ("a", "_b"), ("é", "ü")],
)
def test_changed_names_carry_a_hash(server: str, tool: str) -> None:
    """Where anything had to change or could be read in two ways, a hash of the originals keeps it unique."""
    assert re.search(r"_[0-9a-f]{10}\Z", tool_name(server, tool))


@given(parts, parts)
def test_every_name_is_valid_for_every_provider(server: str, tool: str) -> None:
    """Whatever a server calls its tools."""
    assert PROVIDERS.match(tool_name(server, tool))


@given(parts, parts, parts, parts)
def test_names_are_injective(server: str, tool: str, other_server: str, other_tool: str) -> None:
    """Two different pairs never share a name."""
    if (server, tool) != (other_server, other_tool):
        assert tool_name(server, tool) != tool_name(other_server, other_tool)


def test_pairs_that_join_alike_differ() -> None:
    """`a_` + `b`, `a` + `_b`, `a__` + `b` … are five tools, and so is one that is named like another's hash."""
    pairs = [("a", "b__c"), ("a__b", "c"), ("a_", "b"), ("a", "_b"), ("a__", "b"), ("a", "__b")]
    names = [tool_name(*pair) for pair in pairs]
    assert len(set(names)) == len(names)
    hashed = tool_name("a", "x.y")
    assert tool_name("a", hashed.removeprefix("a__")) != hashed
