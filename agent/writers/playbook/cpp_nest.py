"""Nests as C++ functions: which form, and the flat one.

*flat*: no inner loops; lanes are the last outer axis. *row*: lanes are the last inner axis, each outer point is a task.
*column*: lanes are the last outer axis in tiles, inner loops run around them. *single*: no outer axes; one parallel reduction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernelwright.agent.writers.playbook.cpp_column import ColumnWriter
from kernelwright.agent.writers.playbook.cpp_expr import Scope
from kernelwright.agent.writers.playbook.cpp_loops import NestWriter, poly
from kernelwright.agent.writers.playbook.cpp_row import RowWriter, SingleWriter
from kernelwright.agent.writers.playbook.index import ONE, Poly, product
from kernelwright.agent.writers.playbook.ir import Nest
from kernelwright.agent.writers.playbook.simplify import coefficient, exprs_of
from kernelwright.agent.writers.playbook.walks import loads


def form(nest: Nest, hint: Callable[[Poly], int]) -> str:
    """Which form suits a nest."""
    inner = [loop for loop in nest.phases if loop.axes]
    if not inner:
        return "flat"
    if any(loop.span for loop in inner):
        return "row"
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
class FlatWriter(NestWriter):
    """Flat form."""

    def write(self) -> None:
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


FORMS: dict[str, type[NestWriter]] = {"flat": FlatWriter, "row": RowWriter, "column": ColumnWriter, "single": SingleWriter}
"""Form -> its writer."""
