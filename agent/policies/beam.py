"""A beam whose places go to different bottlenecks first (after KernelAgent's optimiser).

KernelAgent (github.com/meta-pytorch/KernelAgent) keeps the N fastest kernels, expands each of them M times a round and drops
what compiles to the same code. Keeping the N fastest alone fills a beam with siblings that all wait for the same thing:
here the fastest kernel of each bottleneck label has a place first, and what is left goes by speed.

Where we differ: there is no barrier between rounds. The beam is chosen anew at every ask from all that passed, and the
member that was expanded least among the last N·M ideas is next, so that ``--jobs`` ideas stay in flight and every member
has the same share. A round's direction (its bottleneck) is not given to the writer as an order: the prompt of a refinement
holds the diagnosis of its start point anyway.
"""

from __future__ import annotations

from collections.abc import Iterable

from kernelwright.agent.policies.lineage import Lineage, opening, ranked, speed
from kernelwright.agent.policies.policy import Book, Search, Values
from kernelwright.memory.lessons import bottleneck
from kernelwright.tasks.records import Attempt, Idea, IdeaStage

WIDTH = 3
"""N: kernels that are kept."""
BRANCH = 2
"""M: expansions of each in a round."""
SLACK = 2.0
"""A kernel of another bottleneck is kept for that only where it is at most so many times slower than the fastest."""


class Beam:
    """Draft a few, then refine the members of the beam in turns."""

    def __init__(self, search: Search, values: Values) -> None:
        self._book = Book(search)

    def ask(self) -> Idea | None:
        number = self._book.number()
        if number is None:
            return None
        if (repair := self._book.repair(number)) is not None:
            return repair
        lineage, feasible = Lineage(self._book), self._book.feasible()
        if not feasible or lineage.drafts() < opening(self._book.search.budget, WIDTH):
            return self._book.ask(IdeaStage.DRAFT, None, number)
        return self._book.ask(IdeaStage.REFINE, self._next(select(feasible), lineage, number).id, number)

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        self._book.tell(idea, attempt)

    def _next(self, beam: list[Attempt], lineage: Lineage, number: int) -> Attempt:
        """The member with the fewest expansions in the last round; of equals the one that has waited longest."""

        def share(member: Attempt) -> tuple[int, int]:
            numbers = [idea.number for idea in lineage.from_start(member.id)]
            return sum(n >= number - WIDTH * BRANCH for n in numbers), max(numbers, default=0)

        return min(beam, key=share)


def select(feasible: Iterable[Attempt], width: int = WIDTH) -> list[Attempt]:
    """The beam: the fastest of each bottleneck first, then the fastest of the rest; fastest first.

    A kernel whose bottleneck was not measured has the label ``""``: without a profile or a roofline this is a plain beam.
    """
    fastest = ranked(feasible)
    heads: dict[str, Attempt] = {}
    for attempt in fastest:
        if speed(attempt) * SLACK >= speed(fastest[0]):
            heads.setdefault(bottleneck(attempt.verdict), attempt)
    kept = {attempt.id for attempt in list(heads.values())[:width]}
    for attempt in fastest:
        if len(kept) < width:
            kept.add(attempt.id)
    return [attempt for attempt in fastest if attempt.id in kept]
