"""Nests in row form (lanes are the last inner axis, each outer point is a task) and single form (one parallel reduction)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kernelwright.agent.writers.playbook.cpp_expr import Printer, Scope
from kernelwright.agent.writers.playbook.cpp_loops import PARALLEL_FROM, NestWriter, poly
from kernelwright.agent.writers.playbook.cpp_reduce import Lane, Stream, accumulators
from kernelwright.agent.writers.playbook.expr import Expr, Op
from kernelwright.agent.writers.playbook.index import ZERO, Axis, Poly, product, strides
from kernelwright.agent.writers.playbook.ir import Loop, Reduce
from kernelwright.agent.writers.playbook.simplify import exprs_of
from kernelwright.agent.writers.playbook.walks import DEAR, expr_axes, walk


@dataclass
class RowWriter(NestWriter):
    """Row form."""

    cached: dict[Expr, tuple[str, tuple[Axis, ...]]] = field(default_factory=dict)
    """Expression -> its buffer of a row's length, and the axes that it runs over."""
    fresh: dict[Expr, str] = field(default_factory=dict)
    kept: dict[Expr, str] = field(default_factory=dict)

    def write(self) -> None:
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
            self.put(f"static thread_local std::vector<float> store{k}_;")
            self.put(
                f"store{k}_.resize({poly(product(a.extent for a in seen[e]))});", f"float* const cache{k}_ = store{k}_.data();"
            )
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

    def _row_stores(self, loop: Loop, ready: set[str], names: dict[Expr, str], number: int) -> None:
        task, inside = self._task(ready), Scope(frozenset(loop.axes))
        printer = Printer(
            self.kinds, [task, inside], {**names, **self._recall(loop)}, moderate=self.moderate(), prefix=f"p{number}_"
        )
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
        streams = 1 if loop.span else self._streams(loop.reduces)
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
        limits = ("0", "" if lane is None else poly(lane.extent))
        if loop.span is not None:
            printer = Printer(self.kinds, [task], {**names}, prefix=f"p{number}_s")
            limits = (printer.value(loop.span[0]), printer.value(loop.span[1]))
        self.put(*task.lines)
        for item in items:
            self.put(*item.declare())
        if lane is None:
            for item in items:
                self.put("{", *item.start(1), *bodies[-1], *item.finish(1), "}")
            self.put(*[line for item in items for line in item.done()])
            return
        self._loops(loop.axes[:-1])
        self.open(f"for (i64 from_ = {limits[0]}; from_ < {limits[1]}; from_ += {chunk})")
        self._chunk("from_", f"imin({chunk}, ({limits[1]}) - from_)", lane, streams, items, bodies)
        self.close()
        self.close(len(loop.axes) - 1)
        for item in items:
            self.put(*item.done())
        self._places(loop, items, task, names, number)

    def _chunk(
        self, start: str, count: str, lane: Axis, streams: int, items: Sequence[Lane], bodies: Sequence[Sequence[str]]
    ) -> None:
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

    def _streams(self, reduces: Sequence[Reduce]) -> int:
        """How many places of the row are summed at once: fewer where each costs a transcendental function."""
        dear = any(isinstance(x, Op) and x.name in DEAR for r in reduces for x in walk(r.value))
        return int(self.point.get("streams_dear" if dear else "streams", 1 if dear else 4))


@dataclass
class SingleWriter(RowWriter):
    """Single form."""

    def write(self) -> None:
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
        streams = self._streams(loop.reduces)
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


def _dear_parts(e: Expr, axes: set[Axis], found: list[Expr]) -> None:
    """The largest operators outside masks that are transcendental themselves and run along ``axes``."""
    if isinstance(e, Op):
        if e.name in DEAR and e.kind == "float" and axes and axes <= expr_axes(e):
            if e not in found:
                found.append(e)
            return
        for child in e.args:
            _dear_parts(child, axes, found)
