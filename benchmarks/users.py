"""Many users, each with a token of their own: CPU and memory, and how both grow with the number of users and of servers."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.processes import Child, Server, Subject, running
from benchmarks.results import Rounds

ERA = "2026-07-28"
CALLS = 5


def measure(names: list[str], rounds: int, users: int = 200) -> dict[str, dict[str, Rounds]]:
    """By subject: `cpu` in ms for each user who lists the tools and makes five calls, `memory` in KB for each while all are there."""
    measured: dict[str, dict[str, Rounds]] = defaultdict(lambda: defaultdict(list))
    server = Server()
    with running(server):
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                took = _crowd(Subject(name), server.url(ERA), users)
                measured[name]["cpu"].append(1000 * took["cpu"] / users)
                measured[name]["memory"].append(took["memory"] / users / 1000)
    return {name: dict(figures) for name, figures in measured.items()}


def grow(numbers: list[int]) -> dict[str, dict[int, Rounds]]:
    """By number of connected users: CPU in ms and memory in KB of each. One round each."""
    grown: dict[str, dict[int, Rounds]] = {"cpu": {}, "memory": {}}
    server = Server()
    with running(server):
        for users in numbers:
            took = _crowd(Subject("ours"), server.url(ERA), users)
            grown["cpu"][users] = [1000 * took["cpu"] / users]
            grown["memory"][users] = [took["memory"] / users / 1000]
    return grown


def _crowd(subject: Child, url: str, users: int) -> dict[str, float]:
    with running(subject):
        took: dict[str, float] = subject.tell("crowd", url=url, users=users, calls=CALLS)
    return took


def grow_servers(numbers: list[int], rounds: int) -> dict[int, Rounds]:
    """By number of servers, each an origin of its own with ten tools: CPU of listing them all again, in ms for each server."""
    grown: dict[int, Rounds] = defaultdict(list)
    server = Server(ports=max(numbers))
    with running(server):
        for number in numbers:
            subject = Subject("ours")
            with running(subject):
                subject.tell("open_listing", urls=[server.url(ERA, port=port, tools=10) for port in range(number)])
                subject.tell("listing")
                for _ in range(rounds):
                    grown[number].append(1000 * subject.tell("listing")["cpu"] / number)
    return dict(grown)
