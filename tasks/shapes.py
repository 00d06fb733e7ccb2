"""Shapes of a task: the reference's module-level integers, replaced; further shapes derived for a plain file."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import ShapeCase, Use
from kernelwright.tasks.slots import Readers, constant, find_slots, parse, rewrite

_SIZE_FROM = 16
"""An integer that the constructor reads and that is below this is a hyperparameter (kernel size, stride, heads)."""
_SETTING = re.compile("group|head|kernel|stride|pad|dilat|patch|block|window|layer|depth|stage|ratio|expert|top_?k|seed")
"""Names of integers that are hyperparameters at any value, unless an input has them as a dimension."""
_SMALL_WORK, _HELD_OUT_WORK = 2**20, 2**22
"""Caps on the product of all sizes: the oracle runs in float64, several times a case."""


def integers(source: str) -> dict[str, int]:
    """Module-level integers of ``source`` by name, in order; names given by expressions of others follow by themselves.

    Raises:
        TaskError: the text does not parse.
    """
    return {slot.name: slot.value for slot in find_slots(parse(source)) if slot.name.isidentifier()}


def with_sizes(source: str, sizes: Mapping[str, int]) -> str:
    """``source`` with module-level integers replaced; every other character stays.

    An element of a literal is named by its place: ``{"input_shape[0]": 7}`` for ``input_shape = (32768,)``.

    Raises:
        TaskError: a name that is no such integer, or a value that is none.
    """
    slots = find_slots(parse(source))
    names = [slot.name for slot in slots]
    for name, value in sizes.items():
        if name not in names:
            known = ", ".join(dict.fromkeys(names)) or "none"
            raise TaskError(f"the reference has no module-level integer {name!r}", f"it has: {known}")
        if type(value) is not int:
            raise TaskError(f"size {name} is {value!r}, expected an integer", "give a whole number")
    return rewrite(source, slots, sizes)


def derive(source: str) -> tuple[ShapeCase, ...]:
    """Cases for a file with one shape: that shape to time and to check, and smaller, unaligned ones derived from it.

    Derived cases are candidates, best first, in stems: ``unaligned``, ``unaligned-divisible``, ``unaligned-batch`` are
    ways to the same end. What the reference does not accept is to be dropped: see :func:`keep_accepted`.

    Raises:
        TaskError: the text does not parse.
    """
    tree = parse(source)
    plan = _plan(tree)
    cases = [ShapeCase("given", Use.TIMING), ShapeCase("given", Use.CORRECTNESS)]
    seen: set[tuple[object, ...]] = set()
    for name, sizes, leading in _candidates(plan):
        changed = {k: v for k, v in sizes.items() if v != plan.sizes[k]}
        key = (name.partition("-")[0], leading, *sorted(changed.items()))
        if key in seen or not (changed or leading):
            continue
        seen.add(key)
        use = Use.CORRECTNESS if name.startswith("small") else Use.HELD_OUT
        cases.append(ShapeCase(name, use, changed, derived=True, leading=leading))
    return tuple(cases)


def keep_accepted(cases: Iterable[ShapeCase], accepts: Callable[[ShapeCase], bool]) -> tuple[ShapeCase, ...]:
    """``cases`` without the derived ones that ``accepts`` turns down; of each stem only the first accepted stays."""
    kept: list[ShapeCase] = []
    stems: set[str] = set()
    for case in cases:
        stem = case.name.partition("-")[0]
        if not case.derived:
            kept.append(case)
        elif stem not in stems and accepts(case):
            stems.add(stem)
            kept.append(case)
    return tuple(kept)


def shrunk(source: str, scale: float, only_batch: bool = False) -> dict[str, int]:
    """Sizes at which the work is at most ``scale`` times the given one; only those that change, none where nothing may.

    Batches shrink first, to 4, then all sizes alike, to about 32, each a multiple of what it is divided by; a batch that
    another size equals is left for the second step. Dimensions that are literals in the text stay, so that the wanted
    scale may not be reached. Does not see sizes that hang together in the code of ``Model``: for those ``only_batch``.

    Raises:
        TaskError: the text does not parse.
    """
    plan = _plan(parse(source))
    limit, floors = scale * plan.work(plan.sizes), _small(plan)
    others = {v for n, v in plan.sizes.items() if n not in plan.batch}
    sizes = dict(plan.sizes)
    batch = tuple(n for n in plan.batch if plan.sizes[n] not in others)
    for names in (batch,) if only_batch else (batch, tuple(plan.sizes)):
        fraction = 1.0
        while plan.work(sizes) > limit and fraction > 0.0001:  # the floors are reached long before
            fraction *= 0.9
            fitted = {n: _fitted(plan.sizes[n], plan.multiple[n], fraction, floors[n]) for n in names}
            together = {plan.sizes[n]: max(f for m, f in fitted.items() if plan.sizes[m] == plan.sizes[n]) for n in names}
            sizes |= {n: together[plan.sizes[n]] for n in names}
    return {n: v for n, v in sizes.items() if v != plan.sizes[n]}


def shrinkable(source: str) -> dict[str, int]:
    """The sizes that may be rescaled, and what each must stay a multiple of to keep the divisions it has now.

    Raises:
        TaskError: the text does not parse.
    """
    plan = _plan(parse(source))
    return {name: plan.multiple[name] for name in plan.sizes}


def _fitted(value: int, multiple: int, fraction: float, floor: int) -> int:
    """``fraction`` of ``value``, a multiple of ``multiple`` where one fits between ``floor`` and ``value``."""
    return min(value, max(floor, int(fraction * value) // multiple * multiple))


@dataclass(frozen=True)
class _Plan:
    """What may be rescaled in a plain file."""

    sizes: Mapping[str, int]
    batch: tuple[str, ...]
    """Sizes that only ever lead an input's shape."""
    multiple: Mapping[str, int]
    """Size -> what it must stay a multiple of to keep the divisions it has now (heads, groups, patches)."""
    loose: Mapping[str, int]
    """The same, for sizes that the constructor reads; the others are free."""
    power: Mapping[str, int]
    """Size -> how its growth multiplies the work: 1, or more where one input has it in several dimensions."""
    fixed: int
    """Elements that an input's literal dimensions multiply to."""
    extent: int | None
    """The first input's leading dimension where the text gives it."""

    def work(self, sizes: Mapping[str, int]) -> int:
        """A bound that grows as the work does: the product of all sizes."""
        return self.fixed * math.prod(v for n, v in sizes.items() for _ in range(self.power[n]))


