"""Which schedule a nest gets on a GPU, and which of its axes lie along a tile: from its accesses and the traced sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kernelwright.agent.writers.playbook.expr import Expr, Load, Op, Scalar
from kernelwright.agent.writers.playbook.index import ONE, Axis, Poly, estimate, product
from kernelwright.agent.writers.playbook.ir import Loop, Nest, Program, Reduce
from kernelwright.agent.writers.playbook.simplify import coefficient
from kernelwright.agent.writers.playbook.triton_code import Group
from kernelwright.agent.writers.playbook.triton_launch import ROW_LIMIT, tuned
from kernelwright.agent.writers.playbook.walks import expr_axes, poly_axes, walk

UNROLL = 32
"""Most points of a window that are written out."""


@dataclass(frozen=True)
class LoopPlan:
    """How the points of a loop are run through.

    ``lead`` by a counted loop, ``vector`` along tile dimension ``dim``, ``unrolled`` in the text.
    """

    lead: tuple[Axis, ...]
    vector: tuple[Axis, ...]
    unrolled: tuple[Axis, ...]
    dim: int


@dataclass(frozen=True)
class Plan:
    """The shape of a nest's kernels."""

    mode: str
    outer: tuple[Group, ...]
    """Groups of the outer axes, slowest first: scalars of the program, and at most one a tile dimension."""
    loops: Mapping[tuple[Axis, ...], LoopPlan]
    square: bool = False
    """Both tile dimensions are walked along by some access: a transposition."""

    def looped(self) -> Plan:
        """The same nest, block by block."""
        return replace(self, mode="loop")


def accesses(nest: Nest) -> list[tuple[Poly, bool]]:
    """Offsets of every load (False) and store (True)."""
    found: list[tuple[Poly, bool]] = []
    for loop in nest.phases:
        for store in loop.stores:
            found.append((store.offset, True))
        for root in roots(loop):
            found.extend((e.offset, False) for e in walk(root) if isinstance(e, Load))
    return found


def roots(loop: Loop) -> list[Expr]:
    """The expressions that a phase computes."""
    return [*(r.value for r in loop.reduces), *(s.value for s in loop.scans), *(s.value for s in loop.stores)]


def strided(nest: Nest) -> bool:
    """Whether some load is not of neighbours for neighbouring points of the last outer axis.

    Triton cannot tell then which way to lay such a tile among threads: versions to 3.6 let them run down its rows.
    """
    return not all(_neighbours(nest))


def _neighbours(nest: Nest) -> list[bool]:
    """Of each load that varies along the last outer axis: whether it is of neighbours for neighbouring points."""
    last = nest.outer[-1]
    reads = [offset for offset, stored in accesses(nest) if not stored and last in poly_axes(offset)]
    return [coefficient(offset, last) is ONE for offset in reads]


def fastest(nest: Nest) -> Axis | None:
    """The axis along which most accesses are contiguous; wide accesses count for more."""
    votes: dict[Axis, int] = {}
    for offset, _ in accesses(nest):
        width = len(poly_axes(offset))
        for monomial, weight in offset.terms:
            if len(monomial) == 1 and isinstance(monomial[0], Axis) and weight == 1:
                votes[monomial[0]] = votes.get(monomial[0], 0) + width
    return max(votes, key=lambda a: votes[a]) if votes else None


