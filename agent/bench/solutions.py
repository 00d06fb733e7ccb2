"""Kernels that others wrote: a folder of files, matched to the tasks of a suite.

A suite whose solutions have a form of their own says how they become kernels (:mod:`kernelwright.tasks.suites.solution`).
Other files define ``ModelNew``; two layouts of the field are read. In a tree, a file belongs to the task with the same leading
integer (``12_gemm.py``, ``12.py``) and the same level, where a folder above says one (``level1``, ``level_1``); else to the
task of that name, which the file or the folder that it lies in has. KernelBench's own runs name level, problem and sample:
``level_1_problem_12_sample_0_kernel.py``. Nothing of a file is executed here: it is parsed, and judged like any other kernel.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from kernelwright.agent.bench.plan import Submission, is_bench, load
from kernelwright.agent.cli.defaults import language
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.tasks.errors import InputError, TaskError, WriterError
from kernelwright.tasks.records import Answer, Attempt, Kernel, Task
from kernelwright.tasks.suites.solution import CUDA, Adopted, compiles_cuda, loads_inline
from kernelwright.tasks.suites.suite import open_suite

WRITER = "submitted"
_RUN_FILE = re.compile(r"level_(\d+)_problem_(\d+)_sample_(\d+)(?:_kernel)?")
_LEVEL = re.compile(r"level[_-]?(\d+)", re.IGNORECASE)
_SAMPLE = re.compile(r"(?:^|[_-])sample[_-]?(\d+)(?=[_-]|$)", re.IGNORECASE)
_LEADING = re.compile(r"(\d+)(?=_|$)")
_MOST_BYTES = 4_000_000

Adopt = Callable[[Path, str], "Adopted | None"]
"""(file, its text) -> the kernel that it holds in the suite's own form, or None; raises ``TaskError`` with what is wrong."""


@dataclass(frozen=True)
class Found:
    """What a folder of solutions holds."""

    submissions: tuple[Submission, ...]
    """Task by task, samples from 1 in the order of the files' own numbers and names."""
    unknown: Mapping[str, str]
    """File -> why it is not judged."""

    @property
    def samples(self) -> int:
        return max((s.sample for s in self.submissions), default=0)


@dataclass(frozen=True)
class _Place:
    """What a path says of the file."""

    level: str | None
    number: str | None
    names: tuple[str, ...]
    """The file's name and the folders' above it, nearest first, in small letters."""
    sample: int


def find(
    folder: Path, tasks: Sequence[Task], backend: str | None = None, adopt: Adopt | None = None, no_inline: str = CUDA
) -> Found:
    """The solutions in ``folder``; a file that fits no task, or is no kernel, is named and the rest goes on.

    ``backend`` is every file's; None: what each file's text says. ``adopt``: reads files of the suite's own form.
    ``no_inline``: why kernels that PyTorch's ``load_inline`` would build are not judged; empty: they are.

    Raises:
        InputError: there is no such folder, or no file in it fits a task.
    """
    if not folder.is_dir():
        raise InputError(f"--solutions is {str(folder)!r}, and there is no such folder", "give the folder with the kernels")
    fitting: list[tuple[str, int, str, str]] = []
    unknown: dict[str, str] = {}
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        place = _place(Path(name))
        try:
            found = _solution(path, place, tasks, adopt, no_inline)
            fitting.append((found.task, place.sample, name, found.source))
        except TaskError as error:
            unknown[name] = error.message
    if not fitting:
        some = "; ".join(f"{name}: {why}" for name, why in list(unknown.items())[:3]) or "it is empty"
        problem = f"no file in {folder} is a kernel for a task of the suite: {some}"
        raise InputError(problem, "see docs/bench.md for the layouts that are read")
    return Found(tuple(_numbered(fitting, [task.name for task in tasks], backend)), unknown)


def adopting(suite: str, root: Path | None, tasks: Sequence[Task]) -> Adopt | None:
    """How files of the suite's own form become kernels; None where it has none."""
    own = getattr(open_suite(suite), "adopt", None) if root is not None else None
    return None if own is None else lambda path, text: cast("Adopted | None", own(path, text, tasks, root))


def _solution(path: Path, place: _Place, tasks: Sequence[Task], adopt: Adopt | None, no_inline: str) -> Adopted:
    """The kernel in a file.

    Raises:
        TaskError: it holds none, or none that can be judged for a task; says why.
    """
    if path.suffix != ".py" and not (adopt is not None and path.suffix == ".json"):
        raise TaskError("no Python file")
    source = _read(path)
    found = adopt(path.resolve(), source) if adopt is not None else None
    if found is not None:
        return found
    if path.suffix != ".py":
        raise TaskError("no Python file, and no solution of the suite")
    if not _defines_kernel(source):
        raise TaskError("defines no class ModelNew" + ("" if adopt is None else ", and is no solution of the suite"))
    if compiles_cuda(source) and (no_inline or not loads_inline(source)):
        raise TaskError(no_inline if loads_inline(source) else CUDA)
    return Adopted(_fit(place, tasks).name, source)


