"""Islands of MAP-Elites archives with migration (Mouret and Clune, arXiv 1504.04909; islands as OpenEvolve's).

MAP-Elites keeps the fittest solution of every cell of a grid of descriptors (:mod:`.traits`) and makes new ones from
elites, after G that start from nothing. Islands keep archives apart, so that one good kernel does not become everybody's
parent at once; now and then the best of each moves on to its neighbours in a ring (OpenEvolve's, after AlphaEvolve).

- **Island of an idea.** Ideas go round the islands in order of their numbers; a repair belongs to the island of what it
  repairs. Islands are as many as the budget can feed: one for every :data:`FED` attempts, at most :data:`ISLANDS`.
- **Parent.** OpenEvolve's three ways of sampling: with 0.2 any kernel of the island that passed, with 0.7 an elite by its
  rank (1/rank, divided by one more than its ideas in flight), with the last 0.1 any elite, whatever its cell: MAP-Elites'
  own rule. Rank in place of fitness: speedups of 1.0 and 1.1 are nearly equal weights and are not equal kernels.
- **Migration.** After every :data:`INTERVAL` ideas an island, the fastest tenth of its own elites, one at least, also
  counts in both neighbours' archives. What migrated does not migrate on (OpenEvolve found copies of copies to swamp the
  rest). An island whose own drafts all failed refines everybody's elites. Nothing is copied in the store: where an
  attempt counts follows from the numbers alone.

An archive is a function of what was told, so that a search that is resumed has the same islands.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from kernelwright.agent.policies.lineage import Lineage, opening, ranked
from kernelwright.agent.policies.policy import Book, Search, Values
from kernelwright.agent.policies.traits import Cell, cell
from kernelwright.tasks.records import Attempt, Idea, IdeaStage

ISLANDS, FED = 5, 8
"""Islands at most, and attempts that feed one."""
INITIAL = 2
"""G: drafts of an island before it refines."""
ANY, BY_RANK = 0.2, 0.7
"""Shares of parents drawn from all that passed, and from the elites by rank; the rest are elites at random."""
INTERVAL = 5
"""Ideas an island between migrations."""
RATE = 0.1
"""Share of an island's elites that migrates, one at least."""


class Evolve:
    """Draft on every island, then refine the elites of the island whose turn it is."""

    def __init__(self, search: Search, values: Values) -> None:
        self._book = Book(search)

    def ask(self) -> Idea | None:
        number = self._book.number()
        if number is None:
            return None
        if (repair := self._book.repair(number)) is not None:
            return repair
        isles = Isles(self._book)
        here = isles.turn()
        own = isles.own(here)
        archive = elites([*own, *isles.migrants(here, number)] or self._book.feasible())
        if not archive or isles.drafts(here) < opening(self._book.search.budget // isles.count, INITIAL):
            return self._book.ask(IdeaStage.DRAFT, None, number)
        rng = random.Random(self._book.search.idea(number, IdeaStage.REFINE).seed)
        return self._book.ask(IdeaStage.REFINE, self._parent(own, archive, rng).id, number)

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        self._book.tell(idea, attempt)

    def _parent(self, own: list[Attempt], archive: Mapping[Cell, Attempt], rng: random.Random) -> Attempt:
        drawn, best = rng.random(), ranked(archive.values())
        if drawn < ANY and own:
            return rng.choice(own)
        if drawn < ANY + BY_RANK:
            busy = [idea.parent for idea in self._book.flying]
            weights = [1.0 / rank / (1 + busy.count(a.id)) for rank, a in enumerate(best, 1)]
            return rng.choices(best, weights)[0]
        return rng.choice(best)


class Isles:
    """Which island each attempt belongs to, and what has migrated, by the numbers of the ideas."""

    def __init__(self, book: Book) -> None:
        self.count = max(1, min(ISLANDS, book.search.budget // FED))
        self._lineage = Lineage(book)
        self._feasible = book.feasible()
        self._of: dict[str, int] = {}
        self._turns = 0
        self._drafted = [0] * self.count
        for idea in book.ideas:
            repaired = self._lineage.attempts.get(idea.parent or "")
            if repaired is not None and not repaired.feasible and repaired.id in self._of:
                self._of[idea.id] = self._of[repaired.id]
                continue
            self._of[idea.id] = self.turn()
            self._drafted[self.turn()] += idea.parent is None
            self._turns += 1

    def turn(self) -> int:
        """The island of the next idea that is no repair."""
        return self._turns % self.count

    def drafts(self, island: int) -> int:
        """Ideas of the island that started from nothing."""
        return self._drafted[island]

    def own(self, island: int) -> list[Attempt]:
        """What passed and belongs to the island, in order of number."""
        return [a for a in self._feasible if self._of[a.id] == island]

    def migrants(self, island: int, number: int) -> list[Attempt]:
        """What has come from the two neighbours before idea ``number``.

        An attempt that was still in flight at a migration counts from when it is told.
        """
        round_ = self.count * INTERVAL
        arrived: dict[str, Attempt] = {}
        for neighbour in sorted({(island - 1) % self.count, (island + 1) % self.count} - {island}):
            for last in range(round_, number, round_):
                there = ranked(elites(a for a in self.own(neighbour) if a.idea.number <= last).values())
                for migrant in there[: max(1, int(len(there) * RATE))]:
                    arrived[migrant.id] = migrant
        return list(arrived.values())


def elites(attempts: Iterable[Attempt]) -> dict[Cell, Attempt]:
    """The fastest kernel of each cell; of equals the older."""
    archive: dict[Cell, Attempt] = {}
    for attempt in ranked(attempts):
        archive.setdefault(cell(attempt), attempt)
    return archive
