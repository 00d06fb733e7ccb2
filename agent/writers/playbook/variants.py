"""Sizes to trace a reference at: the task's own cases, and changed ones, so that every dimension shows what it depends on."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task, Use
from kernelwright.tasks.shapes import integers, with_sizes

SMALL = 16
"""Integers below this are taken for hyperparameters (taps, strides, heads): changed one at a time."""
_PLACE, _PLACES = re.compile(r"(^|_)(dim|axis)$"), 8
"""Names of integers that say which dimension, where below so much: another value is another program, and they stay."""
CASES = 3
"""Of the task's own shapes at most so many are traced."""


def variants(task: Task, device: str) -> tuple[list[list[str]], int]:
    """Lists of alternative sources, of each of which the first that exports counts, and how many of the lists are of the task's
    own shapes, the first ones. The others are no sizes to make schedules for."""
    own = _own(task, device)
    base = {n: v for n, v in {**_integers(task.source), **own[0]}.items() if v >= _PLACES or not _PLACE.search(n.lower())}
    large = {n: v for n, v in base.items() if v >= SMALL}
    lists: list[list[Mapping[str, int]]] = [[sizes] for sizes in own]
    lists.append([*_joint(base, 1)[:3], *_joint(large, 1), *_joint(dict(list(large.items())[:1]), 1)])
    lists.append([*_joint(base, 2)[:3], *_joint(large, 2)])
    for name, value in base.items():
        if name in large:
            lists.append([{name: value * 2}, {name: value + 1}, {name: value * 3}])
        elif value > 1:
            lists.append([{name: value + 1}, {name: value * 2}, {name: value - 1}])
    written = [[s for s in (_source(task, {**own[0], **sizes}) for sizes in alternatives) if s] for alternatives in lists]
    return [sources for sources in written if sources], sum(bool(sources) for sources in written[: len(own)])


def _integers(source: str) -> dict[str, int]:
    try:
        return dict(integers(source))
    except TaskError:
        return {}


def _own(task: Task, device: str) -> list[Mapping[str, int]]:
    """Sizes of the task's own cases: the first few, and the largest of those that are timed, for which schedules are made."""
    cases = task.cases_for(device, Use.TIMING, Use.CORRECTNESS) or task.cases_for("cpu", Use.TIMING, Use.CORRECTNESS)
    plain = [case for case in cases if not case.derived and case.leading is None]
    timed = sorted((c for c in plain if c.use is Use.TIMING), key=lambda c: math.prod(c.sizes.values()))
    found: list[Mapping[str, int]] = []
    for case in [*timed[-1:], *plain]:
        if case.sizes not in found:
            found.append(case.sizes)
    few = found[:CASES] or [{}]
    return [*few[1:], *few[:1]]


def _joint(sizes: Mapping[str, int], number: int) -> list[dict[str, int]]:
    """All of ``sizes`` changed at once, each differently; then in ways that keep divisions."""
    names = list(sizes)
    if not names:
        return []
    return [
        {n: sizes[n] + number * 2 + 1 + 2 * i * number for i, n in enumerate(names)},
        {n: sizes[n] * (number + 1 + i) for i, n in enumerate(names)},
        {n: sizes[n] * (number + 1) for n in names},
        {n: max(1, sizes[n] // (number + 1)) for n in names},
    ]


def _source(task: Task, sizes: Mapping[str, int]) -> str:
    try:
        return with_sizes(task.source, dict(sizes))
    except TaskError:
        return ""
