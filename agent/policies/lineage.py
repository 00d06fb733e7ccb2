"""Who came from whom, as policies see the attempt graph: repairs count as one with what they repair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kernelwright.agent.policies.policy import Book
from kernelwright.tasks.records import Attempt, Idea


class Lineage:
    """A view of a book as it stands, made anew for every ask: nothing here outlives it."""

    def __init__(self, book: Book) -> None:
        self.attempts: Mapping[str, Attempt] = {attempt.id: attempt for attempt in book.attempts}
        self._ideas = book.ideas

    def start(self, idea: Idea) -> str | None:
        """The attempt that passed and that ``idea`` goes back to, over the rejected ones that it repairs; None for a draft."""
        parent = self.attempts.get(idea.parent or "")
        while parent is not None and not parent.feasible:
            parent = self.attempts.get(parent.idea.parent or "")
        return None if parent is None else parent.id

    def from_start(self, start: str | None) -> tuple[Idea, ...]:
        """The ideas that go back to ``start``, in flight or told, in order of number; those of None are drafts."""
        return tuple(idea for idea in self._ideas if self.start(idea) == start)

    def drafts(self) -> int:
        """Ideas that started from nothing: drafts, without their repairs."""
        return sum(idea.parent is None for idea in self._ideas)


def speed(attempt: Attempt) -> float:
    """The figure that attempts on one task are compared by: the median speedup against eager, 0 without a timing."""
    return attempt.speedup or 0.0


def ranked(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Fastest first; of equals the older."""
    return sorted(attempts, key=lambda a: (-speed(a), a.idea.number))


def opening(budget: int, most: int) -> int:
    """How many drafts a search begins with that wants several: ``most``, and of a small budget a fifth."""
    return min(most, max(1, budget // 5))
