"""Kernels that hold every loop of a nest in one tile, and the reductions and scans of a tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernelwright.agent.writers.playbook.expr import Const, Scalar
from kernelwright.agent.writers.playbook.index import Axis
from kernelwright.agent.writers.playbook.ir import Loop, Nest, Program, Reduce, Scan
from kernelwright.agent.writers.playbook.triton_code import Code, Group, Val
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import Piece, Shape, block_lines, launch
from kernelwright.agent.writers.playbook.triton_math import identity
from kernelwright.agent.writers.playbook.triton_plan import Plan, online_pair, roots, running, spread

TYPES = {"float": "tl.float32", "int": "tl.int64", "bool": "tl.int32"}
"""Compute type of each kind."""
LAST_INDEX = 2147483647
"""An index after all others."""


@dataclass
class TileWriter:
    """Writes kernels whose loops are single tiles; what all schedules have in common."""

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
        outside.invariants(roots(loop), moving, running(loop))
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
        if isinstance(reduce.value, Const):
            text = f"tl.full([], {text}, {TYPES[kind]})"
        elif kind == "bool":
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
        wide = f"({index}) + tl.zeros([], tl.int64)"
        return [value, Val(scope.let(f"tl.broadcast_to({wide}, {shape})" if dims else wide), dims)]

    def combine(self, reduce: Reduce | Scan, code: Code, a: Sequence[str], b: Sequence[str]) -> str:
        """Text that combines two partial results."""
        op, kind = reduce.op, reduce.value.kind
        if op in ("sum", "prod"):
            return f"{a[0]} {'+' if op == 'sum' else '*'} {b[0]}"
        if op.startswith("arg"):
            return f"kw_{op}({a[0]}, {a[1]}, {b[0]}, {b[1]})"
        op = {"any": "max", "all": "min"}.get(op, op)
        if kind == "float":
            return f"kw_{op}({a[0]}, {b[0]})"
        return f"tl.{op}imum({a[0]}, {b[0]})"

    def reduce_text(self, reduce: Reduce, code: Code, parts: Sequence[Val], dim: int | None) -> str:
        """Text that reduces ``parts`` along ``dim`` (None: wholly)."""
        op, kind = reduce.op, reduce.value.kind
        axis = "None" if dim is None else str(dim)
        if op.startswith("arg"):
            pair = ", ".join(p.text for p in parts)
            if dim is not None:
                return f"tl.reduce(({pair}), {axis}, kw_{op})"
            # axis by axis: Triton may reorder each tensor of a flattened pair as it likes, and values lose their places
            return f"tl.reduce(tl.reduce(({pair}), 1, kw_{op}), 0, kw_{op})"
        if op == "sum":
            return f"tl.sum({parts[0].text}, {axis})"
        if reduce.name in self.peaks:  # a NaN spreads through the sum of exponentials
            return f"tl.max({parts[0].text}, {axis})"
        if kind == "float" or op == "prod":
            return f"tl.reduce({parts[0].text}, {axis}, kw_{op})"
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
        function = f"kw_last{scan.op}" if scan.index is not None else f"kw_{scan.op}"
        names = [code.fresh("run") for _ in parts]
        if scan.op == "sum":
            code.add(f"{names[0]} = tl.cumsum({parts[0]}, {dim})")
        else:
            source = f"({', '.join(parts)})" if len(parts) > 1 else parts[0]
            code.add(f"{', '.join(names)} = tl.associative_scan({source}, {dim}, {function})")
        before = carry.get(scan.name)
        if before:
            code.add(f"{', '.join(names)} = {function}({', '.join([*before, *names])})")
        full = frozenset(dims)
        scope.values[(Scalar(scan.name, scan.kind), "")] = Val(names[0], full)
        if scan.index is not None:
            scope.values[(Scalar(f"{scan.name}_at", "int"), "")] = Val(names[1], full)
        return names

    # the file --------------------------------------------------------------------------------------

    def finish(self, code: Code, name: str, inner: list[Group], mode: str, parts: bool = False) -> Piece:
        """The kernel's text, and its launch (``parts``: the programs of a tile share a loop)."""
        groups = {g.block: g for g in (*self.plan.outer, *inner) if g.block}
        ragged = sorted(self.ragged)
        blocks = [] if mode == "split" else block_lines(groups, mode, self.plan.square, self.point, ragged)
        return launch(code, name, Shape(self.plan.outer, groups, mode, ragged, parts), blocks, self.point)
