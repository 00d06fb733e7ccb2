"""A suite of plain task files, ``<root>/level<N>/<name>.py``, by import path: tests write its clones themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scripted import REFERENCE

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.upstream import Rule, Tolerance

SUITE = "tiny_suite:Tiny"


class Tiny:
    """Reads every file of the selected levels; one that does not load is left out."""

    name = "tiny"
    summary = "plain files"

    def load(self, root: Path, select: Selection) -> Loaded:
        tasks, left_out = [], {}
        for path in sorted(root.glob("level*/*.py")):
            name = f"tiny/{path.parent.name}/{path.stem}"
            if not select.wants(path.parent.name, name):
                continue
            try:
                tasks.append(replace(load_task(str(path)), name=name))
            except TaskError as error:
                left_out[name] = error.message
        return Loaded(tuple(tasks), left_out)


def clone(root: Path, *names: str) -> Path:
    """A clone with these files, ``level1/1_add`` and so on, no two of them the same task."""
    for number, name in enumerate(names, 1):
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(REFERENCE.format(number=number))
    return root


RULED = "tiny_suite:Ruled"


class Ruled(Tiny):
    """The same with a rule of its own, for all entries but those called ``odd``."""

    name = "ruled"

    def upstream(self, task: Task, root: Path) -> Rule:
        if "odd" in task.name:
            raise TaskError("upstream compares by code of its own")
        return Rule("a test's rule", {"": Tolerance(1e-4, 1e-4)}, trials=2, seed=1, omits=("speed",))
