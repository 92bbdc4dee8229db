"""Figures of several rounds, ratios taken within a round, and what they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import truediv
from typing import TypeAlias

Rounds: TypeAlias = list[float]
"""One figure for each round, in their order."""


@dataclass(frozen=True)
class Target:
    """One line of the targets' table: what must hold, what is hoped for, what was measured."""

    what: str
    measured: Rounds
    must: float
    hoped: float
    at_least: bool = False
    """Whether more is better."""
    unit: str = ""

    def verdict(self) -> str:
        middle = statistics.median(self.measured)
        holds: Callable[[float], bool] = (lambda limit: middle >= limit) if self.at_least else (lambda limit: middle <= limit)
        return "as hoped" if holds(self.hoped) else "met" if holds(self.must) else "**missed**"

    def row(self) -> list[str]:
        sign = "≥" if self.at_least else "≤"
        return [
            self.what,
            f"{sign} {self.must:g}{self.unit}",
            f"{self.hoped:g}{self.unit}",
            f"{spread(self.measured)}{self.unit}",
            self.verdict(),
        ]


def ratios(ones: Sequence[float], others: Sequence[float]) -> Rounds:
    """Round by round: what disturbed one slice has probably disturbed its neighbour."""
    return list(map(truediv, ones, others))


def spread(figures: Sequence[float]) -> str:
    """Median, and the lowest and highest round."""
    if len(set(figures)) == 1:
        return number(figures[0])
    return f"{number(statistics.median(figures))} ({number(min(figures))}–{number(max(figures))})"


def number(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}".removesuffix(".00")
