"""What an item is worth: stage-specific Q values, rewards and their normaliser (EvoKernel, arXiv 2603.10846).

For every item m of the context of an attempt at stage s with reward r: ``Q_s(m) ← Q_s(m) + α (r − Q_s(m))``.
Q is kept for (backend, op family, item); until an item was used there, it is what the item is worth anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory.schema import ANY, item_values, rewards
from kernelwright.tasks.records import IdeaStage

if TYPE_CHECKING:
    from kernelwright.memory.store import Store

SIGMA_FLOOR = 0.1
CLIP = 3.0


class Values(Protocol):
    """What policies see of memory's values."""

    def q(self, stage: str, backend: str, family: str, item: str) -> float:
        """Worth of an item (a start point: its attempt id) at a stage; 0 where nothing is known."""
        ...


def reward(stage: IdeaStage, feasible: bool, speedup: float | None, best_before: float | None) -> float:
    """The raw reward of an attempt.

    Draft: +1 when feasible, else −1. Refine: tanh(ln(b/ℓ)), −1 when infeasible. On one task b/ℓ, best latency before
    over this latency, is this speedup over the best before; without both there is nothing to compare: 0.
    """
    if not feasible:
        return -1.0
    if stage is IdeaStage.DRAFT:
        return 1.0
    if speedup is None or best_before is None:
        return 0.0
    return math.tanh(math.log(speedup / best_before))


@dataclass(frozen=True)
class Running:
    """Running mean and deviation (Welford)."""

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0
    """Sum of squared differences from the mean."""

    def add(self, x: float) -> Running:
        """With one more observation."""
        count = self.count + 1
        delta = x - self.mean
        mean = self.mean + delta / count
        return Running(count, mean, self.m2 + delta * (x - mean))

    @property
    def deviation(self) -> float:
        """Of the population seen, at least :data:`SIGMA_FLOOR`."""
        return max(SIGMA_FLOOR, math.sqrt(self.m2 / self.count) if self.count else 0.0)

    def normalise(self, x: float) -> float:
        """``x`` in deviations from the mean, within ±3. The very first has nothing to be measured against and stays."""
        z = (x - self.mean) / self.deviation if self.count > 1 else x
        return max(-CLIP, min(CLIP, z))


def normalised(tx: Connection, backend: str, raw: float) -> float:
    """Take a raw refinement reward into the backend's statistics, and return it normalised by them."""
    row = tx.execute(sa.select(rewards).where(rewards.c.backend == backend).with_for_update()).one_or_none()
    before = Running() if row is None else Running(row.seen, row.mean, row.m2)
    after = before.add(raw)
    values = {"seen": after.count, "mean": after.mean, "m2": after.m2}
    if row is None:
        tx.execute(rewards.insert().values(backend=backend, **values))
    else:
        tx.execute(rewards.update().where(rewards.c.backend == backend).values(**values))
    return after.normalise(raw)


def lookup(tx: Connection, stage: str, backend: str, family: str, items: Collection[str]) -> dict[str, float]:
    """Item -> Q of those that have one: of (backend, family) where used there, else of the item anywhere."""
    found = _in_force(tx, stage, backend, family, items, lock=False)
    return {item: value.q for item, value in found.items()}


@dataclass(frozen=True)
class Change:
    """Which values an attempt moves, and towards what."""

    stage: str
    backend: str
    family: str
    items: tuple[str, ...]
    reward: float


def update(tx: Connection, change: Change, alpha: float) -> None:
    """``Q ← Q + α (r − Q)`` for each item where it was used, and for the item anywhere."""
    for backend, family in ((change.backend, change.family), (ANY, ANY)):
        known = _in_force(tx, change.stage, backend, family, change.items, lock=True)
        added, changed = [], []
        for item in change.items:
            old = known.get(item, _InForce(0.0, None))
            q = old.q + alpha * (change.reward - old.q)
            if old.visits is None:
                row = {"item": item, "stage": change.stage, "backend": backend, "family": family}
                added.append({**row, "q": q, "visits": 1})
            else:
                row = {"of_item": item, "of_stage": change.stage, "of_backend": backend, "of_family": family}
                changed.append({**row, "new_q": q, "new_visits": old.visits + 1})
        if added:
            tx.execute(item_values.insert(), added)
        if changed:
            tx.execute(_UPDATE, changed)


class StoredValues:
    """:class:`Values` as the store holds them now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def q(self, stage: str, backend: str, family: str, item: str) -> float:
        """Worth of an item at a stage; 0 where nothing is known."""
        with self._store.read() as tx:
            return lookup(tx, stage, backend, family, [item]).get(item, 0.0)


@dataclass(frozen=True)
class _InForce:
    q: float
    visits: int | None
    """Of the item's own row here; None where the value is that of the item anywhere."""


def _in_force(
    tx: Connection, stage: str, backend: str, family: str, items: Collection[str], *, lock: bool
) -> dict[str, _InForce]:
    c = item_values.c
    here = (c.backend == backend) & (c.family == family)
    anywhere = (c.backend == ANY) & (c.family == ANY)
    query = sa.select(c.item, c.backend, c.family, c.q, c.visits)
    query = query.where(c.item.in_(set(items)), c.stage == stage, here | anywhere).order_by(c.item)
    found: dict[str, _InForce] = {}
    for row in tx.execute(query.with_for_update() if lock else query):
        own = (row.backend, row.family) == (backend, family)
        if own or row.item not in found:
            found[row.item] = _InForce(row.q, row.visits if own else None)
    return found


_UPDATE = (
    item_values.update()
    .where(
        item_values.c.item == sa.bindparam("of_item"),
        item_values.c.stage == sa.bindparam("of_stage"),
        item_values.c.backend == sa.bindparam("of_backend"),
        item_values.c.family == sa.bindparam("of_family"),
    )
    .values(q=sa.bindparam("new_q"), visits=sa.bindparam("new_visits"))
)
