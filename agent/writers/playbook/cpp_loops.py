"""What the forms of nests have in common in C++: lines, loops, the parallel loop over outer points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernelwright.agent.writers.playbook.cpp_expr import TYPES, Printer, Scope
from kernelwright.agent.writers.playbook.expr import Op, Scalar
from kernelwright.agent.writers.playbook.index import Axis, Poly, product, text
from kernelwright.agent.writers.playbook.ir import Buffer, Nest, Store

PARALLEL_FROM = 1 << 16
"""Points below which threads cost more than they give."""


@dataclass
class NestWriter:
    """Writes one nest; a subclass a form."""

    nest: Nest
    buffers: Mapping[str, Buffer]
    point: Mapping[str, Any]
    kinds: Mapping[str, str]
    hint: Callable[[Poly], int]
    lines: list[str] = field(default_factory=list)
    depth: int = 1

    def body(self) -> list[str]:
        """The statements of the function."""
        self.write()
        return self.lines

    def write(self) -> None:
        """Append the statements."""
        raise NotImplementedError

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
        return Printer(self.kinds, list(scopes), prefix=prefix, moderate=self.moderate())

    def moderate(self) -> frozenset[str]:
        """Sums of exponentials of differences to a maximum: they lie between 1 and the row's length."""
        sums = [r for loop in self.nest.phases for r in loop.reduces if r.op == "sum"]
        found = [r.name for r in sums if isinstance(r.value, Op) and r.value.name == "exp" and _below_top(r.value, self.nest)]
        return frozenset(found)

    def _store(self, printer: Printer, store: Store) -> str:
        value = printer.value(store.value)
        kind = self.kinds[store.buffer]
        if store.value.kind != kind:
            value = f"({TYPES[kind]}){value}"
        return f"{ {'float': 'st', 'int': 'si', 'bool': 'sb'}[kind] }({store.buffer}, {printer.poly(store.offset)}, {value});"

    def _simd(self, clause: str = "") -> None:
        self.put(f"#pragma omp simd{clause}")

    def _loops(self, axes: Sequence[Axis]) -> None:
        for axis in axes:
            self.open(f"for (i64 {axis.name} = 0; {axis.name} < {poly(axis.extent)}; ++{axis.name})")


def _below_top(value: Op, nest: Nest) -> bool:
    """Whether ``value`` is the exponential of a difference to a maximum of this nest."""
    tops = {r.name for loop in nest.phases for r in loop.reduces if r.op == "max"}
    inner = value.args[0]
    return isinstance(inner, Op) and inner.name == "sub" and isinstance(inner.args[1], Scalar) and inner.args[1].name in tops


def poly(p: Poly) -> str:
    """A size as C++ text."""
    return text(p, divide="/")
