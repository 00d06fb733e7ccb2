"""A suite of plain task files, ``<root>/level<N>/<name>.py``, by import path: tests write its clones themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scripted import REFERENCE

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.suites.suite import Loaded, Selection

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
