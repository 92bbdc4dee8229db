"""Fifty servers of two hundred tools: listing them all, again, and for further users."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.processes import Server, Subject, running
from benchmarks.results import Rounds

ERA = "2026-07-28"
TOOLS = 200
FURTHER_USERS = 20


def measure(rounds: int, servers: int) -> dict[str, Rounds]:
    """CPU in ms of one listing of everything, by who listed: for the first time, `again`, and for `another user`.

    `hinted`: by servers that say for how long their listing is good; the others are asked again. `memory`: KB that one server's 200 tools
    take for each further user.
    """
    took: dict[str, Rounds] = defaultdict(list)
    server = Server(ports=servers)
    with running(server):
        for number in range(rounds):
            for name in ("floor", "ours") if number % 2 else ("ours", "floor"):
                for kind, ttl in (("", 0), (" hinted", 3_600_000)):
                    urls = [server.url(ERA, port=port, tools=TOOLS, ttl=ttl) for port in range(servers)]
                    for what, cpu in zip(("", " again", " another user"), _listings(name, urls), strict=True):
                        took[name + kind + what].append(cpu)
            took["memory"].append((_further(server, servers, TOOLS) - _further(server, servers, 1)) / servers / 1000)
    return dict(took)


def _listings(name: str, urls: list[str]) -> list[float]:
    subject = Subject(name)
    with running(subject):
        subject.tell("open_listing", urls=urls, users=2)
        return [1000 * subject.tell("listing", user=user)["cpu"] for user in (0, 0, 1)]


def _further(server: Server, servers: int, tools: int) -> float:
    subject = Subject("ours")
    with running(subject):
        subject.tell("open_listing", urls=[server.url(ERA, port=port, tools=tools) for port in range(servers)], users=FURTHER_USERS + 1)
        subject.tell("listing")
        bytes_each: float = subject.tell("further_users", users=FURTHER_USERS)["memory"]
    return bytes_each