def _plan(tree: ast.Module) -> _Plan:
    slots = find_slots(tree)
    readers = Readers(tree, slots)
    values = {slot.name: slot.value for slot in slots}
    by_inputs, by_init = readers.read_by("get_inputs"), readers.read_by("get_init_inputs")
    sizes = {n: v for n, v in values.items() if _is_size(n, v, n in by_inputs, n in by_init)}
    shapes = list(readers.factory_shapes("get_inputs"))
    leads = {name for shape in shapes if isinstance(shape[0], frozenset) for name in shape[0]}
    inner = {name for shape in shapes for dim in shape[1:] if isinstance(dim, frozenset) for name in dim}
    settings = {values[n] for n in by_inputs | by_init if n not in sizes} | _literals(readers)
    batch = tuple(n for n in sizes if n in leads - inner)
    multiple = {name: 1 if name in batch else _multiple(value, settings) for name, value in sizes.items()}
    loose = {name: times if name in by_init else 1 for name, times in multiple.items()}
    power = {name: _power(name, shapes) for name in sizes}
    fixed = max([math.prod(d for d in shape if isinstance(d, int)) for shape in shapes], default=1)
    first = shapes[0][0] if shapes else None
    return _Plan(sizes, batch, multiple, loose, power, fixed, first if isinstance(first, int) else None)


def _power(name: str, shapes: Iterable[Iterable[frozenset[str] | int]]) -> int:
    """1; for a size that one input has in n > 1 dimensions n + 1, since such inputs meet in matrix products."""
    times = max([sum(isinstance(d, frozenset) and name in d for d in shape) for shape in shapes], default=0)
    return times + 1 if times > 1 else 1


def _is_size(name: str, value: int, by_inputs: bool, by_init: bool) -> bool:
    if by_inputs:
        return "seed" not in name and (value >= _SIZE_FROM or (value >= 2 and not by_init))
    return by_init and value >= _SIZE_FROM and not _SETTING.search(name.lower().replace("_", ""))


