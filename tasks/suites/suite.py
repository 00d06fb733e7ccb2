"""What a suite is: a reader of somebody's own clone that makes tasks of its entries. Executes nothing of the clone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.load import load_suite
from kernelwright.tasks.records import Task
from kernelwright.tasks.resolve import resolve
from kernelwright.tasks.scaling import check_scale, scaled


@dataclass(frozen=True)
class Selection:
    """Which entries of a suite to load, and how large."""

    levels: tuple[str, ...] = ()
    """Levels or categories; ``2`` is ``level2``. None given: all."""
    names: tuple[str, ...] = ()
    """Names, their last part, or the number that this starts with (``23`` is ``23_Softmax``). None given: all."""
    scale: float | None = None
    """Wanted size over shipped size, at most 1; None: as shipped. What it does to an entry is the adapter's to say."""

    def wants(self, level: str, name: str) -> bool:
        """Whether the entry ``name`` of ``level`` is selected."""
        return self._wants_level(level) and self._wants_name(name)

    def _wants_level(self, level: str) -> bool:
        return not self.levels or bool({level, level.removeprefix("level").lstrip("_")} & set(self.levels))

    def _wants_name(self, name: str) -> bool:
        last = name.split("/")[-1]
        number = last.partition("_")[0]
        return not self.names or bool({name, last, number if number.isdigit() else last} & set(self.names))


@dataclass(frozen=True)
class Loaded:
    """What a clone gave."""

    tasks: tuple[Task, ...]
    left_out: Mapping[str, str]
    """Entry -> why there is no task for it."""
    notes: tuple[str, ...] = ()
    """What a reader of figures on this suite should know."""


class Suite(Protocol):
    """One suite's adapter. A task's name is ``<suite>/<level or category>/<entry>``."""

    name: str
    summary: str

    def load(self, root: Path, select: Selection) -> Loaded:
        """The selected entries of the clone at ``root``; one that makes no task is left out with the reason.

        Raises:
            TaskError: ``root`` is no clone of this suite, or of another version than the adapter reads.
        """


def open_suite(name: str) -> Suite:
    """The adapter called ``name``: a key of ``SUITES``, or the import path ``module:Class`` of a user's own.

    Raises:
        UnknownName: there is none; lists what there is.
    """
    from kernelwright.tasks.suites import SUITES

    found = resolve("suite", name, SUITES)
    suite = found() if isinstance(found, type) else found
    if not callable(getattr(suite, "load", None)):
        raise UnknownName(f"suite {name!r} has no load(root, select)", "see docs/suites.md for what a suite defines")
    adapter: Suite = suite
    return adapter


def load_tasks(suite: str, path: Path | None, select: Selection) -> Loaded:
    """The tasks of a suite: of a clone at ``path``, or without one of the library.

    Raises:
        TaskError: ``path`` is no clone of the suite; UnknownName: no such suite.
        InputError: nothing of it is selected, or a scale that is none.
    """
    from kernelwright.tasks.suites import SUITES

    check_scale(select.scale)
    if path is not None:
        found = open_suite(suite).load(path, select)
        tasks = tuple(replace(task, path=_inside(task.path, path)) for task in found.tasks)
        loaded = Loaded(tasks, found.left_out, found.notes)
    elif suite in SUITES or ":" in suite:
        raise InputError(f"the suite {suite} is read from your own clone", "give --path DIR")
    else:
        wanted = [t for t in load_suite(suite) if select.wants(t.name.split("/")[-2], t.name)]
        loaded = Loaded(tuple(scaled(t, select.scale) for t in wanted), {})
    if not loaded.tasks and not loaded.left_out:
        chosen = ", ".join([*select.levels, *select.names])
        raise InputError(f"the suite {suite} has no tasks called {chosen}", "`kernelwright tasks --suite …` lists it")
    return loaded


def _inside(path: str, root: Path) -> str:
    """A path within a clone: a run's record travels, and where the clone lies is nobody else's business."""
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path
