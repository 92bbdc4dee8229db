"""A token that has expired under a hundred callers: requests at the token endpoint, and what the refresh adds to the calls."""

from __future__ import annotations

from benchmarks.processes import Server, Subject, running
from benchmarks.results import Rounds
from benchmarks.server import REFRESH_SECONDS

ERA = "2026-07-28"


def measure(rounds: int, callers: int = 100) -> dict[str, Rounds]:
    """`token requests`; `added`: ms that the expired calls took longer than the same calls afterwards and the token endpoint's answer."""
    took: dict[str, Rounds] = {"token requests": [], "added": []}
    server, subject = Server(), Subject("ours")
    with running(server, subject):
        for _ in range(rounds):
            before = server.counts().get("token", 0)
            walls = subject.tell("expire", url=server.url(ERA), callers=callers)
            took["token requests"].append(server.counts()["token"] - before)
            took["added"].append(1000 * (walls["expired"] - walls["good"] - REFRESH_SECONDS))
    return took
