"""Loop axes made few and plain: split where an index divides them, collapsed where every access allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from kernelwright.agent.writers.playbook.expr import Expr, Load, Op, Position, Ref, Scalar
from kernelwright.agent.writers.playbook.index import ZERO, Axis, FloorDiv, Mod, Poly, Value, atoms, rewrite
from kernelwright.agent.writers.playbook.ir import Loop, Nest, Reduce, Scan, Store
from kernelwright.agent.writers.playbook.walks import DEAR, expr_axes, map_expr, map_poly, walk

Change = dict[Axis, Poly]
FEW = 4
"""Points of an axis that are written out rather than looped over, at most."""


def polys_of(expr: Expr) -> list[Poly]:
    """Every index polynomial in ``expr``, loaded indices' insides too."""
    found: list[Poly] = []
    for node in walk(expr):
        if isinstance(node, Load):
            found.append(node.offset)
        elif isinstance(node, Position):
            found.append(node.poly)
        elif isinstance(node, Ref):
            for poly in node.index:
                found.append(poly)
                for atom in atoms(poly):
                    if isinstance(atom, Value):
                        found.extend(polys_of(atom.expr))
    return found


def move(expr: Expr, change: Change, resolve: Callable[[Expr], Expr | None] | None = None) -> Expr:
    """``expr`` with axes replaced, indices of references too; ``resolve`` may replace whole nodes first."""

    def atom(a: object) -> Poly | None:
        return change.get(a) if isinstance(a, Axis) else None

    def leaf(node: Expr) -> Expr | None:
        if resolve is not None and (new := resolve(node)) is not None:
            return new
        if isinstance(node, Ref):
            return Ref(node.number, tuple(tidy(map_poly(p, atom, leaf)) for p in node.index), node.kind)
        if isinstance(node, Load):
            return Load(node.buffer, tidy(map_poly(node.offset, atom, leaf)), node.kind)
        if isinstance(node, Position):
            return Position(tidy(map_poly(node.poly, atom, leaf)), node.kind)
        return None

    return map_expr(expr, atom, leaf)


def move_poly(poly: Poly, change: Change) -> Poly:
    """``poly`` with axes replaced."""

    def atom(a: object) -> Poly | None:
        return change.get(a) if isinstance(a, Axis) else None

    def leaf(node: Expr) -> Expr | None:
        return move(node, change)

    return tidy(map_poly(poly, atom, leaf))


def tidy(poly: Poly) -> Poly:
    """``c·d·(x // d) + c·(x % d)`` as ``c·x``."""
    for _ in range(8):
        for atom in sorted((a for a in atoms(poly) if isinstance(a, Mod)), key=lambda a: a.key):
            whole, rest = coefficient(poly, FloorDiv(atom.num, atom.den)), coefficient(poly, atom)
            if whole is None or rest is None or rest is ZERO or whole is not rest * atom.den:
                continue
            gone = {FloorDiv(atom.num, atom.den): ZERO, atom: ZERO}
            poly = rewrite(poly, lambda a, g=gone: g.get(a)) + rest * atom.num  # type: ignore[misc]
            break
        else:
            return poly
    return poly


def coefficient(poly: Poly, atom: object) -> Poly | None:
    """The factor of ``atom`` where ``poly`` is linear in it; None where it is not."""
    total = ZERO
    for monomial, weight in poly.terms:
        times = sum(a is atom for a in monomial)
        if times > 1:
            return None
        if times:
            rest = list(monomial)
            rest.remove(atom)  # type: ignore[arg-type]
            total = total + Poly.build({tuple(rest): weight})
    return total


def splits(axes: Iterable[Axis], polys: Iterable[Poly]) -> tuple[Axis, Poly] | None:
    """An axis that some index divides or reduces, alone, by a divisor of its extent: ``(axis, divisor)``."""
    own = set(axes)
    for poly in polys:
        for atom in sorted(atoms(poly), key=lambda a: a.key):
            if not isinstance(atom, (FloorDiv, Mod)):
                continue
            for axis in own:
                if atom.num is Poly.of(axis) and axis.extent is not atom.den:
                    whole = axis.extent // atom.den
                    if whole * atom.den is axis.extent:
                        return axis, atom.den
    return None


