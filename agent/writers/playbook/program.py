"""A unified graph to an :class:`~.ir.Program`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from kernelwright.agent.writers.playbook.defs import Complex, Defs, Map, Tensor, as_kind, kind_of, point
from kernelwright.agent.writers.playbook.expr import Expr, Load, Ref
from kernelwright.agent.writers.playbook.graph import Graph, Unsupported, Varying, unify
from kernelwright.agent.writers.playbook.holder import forward_arguments, holder
from kernelwright.agent.writers.playbook.index import ZERO, product, strides, text
from kernelwright.agent.writers.playbook.ir import Buffer, Guard, Kernel, Matmul, Nest, Output, Program
from kernelwright.agent.writers.playbook.known import known
from kernelwright.agent.writers.playbook.lower import Lowering
from kernelwright.agent.writers.playbook.merge import merge
from kernelwright.agent.writers.playbook.schedule import Scheduler
from kernelwright.agent.writers.playbook.simplify import collapse, exprs_of, rename, tidy, unroll
from kernelwright.agent.writers.playbook.walks import loads

for _name in ("point", "make", "view", "move", "reduce", "norm", "linear", "index", "bag", "order", "spectrum", "window"):
    importlib.import_module(f"kernelwright.agent.writers.playbook.ops_{_name}")


class _Results:
    """Puts the outputs of the graph into buffers."""

    def __init__(self, low: Lowering) -> None:
        self.low = low
        self.roots: dict[int, str] = {}
        self.leaves: list[tuple[Tensor, str | int]] = []
        """Output tensor, and the input buffer or definition that holds it."""

    def tree(self, node: Any) -> Any:
        """The result tree with :class:`_Slot` places for tensors."""
        if isinstance(node, dict):
            for kind in ("tuple", "list"):
                if kind in node:
                    return (kind, *[self.tree(v) for v in node[kind]])
            if "dict" in node:
                return ("dict", *[(k, self.tree(v)) for k, v in node["dict"]])
            if "node" in node:
                value = self.low.values[node["node"]]
                if isinstance(value, Complex):
                    raise Unsupported("an output of complex values")
                return self.leaf(value) if isinstance(value, Tensor) else value
            raise Unsupported(f"an output {node!r}")
        if isinstance(node, Varying):
            raise Unsupported("an output that is a number depending on the shape")
        return node

    def leaf(self, value: Tensor) -> Any:
        place = len(self.leaves)
        half = self.low.graph.half
        dtype = value.dtype
        if dtype in ("work", "float32"):
            dtype = "float32" if half is not None and place < len(half) and half[place] == "float32" else "work"
        held = self._held(value, dtype)
        if held is None and value.whole is not None:  # a kernel over the original shape knows its groups
            held = self._held(value.whole, dtype)
        if held is not None:
            self.leaves.append((value, held))
            return (_SLOT, place)
        axes = self.low.defs.axes(value.shape)
        expr = value.at(point(axes))
        number = len(self.low.defs.items)
        self.low.defs.add(axes, dtype, Map(as_kind(expr, kind_of(dtype))))
        self.roots[number] = dtype
        self.leaves.append((value, number))
        return (_SLOT, place)

    def _held(self, value: Tensor, dtype: str) -> str | int | None:
        """The input buffer or definition whose elements are the value's, in order."""
        axes = self.low.defs.axes(value.shape)
        expr = value.at(point(axes))
        linear = sum((p * s for p, s in zip(point(axes), strides(value.shape), strict=True)), ZERO)
        if isinstance(expr, Load) and expr.offset is linear:
            buffer = self.low.buffers[expr.buffer]
            if buffer.role == "input" and product(buffer.shape) is product(value.shape):
                return buffer.name
        if isinstance(expr, Ref):
            d = self.low.defs.items[expr.number]
            offset = sum((i * s for i, s in zip(expr.index, strides(d.shape), strict=True)), ZERO)
            same = product(d.shape) is product(value.shape) and tidy(offset) is linear
            if same and self.roots.get(d.number, dtype) == dtype:
                self.roots[d.number] = dtype
                return d.number
        return None


_SLOT = "\0slot"


def _fill(tree: Any, outputs: list[Output]) -> Any:
    if isinstance(tree, tuple) and tree and tree[0] == _SLOT:
        return outputs[tree[1]]
    if isinstance(tree, tuple):
        return tuple(_fill(t, outputs) for t in tree)
    return tree


def _guards(low: Lowering) -> tuple[Guard, ...]:
    """What the kernels rely on besides the tensors' shapes."""
    guards = {guard.condition: guard for guard in low.conditions}
    for a, b in low.equal:
        if a is not b and not (a.const is not None and b.const is not None):
            condition = f"{text(a)} == {text(b)}"
            guards[condition] = Guard(condition, f"expects {condition}")
    for scalar in low.graph.scalars:
        value = scalar["value"]
        if not isinstance(value, Varying) and isinstance(value, (int, float, bool, type(None))):
            condition = f"{scalar['source']} == {value!r}" if value is not None else f"{scalar['source']} is None"
            guards[condition] = Guard(condition, f"written for {condition}")
    return tuple(guards.values())


def _finish(kernel: Kernel) -> Kernel:
    return rename(collapse(unroll(known(kernel)))) if isinstance(kernel, Nest) else kernel


def _read(kernel: Kernel) -> set[str]:
    """Buffers that a kernel loads from."""
    found: list[Expr] = []
    if isinstance(kernel, Nest):
        found = [e for loop in kernel.phases for e in exprs_of(loop)]
        for loop in kernel.phases:
            found.extend(Load("", s.offset, "int") for s in loop.stores)
    elif isinstance(kernel, Matmul):
        found = [kernel.a, kernel.b, *[s.value for s in kernel.stores]]
    else:
        for name in ("x", "w", "value", "guard"):
            e = getattr(kernel, name, None)
            if e is not None:
                found.append(e)
        found.extend(s.value for s in getattr(kernel, "stores", ()))
        if hasattr(kernel, "offset"):
            found.append(Load("", kernel.offset, "int"))
    return {load.buffer for e in found for load in loads(e)} - {""}


def build(graph: Graph, source: str, dtypes: tuple[str, ...]) -> Program:
    """The program of a unified graph.

    Raises:
        Unsupported: something without a template.
    """
    low = Lowering(graph, Defs())
    low.run()
    results = _Results(low)
    tree = results.tree(graph.result)
    scheduler = Scheduler(low.defs.items, low.symbols, results.roots)
    kernels = scheduler.run() if results.roots else []
    kernels = merge(kernels)
    finished = tuple(_finish(k) for k in kernels)
    outputs = [
        Output(held if isinstance(held, str) else scheduler.buffers[held].name, value.shape) for value, held in results.leaves
    ]
    used = {name for k in finished for name in _read(k)} | {o.buffer for o in outputs}
    buffers: list[Buffer] = [b for b in low.buffers.values() if b.name in used or b.role != "const"]
    buffers.extend(scheduler.buffers.values())
    numbers = tuple(low.symbols.numbers.values())
    signature, _ = forward_arguments(source)
    return Program(
        tuple(low.symbols.sizes.values()),
        numbers,
        tuple(buffers),
        finished,
        _fill(tree, outputs),
        _guards(low),
        holder(source),
        signature,
        dtypes,
        {name: values[: low.symbols.own] for name, values in low.symbols.values.items()},
    )


def program_of(traces: list[Mapping[str, Any]], source: str, dtypes: tuple[str, ...] = ("float32",)) -> Program:
    """The program of several traces of ``source``.

    Raises:
        Unsupported: something without a template.
    """
    return build(unify(traces), source, dtypes)
