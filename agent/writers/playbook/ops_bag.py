"""Rules of operators that gather or count many elements at once: bags of embeddings, occurrences of bins."""

from __future__ import annotations

from kernelwright.agent.writers.playbook.defs import Map, Put, Red, Tensor, as_kind, fop, num, op, point
from kernelwright.agent.writers.playbook.expr import Const, Expr, Masked, Position
from kernelwright.agent.writers.playbook.graph import Call, Unsupported
from kernelwright.agent.writers.playbook.index import ONE, Axis, Poly
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, rule, size_float
from kernelwright.agent.writers.playbook.ops_index import loaded

_MODES = ("sum", "mean", "max")


@rule("_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(low: Lowering, args: Args, call: Call) -> Value:
    """Bags of one size reduce over an axis of their own, others (sums only) between loaded bounds."""
    weight, offsets, scale = args["weight"], args["offsets"], args["per_sample_weights"]
    mode = _MODES[args["mode"]]
    if args["padding_idx"] not in (None, -1) or args["include_last_offset"]:
        raise Unsupported("operator aten::_embedding_bag with a padding index or a last offset has no template")
    size = _bag_size(low, call)
    axes = low.defs.axes((offsets.shape[0], *weight.shape[1:]))
    bag, *rest = point(axes)

    def picked(at: Poly) -> Expr:
        row = weight.at((loaded(args["indices"].at((at,))), *rest))
        return as_kind(row if scale is None else fop("mul", row, scale.at((at,))), "float")

    def reduced(operator: str, over: Axis, at: Poly, span: tuple[Expr, Expr] | None = None) -> Tensor:
        return low.defs.add(axes, weight.dtype, Red(operator, (over,), picked(at), None, span))

    if size is ONE:
        return low.defs.add(axes, weight.dtype, Map(picked(bag))), None, None, None
    if size is not None:
        own = low.defs.axis(size)
        result = reduced("max" if mode == "max" else "sum", own, bag * size + Poly.of(own))
        if mode != "mean":
            return result, None, None, None
        count = size_float(size)
        return low.defs.map(result.shape, weight.dtype, lambda i: fop("div", result.at(i), count)), None, None, None
    if mode != "sum":
        raise Unsupported(f"operator aten::_embedding_bag by the {mode} of bags of uneven size has no template")
    every = args["indices"].shape[0]
    own = low.defs.axis(every)
    more = op("lt", Position(bag + 1), Position(offsets.shape[0]))
    end = Masked(more, as_kind(offsets.at((bag + 1,)), "int"), Position(every), "int")
    return reduced("sum", own, Poly.of(own), (as_kind(offsets.at((bag,)), "int"), end)), None, None, None


def _bag_size(low: Lowering, call: Call) -> Poly | None:
    """The size of every bag where the offsets are multiples of it, as those of two-dimensional indices are; else None."""
    given = call.args["offsets"]["node"]
    made = next((c for c in low.graph.calls if c.name == given), None)
    if made is None or not made.op.startswith("aten.arange.start_step") or made.args["start"] != 0:
        return None
    return low.size(made.args["step"])


@rule("bincount")
def bincount(low: Lowering, args: Args, call: Call) -> Value:
    """As many bins as ``minlength`` says: how many more there would be depends on data, and what lies beyond is not counted."""
    x: Tensor = args["self"]
    bins = low.size(args["minlength"] or 0)
    if bins.const == 0:
        raise Unsupported("operator aten::bincount without minlength: the result's shape depends on data")
    weights: Tensor | None = args["weights"]
    dtype = "int64" if weights is None else weights.dtype
    axes, over = low.defs.axes((bins,)), low.defs.axes(x.shape)
    value = as_kind(x.at(point(over)), "int")
    counted = op("and", op("ge", value, Const(0, "int")), op("lt", value, Position(bins)))
    one: Expr = Const(1, "int") if weights is None else as_kind(weights.at(point(over)), "float")
    start: Expr = Const(0, "int") if weights is None else num(0)
    loop = tuple(a for a in over if a.extent is not ONE)
    return low.defs.add(axes, dtype, Put(start, loop, loaded(value), one, "sum", counted))
