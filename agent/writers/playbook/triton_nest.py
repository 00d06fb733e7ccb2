"""A :class:`~.ir.Nest` as Triton kernels, in one of four schedules.

``map``    no reductions: a tile of the outer axes a program.
``row``    all points of the loops in one tile: data is read once and stays in registers over the phases.
``loop``   the phases run through their loops block by block; softmax's two reductions are merged into one running pass.
``split``  a kernel a phase, each loop shared by many programs; partial results are combined by whoever reads them.

``row`` falls back to ``loop`` at run time where a row is longer than a tile may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kernelwright.agent.writers.playbook.index import Axis, Poly, product, text
from kernelwright.agent.writers.playbook.ir import (
    Expr,
    Load,
    Loop,
    Nest,
    Op,
    Program,
    Reduce,
    Scalar,
    Scan,
    Store,
    poly_axes,
    walk,
)
from kernelwright.agent.writers.playbook.triton_expr import Code, Group, Scope, Val, estimate
from kernelwright.agent.writers.playbook.triton_math import identity

UNROLL = 32
"""Most points of a window that are written out."""
TYPES = {"float": "tl.float32", "int": "tl.int64", "bool": "tl.int32"}


@dataclass(frozen=True)
class LoopPlan:
    """How the points of a loop are run through: ``lead`` by a counted loop, ``vector`` along tile dimension ``dim``, ``unrolled`` in the text."""

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
    rows: int
    """Extent along the loops' other tile dimension is at most this many points (0: not tiled)."""


@dataclass
class Piece:
    """One ``@triton.jit`` function and how ``forward`` launches it."""

    name: str
    source: str
    launch: list[str] = field(default_factory=list)


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
        return Plan("map", _map_groups(nest, program), {}, 0)
    hints = program.hints
    inner = {axis for axes in loops for axis in axes}
    fast = fastest(nest)
    extents = [estimate(product(a.extent for a in axes), hints) for axes in loops]
    outer = estimate(product(a.extent for a in nest.outer), hints)
    windows = all(_window(nest, axes) for axes in loops)
    scans = any(loop.scans for loop in nest.phases)
    if windows and not scans and (fast is None or fast not in inner or max(extents) <= 4) and nest.outer:
        return Plan("loop", _map_groups(nest, program), {axes: LoopPlan((), (), axes, 1) for axes in loops}, 0)
    if fast in inner or not nest.outer or fast is None:
        return _row_plan(nest, program, point, loops, extents, outer)
    return _column_plan(nest, program, point, loops, extents, outer, fast)


def _window(nest: Nest, axes: tuple[Axis, ...]) -> bool:
    size = product(a.extent for a in axes).const
    return size is not None and size <= UNROLL


def _map_groups(nest: Nest, program: Program) -> tuple[Group, ...]:
    axes = nest.outer
    if not axes:
        return ()
    if len(axes) == 1 or estimate(axes[-1].extent, program.hints) < 32:
        return (Group(axes, 1, "c", "BC"),)
    last = axes[-1]
    unit = [
        m[0] for offset, stored in accesses(nest) if not stored and last in poly_axes(offset)
        for m, w in offset.terms if w == 1 and len(m) == 1 and m[0] in axes and m[0] != last
    ]  # fmt: skip
    if unit:                                # a transposed read: both axes in the tile, the others scalars of the program
        other = unit[0]
        rest = tuple(a for a in axes if a not in (other, last))
        head = (Group(rest, None, "g", ""),) if rest else ()
        return (*head, Group((other,), 0, "r", "BR"), Group((last,), 1, "c", "BC"))  # type: ignore[arg-type]
    return (Group(axes[:-1], 0, "r", "BR"), Group((last,), 1, "c", "BC"))


