"""Nests in column form: lanes are the last outer axis in tiles, the inner loops run around them, results are small arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernelwright.agent.writers.playbook.cpp_expr import TYPES, Printer, Scope
from kernelwright.agent.writers.playbook.cpp_loops import NestWriter, poly
from kernelwright.agent.writers.playbook.cpp_mask import Bounds, bounds
from kernelwright.agent.writers.playbook.cpp_reduce import Lane, Stream, accumulators
from kernelwright.agent.writers.playbook.expr import Expr, Load, Op
from kernelwright.agent.writers.playbook.index import Axis, product
from kernelwright.agent.writers.playbook.ir import Loop
from kernelwright.agent.writers.playbook.simplify import exprs_of
from kernelwright.agent.writers.playbook.walks import DEAR, children, expr_axes, expr_scalars, poly_axes, walk


@dataclass
class ColumnWriter(NestWriter):
    """Column form."""

    def write(self) -> None:
        lane, rest = self.nest.outer[-1], self.nest.outer[:-1]
        tile = int(self.point.get("tile", 128))
        tiles = f"(({poly(lane.extent)}) + {tile - 1}) / {tile}"
        self._parallel(f"({poly(product(a.extent for a in rest))}) * ({tiles})")
        self.put(f"const i64 tiles_ = {tiles};", "const i64 row_ = task_ / tiles_;")
        self._decode(rest, "row_")
        self.put(f"const i64 from_ = (task_ % tiles_) * {tile};")
        self.put(f"const i64 w_ = imin({tile}, ({poly(lane.extent)}) - from_);")
        ready: set[str] = set()
        names: dict[Expr, str] = {}
        for number, loop in enumerate(self.nest.phases):
            self._column_phase(loop, ready, names, number, tile)
            ready |= {r.name for r in loop.reduces}
        self.close()

    def _lane(self, lines: Sequence[str], limits: Bounds | None = None) -> None:
        lane = self.nest.outer[-1]
        first, last = "0", "w_"
        if limits is not None:
            scope = Scope(frozenset(self._known(limits)))
            printer = self._printer(scope, prefix="b")
            for test in limits.tests:
                self.put(f"if (!{printer.inline(test)}) continue;")
            low, high = limits.ranges(lambda p: printer.poly(p, True))
            self.put("i64 lo_ = 0, hi_ = w_;", *[f"lo_ = imax(lo_, {t} - from_);" for t in low])
            self.put(*[f"hi_ = imin(hi_, {t} - from_);" for t in high])
            first, last = "lo_", "hi_"
        self._simd()
        self.open(f"for (i64 t_ = {first}; t_ < {last}; ++t_)")
        self.put(f"const i64 {lane.name} = from_ + t_; (void){lane.name};", *lines)
        self.close()

    def _known(self, limits: Bounds) -> set[Axis]:
        found = {a for t in limits.tests for a in expr_axes(t)}
        for rest, _ in (*limits.lower, *limits.upper):
            found |= poly_axes(rest)
        return found

    def _hoist(self, loop: Loop, ready: set[str], names: dict[Expr, str], number: int, tile: int) -> None:
        """Per-point expressions that a loop only reads are computed once, into arrays."""
        if not loop.axes:
            return
        lane = self.nest.outer[-1]
        inner = set(loop.axes)
        found: list[Expr] = []

        def visit(e: Expr) -> None:
            if e in names or not isinstance(e, Op):
                for child in _below(e):
                    visit(child)
                return
            alone = not expr_axes(e) & inner and expr_scalars(e) <= ready
            if alone and (lane in expr_axes(e) or expr_scalars(e)) and _costly(e):
                if e not in found:
                    found.append(e)
                return
            for child in e.args:
                visit(child)

        for e in exprs_of(loop):
            visit(e)
        for k, e in enumerate(found):
            name = f"h{number}_{k}"
            self.put(f"{TYPES[e.kind]} {name}[{tile}];")
            task, inside, printer = self._lane_scopes(ready, names, f"{name}_", ())
            value = printer.value(e)
            self.put(*task.lines)
            self._lane([*inside.lines, f"{name}[t_] = {value};"])
            names[e] = f"{name}[t_]"

    def _lane_scopes(
        self, ready: set[str], names: dict[Expr, str], prefix: str, axes: Sequence[Axis]
    ) -> tuple[Scope, Scope, Printer]:
        """Scopes (task; around the lanes; lanes) – what the inner loops' axes alone decide stays inside the lanes' loop."""
        lane = self.nest.outer[-1]
        task = Scope(frozenset(self.nest.outer[:-1]))
        inside = Scope(frozenset((lane, *axes)), frozenset(ready))
        printer = Printer(self.kinds, [task, inside], {**names}, prefix=prefix)
        printer.scalars = {n: f"{n}[t_]" for n in ready}
        return task, inside, printer

    def _column_phase(self, loop: Loop, ready: set[str], names: dict[Expr, str], number: int, tile: int) -> None:
        self._hoist(loop, ready, names, number, tile)
        extra = {n for s in loop.scans for n in (s.name, f"{s.name}_at")}
        task, inside, printer = self._lane_scopes(ready | extra, names, f"p{number}_", loop.axes)
        items = accumulators(loop.reduces)
        lines: list[str] = []
        limits = self._limits(loop)
        for item in items:
            value = printer.value(item.value if limits is None else limits.value)
            lines += item.update_lane(value, None if item.index is None else printer.poly(item.index))
        for scan in loop.scans:
            step = Stream(scan.op, scan.kind, scan.name)
            value = printer.value(scan.value)
            inside.lines += step.scan_lane(value, None if scan.index is None else printer.poly(scan.index))
            self.put(*step.scan_start_lane(tile))
        lines += [self._store(printer, s) for s in loop.stores]
        self.put(*task.lines)
        for item in items:
            self.put(*item.declare_lane(tile))
        self._column_loops(loop, items, [*inside.lines, *lines], limits)
        for item in items:
            self.put(*item.done_lane(tile))

    def _limits(self, loop: Loop) -> Bounds | None:
        """A single masked reduction (a window at the edge): its mask as bounds of the lanes' loop."""
        if len(loop.reduces) != 1 or loop.stores or loop.scans or loop.reduces[0].index is not None:
            return None
        r = loop.reduces[0]
        outside = {"sum": 0.0, "max": float("-inf"), "min": float("inf")}.get(r.op)
        return None if outside is None or r.value.kind != "float" else bounds(r.value, self.nest.outer[-1], outside)

    def _column_loops(self, loop: Loop, items: Sequence[Lane], lines: Sequence[str], limits: Bounds | None = None) -> None:
        axes = loop.axes
        short = all(a.extent.const is not None for a in axes) and (product(a.extent for a in axes).const or 0) <= 64
        if not items or short or not any(i.wide == "double" for i in items):
            back = loop.scans and loop.scans[0].reverse
            if back:
                axis = axes[0]
                self.open(f"for (i64 {axis.name} = ({poly(axis.extent)}) - 1; {axis.name} >= 0; --{axis.name})")
            else:
                self._loops(axes)
            self._lane(lines, limits)
            self.close(len(axes))
            for item in items:
                self.put(*item.flush_lane())
            return
        self._loops(axes[:-1])
        axis = axes[-1]
        self.open(f"for (i64 c_ = 0; c_ < {poly(axis.extent)}; c_ += 64)")
        self.put(f"const i64 e_ = imin(c_ + 64, {poly(axis.extent)});")
        self.open(f"for (i64 {axis.name} = c_; {axis.name} < e_; ++{axis.name})")
        self._lane(lines, limits)
        self.close()
        for item in items:
            self.put(*item.flush_lane())
        self.close(len(axes))


def _below(e: Expr) -> tuple[Expr, ...]:
    return children(e) if not isinstance(e, Load) else ()


def _costly(e: Expr) -> bool:
    return any(isinstance(x, Op) and (x.name in DEAR or x.name in ("div", "sqrt", "rsqrt", "reciprocal")) for x in walk(e))
