"""Solutions in a suite's own form, made into kernels in ours: text in, text out. Executes nothing.

An adapter whose suite has such a form has a method ``adopt(path, text, tasks, root)``: the kernel that a file holds and the
task that it is for, None where the file has not that form, and ``TaskError`` with the reason where it cannot be judged.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.text import missing_imports

CUDA = "it has CUDA or C++ compiled as a PyTorch extension, for which there is no backend here"


@dataclass(frozen=True)
class Adopted:
    """A solution as a kernel."""

    task: str
    source: str
    """Defines ``ModelNew``."""


def check_language(source: str, own: Sequence[str] = ()) -> None:
    """See that a Python text can run here. ``own``: modules of the suite that are dealt with elsewhere.

    Raises:
        TaskError: it compiles CUDA, or imports what is not installed; SyntaxError never: such a text says nothing.
    """
    if compiles_cuda(source):
        raise TaskError(CUDA)
    absent = [m for m in missing_imports(source) if m not in own and (m == "." or importlib.util.find_spec(m) is None)]
    if absent:
        raise TaskError(f"it needs {', '.join(absent)}, not installed here")


def compiles_cuda(source: str) -> bool:
    """Whether a text hands sources to PyTorch's compiler of extensions, by its name for it."""
    return "cpp_extension" in source and ("load_inline" in source or "load(" in source)


def loads_inline(source: str) -> bool:
    """Whether a text that compiles an extension does so by ``load_inline`` with CUDA in it: there is a backend for that."""
    return "load_inline" in source and "__global__" in source


def chosen(found: Sequence[Task], path: Path, what: str) -> Task:
    """The one task of ``found``, or of those whose problem set or folder the file lies in.

    Raises:
        TaskError: there is none, or more than one.
    """
    parts = folders_of(path)
    if len(found) > 1:
        found = [task for task in found if set(task.name.split("/")[1:]) <= set(parts)] or found
    if len(found) > 1:
        found = [task for task in found if task.name.split("/")[-2] in parts] or found
    if len(found) == 1:
        return found[0]
    if found:
        raise TaskError(f"{what} fits several tasks: {', '.join(task.name for task in found[:3])}")
    raise TaskError(f"{what} fits no task that was selected")


def folders_of(path: Path) -> list[str]:
    """The names on the way to a file, nearest first, the file's own without its ending."""
    return [path.stem, *reversed(path.parent.parts)]