def _mode(nest: Nest, point: Mapping[str, Any], onepass: bool, parallel: int, work: int) -> str:
    wanted = str(point.get("schedule", "auto"))
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
    mode = _mode(nest, point, longest <= int(point.get("row_limit", 32768)), outer, longest)
    plans = {}
    for axes in loops:
        last = estimate(axes[-1].extent, program.hints)
        flat = mode == "row" or len(axes) == 1 or last < 256
        plans[axes] = LoopPlan((), axes, (), 1) if flat else LoopPlan(axes[:-1], axes[-1:], (), 1)
    block = min(_power(longest), 8192) if mode != "row" else _power(longest)
    rows = max(1, int(point.get("row_tile", 4096)) // block) if mode == "row" else max(1, 1024 // block)
    single = rows == 1 or outer == 1
    group = Group(nest.outer, None, "r", "") if single else Group(nest.outer, 0, "r", "BR")
    return Plan(mode, (group,) if nest.outer else (), plans, 0 if single else rows)


def _column_plan(
    nest: Nest, program: Program, point: Mapping[str, Any], loops: list[tuple[Axis, ...]], extents: list[int], outer: int, fast: Axis
) -> Plan:
    columns = (fast,)
    width = estimate(fast.extent, program.hints)
    at = nest.outer.index(fast)
    while width < 32 and at > 0 and nest.outer[-1] == fast:
        at -= 1
        columns = nest.outer[at:]
        width *= estimate(nest.outer[at].extent, program.hints)
    rest = tuple(a for a in nest.outer if a not in columns)
    head = (Group(rest, None, "g", ""),) if rest else ()
    block = min(_power(width), int(point.get("column_block", 64)))
    tiles = estimate(product(a.extent for a in rest), program.hints) * -(-width // block)
    longest = max(extents)
    onepass = _power(longest) * block <= int(point.get("row_limit", 32768)) // 2
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
    return Plan(mode, (*head, Group(columns, 1, "c", "BC")), plans, block)


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def spread(dim: int) -> str:
    """Indexing that puts a vector along tile dimension ``dim``."""
    return "[:, None]" if dim == 0 else "[None, :]"


@dataclass
class NestWriter:
    """Writes the kernels of one nest under one plan."""

    nest: Nest
    program: Program
    point: Mapping[str, Any]
    plan: Plan
    name: str
    blocks: dict[int, str] = field(default_factory=dict)
    """Tile dimension -> block of the outer group along it."""

    def outer_scope(self, code: Code) -> Scope:
        """Bind the outer axes from the program's number."""
        scope = Scope(code)
        code.add("pid = tl.program_id(0)")
        left = "pid"
        groups = self.plan.outer
        for i, group in reversed(list(enumerate(groups))):
            size = scope.size(group.extent)
            at = left
            if i:
                count = f"tl.cdiv({size}, {group.block})" if group.block else f"({size})"
                at = scope.let(f"{left} % {count}")
                left = scope.let(f"{left} // {count}")
            self.bind_tile(scope, group, f"{at}.to(IDX)", size)
        return scope

    def bind_tile(self, scope: Scope, group: Group, at: str, size: str) -> None:
        """Set ``group``'s index at tile ``at``, its mask, and its axes."""
        code = scope.code
        if group.dim is None:
            code.add(f"{group.index} = {at}")
        else:
            code.add(f"{group.index} = {at} * {group.block} + tl.arange(0, {group.block}){spread(group.dim)}")
            mask = f"{group.index}_in"
            code.add(f"{mask} = ({group.index} < {size}) | {group.block}_EVEN")
            scope.masks[group.dim] = mask
            if group in self.plan.outer:
                self.blocks[group.dim] = group.block
        scope.bind(group)

    def shape(self, dims: frozenset[int] | set[int], vector: Group | None) -> str:
        """Text of a tile's shape along ``dims``."""
        if not dims:
            return "[]"
        blocks = dict(self.blocks)
        if vector is not None and vector.dim is not None:
            blocks[vector.dim] = vector.block
        return f"[{', '.join(blocks[d] if d in dims else '1' for d in (0, 1))}]"

    # one tile a loop -------------------------------------------------------------------------------

    def vector_group(self, axes: tuple[Axis, ...], number: int) -> Group:
        """The tile group of loop ``axes`` under its plan."""
        p = self.plan.loops[axes]
        return Group(p.vector, p.dim, f"k{number}", f"BK{number}")

    def row_kernel(self) -> Piece:
        """``row`` and ``map``: everything in one tile."""
        code = Code(self.program)
        scope = self.outer_scope(code)
        bound: dict[tuple[tuple[Axis, ...], bool], Group] = {}
        scopes: dict[tuple[tuple[Axis, ...], bool], Scope] = {}
        numbers = list(self.plan.loops)
        for loop in self.nest.phases:
            if not loop.axes:
                for store in loop.stores:
                    scope.store(store)
                continue
            reverse = any(s.reverse for s in loop.scans)
            key = (loop.axes, reverse)
            if key not in bound:
                group = self.vector_group(loop.axes, numbers.index(loop.axes))
                inside = scope.child()
                code.add(f"{group.index} = tl.arange(0, {group.block}){spread(group.dim or 0)}.to(IDX)")
                self._loop_mask(inside, group)
                if reverse:
                    code.add(f"{group.index} = {scope.size(group.extent)} - 1 - {group.index}")
                inside.bind(group)
                bound[key], scopes[key] = group, inside
            self.tile_phase(loop, scopes[key], scope, bound[key])
        return self.finish(code, self.name, list(bound.values()), "row")

    def _loop_mask(self, scope: Scope, group: Group) -> None:
        assert group.dim is not None
        mask = f"{group.index}_in"
        scope.code.add(f"{mask} = ({group.index} < {scope.size(group.extent)}) | {group.block}_EVEN")
        scope.masks[group.dim] = mask

    def tile_phase(self, loop: Loop, scope: Scope, outside: Scope, group: Group) -> None:
        """One phase whose loop is a single tile."""
        moving = set(loop.axes)
        outside.invariants(roots(loop), moving, {s.name for s in loop.scans})
        for reduce in loop.reduces:
            parts = self.masked_parts(reduce, scope, group)
            self.reduce_tile(reduce, parts, outside, group)
        for scan in loop.scans:
            self.scan_tile(scan, scope, group, {})
        for store in loop.stores:
            scope.store(store)

    # reductions ------------------------------------------------------------------------------------

    def masked_parts(self, reduce: Reduce, scope: Scope, group: Group | None) -> list[Val]:
        """The value to reduce (and its index) with the identity outside the loop's extent."""
        value = scope.expr(reduce.value)
        text = value.text
        kind = reduce.value.kind
        if kind == "bool":
            text = f"({text}).to(tl.int32)"
        dims = value.dims
        if group is not None and group.dim is not None:
            dims = dims | {group.dim}
            mask = scope.masks[group.dim]
            text = f"tl.where({mask}, {text}, {identity(reduce.op, kind)})"
        shape = self.shape(dims, group)
        value = Val(scope.let(f"tl.broadcast_to({text}, {shape})" if dims else text), dims)
        if reduce.index is None:
            return [value]
        at = scope.poly(reduce.index)
        index = f"tl.where({scope.masks[group.dim]}, {at.text}, 2147483647)" if group and group.dim is not None else at.text
        spreaded = f"tl.broadcast_to(({index}).to(tl.int64), {shape})" if dims else f"{index} + tl.zeros([], tl.int64)"
        return [value, Val(scope.let(spreaded), dims)]

    def combine(self, reduce: Reduce | Scan, code: Code, a: Sequence[str], b: Sequence[str]) -> str:
        """Text that combines two partial results."""
        op, kind = reduce.op, reduce.value.kind
        if op in ("sum", "prod"):
            return f"{a[0]} {'+' if op == 'sum' else '*'} {b[0]}"
        if op.startswith("arg"):
            return f"{code.helper('kw_' + op)}({a[0]}, {a[1]}, {b[0]}, {b[1]})"
        op = {"any": "max", "all": "min"}.get(op, op)
        if kind == "float":
            return f"{code.helper('kw_' + op)}({a[0]}, {b[0]})"
        return f"tl.{op}imum({a[0]}, {b[0]})"

    def reduce_text(self, reduce: Reduce, code: Code, parts: Sequence[Val], dim: int | None) -> str:
        """Text that reduces ``parts`` along ``dim`` (None: wholly)."""
        op, kind = reduce.op, reduce.value.kind
        axis = "None" if dim is None else str(dim)
        if op.startswith("arg"):
            return f"tl.reduce(({parts[0].text}, {parts[1].text}), {axis}, {code.helper('kw_' + op)})"
        if op == "sum":
            return f"tl.sum({parts[0].text}, {axis})"
        if kind == "float" or op == "prod":
            return f"tl.reduce({parts[0].text}, {axis}, {code.helper('kw_' + op)})"
        op = {"any": "max", "all": "min"}.get(op, op)
        return f"tl.{op}({parts[0].text}, {axis})"

    def reduce_tile(self, reduce: Reduce, parts: list[Val], scope: Scope, group: Group | None) -> None:
        """Reduce a tile along the group's dimension and let ``scope`` know the result."""
        code = scope.code
        dim = group.dim if group is not None else None
        dims = parts[0].dims - ({dim} if dim is not None else set())
        if dim is None or dim not in parts[0].dims:
            self.conclude(reduce, [p.text for p in parts], dims, scope)
            return
        text_ = self.reduce_text(reduce, code, parts, dim if dims else None)
        names = [code.fresh(reduce.name.replace(".", "_")) for _ in parts]
        code.add(f"{', '.join(names)} = {text_}")
        if dims:
            for name in names:
                code.add(f"{name} = tl.expand_dims({name}, {dim})")
        self.conclude(reduce, names, dims, scope)

    def conclude(self, reduce: Reduce, names: Sequence[str], dims: frozenset[int], scope: Scope) -> None:
        """Make the result readable as a Scalar."""
        result = names[1] if reduce.index is not None else names[0]
        if reduce.kind == "bool":
            result = scope.let(f"({result} != 0)")
        scope.values[(Scalar(reduce.name, reduce.kind), "")] = Val(result, dims)

    # scans -----------------------------------------------------------------------------------------

    def scan_tile(self, scan: Scan, scope: Scope, group: Group, carry: Mapping[str, tuple[str, ...]]) -> list[str]:
        """The running values along the tile, on top of ``carry``; returns what carries on."""
        code, dim = scope.code, group.dim
        assert dim is not None
        value = scope.expr(scan.value)
        dims = value.dims | {dim} | set(self.blocks)
        shape = self.shape(dims, group)
        start = identity(scan.op, scan.value.kind)
        masked = scope.let(f"tl.broadcast_to(tl.where({scope.masks[dim]}, {value.text}, {start}), {shape})")
        parts = [masked]
        if scan.index is not None:
            at = scope.poly(scan.index)
            parts.append(scope.let(f"tl.broadcast_to(({at.text}).to(tl.int64), {shape})"))
        function = code.helper(f"kw_last{scan.op}" if scan.index is not None else f"kw_{scan.op}")
        names = [code.fresh("run") for _ in parts]
        if scan.op == "sum":
            code.add(f"{names[0]} = tl.cumsum({parts[0]}, {dim})")
        else:
            source = f"({', '.join(parts)})" if len(parts) > 1 else parts[0]
            code.add(f"{', '.join(names)} = tl.associative_scan({source}, {dim}, {function})")
        before = carry.get(scan.name)
        if before:
            text_ = f"{function}({before[0]}, {before[1]}, {names[0]}, {names[1]})" if len(parts) > 1 else f"{function}({before[0]}, {names[0]})"
            code.add(f"{', '.join(names)} = {text_}")
        full = frozenset(dims)
        scope.values[(Scalar(scan.name, scan.kind), "")] = Val(names[0], full)
        if scan.index is not None:
            scope.values[(Scalar(f"{scan.name}_at", "int"), "")] = Val(names[1], full)
        return names
