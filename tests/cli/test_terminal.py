"""The commands as processes of their own: at a terminal, in a pipe, and ended from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import httpx2
import pytest

from langchain_mcp_oauth.cli.printing import Exit
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .terminal import PATIENCE, at_a_terminal, command

pytestmark = pytest.mark.slow  # each test starts a process, which imports everything


def allowed(server: ProtectedServer) -> list[str]:
    return [f"--allow={host}" for host in server.allowed_private_hosts]


def test_logging_in_from_another_machine(server: ProtectedServer, home: dict[str, str]) -> None:
    """Without a browser here: the address is shown, the one that the browser ended up at is pasted, colours say how it went. What may take
    a second is said meanwhile."""
    colours = {**home, "TERM": "xterm-256color", "NO_COLOR": ""}
    with at_a_terminal(command("login", f"demo={server.url}", "--paste", *allowed(server)), colours) as terminal:
        terminal.wait_for("Asking demo who gives logins …")
        url = terminal.wait_for(r"(http://127\.0\.0\.1:\d+/authorize\?\S+)\s")[1]
        terminal.wait_for("Paste it here")
        terminal.type(Person("ada").approve(url))
        terminal.wait_for("Connected to demo")
        assert terminal.end() == Exit.OK
    assert "\x1b[" in terminal.shown


def test_no_color(server: ProtectedServer, home: dict[str, str]) -> None:
    """`NO_COLOR` is heeded at a terminal too (no-color.org)."""
    with at_a_terminal(command("status"), {**home, "TERM": "xterm-256color"}) as terminal:
        terminal.wait_for("No servers are known")
        terminal.end()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.shown)


def test_a_pipe_gets_plain_text(server: ProtectedServer, home: dict[str, str]) -> None:
    """No colours, no spinner; words of the way go to standard error, results to standard output."""
    doctor = command("doctor", server.url, *allowed(server))
    result = subprocess.run(doctor, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, **home, "NO_COLOR": ""})
    assert result.returncode == Exit.OK
    assert result.stderr == ""
    assert "\x1b" not in result.stdout


def test_serving_the_page(server: ProtectedServer, home: dict[str, str]) -> None:
    """Who has the printed address sees the connections; nobody else does, by another name neither; Ctrl-C ends it."""
    with at_a_terminal(command("serve", f"demo={server.url}", "--port", "0", "--no-open", *allowed(server)), home) as terminal:
        link = terminal.wait_for(r"(http://127\.0\.0\.1:\d+/enter/\S+)\s")[1]
        origin = link.partition("/enter")[0]
        terminal.wait_for("until Ctrl-C")
        with httpx2.Client(trust_env=False, timeout=PATIENCE) as stranger:
            assert stranger.get(f"{origin}/oauth/connections").status_code == 401
            assert stranger.get(f"{origin}/enter/guessed").status_code == 404
            assert stranger.get(link, headers={"Host": "evil.example"}).status_code == 400
        with httpx2.Client(trust_env=False, timeout=PATIENCE, follow_redirects=True) as person:
            page = person.get(link)
        assert (page.status_code, all(text in page.text for text in ("Signed in as <strong>ada</strong>", "<h2>demo</h2>"))) == (200, True)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == Exit.INTERRUPTED