def split_all(
    axes: tuple[Axis, ...], exprs: list[Expr], offsets: list[Poly]
) -> tuple[tuple[Axis, ...], list[Expr], list[Poly]]:
    """Axes split so that no index divides one of them by a divisor of its extent."""
    for _ in range(16):
        polys = [*offsets, *[p for e in exprs for p in polys_of(e)]]
        found = splits(axes, polys)
        if found is None:
            break
        axis, den = found
        outer, inner = Axis(f"{axis.name}q", axis.extent // den), Axis(f"{axis.name}r", den)
        change = {axis: Poly.of(outer) * den + Poly.of(inner)}
        exprs = [move(e, change) for e in exprs]
        offsets = [move_poly(p, change) for p in offsets]
        place = axes.index(axis)
        axes = (*axes[:place], outer, inner, *axes[place + 1 :])
    return axes, exprs, offsets


def fits(polys: Iterable[Poly], first: Axis, second: Axis) -> bool:
    """Whether ``first`` and ``second`` only occur as ``first · second.extent + second``."""
    for poly in polys:
        a, b = coefficient(poly, first), coefficient(poly, second)
        if a is None or b is None or a is not b * second.extent:
            return False
        for atom in atoms(poly):
            if isinstance(atom, (FloorDiv, Mod)) and not fits((atom.num, atom.den), first, second):
                return False
    return True


def map_nest(nest: Nest, change: Change) -> Nest:
    """A nest with axes replaced inside its expressions; the loops keep theirs."""
    phases = tuple(
        replace(
            loop,
            reduces=tuple(
                replace(r, value=move(r.value, change), index=None if r.index is None else move_poly(r.index, change))
                for r in loop.reduces
            ),
            scans=tuple(
                replace(s, value=move(s.value, change), index=None if s.index is None else move_poly(s.index, change))
                for s in loop.scans
            ),
            stores=tuple(Store(s.buffer, move_poly(s.offset, change), move(s.value, change)) for s in loop.stores),
            span=None if loop.span is None else (move(loop.span[0], change), move(loop.span[1], change)),
        )
        for loop in nest.phases
    )
    return replace(nest, phases=phases)


def exprs_of(loop: Loop) -> list[Expr]:
    """The values that a phase computes, and its bounds where they are computed."""
    items: list[Reduce | Scan | Store] = [*loop.reduces, *loop.scans, *loop.stores]
    return [*[item.value for item in items], *(loop.span or ())]


def nest_polys(nest: Nest) -> list[Poly]:
    """Every index polynomial of a nest."""
    found = [p for loop in nest.phases for e in exprs_of(loop) for p in polys_of(e)]
    for loop in nest.phases:
        found.extend(s.offset for s in loop.stores)
        found.extend(r.index for r in loop.reduces if r.index is not None)
        found.extend(s.index for s in loop.scans if s.index is not None)
    return found


def collapse(nest: Nest) -> Nest:
    """``nest`` with adjacent axes joined wherever every access allows; scans keep their axis."""
    changed = True
    while changed:
        changed = False
        lists: list[tuple[Axis, ...]] = [nest.outer, *[p.axes for p in nest.phases if len(p.axes) > 1 and not p.scans]]
        polys = nest_polys(nest)
        for axes in lists:
            pair = next(((a, b) for a, b in zip(axes, axes[1:], strict=False) if fits(polys, a, b)), None)
            if pair is None or not _everywhere(nest, pair):
                continue
            nest = _join(nest, *pair)
            changed = True
            break
    return nest


def unroll(nest: Nest) -> Nest:
    """``nest`` with its last outer axis written out, where that is a few points long and they share dear work.

    Forces in three dimensions are an example: their common weight, a power, is then computed once a pair and not three times.
    """
    last = nest.outer[-1] if len(nest.outer) > 1 else None
    count = None if last is None else last.extent.const
    loops = [loop for loop in nest.phases if loop.axes]
    plain = not any(loop.scans or loop.span for loop in nest.phases) and any(loop.reduces for loop in loops)
    if last is None or count is None or not 1 < count <= FEW or not plain or not any(_shares(loop, last) for loop in loops):
        return nest

    def at(place: int, value: Expr) -> Expr:
        return move(
            value,
            {last: Poly.of(place)},
            lambda e: Scalar(f"{e.name}_{place}", e.kind) if isinstance(e, Scalar) else None,
        )

    phases = []
    for loop in nest.phases:
        reduces, stores = [], []
        for i in range(count):
            change: Change = {last: Poly.of(i)}
            for r in loop.reduces:
                index = None if r.index is None else move_poly(r.index, change)
                reduces.append(Reduce(f"{r.name}_{i}", r.op, at(i, r.value), r.kind, index))
            stores += [Store(s.buffer, move_poly(s.offset, change), at(i, s.value)) for s in loop.stores]
        phases.append(replace(loop, reduces=tuple(reduces), stores=tuple(stores)))
    return replace(nest, outer=nest.outer[:-1], phases=tuple(phases))


def _shares(loop: Loop, axis: Axis) -> bool:
    """Whether dear work inside the loop is the same at all points of ``axis``."""
    inside = set(loop.axes)
    dear = [e for value in exprs_of(loop) for e in walk(value) if isinstance(e, Op) and e.name in DEAR]
    return any(axis not in expr_axes(e) and inside & expr_axes(e) for e in dear)


def _everywhere(nest: Nest, pair: tuple[Axis, Axis]) -> bool:
    """Whether the two axes stand side by side in every loop that has one of them."""
    for axes in [nest.outer, *[p.axes for p in nest.phases]]:
        if (pair[0] in axes) != (pair[1] in axes):
            return False
        if pair[0] in axes and axes.index(pair[1]) != axes.index(pair[0]) + 1:
            return False
    return True


def _join(nest: Nest, first: Axis, second: Axis) -> Nest:
    joined = Axis(f"{first.name}_{second.name}", first.extent * second.extent)

    def swap(axes: Sequence[Axis]) -> tuple[Axis, ...]:
        return tuple(joined if a is second else a for a in axes if a is not first)

    nest = map_nest(nest, {first: ZERO, second: Poly.of(joined)})
    phases = tuple(replace(p, axes=swap(p.axes)) for p in nest.phases)
    return replace(nest, outer=swap(nest.outer), phases=phases)


def rename(nest: Nest) -> Nest:
    """Axes called ``i0 …`` (outer) and ``r0 …`` (inner), in order of appearance."""
    change: Change = {}
    names: dict[Axis, Axis] = {}
    for axis in nest.outer:
        names.setdefault(axis, Axis(f"i{len(names)}", axis.extent))
    count = len(names)
    for loop in nest.phases:
        for axis in loop.axes:
            names.setdefault(axis, Axis(f"r{len(names) - count}", axis.extent))
    change = {old: Poly.of(new) for old, new in names.items()}
    nest = map_nest(nest, change)
    phases = tuple(replace(p, axes=tuple(names[a] for a in p.axes)) for p in nest.phases)
    return replace(nest, outer=tuple(names[a] for a in nest.outer), phases=phases)
