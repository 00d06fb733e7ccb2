"""KernelBench: ``KernelBench/level<n>/<id>_<name>.py`` with ``Model``, ``get_inputs`` and ``get_init_inputs``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.plain import Entry, collect, folders, natural, plain_task
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.upstream import Clock, Rule, Tolerance

_NOTES = (
    "integer and boolean inputs keep their dtypes: upstream casts every input to float",
    "judged in float32 at the file's own shape and at smaller, unaligned ones derived from it",
)

_RULE = Rule(
    stated="KernelBench 423217d: eval.py and timing.py as scripts/eval_from_generations.py calls them",
    tolerance={"float32": Tolerance(1e-4, 1e-4), "": Tolerance(1e-2, 1e-2)},
    trials=5,
    seed=42,
    reseeded=True,
    cast=True,
    single=True,
    clock=Clock(warmups=3, repeats=100, statistic="mean", discarded=1, flush_bytes=256 << 20),
    omits=("the static checker that some of its scripts run first",),
)


class KernelBench:
    """KernelBench, all levels whose entries need no hub."""

    name = "kernelbench"
    summary = "KernelBench: KernelBench/level1 to level3; level4 takes its weights from a hub and is left out"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected entry that needs nothing but a file.

        Raises:
            TaskError: there are no levels under ``root``, or they hold no entries with an id.
        """
        levels = folders(root, "KernelBench", "level[0-9]*", "KernelBench")
        if not any(True for folder in levels.values() for _ in folder.glob("[0-9]*_*.py")):
            raise TaskError(
                f"the levels under {root} hold no <id>_<name>.py",
                "this adapter reads KernelBench as of 2025 and 2026: a file an entry",
            )
        return collect(self._entries(levels.values(), select), _NOTES)

    def upstream(self, task: Task, root: Path) -> Rule:
        """Its evaluation at default settings, in float32: the same for every entry."""
        return _RULE

    def _entries(self, levels: Iterable[Path], select: Selection) -> Iterator[Entry]:
        for level in levels:
            for path in sorted(level.glob("[0-9]*_*.py"), key=lambda p: natural(p.name)):
                name = f"{self.name}/{level.name}/{path.stem}"
                if select.wants(level.name, name):
                    yield name, partial(plain_task, name, path, level.name, select.scale)
