"""Which member of an ensemble writes next: a cost-aware bandit on improvement per dollar.

Budgeted Thompson sampling (Xia, Li, Qin, Yu and Liu, "Thompson Sampling for Budgeted Multi-armed Bandits", IJCAI 2015,
arXiv 1505.00146, algorithm 1): for each member draw a mean reward from its posterior, divide it by the member's cost, and
take the member with the largest ratio.

Reward of an attempt: ``1 - exp(-gain)`` with the gain of :func:`~kernelwright.agent.gains.gains`, which is the share of the
best time so far that the attempt took away (halving the time: 0.5) and lies in [0, 1) as a Beta posterior needs it. The
posterior is ``Beta(a + sum of rewards, b + attempts - sum of rewards)``: that of a 0-or-1 reward with the same mean, whose
scatter is the largest that a reward in [0, 1] can have; so it errs towards trying out. Where we differ from the paper:

- its Bernoulli trial on each reward is left out (the sum of rewards is what the trials expect), which costs no randomness;
- the prior is not uniform but worth :data:`PRIOR` attempts at the mean of all members: real rewards are mostly below 0.1,
  and a uniform prior (mean 0.5) would spend tens of attempts on a member that is cheap and never improves anything;
- a member's cost is its mean, not a draw: costs of answers scatter by tens of percent, rewards by their whole size;
- an attempt also takes a place in the budget and the judge's time: :data:`JUDGING` of a mean answer's cost is added to each.
  So a free member is not chosen for ever, whatever it writes.

What it does not know: rewards get rarer as a task's best gets better, and a member is paid for refining another's kernel as
for its own. Members meet the same situations on average, since who writes is drawn anew for each idea, not in each case.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernelwright.agent.ensemble.gains import Outcome, cost, cost_unit, gains

PRIOR = 2.0
"""Attempts at the mean of all members that each member starts with."""
JUDGING = 0.1
"""What an attempt costs beside its answer, as a share of the mean answer's cost."""


@dataclass(frozen=True)
class Tally:
    """What is known of a member. Costs are in one unit for all (:func:`~kernelwright.agent.ensemble.gains.cost_unit`)."""

    attempts: int = 0
    reward: float = 0.0
    """Sum of rewards, each in [0, 1)."""
    cost: float = 0.0
    """Sum of costs."""


def tally(members: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, Tally]:
    """Member -> its tally over ``outcomes``, in whatever order they come. What others wrote counts only as a best so far."""
    unit = cost_unit([o for o in outcomes if o.model in members])
    own: dict[str, list[tuple[float, float]]] = {member: [] for member in members}
    for outcome, gain in gains(outcomes).items():  # sorted there: the same outcomes sum up to the same last digit
        if outcome.model in own:
            own[outcome.model].append((-math.expm1(-gain), cost(outcome, unit)))
    return {m: Tally(len(rows), math.fsum(r for r, _ in rows), math.fsum(c for _, c in rows)) for m, rows in own.items()}


def choose(tallies: Mapping[str, Tally], rng: random.Random) -> str:
    """The member whose drawn reward for its cost is the largest; equal ones are drawn among."""
    drawn = {m: (rng.betavariate(*posterior(t, tallies)) / price(t, tallies), rng.random()) for m, t in tallies.items()}
    return max(drawn, key=lambda member: drawn[member])


def posterior(one: Tally, tallies: Mapping[str, Tally]) -> tuple[float, float]:
    """The two parameters of a member's Beta posterior over its mean reward."""
    attempts = sum(t.attempts for t in tallies.values())
    mean = (math.fsum(t.reward for t in tallies.values()) + 0.5) / (attempts + 1.0)
    return PRIOR * mean + one.reward, PRIOR * (1.0 - mean) + one.attempts - one.reward


def price(one: Tally, tallies: Mapping[str, Tally]) -> float:
    """A member's mean cost of an attempt, judging included; that of all members while it has none. Above 0."""
    means = [t.cost / t.attempts for t in tallies.values() if t.attempts]
    mean = math.fsum(means) / len(means) if means else 0.0
    if mean <= 0.0:
        return 1.0
    return (one.cost / one.attempts if one.attempts else mean) + JUDGING * mean
