"""Nests as C++ functions: OpenMP over outer points, ``omp simd`` along the axis that memory is contiguous in.

Forms. *flat*: no inner loops; lanes are the last outer axis. *row*: lanes are the last inner axis, each outer point is a task.
*column*: lanes are the last outer axis in tiles, inner loops run around them, per-point results are small arrays.
*single*: no outer axes; one parallel reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernelwright.agent.writers.playbook.cpp_expr import TYPES, Printer, Scope
from kernelwright.agent.writers.playbook.cpp_mask import Bounds, bounds
from kernelwright.agent.writers.playbook.cpp_reduce import Lane, Stream, accumulators
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Axis, Poly, product, strides
from kernelwright.agent.writers.playbook.ir import (
    Buffer,
    Expr,
    Load,
    Loop,
    Nest,
    Op,
    Store,
    children,
    expr_axes,
    expr_scalars,
    loads,
    poly_axes,
    walk,
)
from kernelwright.agent.writers.playbook.schedule import DEAR
from kernelwright.agent.writers.playbook.simplify import coefficient, exprs_of

PARALLEL_FROM = 1 << 15
"""Points below which threads cost more than they give."""


def form(nest: Nest, hint: Callable[[Poly], int]) -> str:
    """Which form suits a nest."""
    inner = [loop for loop in nest.phases if loop.axes]
    if not inner:
        return "flat"
    if not nest.outer:
        return "single"
    row = column = 0
    for loop in inner:
        offsets = [load.offset for e in exprs_of(loop) for load in loads(e)] + [s.offset for s in loop.stores]
        row += sum(coefficient(o, loop.axes[-1]) is ONE for o in set(offsets))
        column += sum(coefficient(o, nest.outer[-1]) is ONE for o in set(offsets))
    points = max(hint(product(a.extent for a in loop.axes)) for loop in inner)
    lanes = hint(nest.outer[-1].extent)
    if points <= 64 and lanes >= 8 and all(a.extent.const is not None for loop in inner for a in loop.axes):
        return "column"
    if column > row and lanes >= 4:
        return "column"
    if points <= 8 and lanes > points and column >= row:
        return "column"
    return "row"


@dataclass
class NestWriter:
    """Writes one nest."""

    nest: Nest
    buffers: Mapping[str, Buffer]
    point: Mapping[str, Any]
    kinds: Mapping[str, str]
    hint: Callable[[Poly], int]
    lines: list[str] = field(default_factory=list)
    depth: int = 1
    cached: dict[Expr, tuple[str, tuple[Axis, ...]]] = field(default_factory=dict)
    """Row form: expression -> its buffer and the axes that it runs over."""
    fresh: dict[Expr, str] = field(default_factory=dict)
    kept: dict[Expr, str] = field(default_factory=dict)

    def put(self, *lines: str) -> None:
        """Append lines at the current depth."""
        self.lines.extend("  " * self.depth + line for line in lines)

    def open(self, line: str) -> None:
        self.put(line + " {")
        self.depth += 1

    def close(self, count: int = 1) -> None:
        for _ in range(count):
            self.depth -= 1
            self.put("}")

    def body(self) -> list[str]:
        """The statements of the function."""
        how = form(self.nest, self.hint)
        {"flat": self._flat, "row": self._row, "column": self._column, "single": self._single}[how]()
        return self.lines

    # shared

    def _parallel(self, tasks: str) -> None:
        total = product([a.extent for a in self.nest.outer])
        inner = [product(a.extent for a in loop.axes) for loop in self.nest.phases if loop.axes]
        work = " + ".join(f"({poly(total * p)})" for p in inner) or poly(total)
        self.put(f"const i64 tasks_ = {tasks};")
        self.put(f"#pragma omp parallel for schedule(static) if (({work}) > {PARALLEL_FROM})")
        self.open("for (i64 task_ = 0; task_ < tasks_; ++task_)")

    def _decode(self, axes: Sequence[Axis], name: str = "task_") -> None:
        """``const i64 axis = …`` for every axis, from a flat index."""
        if len(axes) == 1:
            self.put(f"const i64 {axes[0].name} = {name};")
            return
        self.put(f"i64 left_{name} = {name};" if axes else f"(void){name};")
        for place, axis in reversed(list(enumerate(axes))):
            if place == 0:
                self.put(f"const i64 {axis.name} = left_{name};")
            else:
                self.put(f"const i64 {axis.name} = left_{name} % ({poly(axis.extent)}); left_{name} /= {poly(axis.extent)};")

    def _printer(self, *scopes: Scope, prefix: str = "e") -> Printer:
        return Printer(self.kinds, list(scopes), prefix=prefix)

    def _store(self, printer: Printer, store: Store) -> str:
        value = printer.value(store.value)
        kind = self.kinds[store.buffer]
        if store.value.kind != kind:
            value = f"({TYPES[kind]}){value}"
        return f"{ {'float': 'st', 'int': 'si', 'bool': 'sb'}[kind] }({store.buffer}, {printer.poly(store.offset)}, {value});"

    # flat

    def _flat(self) -> None:
        outer = self.nest.outer
        stores = [s for loop in self.nest.phases for s in loop.stores]
        if not outer:
            scope = Scope(frozenset())
            printer = self._printer(scope)
            last = [self._store(printer, s) for s in stores]
            self.put(*scope.lines, *last)
            return
        lane, rest = outer[-1], outer[:-1]
        tile = int(self.point.get("block", 8192))
        tiles = f"(({poly(lane.extent)}) + {tile - 1}) / {tile}"
        self._parallel(f"({poly(product(a.extent for a in rest))}) * ({tiles})")
        self.put(f"const i64 tiles_ = {tiles};", "const i64 row_ = task_ / tiles_;")
        self._decode(rest, "row_")
        self.put(f"const i64 from_ = (task_ % tiles_) * {tile};")
        self.put(f"const i64 to_ = imin(from_ + {tile}, {poly(lane.extent)});")
        outside, inside = Scope(frozenset(rest)), Scope(frozenset((lane,)))
        printer = self._printer(outside, inside)
        last = [self._store(printer, s) for s in stores]
        self.put(*outside.lines)
        self._simd()
        self.open(f"for (i64 {lane.name} = from_; {lane.name} < to_; ++{lane.name})")
        self.put(*inside.lines, *last)
        self.close(2)

    def _simd(self, clause: str = "") -> None:
        self.put(f"#pragma omp simd{clause}")

    # row

    def _row(self) -> None:
        outer = self.nest.outer
        self._parallel(poly(product(a.extent for a in outer)))
        self._decode(outer)
        ready: set[str] = set()
        names: dict[Expr, str] = {}
        self._plan_cache()
        for number, loop in enumerate(self.nest.phases):
            if loop.scans:
                self._row_scan(loop, ready, names, number)
            elif loop.reduces:
                self._row_reduce(loop, ready, names, number, frozenset(outer))
            else:
                self._row_stores(loop, ready, names, number)
            ready |= {r.name for r in loop.reduces}
        self.close()

    def _plan_cache(self) -> None:
        """Transcendental values that two phases over one row need are kept in a buffer of the row's length."""
        if not self.point.get("cache", True):
            return
        seen: dict[Expr, tuple[Axis, ...]] = {}
        found: list[Expr] = []
        for loop in self.nest.phases:
            own: list[Expr] = []
            for e in exprs_of(loop):
                _dear_parts(e, set(loop.axes), own)
            found += [e for e in own if seen.get(e) == loop.axes and e not in found]
            seen.update({e: loop.axes for e in own if e not in seen})
        for k, e in enumerate(found[:2]):
            self.put("static thread_local std::vector<float> store%d_;" % k)
            self.put(f"store{k}_.resize({poly(product(a.extent for a in seen[e]))});", f"float* const cache{k}_ = store{k}_.data();")
            self.cached[e] = (f"cache{k}_", seen[e])

    def _remember(self, printer: Printer, loop: Loop) -> list[str]:
        """Lines that keep cached values which this phase has computed; later phases read them."""
        lines = []
        for e, (name, axes) in self.cached.items():
            if loop.axes == axes and e in printer.names and e not in self.kept:
                place = sum((Poly.of(a) * s for a, s in zip(axes, strides(a.extent for a in axes), strict=True)), ZERO)
                lines.append(f"{name}[{poly(place)}] = {printer.names[e]};")
                self.fresh[e] = f"{name}[{poly(place)}]"
        return lines

    def _recall(self, loop: Loop) -> dict[Expr, str]:
        self.kept.update(self.fresh)
        return {e: text for e, text in self.kept.items() if self.cached[e][1] == loop.axes}

    def _task(self, ready: set[str]) -> Scope:
        return Scope(frozenset(self.nest.outer), frozenset(ready))

    def _loops(self, axes: Sequence[Axis]) -> None:
        for axis in axes:
            self.open(f"for (i64 {axis.name} = 0; {axis.name} < {poly(axis.extent)}; ++{axis.name})")

    def _row_stores(self, loop: Loop, ready: set[str], names: dict[Expr, str], number: int) -> None:
        task, inside = self._task(ready), Scope(frozenset(loop.axes))
        printer = Printer(self.kinds, [task, inside], {**names, **self._recall(loop)}, prefix=f"p{number}_")
        last = [self._store(printer, s) for s in loop.stores] + self._remember(printer, loop)
        names.update({e: n for e, n in printer.names.items() if printer.level(e) == 0})
        self.put(*task.lines)
        self._loops(loop.axes[:-1])
        if loop.axes:
            axis = loop.axes[-1]
            self._simd()
            self.open(f"for (i64 {axis.name} = 0; {axis.name} < {poly(axis.extent)}; ++{axis.name})")
        self.put(*inside.lines, *last)
        self.close(len(loop.axes))

    def _row_scan(self, loop: Loop, ready: set[str], names: dict[Expr, str], number: int) -> None:
        task, inside = self._task(ready), Scope(frozenset(loop.axes))
        after = Scope(frozenset(), frozenset(n for s in loop.scans for n in (s.name, f"{s.name}_at")))
        printer = Printer(self.kinds, [task, inside, after], {**names}, prefix=f"p{number}_")
        axis = loop.axes[0]
        steps = [Stream(scan.op, scan.kind, scan.name) for scan in loop.scans]
        updates = []
        for scan, step in zip(loop.scans, steps, strict=True):
            value = printer.value(scan.value)
            place = None if scan.index is None else printer.poly(scan.index)
            updates += step.scan(value, place)
        last = [self._store(printer, s) for s in loop.stores]
        self.put(*task.lines)
        for step in steps:
            self.put(*step.scan_start())
        back = loop.scans[0].reverse
        head = f"for (i64 {axis.name} = 0; {axis.name} < {poly(axis.extent)}; ++{axis.name})"
        self.open(f"for (i64 {axis.name} = ({poly(axis.extent)}) - 1; {axis.name} >= 0; --{axis.name})" if back else head)
        self.put(*inside.lines, *updates, *after.lines, *last)
        self.close()

    def _row_reduce(self, loop: Loop, ready: set[str], names: dict[Expr, str], number: int, known: frozenset[Axis]) -> None:
        """Reductions with several accumulators over four streams of the row, in chunks summed in fp64."""
        lane = loop.axes[-1] if loop.axes else None
        task = Scope(known, frozenset(ready))
        items = accumulators(loop.reduces)
        dear = any(isinstance(x, Op) and x.name in DEAR for r in loop.reduces for x in walk(r.value))
        streams = int(self.point.get("streams_dear" if dear else "streams", 1 if dear else 4))
        chunk = int(self.point.get("chunk", 4096))
        bodies: list[list[str]] = []
        recalled = self._recall(loop)
        for s in range(streams + 1):
            inside = Scope(frozenset(loop.axes))
            printer = Printer(self.kinds, [task, inside], {**names, **recalled}, prefix=f"p{number}_{s}_")
            updates = []
            for item in items:
                value = printer.value(item.value)
                updates += item.update(value, None if item.index is None else printer.poly(item.index), str(s % streams))
            updates += self._remember(printer, loop)
            names.update({e: n for e, n in printer.names.items() if printer.level(e) == 0})
            bodies.append([*inside.lines, *updates])
        self.put(*task.lines)
        for item in items:
            self.put(*item.declare())
        if lane is None:
            for item in items:
                self.put("{", *item.start(1), *bodies[-1], *item.finish(1), "}")
            self.put(*[line for item in items for line in item.done()])
            return
        self._loops(loop.axes[:-1])
        self._chunks(lane, chunk, streams, items, bodies)
        self.close(len(loop.axes) - 1)
        for item in items:
            self.put(*item.done())
        self._places(loop, items, task, names, number)

    def _chunks(self, lane: Axis, chunk: int, streams: int, items: Sequence[Lane], bodies: Sequence[Sequence[str]]) -> None:
        extent = poly(lane.extent)
        self.open(f"for (i64 from_ = 0; from_ < {extent}; from_ += {chunk})")
        self._chunk("from_", f"imin({chunk}, ({extent}) - from_)", lane, streams, items, bodies)
        self.close()

    def _chunk(self, start: str, count: str, lane: Axis, streams: int, items: Sequence[Lane], bodies: Sequence[Sequence[str]]) -> None:
        self.put(f"const i64 n_ = {count}, q_ = n_ / {streams};")
        for item in items:
            self.put(*item.start(streams))
        self._simd("".join(f" {item.clause(streams)}" for item in items))
        self.open("for (i64 j_ = 0; j_ < q_; ++j_)")
        for s in range(streams):
            self.put("{", f"  const i64 {lane.name} = {start} + j_ + {s} * q_;", *[f"  {line}" for line in bodies[s]], "}")
        self.close()
        if streams > 1:
            self.open(f"for (i64 j_ = q_ * {streams}; j_ < n_; ++j_)")
            self.put(f"const i64 {lane.name} = {start} + j_;", *bodies[streams])
            self.close()
        for item in items:
            self.put(*item.finish(streams))

    def _places(self, loop: Loop, items: Sequence[Lane], task: Scope, names: dict[Expr, str], number: int) -> None:
        """The second pass of argmax and argmin: the first place whose key is the extreme."""
        for item in items:
            if item.index is None:
                continue
            inside = Scope(frozenset(loop.axes))
            printer = Printer(self.kinds, [Scope(task.axes, task.scalars), inside], {**names}, prefix=f"p{number}_at_")
            value = printer.value(item.value)
            place = printer.poly(item.index)
            extra = printer.scopes[0].lines
            self.put(*extra, f"i64 {item.name}_at = INT64_MAX;")
            self._loops(loop.axes[:-1])
            axis = loop.axes[-1]
            self._simd(f" reduction(min : {item.name}_at)")
            self.open(f"for (i64 {axis.name} = 0; {axis.name} < {poly(axis.extent)}; ++{axis.name})")
            self.put(*inside.lines, f"const i64 at_ = {item.key(value)} == {item.name}_key ? {place} : INT64_MAX;")
            self.put(f"{item.name}_at = at_ < {item.name}_at ? at_ : {item.name}_at;")
            self.close(len(loop.axes))
            self.put(f"const i64 {item.name} = {item.name}_at;")

    # single

    def _single(self) -> None:
        ready: set[str] = set()
        names: dict[Expr, str] = {}
        for number, loop in enumerate(self.nest.phases):
            if loop.reduces and not any(r.index is not None for r in loop.reduces):
                self._parallel_reduce(loop, ready, number)
            elif loop.reduces:
                self._row_reduce(loop, ready, names, number, frozenset())
            elif loop.scans:
                self._row_scan(loop, ready, names, number)
            else:
                self._row_stores(loop, ready, names, number)
            ready |= {r.name for r in loop.reduces}

    def _parallel_reduce(self, loop: Loop, ready: set[str], number: int) -> None:
        lane, rest = loop.axes[-1], loop.axes[:-1]
        chunk = int(self.point.get("chunk", 4096))
        items = accumulators(loop.reduces)
        dear = any(isinstance(x, Op) and x.name in DEAR for r in loop.reduces for x in walk(r.value))
        streams = int(self.point.get("streams_dear" if dear else "streams", 1 if dear else 4))
        task, bodies = Scope(frozenset(rest), frozenset(ready)), []
        names: dict[Expr, str] = {}
        for s in range(streams + 1):
            inside = Scope(frozenset((lane,)))
            printer = Printer(self.kinds, [task, inside], {**names}, prefix=f"p{number}_{s}_")
            updates = [line for i in items for line in i.update(printer.value(i.value), None, str(s % streams))]
            names.update({e: n for e, n in printer.names.items() if printer.level(e) == 0})
            bodies.append([*inside.lines, *updates])
        extent = poly(lane.extent)
        self.put(f"const i64 parts{number}_ = (({extent}) + {chunk - 1}) / {chunk};")
        self.put(f"const i64 all{number}_ = ({poly(product(a.extent for a in rest))}) * parts{number}_;")
        for item in items:
            self.put(*item.declare())
            self.put(f"std::vector<{item.wide}> {item.name}_part(omp_get_max_threads(), {item.name}_sum);")
        work = poly(product(a.extent for a in loop.axes))
        self.open(f"#pragma omp parallel if (({work}) > {PARALLEL_FROM})\n{'  ' * self.depth}")
        for item in items:
            self.put(f"{item.wide} {item.name}_own = {item.name}_sum;")
        self.put("#pragma omp for schedule(static)")
        self.open(f"for (i64 task_ = 0; task_ < all{number}_; ++task_)")
        self.put(f"const i64 row_ = task_ / parts{number}_, from_ = (task_ % parts{number}_) * {chunk};")
        self._decode(rest, "row_")
        self.put(*task.lines)
        for item in items:
            self.put(f"{item.wide} {item.name}_sum = {item.name}_own;")
        self._chunk("from_", f"imin({chunk}, ({extent}) - from_)", lane, streams, items, bodies)
        for item in items:
            self.put(f"{item.name}_own = {item.name}_sum;")
        self.close()
        for item in items:
            self.put(f"{item.name}_part[omp_get_thread_num()] = {item.name}_own;")
        self.close()
        for item in items:
            self.put(f"for (auto part_ : {item.name}_part) {item.join('part_')}", *item.done())

    # column

    def _column(self) -> None:
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


def _dear_parts(e: Expr, axes: set[Axis], found: list[Expr]) -> None:
    """The largest operators outside masks that are transcendental themselves and run along ``axes``."""
    if isinstance(e, Op):
        if e.name in DEAR and e.kind == "float" and axes and axes <= expr_axes(e):
            if e not in found:
                found.append(e)
            return
        for child in e.args:
            _dear_parts(child, axes, found)


def _costly(e: Expr) -> bool:
    return any(isinstance(x, Op) and (x.name in DEAR or x.name in ("div", "sqrt", "rsqrt", "reciprocal")) for x in walk(e))


def poly(p: Poly) -> str:
    """A size as C++ text."""
    from kernelwright.agent.writers.playbook.index import text

    return text(p, divide="/")