def _numbered(fitting: Sequence[tuple[str, int, str, str]], order: Sequence[str], backend: str | None) -> Iterator[Submission]:
    """In the tasks' order, with samples from 1."""
    for task in order:
        own = sorted(entry for entry in fitting if entry[0] == task)
        for n, (_, _, path, source) in enumerate(own, 1):
            yield Submission(task, n, path, backend or language(source), source)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield path


def _place(path: Path) -> _Place:
    stem = path.stem
    named = _RUN_FILE.fullmatch(stem)
    if named:
        return _Place(str(int(named.group(1))), str(int(named.group(2))), (), int(named.group(3)))
    above = tuple(reversed(path.parent.parts))
    levels = [m.group(1) for part in above if (m := _LEVEL.search(part))]
    samples = [m.group(1) for part in (stem, *above) if (m := _SAMPLE.search(part))]
    names = tuple(_SAMPLE.sub("", part) for part in (stem, *above))
    numbers = [m.group(1) for part in names[:2] if (m := _LEADING.match(part))]
    level = str(int(levels[0])) if levels else None
    number = str(int(numbers[0])) if numbers else None
    return _Place(level, number, tuple(n.lower() for n in names), int(samples[0]) if samples else 0)


def _fit(place: _Place, tasks: Sequence[Task]) -> Task:
    """The task that a file is for.

    Raises:
        TaskError: there is none.
    """
    for found in (_by_name(place, tasks), _by_number(place, tasks)):
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(task.name for task in found[:3])
            raise TaskError(f"fits several tasks: {several}; put it below a folder level<N>")
    raise TaskError("fits no task that was selected: neither its leading integer nor its name is one's")


def _by_name(place: _Place, tasks: Sequence[Task]) -> list[Task]:
    """The nearest name that is a task's entry, with or without the entry's leading integer."""
    for name in place.names[:2]:
        exact = [task for task in _of_level(place, tasks) if name == _entry(task)]
        found = exact or [task for task in _of_level(place, tasks) if name == re.sub(r"^\d+_", "", _entry(task))]
        if found:
            return found
    return []


def _by_number(place: _Place, tasks: Sequence[Task]) -> list[Task]:
    if place.number is None:
        return []
    numbers = ((task, _LEADING.match(_entry(task))) for task in _of_level(place, tasks))
    return [task for task, m in numbers if m and str(int(m.group(1))) == place.number]


def _of_level(place: _Place, tasks: Sequence[Task]) -> list[Task]:
    """The tasks of the file's level; all where either says none."""
    if place.level is None:
        return list(tasks)
    of_task = ((task, _LEVEL.search("/".join(task.name.split("/")[1:-1]))) for task in tasks)
    return [task for task, m in of_task if m is None or str(int(m.group(1))) == place.level]


def _entry(task: Task) -> str:
    return task.name.removesuffix(".py").rstrip("/").split("/")[-1].lower()


def _read(path: Path) -> str:
    """A file's text.

    Raises:
        TaskError: it has none that can be read.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise TaskError(f"larger than {_MOST_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TaskError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TaskError("no UTF-8 text") from error


def _defines_kernel(source: str) -> bool:
    """Whether there is a ``ModelNew``. A text that does not parse is a kernel where it names it: the judge says so of it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "ModelNew" in source
    return any(isinstance(node, ast.ClassDef) and node.name == "ModelNew" for node in ast.walk(tree))


class Submitted:
    """A writer that hands in the bench's submissions; each run of the bench has its own sample of them."""

    name = WRITER

    def __init__(self, setup: Setup) -> None:
        bench, place = setup.run.partition("-s")[0], Workspace(setup.home, setup.store)
        plan = load(bench, place) if is_bench(bench, place) else None
        samples = {part.run: part.sample for part in plan.parts()} if plan else {}
        if plan is None or setup.run not in samples:
            remedy = "kernels of others are judged by `kernelwright bench --solutions DIR`"
            raise WriterError(f"--model {WRITER} belongs to a bench, and run {setup.run!r} is no part of one", remedy)
        self._author = plan.author
        self._own = {s.task: s for s in plan.submissions if s.sample == samples[setup.run]}

    def write(self, assignment: Assignment) -> Answer:
        given = self._own[assignment.task.name]
        kernel = Kernel(given.source, given.backend)
        return Answer(given.source, kernel, strategy=f"handed in as {given.path}", model=self._author)

    def told(self, attempt: Attempt) -> None:
        return None

    def close(self) -> None:
        return None
