"""Execute a task's reference for given sizes. Trusted code, on the judge's side only."""

from __future__ import annotations

import linecache
import sys
import types
from collections.abc import Mapping
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.shapes import with_sizes


class Refused(Exception):
    """The reference cannot be judged against; the message says why."""


def execute(task: Task, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The reference's module namespace for given sizes. Trusted code; its own file name is kept for messages."""
    try:
        source = with_sizes(task.source, sizes)
    except TaskError as error:
        raise Refused(str(error)) from error
    name = f"reference_{abs(hash((task.path, tuple(sorted(sizes.items()))))):x}"
    filename = f"<{name}>"
    module = types.ModuleType(name)
    module.__file__ = task.path or filename  # the compiler asks where a class comes from
    sys.modules[name] = module
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), module.__dict__)
    for needed in ("Model", "get_inputs"):
        if needed not in module.__dict__:
            raise Refused(f"the reference defines no {needed}")
    module.__dict__.setdefault("get_init_inputs", list)
    return module.__dict__
