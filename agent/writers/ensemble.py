"""Several models as one writer: ``--model a,b,c``. Each idea is written by one of them."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kernelwright.agent.ensemble.bandit import choose, tally
from kernelwright.agent.ensemble.gains import Outcome
from kernelwright.agent.writers.writer import Assignment, Learner, Writer
from kernelwright.tasks.errors import BudgetSpent, Exhausted, InputError
from kernelwright.tasks.records import Answer, Attempt, digest

LONERS = ("exchange", "replay")
"""Writers that are no members: one waits for a person, the other repeats what was chosen once."""


class Ensemble:
    """Chooses a member for each idea: by fixed weights, or by the bandit of :mod:`kernelwright.agent.ensemble.bandit`.

    The choice depends on nothing but the idea's seed and the attempts that were told when the idea was asked for: those of
    its own task are the assignment's history, which the store keeps with the idea; other tasks of a run are over by then.
    So several jobs race for nothing, and an idea that is still unwritten when a run is resumed goes to the same member.

    Each member is tried once before the bandit favours any: the first ideas of a task go, in an order drawn from the run's
    seed, to those that earlier tasks never tried. With several jobs later ideas are asked for before those trials are over;
    a member without a result then stands at the mean of the others.

    A member that cannot work at all (a refused key, a server that is gone) stops the run like any writer: going on without
    it would silently be another experiment. One whose next call no longer fits what the run may spend gives way to the
    others, in the run's order: a budget is not over while a cheaper member fits in. So does one that has nothing more for a
    task.
    """

    def __init__(self, members: Mapping[str, Writer], weights: Sequence[float] | None = None, seed: int = 0) -> None:
        self.name = ",".join(members)
        self._members = dict(members)
        self._weights = tuple(weights) if weights is not None else None
        self._order = sorted(members, key=lambda member: digest("ensemble order", str(seed), member))
        self._told: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def write(self, assignment: Assignment) -> Answer:
        chosen = self.choice(assignment)
        spent: BudgetSpent | Exhausted | None = None
        for member in (chosen, *(name for name in self._order if name != chosen)):
            try:
                return replace(self._members[member].write(assignment), model=member)
            except Exhausted as error:
                spent = spent or error
            except BudgetSpent as error:
                spent = error if spent is None or isinstance(spent, Exhausted) else spent
        raise spent or BudgetSpent("no member fits into what the run may spend")

    def choice(self, assignment: Assignment) -> str:
        """The member that writes for this idea."""
        idea = assignment.idea
        rng = random.Random(digest("ensemble", str(idea.seed)))
        if self._weights is not None:
            return rng.choices(list(self._members), self._weights)[0]
        with self._lock:
            earlier = [o for o in self._told.values() if o.task != idea.task]
        tried = {outcome.model for outcome in earlier}
        untried = [member for member in self._order if member not in tried]
        if idea.number <= len(untried):
            return untried[idea.number - 1]
        own = [Outcome.of(attempt) for attempt in assignment.context.history]
        return choose(tally(list(self._members), [*earlier, *own]), rng)

    def told(self, attempt: Attempt) -> None:
        with self._lock:
            self._told[attempt.id] = Outcome.of(attempt)
        for writer in self._members.values():
            writer.told(attempt)

    def lesson(self, assignment: Assignment, attempt: Attempt) -> str:
        """Of the member that wrote it."""
        member = self._members.get(attempt.answer.model)
        return member.lesson(assignment, attempt) if isinstance(member, Learner) else ""

    def close(self) -> None:
        for writer in self._members.values():
            writer.close()


def is_ensemble(model: str) -> bool:
    """Whether ``--model`` names several members; the path of a recording may hold a comma."""
    return "," in model and not model.startswith("replay:")


def members_of(model: str) -> tuple[str, ...]:
    """The members that ``--model a,b,c`` names.

    Raises:
        InputError: an empty name, one that is named twice, or a writer that cannot be a member.
    """
    names = tuple(name.strip() for name in model.split(","))
    for place, name in enumerate(names):
        if not name:
            raise InputError(f"--model is {model!r}: a name is missing", "give model strings with one comma between them")
        if name in names[:place]:
            raise InputError(f"--model names {name} twice", "name each member once, and give it more with --weights")
        if name.split(":", 1)[0] in LONERS:
            raise InputError(f"{name} cannot be one of several writers", f"give --model {name} alone, or leave it out")
    return names
