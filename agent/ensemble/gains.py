"""What each attempt brought: the figure that members of an ensemble are compared by, in the bandit and on the bench."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kernelwright.tasks.records import Attempt

FIRST = math.log(2.0)
"""What the first feasible kernel of a task is worth beside its speed: as much as halving the time once."""


@dataclass(frozen=True)
class Outcome:
    """What is kept of an attempt: who wrote it, what it cost and what the judge said."""

    run: str
    task: str
    number: int
    model: str
    feasible: bool
    speedup: float | None
    """Against eager; None without a timing."""
    cost_usd: float | None
    """None when the price is unknown."""
    tokens: int
    """In and out."""

    @classmethod
    def of(cls, attempt: Attempt) -> Outcome:
        """The outcome of ``attempt``."""
        idea, answer = attempt.idea, attempt.answer
        tokens = answer.tokens_in + answer.tokens_out
        return cls(idea.run, idea.task, idea.number, answer.model, attempt.feasible, attempt.speedup, answer.cost_usd, tokens)


def gains(outcomes: Iterable[Outcome]) -> dict[Outcome, float]:
    """Outcome -> gain: log(best speedup after / best before), 0 where the best stays, :data:`FIRST` more if first feasible.

    Before anything is feasible the best is the reference itself, a speedup of 1. Runs and tasks are accounted for apart,
    and within a task attempts count in order of their numbers, however they are given: so the result does not depend on
    the order in which attempts finished. A feasible kernel without a timing has no gain but that of being the first.
    """
    found: dict[Outcome, float] = {}
    best: dict[tuple[str, str], float] = {}
    for outcome in sorted(outcomes, key=lambda o: (o.run, o.task, o.number)):
        place = (outcome.run, outcome.task)
        found[outcome] = 0.0
        if not outcome.feasible:
            continue
        before = best.get(place, 1.0)
        after = max(before, outcome.speedup or 0.0)
        found[outcome] = math.log(after / before) + (0.0 if place in best else FIRST)
        best[place] = after
    return found


def cost_unit(outcomes: Sequence[Outcome]) -> str:
    """``dollars`` where every price is known and something was paid; else ``tokens``; ``attempts`` where none were used.

    One unit for all members: dollars of one are never compared with tokens of another.
    """
    prices = [o.cost_usd for o in outcomes]
    if None not in prices and any(prices):
        return "dollars"
    return "tokens" if any(o.tokens for o in outcomes) else "attempts"


def cost(outcome: Outcome, unit: str) -> float:
    """What the attempt cost in ``unit`` of :func:`cost_unit`."""
    if unit == "dollars":
        return outcome.cost_usd or 0.0
    return float(outcome.tokens) if unit == "tokens" else 1.0