def plan(nest: Nest, program: Program, point: Mapping[str, Any]) -> Plan:
    """Choose a schedule for ``nest`` from its accesses, the traced sizes and ``point``."""
    loops = list(dict.fromkeys(loop.axes for loop in nest.phases if loop.axes))
    if not loops:
        return Plan("map", *_map_groups(nest, program, point))
    if any(loop.span is not None for loop in nest.phases):
        return _span_plan(nest, loops)
    hints = program.hints
    inner = {axis for axes in loops for axis in axes}
    fast = fastest(nest)
    extents = [estimate(product(a.extent for a in axes), hints) for axes in loops]
    outer = estimate(product(a.extent for a in nest.outer), hints)
    windows = all(_window(nest, axes) for axes in loops)
    scans = any(loop.scans for loop in nest.phases)
    if windows and not scans and nest.outer and (fast not in inner or _overlapping(nest, inner)):
        outer_groups, _, square = _map_groups(nest, program, point)
        return Plan("loop", outer_groups, {axes: LoopPlan((), (), axes, 1) for axes in loops}, square)
    if fast in inner or not nest.outer or fast is None:
        return _row_plan(nest, program, point, loops, extents, outer)
    return _column_plan(nest, program, point, loops, extents, outer, fast)


def _overlapping(nest: Nest, inner: set[Axis]) -> bool:
    """Whether neighbouring outer points read overlapping or interleaved elements, as pooling windows do."""
    for offset, stored in accesses(nest):
        steps = {m[0]: w for m, w in offset.terms if len(m) == 1 and isinstance(m[0], Axis)}
        span = [a.extent.const or 0 for a in steps if a in inner]
        if not stored and span and any(w < max(span) for a, w in steps.items() if a not in inner):
            return True
    return any(len(loop.axes) > 1 for loop in nest.phases)


def _window(nest: Nest, axes: tuple[Axis, ...]) -> bool:
    size = product(a.extent for a in axes).const
    return size is not None and size <= UNROLL


def _map_groups(
    nest: Nest, program: Program, point: Mapping[str, Any]
) -> tuple[tuple[Group, ...], Mapping[tuple[Axis, ...], LoopPlan], bool]:
    axes = nest.outer
    if not axes:
        return (), {}, False
    if len(axes) == 1 or estimate(axes[-1].extent, program.hints) < 32 or tuned(point, "outer_tile") == "flat":
        return (Group(axes, 1, "c", "BC"),), {}, False
    last = axes[-1]
    unit = [
        m[0] for offset, stored in accesses(nest) if not stored and last in poly_axes(offset)
        for m, w in offset.terms if w == 1 and len(m) == 1 and m[0] in axes and m[0] != last
    ]  # fmt: skip
    if unit:  # a transposed read: both axes in the tile, the others scalars of the program
        other = unit[0]
        rest = tuple(a for a in axes if a not in (other, last))
        head = (Group(rest, None, "g", ""),) if rest else ()
        return (*head, Group((other,), 0, "r", "BR"), Group((last,), 1, "c", "BC")), {}, True
    loops = any(loop.axes for loop in nest.phases)
    if tuned(point, "outer_tile") == "auto" and not loops and not any(_neighbours(nest) or [True]):
        return (Group(axes, 1, "c", "BC"),), {}, False
    return (Group(axes[:-1], 0, "r", "BR"), Group((last,), 1, "c", "BC")), {}, False


def _mode(nest: Nest, point: Mapping[str, Any], onepass: bool, parallel: int, work: int) -> str:
    wanted = str(tuned(point, "schedule"))
    scans = any(loop.scans for loop in nest.phases)
    if wanted == "auto":
        few = parallel < 132 and work >= 4 * 4096 and not scans
        wanted = "split" if few else "row" if onepass else "loop"
    if wanted == "split" and scans:
        wanted = "row" if onepass else "loop"
    return "loop" if wanted == "row" and not onepass else wanted


