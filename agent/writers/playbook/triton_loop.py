"""Kernels that run through the loops of a nest block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kernelwright.agent.writers.playbook.expr import Load, Masked, Scalar
from kernelwright.agent.writers.playbook.index import Axis, Poly, product
from kernelwright.agent.writers.playbook.ir import Loop, Reduce, Scan
from kernelwright.agent.writers.playbook.triton_code import Code, Group, Val
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import Piece, tuned
from kernelwright.agent.writers.playbook.triton_math import identity
from kernelwright.agent.writers.playbook.triton_plan import online_pair, roots, running, spread
from kernelwright.agent.writers.playbook.triton_tile import LAST_INDEX, TYPES, TileWriter
from kernelwright.agent.writers.playbook.walks import poly_axes, walk


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


class LoopWriter(TileWriter):
    """Writes kernels with counted loops: plain, running (softmax) and realigned ones."""

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
        spans = any(loop.span is not None for loop in self.nest.phases)
        return self.finish(code, self.name, list(groups.values()), "span" if spans else "loop" if groups else "window")

    def trip(self, loop: Loop, scope: Scope, group: Group, step: int = 1, align: Align | None = None) -> tuple[str, str]:
        """``(blocks along the vector, all iterations)`` of a loop as text."""
        lead = product(a.extent for a in self.plan.loops[loop.axes].lead)
        width = f"{group.block} * {step}" if step > 1 else group.block
        extent = align.limit if align else scope.size(group.extent)
        if loop.span is not None:
            first, last = self.bounds(loop, scope)
            extent = f"({last} - {first})"
        blocks = scope.let(f"tl.cdiv({extent}, {width})") if group.axes else "1"
        if lead.const == 1:
            return blocks, blocks
        return blocks, scope.let(f"({scope.size(lead)}) * {blocks}" if blocks != "1" else f"({scope.size(lead)})")

    @staticmethod
    def bounds(loop: Loop, scope: Scope) -> tuple[str, str]:
        """Where a loop with loaded bounds starts, and where it ends."""
        assert loop.span is not None
        first, last = (scope.let(f"({scope.expr(e).text}).to(IDX)") for e in loop.span)
        return first, last

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
        if loop.span is not None:
            first, last = self.bounds(loop, inside)
            code.add(f"{group.index} += {first}")
            inside.masks[group.dim or 0] = inside.let(f"{group.index} < {last}")
            inside.bind(group)
            return
        self._loop_mask(inside, group, even)
        if any(s.reverse for s in loop.scans):
            code.add(f"{group.index} = {inside.size(group.extent)} - 1 - {group.index}")
        inside.bind(group)

    def align(self, loops: list[Loop], scope: Scope, group: Group) -> Align | None:
        """How a loop over unaligned rows starts at a multiple of 8 elements, so that it loads vectors; None: it cannot."""
        p = self.plan.loops[loops[0].axes]
        if any(loop.span is not None for loop in loops):
            return None
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
        scope.invariants(roots(loop), set(loop.axes), running(loop))
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
        """The running maximum and sum of exponentials in one pass, a pair for every lane (arXiv 1805.02867)."""
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
