"""Every command in the README and the documentation: ours run, in the order of the page; what others are given is there.

A command that is run elsewhere, or by nobody, is named with the place or the reason.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from os.path import expandvars
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from langchain_mcp_oauth.cli import app
from langchain_mcp_oauth.cli.settings import read_settings
from langchain_mcp_oauth.testing import ProtectedServer

from .pages import ADDRESS, ROOT, page_names, read_blocks

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
MARKERS = {marker.partition(":")[0].partition("(")[0] for marker in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}

ELSEWHERE = {
    "langchain-mcp-oauth demo": "tests/demo/test_story.py",
    "langchain-mcp-oauth serve": "tests/browser/test_newcomers.py",
    "python many_machines.py": "tests/e2e/test_many_machines.py",
    "python -m benchmarks": ".ci/run",
    "mkdocs build": ".ci/run",
    "ruff": ".ci/run",
    "mypy": ".ci/run",
    "npm install": ".ci/run",
    ".ci/matrix": ".ci/run",
    "python benchmarks/many_users.py": "benchmarks/many_users.py",  # minutes; benchmarks are run by hand
    "export DATABASE_URL=": "tests/e2e/test_many_machines.py",  # the values are the reader's
    "python -m venv": ".ci/run",
    ". .venv/bin/activate": ".ci/run",
}
"""How a command begins, and where it is run; for what is run by hand, what there is to run."""


class Command(NamedTuple):
    page: str
    text: str


def read_commands(page: str) -> Iterator[Command]:
    """The commands of a page in order, without comments; of one that spans lines, the whole."""
    for block in read_blocks(page):
        if block.language != "bash":
            continue
        whole = block.text.startswith("python -c")
        lines = [block.text] if whole else [re.sub(r"\s+#.*|\s&$", "", line) for line in block.text.splitlines()]
        for line in lines:
            yield from (Command(page, part) for part in ([line] if whole else re.split(r"\s+&&\s+", line)) if part)


COMMANDS = [command for page in [*page_names(), "CONTRIBUTING.md"] for command in read_commands(page)]

HERE = [command for command in COMMANDS if not command.text.startswith(tuple(ELSEWHERE))]
OURS = [command for command in HERE if command.text.startswith("langchain-mcp-oauth ")]
INSTALLS = [command for command in HERE if command.text.startswith("pip install")]
TESTS = [command for command in HERE if re.match(r"([A-Z_]+=\S+ )*pytest\b", command.text)]
PROGRAMS = [command for command in HERE if command.text.startswith("python -c")]


def list_issues(assignee: str, limit: int) -> str:
    """What a server like the one in the examples has."""
    return f"{limit} of {assignee}"


@pytest.mark.parametrize("page", sorted({command.page for command in OURS}))
def test_our_commands_run(page: str, linear: ProtectedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as a reader types them, and each ends well."""
    linear.mcp.add_tool(list_issues)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'shared.db'}")
    for command in OURS:
        if command.page == page:
            _, *arguments = shlex.split(expandvars(command.text.replace(ADDRESS, linear.url)))
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, f"{command.text}\n{result.output}"


def test_the_configuration_file_can_be_read(tmp_path: Path) -> None:
    """The one that is shown, with every server in it."""
    [shown] = [block.text for block in read_blocks("docs/command-line.md") if block.language == "toml"]
    (tmp_path / "servers.toml").write_text(shown)
    settings = read_settings(tmp_path / "servers.toml", None, None, None)
    assert (settings.user, settings.proxy, list(settings.servers)) == ("ada", "http://proxy.internal:3128", ["linear", "tickets"])


def test_the_doctor_says_what_is_shown() -> None:
    """Of a server whose authorization server does not mention PKCE, word for word but for the addresses."""
    [shown] = [block.text for block in read_blocks("docs/command-line.md") if "doctor https" in block.text]
    with ProtectedServer(metadata={"code_challenge_methods_supported": None}) as server:
        allowed = [f"--allow={host}" for host in server.allowed_private_hosts]
        said = CliRunner().invoke(app, ["doctor", server.url, *allowed]).stdout
        names = {server.url.removesuffix("/mcp"): "https://mcp.example", server.issuer: "https://login.example"}
    for address, name in names.items():
        said = said.replace(address, name)
    assert said.splitlines() == shown.splitlines()[1:]


@pytest.mark.parametrize("command", INSTALLS, ids=lambda command: command.text)
def test_what_is_to_be_installed_is_there(command: Command) -> None:
    """The library by its name, or this directory; with extras that it has."""
    ours = re.findall(rf"(?:{PROJECT['project']['name']}|(?<![\w.])\.)(?:\[([\w,]+)\])?(?=[\"\s]|$)", command.text)
    assert ours or "langchain-tests" in command.text
    assert {extra for extras in ours for extra in extras.split(",") if extra} <= EXTRAS


@pytest.mark.parametrize("command", TESTS, ids=lambda command: command.text)
def test_the_tests_that_are_to_be_run_are_there(command: Command) -> None:
    """Files, folders, and markers."""
    words = shlex.split(command.text.partition("pytest")[2])
    assert [word for word in words if word.startswith("tests/") and not (ROOT / word).exists()] == []
    marked = [words[place + 1] for place, word in enumerate(words) if word == "-m"]
    assert {name for expression in marked for name in re.findall(r"\w+", expression)} <= MARKERS | {"and", "or", "not"}


@pytest.mark.parametrize("command", PROGRAMS, ids=lambda command: command.page)
def test_programs_run(command: Command) -> None:
    """And print something."""
    program = shlex.split(command.text)[2]
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip()


def test_no_command_escapes() -> None:
    """Each is of one of the kinds above, or is named with the place where it is run."""
    assert sorted(HERE) == sorted([*OURS, *INSTALLS, *TESTS, *PROGRAMS])
    assert [beginning for beginning in ELSEWHERE if not any(command.text.startswith(beginning) for command in COMMANDS)] == []
    assert [place for place in ELSEWHERE.values() if not (ROOT / place).exists()] == []