def _literals(readers: Readers) -> set[int]:
    """Integer literals that stand in ``get_init_inputs`` itself."""
    function = readers.function("get_init_inputs")
    nodes = [] if function is None else list(ast.walk(function))
    return {v for n in nodes if isinstance(n, ast.expr) and (v := constant(n)) is not None}


def _multiple(value: int, settings: set[int]) -> int:
    common = math.lcm(*[s for s in settings if 2 <= s < value and value % s == 0])
    return common if common <= value // 2 else value


def _odd(value: float) -> int:
    return max(1, int(value) - 1 + int(value) % 2)


def _candidates(plan: _Plan) -> Iterator[tuple[str, dict[str, int], int | None]]:
    """(name, sizes, leading) of every derived case, best first within a stem."""
    small, ragged = _small(plan), _ragged(plan)
    yield "small", small, None
    yield "small-batch", {n: small[n] for n in plan.batch}, None
    yield "unaligned", ragged, None
    yield "unaligned-divisible", _divisible(plan, plan.loose), None
    yield "unaligned-multiples", _divisible(plan, plan.multiple), None
    yield "unaligned-batch", {n: _odd(min(0.37 * plan.sizes[n], 7)) for n in plan.batch}, None
    if len(plan.sizes) > len(plan.batch):
        yield "narrow", _narrow(plan, ragged, plan.loose), None
        yield "narrow-multiples", _narrow(plan, ragged, plan.multiple), None
    if plan.batch:
        yield "single", {n: 1 if n in plan.batch else small[n] for n in plan.sizes}, None
        yield "single-batch", dict.fromkeys(plan.batch, 1), None
    elif plan.extent is None or plan.extent > 1:
        extent = plan.extent or 19
        yield "small-leading", {}, min(4, (extent + 1) // 2)
        yield "unaligned-leading", {}, _odd(min(0.37 * extent, 7))
        yield "single-leading", {}, 1


def _small(plan: _Plan) -> dict[str, int]:
    """Sizes at or just above 32, less where that is too much work; a batch of 4 beside other sizes."""
    sizes: dict[str, int] = {}
    for target in (32, 24, 16, 8):
        for name, value in plan.sizes.items():
            alone = len(plan.sizes) == 1 or name not in plan.batch
            sizes[name] = _near(value, plan.multiple[name], target) if alone else min(value, 4)
        if plan.work(sizes) <= _SMALL_WORK:
            break
    return sizes


def _near(value: int, multiple: int, target: int) -> int:
    """A multiple of ``multiple`` at or just above ``target``, at least twice it, and not above ``value``."""
    return min(value, multiple * max(2, math.ceil(target / multiple)))


def _ragged(plan: _Plan) -> dict[str, int]:
    """Odd sizes, all different where the given ones leave room, so that no two dimensions can be mistaken."""

    def sizes(fraction: float) -> dict[str, int]:
        wanted = {n: _odd(fraction * v) - 2 * i for i, (n, v) in enumerate(plan.sizes.items())}
        return {n: max(_odd(min(plan.sizes[n], 3)), v) for n, v in wanted.items()}

    return _shrink(plan, sizes)


def _divisible(plan: _Plan, multiple: Mapping[str, int]) -> dict[str, int]:
    """Odd multiples of what each size is divided by; equal sizes stay equal."""

    def sizes(fraction: float) -> dict[str, int]:
        times = {n: v / multiple[n] for n, v in plan.sizes.items()}
        return {n: multiple[n] * max(_odd(min(t, 3)), _odd(fraction * t)) for n, t in times.items()}

    return _shrink(plan, sizes)


def _shrink(plan: _Plan, sizes: Callable[[float], dict[str, int]]) -> dict[str, int]:
    """``sizes`` of the largest fraction, from 0.37 down, that is cheap enough."""
    fraction = 0.37
    while plan.work(sizes(fraction)) > _HELD_OUT_WORK and fraction > 0.001:
        fraction *= 0.8
    return sizes(fraction)


def _narrow(plan: _Plan, batch: Mapping[str, int], multiple: Mapping[str, int]) -> dict[str, int]:
    """All but the batch shorter than any vector or tile, where divisions allow."""
    short = {n: multiple[n] * (5 if index % 2 else 7) for index, n in enumerate(plan.sizes)}
    return {n: batch[n] if n in plan.batch else min(v, short[n]) for n, v in plan.sizes.items()}
