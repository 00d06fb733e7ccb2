"""A task with smaller timing shapes, for machines that the shipped ones are too large for. Executes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from kernelwright.tasks.errors import InputError
from kernelwright.tasks.expression import ITEMSIZE, evaluate
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.shapes import derive, integers, shrinkable, shrunk, with_sizes

_FLOOR, _ALIGNED = 32, 64
"""No size shrinks below the first; a size keeps what it has in common with the second while that leaves room."""


def check_scale(scale: float | None) -> None:
    """See that a scale is one.

    Raises:
        InputError: it is not above 0 and at most 1.
    """
    if scale is not None and not 0 < scale <= 1:
        raise InputError(f"the scale is {scale}", "give the work wanted over the work as shipped, such as 0.01")


def scaled(task: Task, scale: float | None) -> Task:
    """``task`` with at most ``scale`` times the bytes and the operations in each timing case; None or 1: as it is.

    Correctness and held-out cases are small as they are and stay. A task's ``shrinks`` are the sizes that shrink, by
    one fraction; without it all that the inputs and the constructor read do. Sizes stay multiples of what the reference
    divides them by and of up to 64, and at or above 32, so that the wanted scale may not be reached. Of a plain file all
    cases are derived anew from smaller sizes.

    Raises:
        InputError: a scale that is none.
        TaskError: the reference does not parse.
    """
    check_scale(scale)
    if scale is None or scale == 1:
        return task
    if any(case.derived for case in task.cases):
        source = with_sizes(task.source, shrunk(task.source, scale))
        return replace(task, source=source, cases=derive(source), scale=scale)
    cases = tuple(_smaller(task, case, scale) if case.use is Use.TIMING else case for case in task.cases)
    return replace(task, cases=cases, scale=scale)


def _smaller(task: Task, case: ShapeCase, scale: float) -> ShapeCase:
    sizes = {**integers(task.source), **case.sizes}
    keeps = shrinkable(with_sizes(task.source, case.sizes))
    keeps = {name: keeps.get(name, 1) for name in task.shrinks or keeps}
    share = _share(task, case, sizes, tuple(keeps))
    fraction, found = 1.0, sizes
    while share(found) > scale and fraction > 1e-5:  # the floors are reached long before
        fraction *= 0.95
        fitted = {name: _fitted(sizes[name], keep, fraction) for name, keep in keeps.items()}
        # What is equal stays equal: one may stand for the other in the code of Model.
        found = sizes | {n: max(f for m, f in fitted.items() if sizes[m] == sizes[n]) for n in fitted}
    return replace(case, sizes={**case.sizes, **{name: found[name] for name in keeps if found[name] != sizes[name]}})


def _fitted(value: int, keep: int, fraction: float) -> int:
    floor = min(value, keep * math.ceil(_FLOOR / keep))
    wanted = max(floor, int(fraction * value))
    multiple = math.lcm(keep, math.gcd(value, _ALIGNED))
    while multiple > keep and (multiple > wanted or multiple % keep):
        multiple = keep if multiple % 2 else multiple // 2
    return max(floor, wanted // multiple * multiple)


def _share(
    task: Task, case: ShapeCase, sizes: Mapping[str, int], names: tuple[str, ...]
) -> Callable[[Mapping[str, int]], float]:
    """Sizes -> the larger of their bytes and their operations over those of ``sizes``."""
    itemsize = ITEMSIZE[case.dtypes[0]]
    expressions = [e for e in (task.bytes, task.flops) if e] or [" * ".join(names) or "1"]

    def values(at: Mapping[str, int]) -> list[float]:
        return [evaluate(e, {**at, "itemsize": itemsize}) for e in expressions]

    whole = values(sizes)
    return lambda at: max(now / before for now, before in zip(values(at), whole, strict=True))
