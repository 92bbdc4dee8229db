"""One call after another, sixteen at a time, sixty-four slow ones: CPU of the client, calls per second, requests and connections."""

from __future__ import annotations

from collections import defaultdict

from benchmarks.processes import Server, Subject, running
from benchmarks.results import Rounds

ERAS = ("2026-07-28", "2025-11-25")

SLICE = 0.15
"""Seconds of CPU that one subject has before the next one's turn: short, so that neighbours see the same machine."""

SLOW = {"arguments": {"seconds": 0.05}}

COLLAPSED = 0.5
"""Seconds that 64 calls of 50 ms may take before they are made once, not four times over, in a round."""


def measure(era: str, names: list[str], rounds: int) -> dict[str, dict[str, Rounds]]:
    """By subject and figure: `cpu 1`, `cpu 16` in ms per call; `slow` in calls per second; `requests`, `connections` per call."""
    measured: dict[str, dict[str, Rounds]] = defaultdict(lambda: defaultdict(list))
    server = Server()
    subjects = {name: Subject(name) for name in names}
    with running(server, *subjects.values()):
        lengths = {name: _open(subject, server.url(era)) for name, subject in subjects.items()}
        for slice_of in (_one, _sixteen, _slow):  # one at a time first: many at a time leave connections behind, which some pay for
            for number in range(rounds):
                turn = number % len(names)
                for name in names[turn:] + names[:turn]:
                    for figure, value in slice_of(server, subjects[name], lengths[name]).items():
                        measured[name][figure].append(value)
    return {name: dict(figures) for name, figures in measured.items()}


def measure_idle(rounds: int, connections: int) -> dict[str, Rounds]:
    """CPU of a call in ms, with one connection and with so many idle ones, by subject."""
    cpu: dict[str, Rounds] = defaultdict(list)
    server = Server()
    subjects = {f"{name} {number}": Subject(name) for name in ("floor", "ours") for number in (1, connections)}
    with running(server, *subjects.values()):
        for name, subject in subjects.items():
            subject.tell("open", url=server.url(ERAS[0]))
            at_once = int(name.split()[-1])
            subject.tell("calls", number=at_once, at_once=at_once, arguments={"seconds": 0.5})
        for number in range(rounds):
            names = list(subjects)[number % len(subjects) :] + list(subjects)[: number % len(subjects)]
            for name in names:
                cpu[name.replace(str(connections), "many")].append(1000 * subjects[name].tell("calls", number=100)["cpu"] / 100)
    return dict(cpu)


def _open(subject: Subject, url: str) -> int:
    """Calls that fill a slice."""
    subject.tell("open", url=url)
    subject.tell("calls", number=10)
    return max(16, min(400, int(SLICE * 10 / subject.tell("calls", number=10)["cpu"]))) // 16 * 16


def _one(server: Server, subject: Subject, length: int) -> dict[str, float]:
    before = server.counts()
    took = subject.tell("calls", number=length)
    after = server.counts()
    return {
        "cpu 1": 1000 * took["cpu"] / length,
        "p50 1": 1000 * took["p50"],
        "requests": (after["requests"] - before["requests"] - 1) / length,  # asking for the counts is one
        "connections": (after["connections"] - before["connections"] - 1) / length,
    }


def _sixteen(server: Server, subject: Subject, length: int) -> dict[str, float]:
    length = max(length, 32)
    return {"cpu 16": 1000 * subject.tell("calls", number=length, at_once=16)["cpu"] / length}


def _slow(server: Server, subject: Subject, length: int) -> dict[str, float]:
    took = subject.tell("calls", number=64, at_once=64, **SLOW)  # also opens the connections
    if took["wall"] < COLLAPSED:
        took = subject.tell("calls", number=256, at_once=64, **SLOW)
        took["wall"] /= 4
    return {"slow": 64 / took["wall"]}
