"""Keep or revert (AutoKernel, arXiv 2603.21331): always refine the best so far."""

from __future__ import annotations

from kernelwright.agent.policies.policy import Book, Search, Values
from kernelwright.tasks.records import Attempt, Idea, IdeaStage


class Greedy:
    """Draft until something is feasible, then refine the incumbent; what does not clearly beat it is reverted.

    What is rejected on the way is repaired first, ``Search.repairs`` times in a row.
    """

    def __init__(self, search: Search, values: Values) -> None:
        self._book = Book(search)

    def ask(self) -> Idea | None:
        number = self._book.number()
        if number is None:
            return None
        if (repair := self._book.repair(number)) is not None:
            return repair
        best = self._book.best()
        if best is None:
            return self._book.ask(IdeaStage.DRAFT, None, number)
        return self._book.ask(IdeaStage.REFINE, best.id, number)

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        self._book.tell(idea, attempt)
