"""Which models of an ensemble to keep: a greedy choice by what each adds to the expected best of k attempts.

For a set of members that share a budget of k attempts a task by their weights, the expected best speedup is worked out from
recorded outcomes, without simulation: a member with n recorded attempts on a task that is given k of them has its best at or
below x with probability ``C(m, k) / C(n, k)``, m being its attempts at or below x. That is pass@k's unbiased estimator (Chen
et al. 2021, arXiv 2107.03374, section 2.1) for a value instead of a yes or no; members are independent of each other. A
fractional k is drawn between its neighbours. k never exceeds n: what more attempts would have found is not guessed.

Greedy, since the expected best of a union of attempts is monotone and submodular (Nemhauser, Wolsey and Fisher 1978); under
one shared budget it is only a heuristic, as a weak member also takes attempts from the strong ones. The first member is the
best alone. Of further ones that add something for sure and cannot be told apart by how much, that one is taken whose answers
make the effective diversity K* of the set largest: what is left to find is more likely found by answers of another kind.
A member is kept when what it adds is above 1 with its whole interval.

What it does not know: attempts are taken as independent draws, though in a run later ones build on earlier ones, those of
other members included; so recorded runs in which each member worked alone are better evidence than one ensemble's run.
Intervals are 95 % percentile bootstraps over tasks for the choice as it was made: they say how it might differ for other
tasks of this kind, not how much luck there is in having looked for the best, which makes the first steps look a little good.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernelwright.agent.ensemble.diversity import Spread
from kernelwright.agent.ensemble.members import Records
from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.records import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Worth = Mapping[str, NDArray[np.float64]]

MIN_ATTEMPTS = 4
"""Of a member on a task, for the task to count."""
MIN_TASKS = 6
"""With fewer, not even a member that helps on every task is better beyond chance: 2^-6 < 2.5 % < 2^-5."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Step:
    """One step of the greedy choice: a member and what the set is worth with it."""

    member: str
    keep: bool
    expected_best: Interval
    """Geometric mean over tasks of the expected best speedup against eager; at least 1: the reference may stay."""
    added: Interval
    """That over the set's without this member: above 1 is better; the first member's is over the reference."""
    alike: tuple[str, ...]
    """Members that would have done as well in its place, as far as the data tells."""
    attempts: float
    """Of this member a task, in the set."""
    cost: float
    """Of the set a task, in the unit of the records."""
    diversity: Spread | None
    """K* of the set's readable answers on the tasks that count, equally many attempts of each member."""


@dataclass(frozen=True)
class Proposal:
    """Which members to keep, and what that rests on."""

    keep: tuple[str, ...]
    steps: tuple[Step, ...]
    tasks: tuple[str, ...]
    """Those that count: every member compared has enough attempts."""
    budget: float
    """Of a task, in attempts or dollars."""
    budget_unit: str
    left_out: Mapping[str, str]
    """Member -> why it was not compared."""


@dataclass(frozen=True)
class TooLittle:
    """No proposal: what was there, and what is needed."""

    reason: str
    needed: str


def propose(
    records: Records, attempts: int | None = None, usd: float | None = None, weights: Mapping[str, float] | None = None
) -> Proposal | TooLittle:
    """The members to keep, for a budget a task of ``attempts`` (default: the fewest that were recorded) or ``usd``.

    ``weights`` of members that are not named are 1.

    Raises:
        InputError: a budget that the recordings do not cover, dollars where a price is unknown, or the weight of a stranger.
    """
    for name in weights or {}:
        if name not in records.members:
            raise UnknownName.among("member", name, records.members)
    enough = max(MIN_ATTEMPTS, attempts or 0)
    held = {m: [t for t in records.tasks if len(records.scores(t, m)) >= enough] for m in records.members}
    compared = [m for m, tasks in held.items() if len(tasks) >= MIN_TASKS]
    out = {m: f"{enough} attempts on {len(held[m])} tasks" for m in records.members if m not in compared}
    tasks = [t for t in records.tasks if all(t in held[m] for m in compared)]
    needed = f"at least {enough} attempts of each of two members on the same {MIN_TASKS} tasks"
    if len(compared) < 2:
        there = "; ".join(f"{m} has {enough} attempts on {len(held[m])} tasks" for m in records.members)
        return TooLittle(f"too little was recorded to compare members: {there}", needed)
    if len(tasks) < MIN_TASKS:
        return TooLittle(f"{', '.join(compared)} have {enough} attempts each on {len(tasks)} common tasks", needed)
    fewest = {m: min(len(records.scores(t, m)) for t in tasks) for m in compared}
    budget = float(attempts if attempts is not None else min(fewest.values()))
    if usd is not None:
        budget = _checked(usd, fewest, records)
    steps = _Greedy(records, compared, tasks, budget, usd is not None, weights or {}).steps()
    keep = tuple(s.member for s in steps if s.keep)
    return Proposal(keep, steps, tuple(tasks), budget, "dollars" if usd is not None else "attempts", out)


