"""GPU MODE's submissions: a Python file with ``custom_kernel(data)``, as a kernel with ``forward(data)``.

A submission belongs to the problem that a folder above it, its own name or its line ``#!POPCORN leaderboard NAME`` names. What
it imports of the suite's ``task.py`` and ``utils.py`` is put into its text; device literals follow the judge's device.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.solution import Adopted, check_language, chosen, folders_of
from kernelwright.tasks.suites.text import defined, devices_as, imports, without

_NAMED = re.compile(r"^#!POPCORN\s+leaderboard\s+(\S+)", re.MULTILINE)
_OWN = ("task", "utils")
_HEAD = """import contextlib
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""
_TAIL = '''

class ModelNew(torch.nn.Module):
    """The submission's ``custom_kernel``."""

    def forward(self, data):
        return custom_kernel(data)
'''


def is_submission(text: str) -> bool:
    """Whether a text defines ``custom_kernel``; one that does not parse does where it says so."""
    try:
        return isinstance(defined(text).get("custom_kernel"), (ast.FunctionDef, ast.Assign))
    except TaskError:
        return "def custom_kernel" in text


def problem_of(path: Path, text: str, tasks: Sequence[Task]) -> Task:
    """The task that a submission is for.

    Raises:
        TaskError: none that was selected, or several.
    """
    parts = folders_of(path)
    named = _NAMED.search(text)
    for name in [*([named.group(1)] if named else []), *parts]:
        found = [task for task in tasks if task.name.split("/")[-1] == name]
        if found:
            return chosen(found, path, "it")
    return chosen([], path, "it")


def adopted(task: Task, text: str, helpers: Mapping[str, str]) -> Adopted:
    """The kernel in a submission. ``helpers``: module -> what of its text the submission uses.

    Raises:
        TaskError: it does not parse, or needs what is not here.
    """
    check_language(text, _OWN)
    head = "from __future__ import annotations\n" if "from __future__ import annotations" in text else ""
    body = without(text, imports({*_OWN, "__future__"}))
    parts = [part for part in (*helpers.values(), body) if part]
    return Adopted(task.name, f"{head}{_HEAD}\n{devices_as(chr(10).join(parts), 'DEVICE')}{_TAIL}")
