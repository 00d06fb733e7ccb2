"""Rules of operators that make a tensor out of numbers."""

from __future__ import annotations

from kernelwright.agent.writers.playbook.defs import Index, Tensor, as_kind, kind_of, op
from kernelwright.agent.writers.playbook.expr import Expr, Position
from kernelwright.agent.writers.playbook.graph import Call, Varying
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, rule


@rule(
    "full",
    "full_like",
    "zeros",
    "zeros_like",
    "ones",
    "ones_like",
    "new_zeros",
    "new_full",
    "new_ones",
    "empty",
    "empty_like",
    "new_empty",
)
def full(low: Lowering, args: Args, call: Call) -> Value:
    name = call.op.removeprefix("aten.").split(".")[0]
    dtype = low.dtype(call)
    like = args.get("self")
    near = like.shape if isinstance(like, Tensor) else ()
    shape = near if name.endswith("_like") else tuple(low.size(v, near) for v in args["size"])
    filled = args.get("fill_value", 1 if "ones" in name else 0)
    value = as_kind(low.expr(filled), kind_of(dtype))
    return Tensor(shape, dtype, lambda index: value)


@rule("scalar_tensor")
def scalar_tensor(low: Lowering, args: Args, call: Call) -> Value:
    dtype = low.dtype(call)
    value = as_kind(low.expr(args["s"]), kind_of(dtype))
    return Tensor((), dtype, lambda index: value)


@rule("arange")
def arange(low: Lowering, args: Args, call: Call) -> Value:
    dtype = low.dtype(call)
    start, step = args.get("start", 0) or 0, args.get("step", 1) or 1
    length = low.size(call.out["shape"][0], (low.size(args["end"]),) if isinstance(args["end"], (int, Varying)) else ())
    plain = all(isinstance(v, (int, Varying)) for v in (start, step)) and isinstance(step, int)
    first, stride = low.expr(start), low.expr(step)

    def at(index: Index) -> Expr:
        if plain:
            base = low.number(start) if isinstance(start, int) and start >= 0 else None
            if base is not None:
                return as_kind(Position(index[0] * step + base), kind_of(dtype))
        return as_kind(op("add", first, op("mul", Position(index[0]), stride)), kind_of(dtype))

    return Tensor((length,), dtype, at)


@rule("eye")
def eye(low: Lowering, args: Args, call: Call) -> Value:
    dtype = low.dtype(call)
    shape = tuple(low.size(v) for v in call.out["shape"])
    return Tensor(shape, dtype, lambda i: as_kind(op("eq", Position(i[0]), Position(i[1])), kind_of(dtype)))
