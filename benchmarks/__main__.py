"""Everything that is measured, in one run: `python -m benchmarks`.

What was measured goes into `docs/assets/performance.json`, what it means into `docs/performance.md` and the plots beside it. `--only`
measures some parts again and keeps the others' figures. Nothing fails because it is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from benchmarks import calls, catalogue, expiry, imports, report, users
from benchmarks.subjects import SUBJECTS

OURS = ["floor", "floor in a tool", "ours"]
CROWDS = ["floor", "ours", "SDK", "langchain.mcp"]
MODERN, SESSIONS = calls.ERAS


def subjects(era: str, *, quick: bool) -> list[str]:
    """All that speak this revision; the floor and ours where it is to be quick."""
    return [name for name in SUBJECTS if (name in OURS or not quick) and not (era == MODERN and name.startswith("adapters"))]


PARTS: dict[str, Callable[[int, bool], Any]] = {
    "calls": lambda rounds, quick: {era: calls.measure(era, subjects(era, quick=quick), 2 * rounds) for era in calls.ERAS},
    "idle": lambda rounds, quick: calls.measure_idle(2 * rounds, connections=32 if quick else 256),
    "users": lambda rounds, quick: users.measure(CROWDS[: 2 if quick else None], rounds, users=20 if quick else 200),
    "catalogue": lambda rounds, quick: catalogue.measure(min(rounds, 3), servers=5 if quick else 50),
    "expiry": lambda rounds, quick: expiry.measure(2 * rounds),
    "imports": lambda rounds, quick: imports.measure(list(imports.SUBJECTS)[: 2 if quick else None], rounds),
    "growth in users": lambda rounds, quick: users.grow([1, 10] if quick else [1, 10, 100, 1_000, 10_000]),
    "growth in servers": lambda rounds, quick: users.grow_servers([1, 3] if quick else [1, 3, 10, 30, 100], rounds),
}


def main() -> None:
    """Measure, keep, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of the longest parts; the short ones make three times as many")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="measure this part only; may be repeated")
    parser.add_argument("--quick", action="store_true", help="this library and the floor only, small numbers; prints and writes nothing")
    options = parser.parse_args()
    measured: dict[str, Any] = {} if options.quick or not report.DATA.exists() else json.loads(report.DATA.read_text())
    for name in options.only or PARTS:
        began = time.monotonic()
        figures = PARTS[name](1 if options.quick else options.rounds, options.quick)
        measured[name] = {"figures": json.loads(json.dumps(figures)), "where": where(), "rounds": options.rounds}
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    if options.quick:
        print(json.dumps({name: part["figures"] for name, part in measured.items()}, indent=1))
    else:
        report.write(measured)


def where() -> str:
    """On what this was measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("langchain-core", "langchain", "mcp", "httpx2", "fastmcp-slim"))
    load = os.getloadavg()[0]
    return f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}; {packages}"


if __name__ == "__main__":
    main()
