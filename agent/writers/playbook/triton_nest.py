"""A :class:`~.ir.Nest` as Triton kernels, in one of four schedules.

``map``    no reductions: a tile of the outer axes a program.
``row``    all points of the loops in one tile: data is read once and stays in registers over the phases.
``loop``   the phases run through their loops block by block; softmax's two reductions are merged into one running pass.
``split``  a kernel a phase, each loop shared by many programs; partial results are combined by whoever reads them.

``row`` falls back to ``loop`` at run time where a row is longer than a tile may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kernelwright.agent.writers.playbook.expr import Scalar
from kernelwright.agent.writers.playbook.index import Axis, Poly, product
from kernelwright.agent.writers.playbook.ir import Loop, Reduce
from kernelwright.agent.writers.playbook.triton_code import Code, Group, Val
from kernelwright.agent.writers.playbook.triton_code import size_text as text
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import ROW_LIMIT, Piece, block_lines, tile_count, tuned
from kernelwright.agent.writers.playbook.triton_loop import LoopWriter
from kernelwright.agent.writers.playbook.triton_math import identity
from kernelwright.agent.writers.playbook.triton_plan import needed, spread
from kernelwright.agent.writers.playbook.triton_tile import LAST_INDEX


class NestWriter(LoopWriter):
    """Writes the kernels of one nest under one plan."""

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

    # partial results -------------------------------------------------------------------------------

    def split_kernels(self) -> list[Piece]:
        """``split``: a kernel a phase; reductions leave partial results in ``PF`` (fp32) and ``PI`` (int64)."""
        slots: dict[str, tuple[Reduce, int]] = {}
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
            other = (
                LAST_INDEX
                if plane == "PI" and len(planes) > 1
                else identity(reduce.op, "float" if plane == "PF" else reduce.kind)
            )
            load = f"tl.load({plane} + {at}, mask={inside}, other={other})"
            parts.append(Val(scope.let(f"tl.broadcast_to({load}, {shape})"), dims))
        whole = replace(
            reduce, value=Scalar("", reduce.value.kind if reduce.index is not None or reduce.kind != "bool" else "int")
        )
        self.reduce_tile(whole, parts, scope, group)