def _row_plan(
    nest: Nest, program: Program, point: Mapping[str, Any], loops: list[tuple[Axis, ...]], extents: list[int], outer: int
) -> Plan:
    longest = max(extents)
    mode = _mode(nest, point, longest <= ROW_LIMIT, outer, longest)
    plans = {}
    for axes in loops:
        last = estimate(axes[-1].extent, program.hints)
        flat = mode == "row" or len(axes) == 1 or last < 256
        plans[axes] = LoopPlan((), axes, (), 1) if flat else LoopPlan(axes[:-1], axes[-1:], (), 1)
    block = min(_power(longest), 8192) if mode != "row" else _power(longest)
    rows = max(1, int(tuned(point, "row_tile")) // block) if mode == "row" else max(1, 1024 // block)
    single = rows == 1 or outer == 1
    group = Group(nest.outer, None, "r", "") if single else Group(nest.outer, 0, "r", "BR")
    return Plan(mode, (group,) if nest.outer else (), plans)


def _column_plan(
    nest: Nest,
    program: Program,
    point: Mapping[str, Any],
    loops: list[tuple[Axis, ...]],
    extents: list[int],
    outer: int,
    fast: Axis,
) -> Plan:
    columns: tuple[Axis, ...] = (fast,)
    width = estimate(fast.extent, program.hints)
    at = nest.outer.index(fast)
    while width < 32 and at > 0 and nest.outer[-1] == fast:
        at -= 1
        columns = nest.outer[at:]
        width *= estimate(nest.outer[at].extent, program.hints)
    rest = tuple(a for a in nest.outer if a not in columns)
    head = (Group(rest, None, "g", ""),) if rest else ()
    block = min(_power(width), int(tuned(point, "column_block")))
    tiles = estimate(product(a.extent for a in rest), program.hints) * -(-width // block)
    longest = max(extents)
    onepass = _power(longest) * block <= ROW_LIMIT // 2
    mode = _mode(nest, point, onepass, tiles, longest * block)
    plans = {}
    for axes in loops:
        fixed = tuple(a for a in axes if a.extent.const is not None)
        size = product(a.extent for a in fixed).const or 0
        if mode == "row":
            plans[axes] = LoopPlan((), axes, (), 0)
        elif len(axes) > 1 and fixed and size <= UNROLL:
            plans[axes] = LoopPlan(tuple(a for a in axes if a not in fixed), (), fixed, 0)
        else:
            plans[axes] = LoopPlan(axes[:-1], axes[-1:], (), 0)
    return Plan(mode, (*head, Group(columns, 1, "c", "BC")), plans)


def _span_plan(nest: Nest, loops: list[tuple[Axis, ...]]) -> Plan:
    """Bounds are scalars of the program; a further outer axis lies along the tile, the loop across it."""
    bounds = {a for loop in nest.phases for e in loop.span or () for a in expr_axes(e)}
    free = [a for a in nest.outer if a not in bounds]
    columns = free[-1:]
    rest = tuple(a for a in nest.outer if a not in columns)
    head = (Group(rest, None, "g", ""),) if rest else ()
    tile = (Group(tuple(columns), 1, "c", "BC"),) if columns else ()
    return Plan("loop", (*head, *tile), {axes: LoopPlan(axes[:-1], axes[-1:], (), 0 if columns else 1) for axes in loops})


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def spread(dim: int) -> str:
    """Indexing that puts a vector along tile dimension ``dim``."""
    return "[:, None]" if dim == 0 else "[None, :]"


def running(loop: Loop) -> set[str]:
    """Names of the scalars that a phase's scans give."""
    return {name for scan in loop.scans for name in (scan.name, f"{scan.name}_at")}


def needed(loop: Loop) -> list[str]:
    """Names of earlier reductions that a phase reads."""
    names = [e.name for root in roots(loop) for e in walk(root) if isinstance(e, Scalar)]
    own = running(loop)
    return [n for n in dict.fromkeys(names) if n not in own]


def online_pair(first: Loop, second: Loop) -> tuple[Reduce, Reduce] | None:
    """The two reductions of a softmax where ``first`` finds the maximum and ``second`` sums ``exp(value - maximum)``."""
    if first.axes != second.axes or first.stores or second.stores or len(first.reduces) != 1 or len(second.reduces) != 1:
        return None
    peak, total = first.reduces[0], second.reduces[0]
    shifted = Op("exp", (Op("sub", (peak.value, Scalar(peak.name, peak.kind)), "float"),), "float")
    return (peak, total) if (peak.op, total.op) == ("max", "sum") and total.value == shifted else None
