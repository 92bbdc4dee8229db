"""Every point at which a process can die in the middle of a story, and what the user sees then.

This list is what `test_crash_points.py` kills processes by, and what `docs/crash-points.md` is made from:

    python -m tests.e2e.crash_points > docs/crash-points.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from langchain_mcp_oauth import AuthRequired, TokenEndpointError
from langchain_mcp_oauth.models import AuthorizationRequest, GrantKey
from langchain_mcp_oauth.testing import Person, ProtectedServer

from .processes import LAPSED, WRITES, Ended, Step, Story, add, ask, call_as_each, complete, disconnect, run, run_graph

# What the user sees: each sentence with its proof ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sees:
    """A sentence, and what shows that it is true, given the server and what the killed step was given."""

    text: str
    holds: Callable[..., None]


def later(step: Step, *arguments: Any) -> Ended:
    """The next process, when the dead one's leases and claims have ended."""
    return run(step, *arguments, later=LAPSED)


def approve(story: Story, url: str) -> None:
    asyncio.run(complete(story, Person(story.user_id).approve(url)))


def _calls(server: ProtectedServer, story: Story, *_: Any) -> None:
    before = len(server.calls)
    assert later(call_as_each, story).value() == ["alice"]
    assert len(server.calls) == before + 1


def _first_link(server: ProtectedServer, story: Story, *_: Any) -> None:
    assert asyncio.run(_open_request(story)) is None
    _asks(server, story)


def _asks(server: ProtectedServer, story: Story) -> None:
    approve(story, later(ask, story).value()[0])
    _calls(server, story)


def _same_link(server: ProtectedServer, story: Story) -> None:
    made = asyncio.run(_open_request(story))
    assert made is not None
    assert later(ask, story).value() == (made.authorization_url.get_secret_value(), made.auth_id)
    _asks(server, story)


async def _open_request(story: Story) -> AuthorizationRequest | None:
    async with story.toolkit() as toolkit:
        return await toolkit.store.find_open_request(GrantKey(story.user_id, "demo", story.server_url), now=datetime.now(UTC))


def _reload_works(server: ProtectedServer, story: Story, callback_url: str) -> None:
    assert later(complete, story, callback_url).value() == "demo"
    _calls(server, story)


def _code_is_spent(server: ProtectedServer, story: Story, callback_url: str) -> None:
    assert isinstance(later(complete, story, callback_url).error, TokenEndpointError)
    _asks(server, story)


def _asked_because(reason: str, step: Step) -> Callable[..., None]:
    def holds(server: ProtectedServer, story: Story, *_: Any) -> None:
        error = later(step, story).error
        assert isinstance(error, AuthRequired)
        assert error.reason == reason
        approve(story, error.authorization_url)
        assert later(step, story).error is None

    return holds


def _graph_asks(_: ProtectedServer, story: Story) -> None:
    payload = later(run_graph, story).value()
    assert payload["type"] == "mcp_auth_required"
    approve(story, payload["authorization_url"])
    assert later(run_graph, story).value() == "alice"


def _graph_finishes(*calls: int) -> Callable[..., None]:
    def holds(server: ProtectedServer, story: Story) -> None:
        before = len(server.calls)
        assert later(run_graph, story).value() == "alice"
        assert len(server.calls) - before in calls

    return holds


def _everybody_goes_on(_: ProtectedServer, story: Story, users: tuple[str, ...]) -> None:
    assert later(call_as_each, story, users).value() == list(users)


def _still_connected(server: ProtectedServer, story: Story) -> None:
    _calls(server, story)
    assert later(disconnect, story).value() is True
    assert later(ask, story).value() is not None


def _revoked(again: int, after: float = LAPSED) -> Callable[..., None]:
    """Whoever asks for a login next has been disconnected, and tells the issuer so many more times."""

    def holds(server: ProtectedServer, story: Story) -> None:
        told = server.count(path="/revoke", status=200)
        assert run(ask, story, later=after).value() is not None
        assert server.count(path="/revoke", status=200) == told + again

    return holds


