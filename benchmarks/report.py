"""The figures as tables, held against their targets, and as plots: the generated part of `docs/performance.md`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.calls import ERAS
from benchmarks.processes import ROOT
from benchmarks.results import Rounds, Target, number, ratios, spread

ASSETS = ROOT / "docs" / "assets"
DATA = ASSETS / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- made by python -m benchmarks -->", "<!-- end -->"

MODERN, SESSIONS = ERAS

NAMES = {
    "floor": "one POST with `httpx2` (the floor)",
    "floor in a tool": "the same in a LangChain tool",
    "ours": "**this library**, stored login, SQL store",
    "SDK": "MCP SDK `Client`, held open",
    "SDK + OAuth": "the same with its `OAuthClientProvider`",
    "langchain.mcp": "`langchain.mcp`, inside its context",
    "langchain.mcp after": "`langchain.mcp`, after its context",
    "adapters session": "`langchain-mcp-adapters`, session held",
    "adapters": "`langchain-mcp-adapters`, `get_tools()`",
}


def write(measured: dict[str, Any]) -> None:
    """Put everything where readers find it."""
    ASSETS.mkdir(parents=True, exist_ok=True)
    DATA.write_text(json.dumps(measured, indent=1) + "\n")
    figures = {name: part["figures"] for name, part in measured.items()}
    generated = "\n\n".join(section for make, needed in SECTIONS.items() if needed <= figures.keys() for section in make(figures))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{generated}\n\n{_conditions(measured)}\n\n{END}{after}")
    _plot(figures)


def _conditions(measured: dict[str, Any]) -> str:
    places = {part["where"]: [] for part in measured.values()}  # type: dict[str, list[str]]
    for name, part in measured.items():
        places[part["where"]].append(f"{name} ({part['rounds']})")
    return "\n".join(f"Measured on {where}: {', '.join(names)}." for where, names in places.items())


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


# Targets -------------------------------------------------------------------------------------------------------------------------


def targets(figures: dict[str, Any]) -> list[Target]:
    """Those whose figures have been measured."""
    return [target for part, make in TARGETS.items() if part in figures for target in make(figures[part])]


def _of_calls(calls: dict[str, Any]) -> Iterable[Target]:
    for era, held, hoped in ((MODERN, 0.65, 0.55), (SESSIONS, 0.45, 0.38)):
        of = calls[era]

        def against(other: str, figure: str = "cpu 1", of: dict[str, Any] = of) -> Rounds:
            return ratios(of["ours"][figure], of[other][figure])

        yield Target(f"{era}: CPU per call / LangChain tool on the floor", against("floor in a tool"), 1.10, 1.00)
        yield Target(f"{era}: the same, 16 at a time", against("floor in a tool", "cpu 16"), 1.05, 0.85)
        yield Target(f"{era}: CPU per call / `langchain.mcp` held open", against("langchain.mcp"), held, hoped)
        yield Target(f"{era}: CPU per call / `langchain.mcp` after its context", against("langchain.mcp after"), 0.04, 0.033)
        if "adapters" in of:
            yield Target(f"{era}: CPU per call / `langchain-mcp-adapters` default", against("adapters"), 0.04, 0.033)
        yield Target(f"{era}: 64 calls of 50 ms, calls/s / SDK `Client` without OAuth", against("SDK", "slow"), 1.0, 1.1, at_least=True)
        if era == MODERN:
            yield Target(f"{era}: the same / SDK `Client` with OAuth", against("SDK + OAuth", "slow"), 20, 30, at_least=True)
        yield Target(f"{era}: HTTP requests per call", of["ours"]["requests"], 1, 1)
        yield Target(f"{era}: new connections per call", of["ours"]["connections"], 0, 0)


def _of_idle(idle: dict[str, Rounds]) -> Iterable[Target]:
    yield Target("CPU per call with 256 idle connections / with one", ratios(idle["ours many"], idle["ours 1"]), 1.3, 1.05)


def _of_users(users: dict[str, Any]) -> Iterable[Target]:
    yield Target(
        "200 users, listing and 5 calls each: CPU / one shared raw client", ratios(users["ours"]["cpu"], users["floor"]["cpu"]), 2.0, 1.6
    )
    yield Target("200 users: memory of each", users["ours"]["memory"], 110, 60, unit=" KB")


def _of_catalogue(took: dict[str, Rounds]) -> Iterable[Target]:
    floor = took["floor again"]
    yield Target("50 × 200 tools again, hinted (no request) / raw POST and `json`", ratios(took["ours hinted again"], floor), 1.2, 1.0)
    yield Target("50 × 200 tools again, not hinted / raw POST and `json`", ratios(took["ours again"], floor), 1.2, 1.2)
    yield Target("making LangChain tools of a known listing, for each", [cpu / 10 for cpu in took["ours hinted again"]], 8, 4, unit=" µs")
    yield Target("memory of a catalogue of 200 tools for each further user", took["memory"], 1, 0, unit=" KB")


def _of_imports(cpu: dict[str, Rounds]) -> Iterable[Target]:
    yield Target(
        "`import langchain_mcp_oauth` / `mcp.client.session`, `langchain_core.tools`, `sqlmodel`",
        ratios(cpu["ours"], cpu["parts"]),
        1.1,
        1.0,
    )
    yield Target(
        "`MCPOAuthToolkit` and its SQL store / the same with `BaseTool`",
        ratios(cpu["ours with a store"], cpu["parts with BaseTool"]),
        1.1,
        1.0,
    )
    if "ours with a connection" in cpu:
        what = "the same, and what the first connection imports / the same with `BaseTool`"
        yield Target(what, ratios(cpu["ours with a connection"], cpu["parts with BaseTool"]), 1.1, 1.0)
    yield Target("`import langchain_mcp_oauth` / `import langchain.mcp`", ratios(cpu["ours"], cpu["langchain.mcp"]), 0.6, 0.6)
    yield Target(
        "`MCPOAuthToolkit` and its SQL store / `import langchain.mcp`", ratios(cpu["ours with a store"], cpu["langchain.mcp"]), 0.6, 0.6
    )


def _of_expiry(took: dict[str, Rounds]) -> Iterable[Target]:
    yield Target("expired token, 100 callers: token requests", took["token requests"], 1, 1)
    yield Target("expired token, 100 callers: added beyond the token endpoint's answer", took["added"], 10, 10, unit=" ms")


TARGETS: dict[str, Callable[[Any], Iterable[Target]]] = {
    "calls": _of_calls,
    "idle": _of_idle,
    "users": _of_users,
    "catalogue": _of_catalogue,
    "imports": _of_imports,
    "expiry": _of_expiry,
}


# Sections ------------------------------------------------------------------------------------------------------------------------


def _targets_section(figures: dict[str, Any]) -> Iterable[str]:
    yield "## Targets"
    yield _table(["what", "must", "hoped", "measured", ""], (target.row() for target in targets(figures)))


def _calls_section(figures: dict[str, Any]) -> Iterable[str]:
    yield "## One call"
    yield "CPU of the client for a call, as a multiple of the floor's in the same round."
    head = (
        ["client"]
        + [f"{era}, {at_once} at a time" for era in ERAS for at_once in (1, 16)]
        + [f"requests, new connections ({era})" for era in ERAS]
    )
    yield _table(head, ([NAMES[name], *_cpu_cells(figures["calls"], name), *_count_cells(figures["calls"], name)] for name in NAMES))
    floor = figures["calls"][MODERN]["floor"]
    cpu, answer = (number(statistics.median(floor[figure])) for figure in ("cpu 1", "p50 1"))
    yield f"The floor is {cpu} ms of CPU; {answer} ms from call to answer."
    yield "![CPU per call](assets/performance-calls.svg)"
    yield "## Sixty-four slow calls at a time"
    yield "A tool that takes 50 ms: calls per second, and as a multiple of the SDK's `Client` without OAuth."
    rows = ([NAMES[name], *(_slow_cell(figures["calls"][era], name) for era in ERAS)] for name in NAMES)
    yield _table(["client", *ERAS], rows)


def _cpu_cells(calls: dict[str, Any], name: str) -> Iterable[str]:
    for era in ERAS:
        for figure in ("cpu 1", "cpu 16"):
            of = calls[era]
            yield spread(ratios(of[name][figure], of["floor"][figure])) if name in of else "–"


def _count_cells(calls: dict[str, Any], name: str) -> Iterable[str]:
    for era in ERAS:
        of = calls[era].get(name)
        yield f"{number(statistics.median(of['requests']))}, {number(statistics.median(of['connections']))}" if of else "–"


def _slow_cell(of: dict[str, Any], name: str) -> str:
    if name not in of:
        return "–"
    return f"{number(statistics.median(of[name]['slow']))}; {spread(ratios(of[name]['slow'], of['SDK']['slow']))}"


def _users_section(figures: dict[str, Any]) -> Iterable[str]:
    yield "## Two hundred users"
    yield "Each with a token of their own, listing the tools and making five calls; 2026-07-28."
    rows = ([NAMES[name], spread(of["cpu"]), spread(of["memory"])] for name, of in figures["users"].items())
    yield _table(["client", "CPU of each, ms", "memory of each, KB"], rows)
    yield "## Growth"
    yield "![Growth](assets/performance-growth.svg)"
    grown = figures["growth in users"]
    rows = (
        [f"{int(users):,}", spread(cpu), spread(grown["memory"][users]) if int(users) > 1 else "–"] for users, cpu in grown["cpu"].items()
    )
    yield _table(["users", "CPU of each, ms", "memory of each, KB"], rows)
    yield _table(
        ["servers", "listing again, CPU for each, ms"], ([servers, spread(cpu)] for servers, cpu in figures["growth in servers"].items())
    )


def _rest_section(figures: dict[str, Any]) -> Iterable[str]:
    yield "## Fifty servers of two hundred tools"
    yield "CPU in ms. A server that hints (`ttlMs`) is not asked again while its listing is in date."
    rows = ([what, *(spread(figures["catalogue"][f"{name}{kind}"]) for name in ("floor", "ours"))] for what, kind in LISTINGS.items())
    yield _table(["", "raw POST and `json`", "`aget_tools()`"], rows)
    yield "## Import"
    yield _table(
        ["", "CPU, ms"],
        ([f"`{program}`", spread(figures["imports"][name])] for name, program in _imported().items() if name in figures["imports"]),
    )


LISTINGS = {
    "first time": "",
    "again": " again",
    "another user": " another user",
    "first time, hinted": " hinted",
    "again, hinted": " hinted again",
    "another user, hinted": " hinted another user",
}

SECTIONS: dict[Callable[[dict[str, Any]], Iterable[str]], set[str]] = {
    _targets_section: set(),
    _calls_section: {"calls"},
    _users_section: {"users", "growth in users", "growth in servers"},
    _rest_section: {"catalogue", "imports"},
}
"""With the parts that must have been measured for each."""


def _imported() -> dict[str, str]:
    from benchmarks.imports import SUBJECTS

    return SUBJECTS


# Plots ---------------------------------------------------------------------------------------------------------------------------


def _plot(figures: dict[str, Any]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "performance", "font.size": 9})
    if "calls" in figures:
        _plot_calls(figures["calls"])
    if {"growth in users", "growth in servers"} <= figures.keys():
        _plot_growth(figures["growth in users"], figures["growth in servers"])


def _plot_calls(calls: dict[str, Any]) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for offset, era in ((-0.19, MODERN), (0.19, SESSIONS)):
        rows = [
            (place, ratios(calls[era][name]["cpu 1"], calls[era]["floor"]["cpu 1"]))
            for place, name in enumerate(NAMES)
            if name in calls[era]
        ]
        middles = [statistics.median(ratio) for _, ratio in rows]
        reach = [
            [middle - min(ratio) for middle, (_, ratio) in zip(middles, rows, strict=True)],
            [max(ratio) - middle for middle, (_, ratio) in zip(middles, rows, strict=True)],
        ]
        axes.barh([place + offset for place, _ in rows], middles, height=0.36, xerr=reach, label=era)
    axes.set_yticks(range(len(NAMES)), [name.replace("**", "").replace("`", "") for name in NAMES.values()])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("CPU of the client per call / the floor")
    axes.legend()
    figure.savefig(ASSETS / "performance-calls.svg", metadata={"Date": None})


def _plot_growth(users: dict[str, dict[str, Rounds]], servers: dict[str, Rounds]) -> None:
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.5, 2.6), layout="constrained")
    for axes, grown, what in (
        (left, users["cpu"], "CPU of each user, ms"),
        (middle, {n: kb for n, kb in users["memory"].items() if int(n) > 1}, "memory of each user, KB"),
        (right, servers, "CPU of listing each server, ms"),
    ):
        axes.plot([int(n) for n in grown], [statistics.median(figures) for figures in grown.values()], marker="o")
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(what, fontsize=9)
        axes.set_xlabel("servers" if axes is right else "users")
    figure.savefig(ASSETS / "performance-growth.svg", metadata={"Date": None})
