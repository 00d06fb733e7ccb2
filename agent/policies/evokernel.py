"""Value-driven drafting and refining (EvoKernel, arXiv 2603.10846; equations as in design §6)."""

from __future__ import annotations

import math
import random

from kernelwright.agent.policies.policy import Book, Search, Values
from kernelwright.memory.static import cycles
from kernelwright.tasks.records import Attempt, Idea, IdeaStage

EPSILON = (0.2, 0.05)
"""Exploration at the first and at the last attempt of the budget."""
SPREAD = 0.5
"""Difference of ln speedup that counts as much as one of Q₂, whose rewards are in deviations. With 0.2 to 0.5 searches need
about as few evaluations (docs/search-proof.md); the largest of these departs least from Q₂."""


class EvoKernel:
    """Draft until something is feasible, then refine start points chosen ε-greedily by Q₂ over all feasible variants.

    Q₂ of a start point was learned against the best of its day, and is 0 for one that was never refined, however slow. A
    refinement that gains ln g from a start point of speed s earns about ln g + ln(s/b), b the best now: so ln(s/b) is added to
    Q₂, in deviations. By Q₂ alone every regression would be refined next as soon as the best has had one poor child.

    What is rejected on the way is repaired first, ``Search.repairs`` times in a row.
    """

    def __init__(self, search: Search, values: Values) -> None:
        self._book = Book(search)
        self._values = values

    def ask(self) -> Idea | None:
        number = self._book.number()
        if number is None:
            return None
        if (repair := self._book.repair(number)) is not None:
            return repair
        feasible = self._book.feasible()
        if not feasible:
            return self._book.ask(IdeaStage.DRAFT, None, number)
        seed = self._book.search.idea(number, IdeaStage.REFINE).seed
        return self._book.ask(IdeaStage.REFINE, self._start(feasible, number, random.Random(seed)).id, number)

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        self._book.tell(idea, attempt)

    def _start(self, feasible: tuple[Attempt, ...], number: int, rng: random.Random) -> Attempt:
        if rng.random() < epsilon(number, self._book.search.budget):
            return rng.choice(feasible)
        best = max(attempt.speedup or 0.0 for attempt in feasible)
        estimates = cycles([attempt for attempt in feasible if attempt.speedup is None])
        return max(feasible, key=lambda attempt: self._worth(attempt, best, -estimates.get(attempt.id, 0)))

    def _worth(self, attempt: Attempt, best: float, estimate: int) -> tuple[float, float, int, int]:
        """Q₂ and what the start point lacks to ``best``; equals go to the faster, then by ``estimate``, then to the newer."""
        search = self._book.search
        q = self._values.q(IdeaStage.REFINE.value, search.backend, search.family, attempt.id)
        behind = math.log(attempt.speedup / best) / SPREAD if attempt.speedup else 0.0
        return q + behind, attempt.speedup or 0.0, estimate, attempt.idea.number


def epsilon(number: int, budget: int) -> float:
    """ε of attempt ``number``, annealed linearly over the budget."""
    first, last = EPSILON
    done = min(1.0, (number - 1) / max(1, budget - 1))
    return first + (last - first) * done
