"""Rules of operators that put elements in order."""

from __future__ import annotations

from kernelwright.agent.writers.playbook.defs import Sorted, Tensor, point
from kernelwright.agent.writers.playbook.expr import Const
from kernelwright.agent.writers.playbook.graph import Call
from kernelwright.agent.writers.playbook.index import Poly
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, axis_of, rule


@rule("sort")
def sort(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    return _ordered(low, x, axis_of(x, args["dim"]), None, bool(args["descending"]))


@rule("topk")
def topk(low: Lowering, args: Args, call: Call) -> Value:
    """In order, also where that is not asked for: any order will do then."""
    x: Tensor = args["self"]
    return _ordered(low, x, axis_of(x, args["dim"]), low.size(args["k"]), bool(args["largest"]))


def _ordered(low: Lowering, x: Tensor, dim: int, count: Poly | None, descending: bool) -> Value:
    """Values and places of the first ``count`` (all where None) of ``x`` along ``dim``."""
    if not x.shape:
        return x, low.defs.map((), "int64", lambda i: Const(0, "int"))
    kept = x.shape[dim] if count is None else count
    shape = (*x.shape[:dim], kept, *x.shape[dim + 1 :])

    def found(position: bool) -> Tensor:
        axes = low.defs.axes(shape)
        along = low.defs.axis(x.shape[dim])
        index = (*point(axes)[:dim], Poly.of(along), *point(axes)[dim + 1 :])
        dtype = "int64" if position else x.dtype
        return low.defs.add(axes, dtype, Sorted(along, axes[dim], x.at(index), descending, position))

    return found(False), found(True)