FIRST_LINK = Sees("The next process asks, with a link that works.", _first_link)
SAME_LINK = Sees("The next process shows the link that was made.", _same_link)
RELOAD = Sees("Reloading the callback page completes the login.", _reload_works)
SPENT = Sees("**The code was spent for nothing: it is refused when the page is reloaded, and the person is asked again.**", _code_is_spent)
NOTHING = Sees("Nothing: the next process makes the call.", _calls)
REPEATED = Sees("The call was made and its answer is lost; the next process makes it again.", _calls)
ROTATED = Sees(
    "**The refresh token was spent for nothing: it is refused, and the person is asked again (`expired`).**",
    _asked_because("expired", call_as_each),
)
GRAPH_ASKS = Sees("Running the thread again asks; after the login it goes on.", _graph_asks)
GRAPH_FINISHES = Sees("Running the thread again makes the call.", _graph_finishes(1))
GRAPH_REPEATS = Sees(
    "Running the thread again makes the call a second time, if LangGraph has not written the first answer to its checkpoint yet.",
    _graph_finishes(0, 1),
)
GRAPH_DONE = Sees("Nothing: the answer is in the checkpoint.", _graph_finishes(0))
STEP_UP = Sees("The next call asks for the same scopes (`step_up`), with a link that works.", _asked_because("step_up", add))
REJECTED = Sees(
    "The next call finds out again, and asks (`client_rejected`), with a link that works.",
    _asked_because("client_rejected", call_as_each),
)
EVERYBODY = Sees("Nothing: the next process makes everybody's calls.", _everybody_goes_on)
CONNECTED = Sees("Still connected; disconnecting again works.", _still_connected)
UNTOLD = Sees("Disconnected here. The next process that asks for a login, a minute later or more, tells the issuer.", _revoked(2))
TWICE_TOLD = Sees("Disconnected, here and at the issuer, which is told once more.", _revoked(2))
DISCONNECTED = Sees("Disconnected, here and at the issuer.", _revoked(0))
HOUR = 3660.0
TOLD_LATER = Sees("The process asks for a login; the issuer is told within the hour.", _revoked(2, HOUR))
TOLD = Sees("The process asks for a login; the issuer has been told.", _revoked(0, HOUR))


def only(name: str) -> Sees:
    def holds(_: ProtectedServer, story: Story, users: tuple[str, ...]) -> None:
        for user in users:
            ended = later(call_as_each, story, (user,))
            assert isinstance(ended.error, AuthRequired) if user == name else ended.result == [user]

    return Sees(f"**{name.capitalize()}'s refresh token was spent for nothing: {name.capitalize()} is asked again, nobody else.**", holds)


SESSIONS = ("The first call after a login", "The graph is resumed after the login", "A token is refreshed", "A call needs more scopes")

# The stories ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Act:
    """A step of a story that is killed at each of its points in turn."""

    title: str
    step: Step
    prepare: Callable[[ProtectedServer, Story], tuple[Any, ...]]
    points: tuple[tuple[str, Sees], ...]
    """What would have come next, in order, and what the user sees if it never came."""


def log_in(story: Story) -> None:
    asked = asyncio.run(ask(story))
    assert asked is not None
    approve(story, asked[0])


def _nobody(_: ProtectedServer, story: Story) -> tuple[Any, ...]:
    return (story,)


def _answered(_: ProtectedServer, story: Story) -> tuple[Any, ...]:
    asked = asyncio.run(ask(story))
    assert asked is not None
    return story, Person(story.user_id).approve(asked[0])


def _new(_: ProtectedServer, story: Story) -> tuple[Any, ...]:
    log_in(story)
    return (story,)


def _used(_: ProtectedServer, story: Story) -> tuple[Any, ...]:
    log_in(story)
    asyncio.run(call_as_each(story, (story.user_id,)))
    return (story,)


def _expired(server: ProtectedServer, story: Story) -> tuple[Any, ...]:
    _used(server, story)
    server.expire_tokens()
    return (story,)


def _forgotten(server: ProtectedServer, story: Story) -> tuple[Any, ...]:
    _expired(server, story)
    server.forget_clients()
    return (story,)


def _needs_scope(server: ProtectedServer, story: Story) -> tuple[Any, ...]:
    _used(server, story)
    server.require_scope("add", "math")
    return (story,)


def _owing(server: ProtectedServer, story: Story) -> tuple[Any, ...]:
    """Two minutes ago a process died that was about to tell the issuer."""
    _used(server, story)
    assert run(disconnect, story, kill_at=1, later=-2 * LAPSED).killed
    return (story,)


def _graph_answered(_: ProtectedServer, story: Story) -> tuple[Any, ...]:
    approve(story, asyncio.run(run_graph(story))["authorization_url"])
    return (story,)


USERS = ("alice", "bob")


def _all_expired(server: ProtectedServer, story: Story) -> tuple[Any, ...]:
    for user in USERS:
        _used(server, replace(story, user_id=user))
    server.expire_tokens()
    return story, USERS


REGISTERING = ("register", "save_client")
OPENING = ("oauth-protected-resource", "oauth-authorization-server", *REGISTERING, "open_request")
TIDYING = ("purge", "claim_revocations")
ASKING = (*OPENING, "release_lease", *TIDYING)
CALLING = ("MCP server/discover", "MCP tools/list", "MCP tools/call")


def each(sees: Sees, *points: str) -> tuple[tuple[str, Sees], ...]:
    return tuple((point, sees) for point in points)


def refreshing(goes_on: Sees, lost: Sees, *calling: str) -> tuple[tuple[str, Sees], ...]:
    """The first request is refused, and made again."""
    return (*each(goes_on, calling[0], "lease_grant", "refresh"), ("save_grant", lost), *each(goes_on, *calling))


