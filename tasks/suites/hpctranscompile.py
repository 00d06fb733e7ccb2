"""HPCTransCompile: ``EvalEngine/torch_functionals/level<n>/<id>_<name>.py``, the references of ``KernelBench_c``.

Upstream gives a writer the CUDA source ``KernelBench_c/level<n>/<id>_<name>.cu`` and asks for a C++ kernel for a CPU. The
task here is the reference, as for any other suite; the CUDA source is neither read nor shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.plain import Entry, collect, folders, natural, plain_task
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.upstream import Clock, Rule, Tolerance

_INSIDE = "EvalEngine/torch_functionals"
_NOTES = (
    "upstream asks for C++ on a CPU (here the default on --device cpu) and shows its writers a CUDA source, which is not read",
    "upstream accepts what is within 1e-2, absolute and relative, in 5 draws from one fixed seed",
    "HPCTransEval (operators and graphs made by TVM) is not read: what is right there is what TVM's binaries give",
)

_RULE = Rule(
    stated="HPCTransCompile fb7b564: EvalEngine/eval_KernelBench_c.py",
    tolerance={"": Tolerance(1e-2, 1e-2)},
    trials=5,
    seed=42,
    reseeded=True,
    single=True,
    clock=Clock(warmups=3, repeats=30, statistic="mean"),
    omits=("that a kernel is one function called inside upstream's own Model; here it is a ModelNew",),
)


class HpcTransCompile:
    """The tasks of KernelBench_c."""

    name = "hpctranscompile"
    summary = "HPCTransCompile's KernelBench_c: EvalEngine/torch_functionals/level1 to level3, for C++ on a CPU"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected reference.

        Raises:
            TaskError: there are no levels under ``root``, or they hold no entries with an id.
        """
        levels = folders(root, _INSIDE, "level[0-9]*", "HPCTransCompile")
        if not any(True for folder in levels.values() for _ in folder.glob("[0-9]*_*.py")):
            raise TaskError(
                f"the levels under {root} hold no <id>_<name>.py",
                f"this adapter reads HPCTransCompile as of 2025: {_INSIDE}/level<n>, a file an entry",
            )
        return collect(self._entries(levels.values(), select), _NOTES)

    def upstream(self, task: Task, root: Path) -> Rule:
        """Its evaluation of KernelBench_c at default settings: the same for every entry."""
        return _RULE

    def _entries(self, levels: Iterable[Path], select: Selection) -> Iterator[Entry]:
        for level in levels:
            for path in sorted(level.glob("[0-9]*_*.py"), key=lambda p: natural(p.name)):
                name = f"{self.name}/{level.name}/{path.stem}"
                if select.wants(level.name, name):
                    yield name, partial(plain_task, name, path, level.name, select.scale)
