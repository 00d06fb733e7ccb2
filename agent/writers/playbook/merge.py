"""Nests over the same outer points become one: shared loads are read once, per-row results stay in registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kernelwright.agent.writers.playbook.expr import Expr, Load, Op, Scalar
from kernelwright.agent.writers.playbook.index import Axis, Poly
from kernelwright.agent.writers.playbook.ir import Kernel, Loop, Nest, Reduce, Store
from kernelwright.agent.writers.playbook.simplify import exprs_of, map_nest, move
from kernelwright.agent.writers.playbook.walks import DEAR, expr_scalars, loads, walk


def merge(kernels: list[Kernel]) -> list[Kernel]:
    """``kernels`` with mergeable nests joined, in an order that respects what they read."""
    result: list[Kernel] = []
    for kernel in kernels:
        if isinstance(kernel, Nest) and (folded := _folded(result, kernel)) is not None:
            result[folded[0]] = folded[1]
            continue
        place = _place(result, kernel) if isinstance(kernel, Nest) else None
        if place is None:
            result.append(kernel)
            continue
        joined = join(result[place], kernel)  # type: ignore[arg-type]
        if joined is None:
            result.append(kernel)
        else:
            result[place] = joined
    return result


def written(kernel: Kernel) -> set[str]:
    """Buffers that a kernel writes."""
    if isinstance(kernel, Nest):
        return {s.buffer for loop in kernel.phases for s in loop.stores}
    return {s.buffer for s in kernel.stores} if hasattr(kernel, "stores") else {kernel.buffer}


def _loads(nest: Nest) -> list[Load]:
    found = [load for loop in nest.phases for e in exprs_of(loop) for load in loads(e)]
    for loop in nest.phases:
        for s in loop.stores:
            found.extend(loads(Load("", s.offset, "int"))[1:])
    return found


def _place(before: list[Kernel], nest: Nest) -> int | None:
    """Where ``nest`` may move up to: an earlier nest with its outer extents that shares data with it."""
    reads = {load.buffer for load in _loads(nest)}
    extents = [a.extent for a in nest.outer]
    for place in range(len(before) - 1, -1, -1):
        other = before[place]
        if isinstance(other, Nest) and [a.extent for a in other.outer] == extents and nest.outer:
            shared = reads & ({load.buffer for load in _loads(other)} | written(other))
            if shared:
                return place
        if reads & written(other):
            return None
    return None


def _folded(before: list[Kernel], nest: Nest) -> tuple[int, Nest] | None:
    """A map that writes a result of its own which ``nest`` reads row by row, taken into it: (its place, both in one).

    A sum of residuals is an example, returned beside its norm: it is then not read from memory again.
    """
    reads = {load.buffer for load in _loads(nest)}
    for place in range(len(before) - 1, -1, -1):
        other = before[place]
        if not reads & written(other):
            continue
        rows = _by_rows(other, nest) if isinstance(other, Nest) else None
        joined = None if rows is None else join(rows, nest)
        if joined is None:
            return None
        return place, replace(joined, name=nest.name, phases=_together([*joined.phases[1:], joined.phases[0]]))
    return None


def _by_rows(first: Nest, second: Nest) -> Nest | None:
    """A cheap map over the points of ``second``, its loop along the axes that are left; None for what is no such thing."""
    phase, count = first.phases[0], len(second.outer)
    if len(first.phases) > 1 or phase.axes or not count or count >= len(first.outer):
        return None
    if any(isinstance(e, Op) and e.name in DEAR for root in exprs_of(phase) for e in walk(root)):
        return None
    left = [a.extent for a in first.outer[count:]]
    same = [a.extent for a in first.outer[:count]] == [a.extent for a in second.outer]
    if not same or not any([a.extent for a in loop.axes] == left for loop in second.phases):
        return None
    return replace(first, outer=first.outer[:count], phases=(replace(phase, axes=first.outer[count:]),))


def join(first: Nest, second: Nest) -> Nest | None:
    """The two nests as one; None where the second reads what other points of the first write."""
    change = {b: Poly.of(a) for a, b in zip(first.outer, second.outer, strict=True)}
    known = {tuple(a.extent for a in loop.axes): loop.axes for loop in first.phases if loop.axes}
    for loop in second.phases:
        for own, other in zip(loop.axes, known.get(tuple(a.extent for a in loop.axes), loop.axes), strict=True):
            change[own] = Poly.of(other)
    moved = map_nest(second, change)
    phases = [_rebase(loop, change) for loop in moved.phases]
    if any(p.scans for p in [*first.phases, *phases]):
        return None
    stored = {(s.buffer, s.offset): (s.value, loop.axes) for loop in first.phases for s in loop.stores}
    names = {r.name for loop in first.phases for r in loop.reduces}
    rename: dict[str, str] = {}
    reduces: Known = {(r.op, r.value, r.index, loop.axes, loop.span): r.name for loop in first.phases for r in loop.reduces}
    result: list[Loop] = []
    for loop in phases:
        new = _merge_loop(loop, stored, written(first), rename, (names, reduces))
        if new is None:
            return None
        if new.reduces or new.stores:
            result.append(new)
    return replace(first, phases=_together([*first.phases, *result]))


def _rebase(loop: Loop, change: Mapping[Axis, Poly]) -> Loop:
    """A phase over the axes that ``change`` (axis -> axis) gives."""
    axes = []
    for axis in loop.axes:
        target = change[axis].terms[0][0][0] if axis in change else axis
        axes.append(target if isinstance(target, Axis) else axis)
    return replace(loop, axes=tuple(axes))


Stored = Mapping[tuple[str, Poly], tuple[Expr, tuple[Axis, ...]]]
"""(buffer, offset) -> the value stored there, and the axes of the loop that stores it."""
Known = dict[tuple[object, ...], str]
"""What identifies a reduction -> its name."""


def _merge_loop(
    loop: Loop, stored: Stored, touched: set[str], rename: dict[str, str], seen: tuple[set[str], Known]
) -> Loop | None:
    """A phase of the second nest inside the first; None where it reads what other points write."""
    names, reduces = seen
    bad = False

    def leaf(node: Expr) -> Expr | None:
        nonlocal bad
        if isinstance(node, Scalar) and node.name in rename:
            return Scalar(rename[node.name], node.kind)
        if isinstance(node, Load) and node.buffer in touched:
            value = stored.get((node.buffer, node.offset))
            if value is None or not set(value[1]) <= set(loop.axes) or value[0].kind != node.kind:
                bad = True
                return None
            return value[0]
        return None

    kept = []
    for r in loop.reduces:
        value = move(r.value, {}, leaf)
        key = (r.op, value, r.index, loop.axes, loop.span)
        if key in reduces:
            rename[r.name] = reduces[key]
            continue
        name = r.name
        while name in names:
            name = f"{name}m"
        names.add(name)
        rename[r.name] = name
        reduces[key] = name
        kept.append(Reduce(name, r.op, value, r.kind, r.index))
    stores = tuple(Store(s.buffer, s.offset, move(s.value, {}, leaf)) for s in loop.stores)
    span = None if loop.span is None else (move(loop.span[0], {}, leaf), move(loop.span[1], {}, leaf))
    return None if bad else replace(loop, reduces=tuple(kept), stores=stores, span=span)


def _together(loops: list[Loop]) -> tuple[Loop, ...]:
    """Loops over the same axes joined where nothing in between is needed."""
    result: list[Loop] = []
    for loop in loops:
        needs = _scalars(loop)
        for place in range(len(result) - 1, -1, -1):
            other = result[place]
            if other.axes == loop.axes and other.span == loop.span and bool(other.reduces) == bool(loop.reduces):
                later = {r.name for x in result[place:] for r in x.reduces}
                if not needs & later:
                    result[place] = replace(other, reduces=other.reduces + loop.reduces, stores=other.stores + loop.stores)
                    break
        else:
            result.append(loop)
    return tuple(result)


def _scalars(loop: Loop) -> set[str]:
    return {name for e in exprs_of(loop) for name in expr_scalars(e)}
