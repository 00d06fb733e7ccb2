"""One trial: an arm of the comparison, through a landscape, by the loop, the policies and the memory that runs use."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kernelwright.agent.bench.search.actors import BACKEND, Assessor, Author, best_speedup
from kernelwright.agent.bench.search.exact import ExactIndex
from kernelwright.agent.bench.search.world import Landscape, Truth
from kernelwright.agent.loop import Parts, search
from kernelwright.agent.policies import POLICIES
from kernelwright.agent.policies.policy import Policy, Search, Values
from kernelwright.agent.watch import Silence, Watch
from kernelwright.memory.chroma_folder import Folder
from kernelwright.memory.index import Index
from kernelwright.memory.memory import Memory
from kernelwright.memory.recall import Settings
from kernelwright.memory.records import RunRecord
from kernelwright.memory.store import Store
from kernelwright.tasks.records import Attempt, Task
from kernelwright.tasks.resolve import resolve

RUN = "trial"
SOURCES = "version: 1\nsources:\n  practices: drawn with the landscape\n"
CREATED = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Arm:
    """What differs between the sides of a comparison."""

    name: str
    settings: Settings = field(default_factory=Settings)
    policy: str = "evokernel"
    valued: bool = True
    """Start points are chosen by value; False: the fastest."""
    only_hard: bool = False
    """Memory never saw the easy tasks."""
    omniscient: bool = False
    """The model knows all that memory could tell it, whatever is recalled."""


class Worthless:
    """Values of which none is known: start points then go by speed."""

    def q(self, stage: str, backend: str, family: str, item: str) -> float:
        return 0.0


@dataclass(frozen=True)
class Result:
    """What came of one task."""

    task: str
    hard: bool
    attempts: int
    first: int | None
    """Number of the first feasible attempt."""
    best: float | None
    """Measured speedup against eager of the fastest that passed."""


def run(arm: Arm, land: Landscape, salt: str = "", chroma: bool = False) -> list[Result]:
    """Search every task of the landscape, easy ones first, with one memory. ``chroma``: with the real index."""
    truths = [t for t in land.truths if is_hard(t, land) or not arm.only_hard]
    with tempfile.TemporaryDirectory(prefix="kernelwright-trial-", dir=quick()) as name:
        home = Path(name)
        knowledge = home / "knowledge" / BACKEND
        knowledge.mkdir(parents=True)
        (knowledge / "practices.md").write_text(land.knowledge(), encoding="utf-8")
        (knowledge / "seeds.yaml").write_text(SOURCES, encoding="utf-8")
        settings = replace(arm.settings, seeds=knowledge.parent)
        memory = opened(home, settings, [t.task for t in truths], land.world.budget, chroma)
        try:
            parts = Parts(memory.store, memory, Author(land, salt, arm.omniscient), Assessor(land, salt), BACKEND)
            return [_result(t, land, searched(t.task, arm, parts, land.seed, land.world.budget)) for t in truths]
        finally:
            memory.close()


def opened(home: Path, settings: Settings, tasks: Sequence[Task], budget: int, chroma: bool = False) -> Memory:
    """A new memory with one run in it; the caller closes it."""
    store = Store(f"sqlite:///{home / 'store.db'}", home / "artifacts")
    memory = Memory(store, Index(Folder(home / "chroma")) if chroma else ExactIndex(), settings)
    memory.store.create_run(RunRecord(RUN, {"budget": budget}, "running", CREATED, tuple(tasks)))
    return memory


def searched(
    task: Task, arm: Arm, parts: Parts, seed: int, budget: int, watch: Watch | None = None
) -> tuple[Attempt, ...]:
    """Search one task to the end of its budget, or until ``watch`` stops it."""
    values: Values = parts.memory.values() if arm.valued else Worthless()
    asked = Search(RUN, task.name, task.family, parts.backend, seed=seed, budget=budget)
    policy: Policy = resolve("policy", arm.policy, POLICIES)(asked, values)
    search(task, policy, (), parts, watch or Silence())
    return parts.store.attempts(RUN, task.name)


def is_hard(truth: Truth, land: Landscape) -> bool:
    """Whether a task is one of the hard ones."""
    return len(truth.obstacles) >= land.world.hard


def _result(truth: Truth, land: Landscape, attempts: Sequence[Attempt]) -> Result:
    first = next((a.idea.number for a in attempts if a.feasible), None)
    return Result(truth.task.name, is_hard(truth, land), len(attempts), first, best_speedup(attempts))


def quick() -> str | None:
    """A folder in memory where there is one: trials commit a hundred thousand times, and keep nothing."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
