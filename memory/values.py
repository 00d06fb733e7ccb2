"""What an item is worth: stage-specific Q values, rewards and their normaliser (EvoKernel, arXiv 2603.10846).

For every item m of the context of an attempt at stage s with reward r: ``Q_s(m) ← Q_s(m) + α (r − Q_s(m))``.
Q is kept for (backend, op family, item); until an item was used there, it is what the item is worth anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory.schema import ANY, item_values, rewards, steps
from kernelwright.tasks.records import Attempt, IdeaStage, Status, Task

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


def earned(tx: Connection, attempt: Attempt, task: Task, backend: str, device: str) -> float | None:
    """The reward of an attempt; b is the best that this search had before: its own attempts and the start point.

    A start point may come from an earlier run; what that run reached beyond it was no choice of this one. A duplicate
    earns nothing that its original earned: a draft's success is not counted again (None), a refinement's reward is at
    most 0 and no observation for the normaliser.
    """
    idea, again = attempt.idea, attempt.duplicate_of is not None
    if again and attempt.feasible and idea.stage is IdeaStage.DRAFT:
        return None
    where = {"of_task": task.task_id, "of_backend": backend, "of_device": device}
    best = tx.execute(_BEST, {**where, "of_run": idea.run, "of_start": idea.parent or ""}).scalar_one()
    raw = reward(attempt.idea.stage, attempt.feasible, attempt.speedup, best)
    if idea.stage is IdeaStage.DRAFT:
        return raw
    return min(0.0, compared(tx, backend, raw)) if again else normalised(tx, backend, raw)


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
    row = tx.execute(_STATISTICS, {"of_backend": backend}).one_or_none()
    before = Running() if row is None else Running(row.seen, row.mean, row.m2)
    after = before.add(raw)
    values = {"seen": after.count, "mean": after.mean, "m2": after.m2}
    if row is None:
        tx.execute(rewards.insert().values(backend=backend, **values))
    else:
        tx.execute(rewards.update().where(rewards.c.backend == backend).values(**values))
    return after.normalise(raw)


def compared(tx: Connection, backend: str, raw: float) -> float:
    """A raw refinement reward by the backend's statistics, which stay as they are."""
    row = tx.execute(_STATISTICS, {"of_backend": backend}).one_or_none()
    return Running().normalise(raw) if row is None else Running(row.seen, row.mean, row.m2).normalise(raw)


def lookup(tx: Connection, stage: str, backend: str, family: str, items: Collection[str]) -> dict[str, float]:
    """Item -> Q of those that have one: of (backend, family) where used there, else of the item anywhere."""
    known = _known(tx, _READ, stage, backend, family, items)
    anywhere = {item: value.q for (item, where), value in known.items() if where == ANY}
    return anywhere | {item: value.q for (item, where), value in known.items() if where != ANY}


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
    known = _known(tx, _READ_TO_WRITE, change.stage, change.backend, change.family, change.items)
    added: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for item in change.items:
        pooled = known.get((item, ANY), _Known(0.0, 0))
        here = known.get((item, change.backend), _Known(pooled.q, 0))
        for old, backend, family in ((here, change.backend, change.family), (pooled, ANY, ANY)):
            keys = {"of_item": item, "of_stage": change.stage, "of_backend": backend, "of_family": family}
            q = old.q + alpha * (change.reward - old.q)
            (changed if old.visits else added).append({**keys, "new_q": q, "new_visits": old.visits + 1})
    if added:
        tx.execute(_INSERT, added)
    if changed:
        tx.execute(_UPDATE, changed)


def inherit(tx: Connection, old: str, new: str) -> None:
    """Give the item ``new``, which has no values yet, those of ``old``, visits included; ``old`` keeps its own."""
    v = item_values.c
    held = sa.select(sa.literal(new), v.stage, v.backend, v.family, v.q, v.visits).where(v.item == old)
    tx.execute(item_values.insert().from_select(["item", "stage", "backend", "family", "q", "visits"], held))


class StoredValues:
    """:class:`Values` as the store holds them now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def q(self, stage: str, backend: str, family: str, item: str) -> float:
        """Worth of an item at a stage; 0 where nothing is known."""
        with self._store.read() as tx:
            return lookup(tx, stage, backend, family, [item]).get(item, 0.0)


@dataclass(frozen=True)
class _Known:
    q: float
    visits: int


def _known(
    tx: Connection, query: sa.Select[Any], stage: str, backend: str, family: str, items: Collection[str]
) -> dict[tuple[str, str], _Known]:
    """(item, backend or ANY) -> what is known of the item here, and anywhere."""
    where = {"of_stage": stage, "of_backend": backend, "of_family": family, "of_items": list(items)}
    return {(row.item, row.backend): _Known(row.q, row.visits) for row in tx.execute(query, where)}


# Built once: building a statement costs more than SQLite takes to run it.
_COLUMN = item_values.c
_READ = (
    sa.select(_COLUMN.item, _COLUMN.backend, _COLUMN.q, _COLUMN.visits)
    .where(
        _COLUMN.item.in_(sa.bindparam("of_items", expanding=True)),
        _COLUMN.stage == sa.bindparam("of_stage"),
        ((_COLUMN.backend == sa.bindparam("of_backend")) & (_COLUMN.family == sa.bindparam("of_family")))
        | ((_COLUMN.backend == ANY) & (_COLUMN.family == ANY)),
    )
    .order_by(_COLUMN.item, _COLUMN.backend)  # locks are taken in one order, so that processes wait and never block each other
)
_READ_TO_WRITE = _READ.with_for_update()
_NEW: dict[str, Any] = {"q": sa.bindparam("new_q"), "visits": sa.bindparam("new_visits")}
_KEYS: dict[str, Any] = {name: sa.bindparam(f"of_{name}") for name in ("item", "stage", "backend", "family")}
_INSERT = item_values.insert().values(**_KEYS, **_NEW)
_UPDATE = item_values.update().where(*(_COLUMN[name] == key for name, key in _KEYS.items())).values(**_NEW)
_STATISTICS = sa.select(rewards).where(rewards.c.backend == sa.bindparam("of_backend")).with_for_update()
_BEST = sa.select(sa.func.max(steps.c.speedup)).where(
    steps.c.task_id == sa.bindparam("of_task"),
    steps.c.backend == sa.bindparam("of_backend"),
    steps.c.device == sa.bindparam("of_device"),
    steps.c.learned,
    steps.c.status == Status.PASSED.value,
    (steps.c.run == sa.bindparam("of_run")) | (steps.c.id == sa.bindparam("of_start")),
)
