"""The stories in processes of their own, one after the other and at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from langchain_mcp_oauth import MCPOAuthError
from langchain_mcp_oauth.models import GrantKey
from langchain_mcp_oauth.store import SQLModelTokenStore
from langchain_mcp_oauth.store.sealing import generate_key
from langchain_mcp_oauth.testing import Person, ProtectedServer
from tests.databases import ON_POSTGRES, ready_database

from .conftest import KEY, REDIRECT_URI
from .processes import LAPSED, Running, Story, ask, ask_many, call, call_without_lease, complete, complete_many, rotate, run


@pytest.fixture(scope="module")
def server() -> Iterator[ProtectedServer]:
    with ProtectedServer(era="2026-07-28") as running:
        yield running


@pytest.fixture(params=["file", ON_POSTGRES])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """SQLite, and Postgres."""
    with ready_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def story(server: ProtectedServer, database: str) -> Story:
    return Story(server.url, server.allowed_private_hosts, database, KEY, REDIRECT_URI)


def approved(story: Story) -> str:
    """The callback URL of a login that was asked for and approved, in this process."""
    asked = asyncio.run(ask(story))
    assert asked is not None
    return Person(story.user_id).approve(asked[0])


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
    """Twenty-five tasks in each of two processes, the first still registering when the second comes: one registration, one URL."""
    registered = server.count(path="/register")
    first = Running(ask_many, story, 25, stop_at="register")
    first.reach("register")
    second = Running(ask_many, story, 25)
    second.reach("acquire_lease")
    first.go_on()
    urls = first.wait().value() | second.wait().value()
    assert len(urls) == 1
    assert server.count(path="/register") == registered + 1


@pytest.mark.slow
def test_one_answer_in_many_processes_is_redeemed_once(story: Story, server: ProtectedServer) -> None:
    """Twenty callbacks with one state in four processes, while the first is being exchanged: one exchange, and all learn it worked."""
    callback_url, exchanged = approved(story), server.count(grant_type="authorization_code")
    gate = server.hold_token_endpoint()
    running = [Running(complete_many, story, callback_url, 5) for _ in range(4)]
    for process in running:
        process.reach("claim_request")
    gate.wait_entered(timeout=60)
    gate.open()
    assert [process.wait().value() for process in running] == [["demo"] * 5] * 4
    assert server.count(grant_type="authorization_code") == exchanged + 1


def at_the_token_endpoint(server: ProtectedServer, story: Story, step: object, processes: int, times: int) -> list[Running]:
    """So many processes, each about to make so many calls at once, with tools listed and then an access token that has ended."""
    running = [Running(step, story, times, stop_at="ready") for _ in range(processes)]  # type: ignore[arg-type]
    for process in running:
        process.reach("ready")
    server.expire_tokens()
    return running


def test_two_processes_refresh_once(story: Story, server: ProtectedServer) -> None:
    """See `refreshes_once`."""
    refreshes_once(story, server, processes=2, times=50)


@pytest.mark.slow
def test_four_processes_refresh_once(story: Story, server: ProtectedServer) -> None:
    """See `refreshes_once`."""
    refreshes_once(story, server, processes=4, times=100)


def refreshes_once(story: Story, server: ProtectedServer, *, processes: int, times: int) -> None:
    """Many calls in several processes on a token that was refused: one token request, on which all the processes wait at the same time;
    no call is lost, no refresh token used twice, nobody asked."""
    log_in(story)
    refreshed, reuses, asked = server.count(grant_type="refresh_token"), server.authorization_server.reuses, server.count(path="/authorize")
    running = at_the_token_endpoint(server, story, call, processes, times)
    gate = server.hold_token_endpoint()
    for process in running:
        process.go_on()
    for process in running:  # all of them are at it, and none has been answered
        process.reach("lease_grant")
    gate.wait_entered(timeout=60)
    gate.open()
    assert [process.wait().value() for process in running] == [["alice"] * times] * processes
    assert server.count(grant_type="refresh_token") == refreshed + 1
    assert server.authorization_server.reuses == reuses
    assert server.count(path="/authorize") == asked


@pytest.mark.slow
def test_without_the_lease_it_goes_wrong(story: Story, server: ProtectedServer) -> None:
    """The control of `refreshes_once`: without it every process sends the same refresh token, the server sees reuse, and calls are lost."""
    log_in(story)
    reuses = server.authorization_server.reuses
    running = at_the_token_endpoint(server, story, call_without_lease, 4, 25)
    gate = server.hold_token_endpoint()
    for process in running:
        process.go_on()
    gate.wait_entered(4, timeout=60)
    gate.open()
    assert sum(process.wait().value() for process in running) > 0
    assert server.authorization_server.reuses > reuses


@pytest.mark.slow
@pytest.mark.parametrize("stalls", ["lease_grant", "refresh"])
def test_who_wakes_up_late_spends_nothing(story: Story, server: ProtectedServer, stalls: str) -> None:
    """A process stands still for a minute, before it has the lease or with its request ready to leave. Meanwhile another refreshes. The
    first, awake again, uses what the other got, or says that the call can be made again; the spent token never reaches the server."""
    log_in(story)
    run(call, story).value()
    server.expire_tokens()
    refreshed, reuses = server.count(grant_type="refresh_token"), server.authorization_server.reuses
    late = Running(call, story, stop_at=stalls, asleep=LAPSED)
    late.reach(stalls)
    assert run(call, story, later=LAPSED).value() == ["alice"]
    late.go_on()
    ended = late.wait()
    assert ended.result == ["alice"] or (isinstance(ended.error, MCPOAuthError) and ended.error.retryable), ended
    assert server.count(grant_type="refresh_token") == refreshed + 1
    assert server.authorization_server.reuses == reuses
    assert run(call, story).value() == ["alice"]


def test_who_wakes_up_late_overwrites_nothing(story: Story, server: ProtectedServer) -> None:
    """A process stands still with refreshed tokens that are not saved yet. Meanwhile the person logs in anew. The first, awake again,
    gives its tokens back and goes on with the new login."""
    log_in(story)
    run(call, story).value()
    server.expire_tokens()
    late = Running(call, story, stop_at="save_grant", asleep=LAPSED)
    late.reach("save_grant")
    asyncio.run(log_in_anew(story))
    newer = asyncio.run(stored_version(story))
    revoked = server.count(path="/revoke")
    late.go_on()
    assert late.wait().value() == ["alice"]
    assert asyncio.run(stored_version(story)) == newer
    assert server.count(path="/revoke") > revoked


async def log_in_anew(story: Story) -> None:
    """The person disconnects and connects again, elsewhere."""
    async with story.toolkit() as toolkit:
        await toolkit.disconnect("demo")
    asked = await ask(story)
    assert asked is not None
    await complete(story, await Person("alice").aapprove(asked[0]))


async def stored_version(story: Story, keys: list[str] | None = None) -> int:
    store = SQLModelTokenStore(story.database, encryption_key=keys or story.key)
    grant = await store.load_grant(GrantKey(story.user_id, "demo", story.server_url))
    await store.aclose()
    assert grant is not None
    return grant.version


@pytest.mark.slow
def test_killed_while_keys_rotate(story: Story) -> None:
    """Killed after one row, two, three, …: with both keys every login is there, whichever key sealed it. The next run seals the rest, and
    then the old key can go."""
    users, new = ["alice", "bob", "carol"], generate_key()
    for user in users:
        log_in(replace(story, user_id=user))
    both = [new, story.key]
    for transactions in count():
        ended = run(rotate, story, both, kill_at=transactions)
        assert [asyncio.run(stored_version(replace(story, user_id=user), both)) for user in users]
        if not ended.killed:
            break
    assert transactions > 2, "it was killed with some rows sealed anew and others not"
    assert ended.value() < len(users)
    assert [asyncio.run(stored_version(replace(story, user_id=user), [new])) for user in users]
