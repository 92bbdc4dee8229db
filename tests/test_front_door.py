"""What users import: complete, sorted, documented, and cheap to import."""

import inspect
import json
import subprocess
import sys

import pytest

import langchain_mcp_oauth
from langchain_mcp_oauth import errors


def test_the_front_door_is_sorted_and_every_name_opens() -> None:
    """`__all__` is sorted and each of its names exists."""
    assert langchain_mcp_oauth.__all__ == sorted(langchain_mcp_oauth.__all__)
    for name in langchain_mcp_oauth.__all__:
        assert getattr(langchain_mcp_oauth, name) is not None


def test_every_error_is_public_and_in_the_one_tree() -> None:
    """Whoever catches `MCPOAuthError` catches everything, and every error can be imported from the front."""
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert defined == set(errors.__all__)
    assert defined <= set(langchain_mcp_oauth.__all__)
    for name in defined:
        assert issubclass(getattr(errors, name), errors.MCPOAuthError)
        assert name in str(errors.__doc__), f"{name} is missing from the drawn tree"


def test_error_codes_are_unique() -> None:
    """A code in a log names one class."""
    codes = [getattr(errors, name).code for name in errors.__all__]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("name", [n for n in langchain_mcp_oauth.__all__ if n != "__version__"])
def test_public_names_are_documented(name: str) -> None:
    """Every public class and function has a docstring, and so has every public method it defines (perhaps its contract's)."""
    value = getattr(langchain_mcp_oauth, name)
    assert value.__doc__
    methods = [m for n, m in vars(value).items() if inspect.isfunction(m) and not n.startswith("_")] if inspect.isclass(value) else []
    assert [m.__qualname__ for m in methods if not inspect.getdoc(m) and m.__module__.startswith("langchain_mcp_oauth")] == []


EDGES = ["langgraph", "langchain", "typer", "rich", "keyring"]
DATABASE = ["sqlalchemy", "sqlmodel"]
FIRST_LOGIN = ["authlib", "joserfc"]
FIRST_CONNECTION = ["mcp", "starlette", "uvicorn", "jsonschema"]  # the SDK imports its server along with its client


@pytest.mark.parametrize(
    ("program", "spared"),
    [
        ("import langchain_mcp_oauth", [*EDGES, *DATABASE, "mcp", "langchain_core", "pydantic"]),
        ("from langchain_mcp_oauth import MCPServer", [*EDGES, *DATABASE, "langchain_core"]),
        ("from langchain_mcp_oauth import MCPOAuthToolkit", [*EDGES, *DATABASE, *FIRST_LOGIN, *FIRST_CONNECTION]),
        (
            "from langchain_mcp_oauth import MCPOAuthToolkit; MCPOAuthToolkit({'a': 'https://a.example/mcp'}, store='sqlite://')",
            [*EDGES, *FIRST_LOGIN, *FIRST_CONNECTION, "alembic", "psycopg"],
        ),
    ],
)
def test_everything_is_imported_on_demand(program: str, spared: list[str]) -> None:
    """The library alone imports next to nothing; the toolkit none of the optional packages, no database before it is made, and neither
    the MCP SDK nor Authlib before there is a server to connect or log in to."""
    show = f"import sys, json; print(json.dumps([name for name in {spared} if name in sys.modules]))"
    shown = subprocess.run([sys.executable, "-c", f"{program}; {show}"], capture_output=True, text=True, check=True).stdout
    assert json.loads(shown) == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy front door fails like any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = langchain_mcp_oauth.nothing
