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

from kernelwright.agent.writers.playbook.index import Axis, Poly, product
from kernelwright.agent.writers.playbook.ir import (
    Expr,
    Load,
    Loop,
    Masked,
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
from kernelwright.agent.writers.playbook.triton_expr import size_text as text
from kernelwright.agent.writers.playbook.triton_launch import ROW_LIMIT, Piece, block_lines, launch, tile_count, tuned
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
        return Plan("map", *_map_groups(nest, program))
    hints = program.hints
    inner = {axis for axes in loops for axis in axes}
    fast = fastest(nest)
    extents = [estimate(product(a.extent for a in axes), hints) for axes in loops]
    outer = estimate(product(a.extent for a in nest.outer), hints)
    windows = all(_window(nest, axes) for axes in loops)
    scans = any(loop.scans for loop in nest.phases)
    if windows and not scans and nest.outer and (fast not in inner or _overlapping(nest, inner)):
        outer_groups, _, square = _map_groups(nest, program)
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


def _map_groups(nest: Nest, program: Program) -> tuple[tuple[Group, ...], Mapping[tuple[Axis, ...], LoopPlan], bool]:
    axes = nest.outer
    if not axes:
        return (), {}, False
    if len(axes) == 1 or estimate(axes[-1].extent, program.hints) < 32:
        return (Group(axes, 1, "c", "BC"),), {}, False
    last = axes[-1]
    unit = [
        m[0] for offset, stored in accesses(nest) if not stored and last in poly_axes(offset)
        for m, w in offset.terms if w == 1 and len(m) == 1 and m[0] in axes and m[0] != last
    ]  # fmt: skip
    if unit:                                # a transposed read: both axes in the tile, the others scalars of the program
        other = unit[0]
        rest = tuple(a for a in axes if a not in (other, last))
        head = (Group(rest, None, "g", ""),) if rest else ()
        return (*head, Group((other,), 0, "r", "BR"), Group((last,), 1, "c", "BC")), {}, True  # type: ignore[arg-type]
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


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def spread(dim: int) -> str:
    """Indexing that puts a vector along tile dimension ``dim``."""
    return "[:, None]" if dim == 0 else "[None, :]"


@dataclass(frozen=True)
class Align:
    """A loop over a row that starts anywhere, counted from the last multiple of 8 elements before it."""

    axis: Axis
    offset: Poly
    low: str
    """The aligned start, in elements of the buffer."""
    shift: str
    """Elements between it and the row's first."""
    limit: str
    """Where whole vectors end."""
    end: str
    """Where the row ends."""


@dataclass
class NestWriter:
    """Writes the kernels of one nest under one plan."""

    nest: Nest
    program: Program
    point: Mapping[str, Any]
    plan: Plan
    name: str
    ragged: set[str] = field(default_factory=set)
    """Blocks of loops that are realigned where rows are."""
    blocks: dict[int, str] = field(default_factory=dict)
    """Tile dimension -> block of the outer group along it."""

    def __post_init__(self) -> None:
        pairs = [online_pair(a, b) for a, b in zip(self.nest.phases, self.nest.phases[1:], strict=False)]
        self.peaks = {pair[0].name for pair in pairs if pair}

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

    def _loop_mask(self, scope: Scope, group: Group, even: bool = True) -> None:
        assert group.dim is not None
        mask = f"{group.index}_in"
        known = f" | {group.block}_EVEN" if even else ""
        scope.code.add(f"{mask} = ({group.index} < {scope.size(group.extent)}){known}")
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
            mask = scope.inside or scope.masks[group.dim]
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
            pair = [p.text for p in parts]
            if dim is None:                     # the interpreter reduces pairs along one axis only
                pair, axis = [f"tl.reshape({t}, [{t}.shape[0] * {t}.shape[1]])" for t in pair], "0"
            return f"tl.reduce(({', '.join(pair)}), {axis}, {code.helper('kw_' + op)})"
        if op == "sum":
            return f"tl.sum({parts[0].text}, {axis})"
        if reduce.name in self.peaks:           # a NaN spreads through the sum of exponentials
            return f"tl.max({parts[0].text}, {axis})"
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
        names = [code.fresh("red") for _ in parts]
        code.add(f"{', '.join(names)} = {text_}")
        if dims:
            for name in names:
                code.add(f"{name} = tl.expand_dims({name}, {dim})")
        self.conclude(reduce, names, dims, scope)

    def conclude(self, reduce: Reduce, names: Sequence[str], dims: frozenset[int], scope: Scope) -> None:
        """Make the result readable as a Scalar."""
        result = names[1] if reduce.index is not None else names[0]
        if reduce.index is not None:
            scope.values[(Scalar(f"{reduce.name} at", "float"), "")] = Val(names[0], dims)
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

    # blocks of a loop ------------------------------------------------------------------------------

    def loop_kernel(self) -> Piece:
        """``loop``: every phase runs through its loop block by block."""
        code = Code(self.program)
        scope = self.outer_scope(code)
        groups: dict[tuple[Axis, ...], Group] = {}
        phases = list(self.nest.phases)
        while phases:
            loop = phases.pop(0)
            if not loop.axes:
                for store in loop.stores:
                    scope.store(store)
                continue
            group = self.vector_group(loop.axes, list(self.plan.loops).index(loop.axes))
            if group.axes:
                groups[loop.axes] = group
            pair = online_pair(loop, phases[0]) if phases and group.axes else None
            if pair:
                self.online(pair[0], pair[1], phases.pop(0), scope, group)
            else:
                self.loop_phase(loop, scope, group, None)
        return self.finish(code, self.name, list(groups.values()), "loop")

    def trip(self, loop: Loop, scope: Scope, group: Group, step: int = 1, align: Align | None = None) -> tuple[str, str]:
        """``(blocks along the vector, all iterations)`` of a loop as text."""
        lead = product(a.extent for a in self.plan.loops[loop.axes].lead)
        width = f"{group.block} * {step}" if step > 1 else group.block
        extent = align.limit if align else scope.size(group.extent)
        blocks = scope.let(f"tl.cdiv({extent}, {width})") if group.axes else "1"
        if lead.const == 1:
            return blocks, blocks
        return blocks, scope.let(f"({scope.size(lead)}) * {blocks}" if blocks != "1" else f"({scope.size(lead)})")

    def bind_block(self, loop: Loop, inside: Scope, group: Group, turn: str, blocks: str, even: bool = True,
                   align: Align | None = None) -> None:  # fmt: skip
        """Bind the axes of one iteration."""
        code = inside.code
        lead = self.plan.loops[loop.axes].lead
        at = turn
        if lead:
            outer = Group(lead, None, code.fresh("q"), "")
            code.add(f"{outer.index} = ({turn}{f' // {blocks}' if blocks != '1' else ''}).to(IDX)")
            inside.bind(outer)
            at = f"({turn} % {blocks})"
        if not group.axes:
            return
        code.add(f"{group.index} = {at}.to(IDX) * {group.block} + tl.arange(0, {group.block}){spread(group.dim or 0)}")
        if align:
            self._bind_aligned(inside, group, align, align.limit)
            return
        self._loop_mask(inside, group, even)
        if any(s.reverse for s in loop.scans):
            code.add(f"{group.index} = {inside.size(group.extent)} - 1 - {group.index}")
        inside.bind(group)

    def align(self, loops: list[Loop], scope: Scope, group: Group) -> Align | None:
        """How a loop over unaligned rows starts at a multiple of 8 elements, so that its loads stay vectors; None where it cannot."""
        p = self.plan.loops[loops[0].axes]
        if self.blocks or p.lead or p.unrolled or len(group.axes) != 1 or any(loop.scans or loop.stores for loop in loops):
            return None
        axis = group.axes[0]
        nodes = [e for loop in loops for root in roots(loop) for e in walk(root)]
        offsets = {e.offset for e in nodes if isinstance(e, Load) and axis in poly_axes(e.offset)}
        if len(offsets) != 1 or any(isinstance(e, Masked) for e in nodes):
            return None
        offset = offsets.pop()
        base = offset - Poly.of(axis)
        if axis in poly_axes(base) or base.const is not None:
            return None
        start = scope.let(scope.poly(base).text)
        low = scope.let(f"{start} // 8 * 8")
        shift = scope.let(f"{start} - {low}")
        end = scope.let(f"{shift} + {scope.size(axis.extent)}")
        self.ragged.add(group.block)
        return Align(axis, offset, low, shift, scope.let(f"{end} // 8 * 8"), end)

    def _bind_aligned(self, scope: Scope, group: Group, align: Align, limit: str) -> None:
        """Bind a block whose index counts from the aligned start and whose loads end before ``limit``."""
        assert group.dim is not None
        dims = frozenset({group.dim})
        scope.masks[group.dim] = scope.let(f"{group.index} < {limit}")
        scope.inside = scope.let(f"({group.index} >= {align.shift}) & ({group.index} < {limit})")
        scope.exact[align.offset] = Val(f"{align.low} + {group.index}", dims)
        scope.axes[align.axis] = Val(scope.let(f"{group.index} - {align.shift}"), dims)

    def bind_tail(self, scope: Scope, group: Group, align: Align) -> Scope:
        """Open the block for the last elements of an unaligned row, fewer than 8."""
        code, tail = scope.code, scope.child()
        code.add(f"if {group.block}_RAGGED:")
        code.depth += 1
        mine = replace(group, index=code.fresh("tail"))
        code.add(f"{mine.index} = {align.limit} + tl.arange(0, {group.block}){spread(group.dim or 0)}")
        self._bind_aligned(tail, mine, align, align.end)
        return tail

    def loop_phase(self, loop: Loop, scope: Scope, group: Group, span: tuple[str, str] | None) -> None:
        """One phase as a counted loop over iterations ``span`` (all where None)."""
        code = scope.code
        scope.invariants(roots(loop), set(loop.axes), {s.name for s in loop.scans})
        held = self.accumulators(loop, scope, group)
        carry = {s.name: self._carry(s, scope) for s in loop.scans}
        align = self.align([loop], scope, group) if span is None else None
        blocks, trips = self.trip(loop, scope, group, align=align)
        counted = trips != "1"
        inside = scope.child()
        if counted:
            low, high = span or ("0", trips)
            turn = code.fresh("t")
            code.add(f"for {turn}_ in tl.range({low}, {high}, num_stages=STAGES):")
            code.depth += 1
            code.add(f"{turn} = {turn}_ + tl.zeros([], tl.int32)")
            self.bind_block(loop, inside, group, turn, blocks, align=align)
        self._steps(loop, inside, group, held, carry)
        if counted:
            code.depth -= 1
        if align:
            tail = self.bind_tail(scope, group, align)
            self._steps(loop, tail, group, held, carry)
            code.depth -= 1
        for reduce in loop.reduces:
            dims = frozenset(self.blocks) | ({group.dim} if group.axes and group.dim is not None else frozenset())
            self.reduce_tile(reduce, [Val(n, dims) for n in held[reduce.name]], scope, group if group.axes else None)

    def _steps(
        self, loop: Loop, inside: Scope, group: Group, held: Mapping[str, list[str]], carry: dict[str, tuple[str, ...]]
    ) -> None:
        """What one iteration of a phase does."""
        code = inside.code
        for window in self.windows(loop):
            view = inside.child() if window else inside
            for axis, value in window.items():
                view.axes[axis] = Val(str(value))
            for reduce in loop.reduces:
                parts = self.masked_parts(reduce, view, group if group.axes else None)
                names = held[reduce.name]
                code.add(f"{', '.join(names)} = {self.combine(reduce, code, names, [p.text for p in parts])}")
            for scan in loop.scans:
                self._scan_step(scan, view, group, carry)
            for store in loop.stores:
                view.store(store)
    def windows(self, loop: Loop) -> list[dict[Axis, int]]:
        """Every point of the unrolled axes."""
        points: list[dict[Axis, int]] = [{}]
        for axis in self.plan.loops[loop.axes].unrolled:
            points = [{**p, axis: i} for p in points for i in range(axis.extent.const or 0)]
        return points

    def accumulators(self, loop: Loop, scope: Scope, group: Group) -> dict[str, list[str]]:
        """Names of the running values of the phase's reductions, set to their identities."""
        dims = set(self.blocks) | ({group.dim} if group.axes and group.dim is not None else set())
        shape = self.shape(frozenset(dims), group if group.axes else None)
        held = {}
        for reduce in loop.reduces:
            kind = reduce.value.kind
            names = [scope.code.fresh("acc")]
            scope.code.add(f"{names[0]} = tl.full({shape}, {identity(reduce.op, kind)}, {TYPES[kind]})")
            if reduce.index is not None:
                names.append(scope.code.fresh("acc"))
                scope.code.add(f"{names[1]} = tl.full({shape}, {LAST_INDEX}, tl.int64)")
            held[reduce.name] = names
        return held

    def _carry(self, scan: Scan, scope: Scope) -> tuple[str, ...]:
        shape = self.shape(frozenset(self.blocks), None)
        names = [scope.code.fresh("carry")]
        scope.code.add(f"{names[0]} = tl.full({shape}, {identity(scan.op, scan.value.kind)}, {TYPES[scan.value.kind]})")
        if scan.index is not None:
            names.append(scope.code.fresh("carry"))
            scope.code.add(f"{names[1]} = tl.full({shape}, 0, tl.int64)")
        return tuple(names)

    def _scan_step(self, scan: Scan, scope: Scope, group: Group, carry: dict[str, tuple[str, ...]]) -> None:
        code = scope.code
        names = self.scan_tile(scan, scope, group, carry)
        last = scope.let(f"tl.arange(0, {group.block}){spread(group.dim or 0)} == {group.block} - 1")
        for held, name in zip(carry[scan.name], names, strict=True):
            picked = f"tl.where({last}, {name}, 0)"
            if self.blocks:
                code.add(f"{held} = tl.expand_dims(tl.sum({picked}, {group.dim}), {group.dim})")
            else:
                code.add(f"{held} = tl.sum({picked}, None)")

    def online(self, first: Reduce, second: Reduce, loop: Loop, scope: Scope, group: Group) -> None:
        """The running maximum and sum of exponentials in one pass (Milakov & Gimelshein, arXiv 1805.02867), a pair for every lane."""
        code = scope.code
        unroll = int(tuned(self.point, "online_unroll")) if not self.plan.loops[loop.axes].lead else 1
        scope.invariants([first.value], set(loop.axes), set())
        dims = frozenset(self.blocks) | ({group.dim} if group.dim is not None else frozenset())
        shape = self.shape(dims, group)
        top, total = code.fresh("top"), code.fresh("acc")
        code.add(f'{top} = tl.full({shape}, float("-inf"), tl.float32)')
        code.add(f"{total} = tl.zeros({shape}, tl.float32)")
        align = self.align([replace(loop, reduces=(first,))], scope, group)
        blocks, trips = self.trip(loop, scope, group, unroll, align)
        turn = code.fresh("t")
        code.add(f"for {turn}_ in tl.range(0, {trips}, num_stages=STAGES):")
        code.depth += 1
        inside = scope.child()
        code.add(f"{turn} = {turn}_ + tl.zeros([], tl.int32)")
        values = []
        for u in range(unroll):
            part = inside.child()
            mine = replace(group, index=code.fresh(group.index + "_"))
            at = f"({turn} * {unroll} + {u})" if unroll > 1 else turn
            self.bind_block(loop, part, mine, at, blocks, unroll == 1, align)
            values.append(self.masked_parts(first, part, mine)[0].text)
        self._raise(code, top, total, values)
        code.depth -= 1
        if align:
            tail = self.bind_tail(scope, group, align)
            self._raise(code, top, total, [self.masked_parts(first, tail, group)[0].text])
            code.depth -= 1
        self.reduce_tile(first, [Val(top, dims)], scope, group)
        peak = scope.values[(Scalar(first.name, first.kind), "")].text
        scale = scope.let(f'tl.exp({top} - tl.where({peak} == float("-inf"), 0.0, {peak}))')
        self.reduce_tile(second, [Val(scope.let(f"{total} * {scale}"), dims)], scope, group)

    @staticmethod
    def _raise(code: Code, top: str, total: str, values: Sequence[str]) -> None:
        """Take ``values`` into the running maximum and sum."""
        new, base = code.fresh("new"), code.fresh("base")
        code.add(f"{new} = {top}")
        for value in values:
            code.add(f"{new} = tl.maximum({new}, {value})")
        code.add(f'{base} = tl.where({new} == float("-inf"), 0.0, {new})')
        code.add(f"{total} = {total} * tl.exp({top} - {base})")
        for value in values:
            code.add(f"{total} += tl.exp({value} - {base})")
        code.add(f"{top} = {new}")

    # partial results -------------------------------------------------------------------------------

    def split_kernels(self) -> list[Piece]:
        """``split``: a kernel a phase; reductions leave partial results in ``PF`` (fp32) and ``PI`` (int64)."""
        slots = {}
        for loop in self.nest.phases:
            for reduce in loop.reduces:
                slots[reduce.name] = (reduce, len(slots))
        pieces = []
        for number, loop in enumerate(self.nest.phases):
            code = Code(self.program)
            self.blocks.clear()
            scope = self.outer_scope(code)
            code.add("part = tl.program_id(1)")
            for name in needed(loop):
                self.collect(*slots[name], scope)
            group = Group((), None, "", "")
            if loop.axes:
                group = self.vector_group(loop.axes, list(self.plan.loops).index(loop.axes))
                self.split_phase(loop, scope, group, {r.name: slots[r.name][1] for r in loop.reduces})
            else:
                for store in loop.stores:
                    scope.store(store)
            pieces.append(self.finish(code, f"{self.name}_{number}", [group] if group.axes else [], "split", bool(loop.axes)))
        return pieces

    def split_phase(self, loop: Loop, scope: Scope, group: Group, slots: Mapping[str, int]) -> None:
        """The part of a phase that is this program's, and its partial results."""
        code = scope.code
        _, trips = self.trip(loop, scope, group)
        share = scope.let(f"tl.cdiv({trips}, PARTS)")
        low = scope.let(f"part * {share}")
        high = scope.let(f"tl.minimum({low} + {share}, {trips})")
        self.loop_phase(loop, scope, group, (low, high))
        for reduce in loop.reduces:
            self.partial(reduce, slots[reduce.name], scope)

    def flat_outer(self) -> Poly:
        """The row-major index of the outer point."""
        total = Poly.of(0)
        for axis in self.nest.outer:
            total = total * axis.extent + Poly.of(axis)
        return total

    def partial(self, reduce: Reduce, slot: int, scope: Scope) -> None:
        """Store what this program found for ``reduce``."""
        where = scope.poly(self.flat_outer())
        size = scope.size(product(a.extent for a in self.nest.outer))
        at = f"({slot} * PARTS + part) * ({size}) + ({where.text})"
        dims = frozenset(self.blocks)
        mask = scope.mask(dims)
        guard = f", mask={mask.text}" if mask.text else ""
        value = scope.values[(Scalar(reduce.name, reduce.kind), "")].text
        best = scope.values.get((Scalar(f"{reduce.name} at", "float"), ""))
        plane = "PF" if best is None and reduce.kind == "float" else "PI"
        scope.code.add(f"tl.store({plane} + ({at}), ({value}).to({plane}.dtype.element_ty){guard})")
        if best is not None:
            scope.code.add(f"tl.store(PF + ({at}), {best.text}{guard})")

    def collect(self, reduce: Reduce, slot: int, scope: Scope) -> None:
        """Combine the partial results of ``reduce`` and let ``scope`` know the whole."""
        dim = 0 if 1 in self.blocks else 1
        group = Group((Axis("parts", Poly.of(0)),), dim, "", "PARTS_BLOCK")
        lane = scope.let(f"tl.arange(0, PARTS_BLOCK){spread(dim)}")
        where = scope.poly(self.flat_outer())
        size = scope.size(product(a.extent for a in self.nest.outer))
        inside = " & ".join([f"({lane} < PARTS)", *(scope.masks[d] for d in sorted(where.dims))])
        inside = scope.let(inside)
        at = scope.let(f"({slot} * PARTS + {lane}) * ({size}) + ({where.text})")
        dims = where.dims | {dim}
        shape = self.shape(dims, group)
        planes = ["PF", "PI"] if reduce.index is not None else ["PF" if reduce.kind == "float" else "PI"]
        parts = []
        for plane in planes:
            other = LAST_INDEX if plane == "PI" and len(planes) > 1 else identity(reduce.op, "float" if plane == "PF" else reduce.kind)
            load = f"tl.load({plane} + {at}, mask={inside}, other={other})"
            parts.append(Val(scope.let(f"tl.broadcast_to({load}, {shape})"), dims))
        whole = replace(reduce, value=Scalar("", reduce.value.kind if reduce.index is not None or reduce.kind != "bool" else "int"))
        self.reduce_tile(whole, parts, scope, group)

    # the file --------------------------------------------------------------------------------------

    def finish(self, code: Code, name: str, inner: list[Group], mode: str, parts: bool = False) -> Piece:
        """The kernel's text, and its launch (``parts``: the programs of a tile share a loop)."""
        groups = {g.block: g for g in (*self.plan.outer, *inner) if g.block}
        blocks = [] if mode == "split" else block_lines(groups, mode, self.plan.square, self.point)
        return launch(code, name, self.plan.outer, groups, mode, parts, blocks, self.point, sorted(self.ragged))

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """All kernels of the nest, and the lines of ``forward`` that run it."""
        if self.plan.mode == "split":
            return self._split()
        if self.plan.mode == "map":
            piece = self.row_kernel()
            return [piece], piece.launch
        if self.plan.mode == "loop":
            piece = self.loop_kernel()
            return [piece], piece.launch
        tile = self.row_kernel()
        looped = NestWriter(self.nest, self.program, self.point, self.plan.looped(), f"{self.name}_loop").loop_kernel()
        width = f"min(p2({text(self.plan.outer[-1].extent)}), {tuned(self.point, 'column_block')}) * " if self.columns else ""
        longest = [text(product(a.extent for a in axes)) for axes in self.plan.loops]
        fits = " and ".join(f"{width}p2({extent}) <= {ROW_LIMIT}" for extent in longest)
        lines = [f"if {fits}:", *(f"    {x}" for x in tile.launch), "else:", *(f"    {x}" for x in looped.launch)]
        return [tile, looped], lines

    @property
    def columns(self) -> bool:
        return any(g.dim == 1 for g in self.plan.outer)

    def _split(self) -> tuple[list[Piece], list[str]]:
        pieces = self.split_kernels()
        groups = {g.block: g for g in self.plan.outer if g.block}
        for number, axes in enumerate(self.plan.loops):
            group = self.vector_group(axes, number)
            if group.axes:
                groups[group.block] = group
        lines = block_lines(groups, "split", self.plan.square, self.point)
        outer = text(product(a.extent for a in self.nest.outer))
        longest = ", ".join(text(product(a.extent for a in axes)) for axes in self.plan.loops)
        most = f"{tuned(self.point, 'split_programs')} // max(1, {tile_count(self.plan.outer)})"
        lines.append(f"PARTS = max(1, min({most}, max({longest}, 1) // 1024, 1024))")
        count = sum(len(loop.reduces) for loop in self.nest.phases)
        for plane, dtype in (("PF", "float32"), ("PI", "int64")):
            if any(f"{plane} +" in piece.source for piece in pieces):
                lines.append(f"{plane} = torch.empty({count} * PARTS * ({outer}), dtype=torch.{dtype}, device=device)")
        for piece in pieces:
            lines += piece.launch
        return pieces, lines


LAST_INDEX = 2147483647


def needed(loop: Loop) -> list[str]:
    """Names of earlier reductions that a phase reads."""
    names = [e.name for root in roots(loop) for e in walk(root) if isinstance(e, Scalar)]
    own = {s.name for s in loop.scans} | {f"{s.name}_at" for s in loop.scans}
    return [n for n in dict.fromkeys(names) if n not in own]


def online_pair(first: Loop, second: Loop) -> tuple[Reduce, Reduce] | None:
    """The two reductions of a softmax where ``first`` finds the maximum and ``second`` sums ``exp(value - maximum)``."""
    if first.axes != second.axes or first.stores or second.stores or len(first.reduces) != 1 or len(second.reduces) != 1:
        return None
    peak, total = first.reduces[0], second.reduces[0]
    shifted = Op("exp", (Op("sub", (peak.value, Scalar(peak.name, peak.kind)), "float"),), "float")
    return (peak, total) if (peak.op, total.op) == ("max", "sum") and total.value == shifted else None