ACTS = (
    Act(
        "Listing without a login",
        ask,
        _nobody,
        (*each(FIRST_LINK, "MCP server/discover", "acquire_lease", *OPENING), *each(SAME_LINK, "release_lease", *TIDYING, "end")),
    ),
    Act(
        "A person's answer is redeemed",
        complete,
        _answered,
        (*each(RELOAD, "claim_request", "code exchange"), ("grant_request", SPENT), ("end", RELOAD)),
    ),
    Act(
        "The first call after a login",
        call_as_each,
        _new,
        (*each(NOTHING, *CALLING[:2], "mark_accepted", "save_listings", *CALLING[2:]), ("end", REPEATED)),
    ),
    Act(
        "A graph needs a login and is interrupted",
        run_graph,
        _nobody,
        each(
            GRAPH_ASKS,
            *["checkpoint"] * 3,
            "MCP server/discover",
            "acquire_lease",
            *ASKING,
            "count",
            "checkpoint",
            "end",
        ),
    ),
    Act(
        "The graph is resumed after the login",
        run_graph,
        _graph_answered,
        (
            *each(GRAPH_FINISHES, *CALLING[:2], "mark_accepted", "save_listings", *CALLING[2:]),
            *each(GRAPH_REPEATS, "checkpoint", "checkpoint"),
            ("end", GRAPH_DONE),
        ),
    ),
    Act("A token is refreshed", call_as_each, _expired, (*refreshing(NOTHING, ROTATED, *CALLING), ("end", REPEATED))),
    Act(
        "A call needs more scopes",
        add,
        _needs_scope,
        each(STEP_UP, *CALLING, "acquire_lease", *ASKING, "end"),
    ),
    Act(
        "The authorization server has forgotten our client",
        call_as_each,
        _forgotten,
        each(
            REJECTED,
            "MCP server/discover",
            "lease_grant",
            "refresh",
            "delete_client",
            "release_lease",
            "acquire_lease",
            *ASKING,
            "end",
        ),
    ),
    Act(
        "Several users, each with a token to be refreshed",
        call_as_each,
        _all_expired,
        (*refreshing(EVERYBODY, only("alice"), *CALLING), *refreshing(EVERYBODY, only("bob"), *CALLING[1:]), ("end", EVERYBODY)),
    ),
    Act(
        "A user disconnects",
        disconnect,
        _used,
        (("disconnect", CONNECTED), *each(UNTOLD, "revoke", "revoke"), ("end_revocation", TWICE_TOLD), ("end", DISCONNECTED)),
    ),
    Act(
        "What a dead process owed an issuer",
        ask,
        _owing,
        (
            *each(TOLD_LATER, "MCP server/discover", "acquire_lease", *(point for point in ASKING if point not in REGISTERING)),
            *each(TOLD_LATER, "revoke", "revoke", "end_revocation"),
            ("end", TOLD),
        ),
    ),
)


def in_sessions(act: Act) -> Act:
    """The same at a server of 2025-11-25: a session is begun before the first request, and ended when the toolkit is closed."""
    points: list[tuple[str, Sees]] = []
    for name, sees in act.points:
        points += [*(each(sees, "MCP initialize", "MCP notifications/initialized") if name == "MCP tools/list" else ()), (name, sees)]
    last = len(points) - 1
    while points[last - 1][0] == "checkpoint":
        last -= 1
    return replace(act, points=(*points[:last], ("MCP DELETE", points[last][1]), *points[last:]))


IN_SESSIONS = tuple(in_sessions(act) for act in ACTS if act.title in SESSIONS)
"""The acts that are another on the wire there; several users are each as one."""


# The page ------------------------------------------------------------------------------------------------------------------------

INTRODUCTION = """# When a process dies

<!-- Made by `python -m tests.e2e.crash_points > docs/crash-points.md`; a test fails when this page and the list differ. -->

A process can be killed at any moment. What matters is what it had written and sent by then, so the tests kill it (`SIGKILL`) before each
database write and each HTTP request of each story, start another one, and go on. All of it is done on SQLite and on Postgres, with a
server of 2026-07-28:

```bash
LANGCHAIN_MCP_OAUTH_TEST_POSTGRES=postgresql://… pytest -n 2 -m "slow or postgres" tests/e2e/test_crash_points.py
```

The left column is what would have come next: a `write` to the store (named as in `TokenStore`) or to a LangGraph checkpoint, or a request.
`end` is when everything is done and nobody has been told yet.

Two things cost a person anything, and no client can prevent them: the server has taken a code, or rotated a refresh token, and the process
dies before it could save what it got. They are in bold. Everything else goes on by itself. Where the dead process held a lease or a claim,
others wait for its end: 30 seconds at most.
"""

SESSIONS_TOO = """## At a server with sessions

A server of 2025-11-25 is told more: a session begins and ends. Where that makes a difference the tests go through all points with one, on
SQLite.
"""


def page() -> str:
    """`docs/crash-points.md`."""
    return "\n".join([INTRODUCTION, *map(_section, ACTS), SESSIONS_TOO, *(f"#{_section(act)}" for act in IN_SESSIONS)])


def _section(act: Act) -> str:
    rows = [f"| {', '.join(_name(name) for name, _ in run)} | {sees.text} |" for sees, run in groupby(act.points, key=lambda row: row[1])]
    return "\n".join([f"## {act.title}", "", "| died before | what the user sees |", "|---|---|", *rows, ""])


def _name(point: str) -> str:
    return f"`{point}`" if point in WRITES else point


if __name__ == "__main__":
    print(page(), end="")