def expected_best(scores: Mapping[str, Sequence[float]], shares: Mapping[str, float]) -> float:
    """Expected largest score when ``shares[m]`` of the recorded attempts of each member are drawn; 0 if none is above it."""
    values = sorted({0.0, *(s for m in shares for s in scores[m])})
    below, expected = 0.0, 0.0
    for value in values:
        at = math.prod(_at_most(value, scores[m], k) for m, k in shares.items())
        expected += value * (at - below)
        below = at
    return expected


def _at_most(value: float, scores: Sequence[float], k: float) -> float:
    """Probability that the best of ``k`` attempts drawn from ``scores`` is at most ``value``."""
    n, m, low = len(scores), sum(s <= value for s in scores), math.floor(k)
    part = k - low
    lower = math.comb(m, low) / math.comb(n, low)
    return lower if part == 0 else (1 - part) * lower + part * math.comb(m, low + 1) / math.comb(n, low + 1)


def _checked(usd: float, fewest: Mapping[str, int], records: Records) -> float:
    if records.unit != "dollars":
        raise InputError("--usd needs the price of every answer", "leave it out, or record runs with --price")
    for member, most in fewest.items():
        price = records.mean_cost(member)
        if price <= 0 or usd / price > most:
            buys = "any number of" if price <= 0 else f"{usd / price:.0f}"
            remedy = "give --attempts instead" if price <= 0 else f"give at most --usd {most * price:.4g}, or record more"
            raise InputError(f"--usd {usd} buys {buys} attempts of {member}, of which {most} a task were recorded", remedy)
    return usd


class _Greedy:
    """The greedy choice among ``members``, all of which have enough attempts on all ``tasks``."""

    def __init__(
        self,
        records: Records,
        members: Sequence[str],
        tasks: Sequence[str],
        budget: float,
        dollars: bool,
        weights: Mapping[str, float],
    ) -> None:
        self._records, self._members, self._tasks = records, members, tasks
        self._budget, self._dollars, self._weights = budget, dollars, weights
        self._scores = [{m: records.scores(t, m) for m in members} for t in tasks]
        self._same = min(len(scores) for task in self._scores for scores in task.values())

    def steps(self) -> tuple[Step, ...]:
        """All members in their order; none is kept after the first that adds nothing for sure."""
        import numpy as np

        steps: list[Step] = []
        last = np.zeros(len(self._tasks))
        while len(steps) < len(self._members):
            before = [s.member for s in steps]
            worth = {m: self._worth([*before, m]) for m in self._members if m not in before}
            member, alike = self._next(before, worth, last)
            shares, added = self._shares([*before, member]), _interval(worth[member] - last)
            steps.append(
                Step(
                    member=member,
                    keep=not steps or (steps[-1].keep and added.low > 1.0),
                    expected_best=_interval(worth[member]),
                    added=added,
                    alike=alike,
                    attempts=shares[member],
                    cost=math.fsum(k * self._records.mean_cost(m) for m, k in shares.items()),
                    diversity=self._spread([*before, member]),
                )
            )
            last = worth[member]
        return tuple(steps)

    def _next(self, before: list[str], worth: _Worth, last: NDArray[np.float64]) -> tuple[str, tuple[str, ...]]:
        """The member to add, and those that cannot be told from the best of the candidates."""
        sure = [m for m in worth if _interval(worth[m] - last).low > 1.0] or list(worth)
        best = max(sure, key=lambda m: (float(worth[m].mean()), -self._records.mean_cost(m)))
        alike = [m for m in sure if m == best or _interval(worth[best] - worth[m]).low <= 1.0]
        taken = best
        if before:
            spreads = {m: self._spread([*before, m]) for m in alike}
            taken = max(alike, key=lambda m: (s.k_star if (s := spreads[m]) else 0.0, m == best))
        return taken, tuple(m for m in alike if m != taken)

    def _worth(self, members: Sequence[str]) -> NDArray[np.float64]:
        """Expected best score of the set, a row a task."""
        import numpy as np

        shares = self._shares(members)
        return np.array([expected_best(scores, shares) for scores in self._scores])

    def _shares(self, members: Sequence[str]) -> dict[str, float]:
        """Attempts of each member a task: the budget in parts by weight."""
        weights = {m: self._weights.get(m, 1.0) for m in members}
        parts = {m: self._budget * w / math.fsum(weights.values()) for m, w in weights.items()}
        return {m: part / self._records.mean_cost(m) if self._dollars else part for m, part in parts.items()}

    def _spread(self, members: Sequence[str]) -> Spread | None:
        return self._records.spread(members, self._tasks, self._same)


def _interval(logs: NDArray[np.float64]) -> Interval:
    """Geometric mean of ratios given as logarithms, a row a task, with its bootstrap interval over tasks."""
    import numpy as np

    drawn = np.random.default_rng(0).integers(0, len(logs), (RESAMPLES, len(logs)))
    low, high = np.quantile(logs[drawn].mean(axis=1), (0.025, 0.975))
    middle = float(logs.mean())
    return Interval(math.exp(middle), math.exp(min(float(low), middle)), math.exp(max(float(high), middle)))
