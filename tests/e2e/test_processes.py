"""The stories in processes of their own: at the same time, one after the other, and killed at every database write and HTTP request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from langchain_mcp_oauth import AuthRequired, TokenEndpointError
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .conftest import KEY, REDIRECT_URI
from .processes import Running, Step, Story, ask, ask_many, call, complete, run

LAPSED = 60.0
"""Seconds by which every lease and claim of a dead process has ended."""


@pytest.fixture(scope="module")
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer(era="2026-07-28") as running:
        yield running


@pytest.fixture
def story(server: ProtectedServer, tmp_path: Path) -> Story:
    return new_story(server, tmp_path / "tokens.db")


def new_story(server: ProtectedServer, database: Path) -> Story:
    return Story(server.url, server.allowed_private_hosts, f"sqlite:///{database}", KEY, REDIRECT_URI)


def approved(story: Story) -> str:
    """The callback URL of a login that was asked for and approved, in this process."""
    asked = asyncio.run(ask(story))
    assert asked is not None
    return Person("alice").approve(asked[0])


def log_in(story: Story) -> None:
    asyncio.run(complete(story, approved(story)))


def test_every_step_in_its_own_process(story: Story, server: ProtectedServer) -> None:
    """One process asks, a second redeems, a third calls; a fourth asks nobody."""
    url, _ = run(ask, story).value()
    run(complete, story, Person("alice").approve(url)).value()
    before = len(server.calls)
    assert run(call, story).value() == ["alice"]
    assert len(server.calls) == before + 1
    assert run(ask, story).value() is None


def test_two_processes_ask_with_one_url(story: Story, server: ProtectedServer) -> None:
    """Twenty-five tasks in each of two processes: one registration, one URL."""
    registered = server.count(path="/register")
    running = [Running(ask_many, story, 25) for _ in range(2)]
    urls = set().union(*(process.wait().value() for process in running))
    assert len(urls) == 1
    assert server.count(path="/register") == registered + 1


def test_two_processes_refresh_once(story: Story, server: ProtectedServer) -> None:
    """A hundred calls in two processes on an expired token: one token request while both were at it, no call lost, no reuse."""
    log_in(story)
    server.expire_tokens()
    refreshed, reuses = server.count(grant_type="refresh_token"), server.authorization_server.reuses
    gate = server.hold_token_endpoint()
    running = [Running(call, story, 50) for _ in range(2)]
    gate.wait_entered()
    gate.open()
    assert [process.wait().value() for process in running] == [["alice"] * 50] * 2
    assert server.count(grant_type="refresh_token") == refreshed + 1
    assert server.authorization_server.reuses == reuses


def deaths(step: Step, prepare: Callable[[Path], tuple[Any, ...]], folder: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Kill the step at its first point, then its second …, each time in a story of its own, until it lives to its end.

    Yields where it died and what the step was given.
    """
    for number in count():
        story_folder = folder / str(number)
        story_folder.mkdir()
        arguments = prepare(story_folder)
        ended = run(step, *arguments, kill_at=number)
        if not ended.killed:
            assert number > 5, "the step passes more points than that"
            return
        yield ended.points[-1], arguments


@pytest.mark.slow
def test_killed_while_asking(server: ProtectedServer, tmp_path: Path) -> None:
    """Wherever it dies, the next process asks with a URL that works, and a login comes of it."""
    for place, (story,) in deaths(ask, lambda folder: (new_story(server, folder / "t.db"),), tmp_path):
        url, _ = run(ask, story, later=LAPSED).value()
        asyncio.run(complete(story, Person("alice").approve(url)))
        assert asyncio.run(call(story)) == ["alice"], place


@pytest.mark.slow
def test_killed_while_redeeming(server: ProtectedServer, tmp_path: Path) -> None:
    """The same callback is brought again and the login is there: nobody is asked twice.

    But for the one case that nobody can mend: the server has taken the code and we died before the tokens were saved. Then the person is
    told that the code was refused, and asked again.
    """

    def asked(folder: Path) -> tuple[Any, ...]:
        story = new_story(server, folder / "t.db")
        return story, approved(story)

    for place, (story, callback_url) in deaths(complete, asked, tmp_path):
        again = run(complete, story, callback_url, later=LAPSED)
        if place in {"after request", "before grant_request"}:
            assert isinstance(again.error, TokenEndpointError), (place, again)
            log_in(story)
        else:
            assert again.value() == "demo", place
        assert asyncio.run(call(story)) == ["alice"], place


@pytest.mark.slow
def test_killed_while_calling(server: ProtectedServer, tmp_path: Path) -> None:
    """The next process makes the call; nobody is asked."""

    def logged_in(folder: Path) -> tuple[Any, ...]:
        story = new_story(server, folder / "t.db")
        log_in(story)
        return (story,)

    for place, (story,) in deaths(call, logged_in, tmp_path):
        assert run(call, story, later=LAPSED).value() == ["alice"], place


@pytest.mark.slow
def test_killed_while_refreshing(server: ProtectedServer, tmp_path: Path) -> None:
    """The next process refreshes; nobody is asked.

    But for the one case that nobody can mend: the server has rotated the refresh token and we died before the new one was saved. It looks
    like theft to the server; we find out by its refusal, and ask.
    """

    def expired(folder: Path) -> tuple[Any, ...]:
        story = new_story(server, folder / "t.db")
        log_in(story)
        asyncio.run(call(story))
        server.expire_tokens()
        return (story,)

    for place, (story,) in deaths(call, expired, tmp_path):
        again = run(call, story, later=LAPSED)
        if place in {"after refresh", "before save_grant"}:
            assert isinstance(again.error, AuthRequired), (place, again)
            assert again.error.reason == "expired"
        else:
            assert again.value() == ["alice"], place
