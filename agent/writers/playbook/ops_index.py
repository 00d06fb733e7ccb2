"""Rules of operators that read or write at positions given by data."""

from __future__ import annotations

from typing import Any

from kernelwright.agent.writers.playbook.defs import Index, Put, Red, Tensor, as_kind, fop, num, op, point, where
from kernelwright.agent.writers.playbook.expr import Const, Expr, Masked, Position
from kernelwright.agent.writers.playbook.graph import Call, Unsupported
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Poly, strides
from kernelwright.agent.writers.playbook.index import Value as Loaded
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, axis_of, element, rule
from kernelwright.agent.writers.playbook.ops_view import from_end


def loaded(expr: Expr, size: Poly | None = None) -> Poly:
    """A loaded position; negative ones count from ``size`` where it is given."""
    value = as_kind(expr, "int")
    if isinstance(value, Const):
        return Poly.of(int(value.value))
    if isinstance(value, Position) and size is None:
        return value.poly
    if size is not None:
        value = where(op("lt", value, Const(0, "int")), op("add", value, Position(size)), value)
    return Poly.of(Loaded(value))


@rule("embedding")
def embedding(low: Lowering, args: Args, call: Call) -> Value:
    weight: Tensor = args["weight"]
    index: Tensor = args["indices"]
    rank = len(index.shape)
    shape = (*index.shape, *weight.shape[1:])
    return low.defs.map(shape, weight.dtype, lambda i: weight.at((loaded(index.at(i[:rank])), *i[rank:])))


@rule("index_select")
def index_select(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    index: Tensor = args["index"]
    dim = axis_of(x, args["dim"])
    length = index.shape[0] if index.shape else ONE
    shape = (*x.shape[:dim], length, *x.shape[dim + 1 :])

    def at(i: Index) -> Expr:
        return x.at((*i[:dim], loaded(element(index, (i[dim],))), *i[dim + 1 :]))

    return low.defs.map(shape, x.dtype, at)


@rule("gather")
def gather(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    index: Tensor = args["index"]
    dim = axis_of(x, args["dim"])

    def at(i: Index) -> Expr:
        inner = tuple(ZERO if s is ONE else p for p, s in zip(i, x.shape, strict=True))
        return x.at((*inner[:dim], loaded(index.at(i)), *inner[dim + 1 :]))

    return low.defs.map(index.shape, x.dtype, at)


@rule("index")
def index_rule(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    given = [*args["indices"], *[None] * (len(x.shape) - len(args["indices"]))]
    if any(t is not None and t.dtype == "bool" for t in given):
        raise Unsupported("indexing by a mask: the result's shape depends on data")
    used = [d for d, t in enumerate(given) if t is not None]
    common = low.broadcast(*[given[d].shape for d in used])
    together = used == list(range(used[0], used[-1] + 1))
    lead = used[0] if together else 0
    rest = [d for d in range(len(x.shape)) if d not in used]
    shape = (*[x.shape[d] for d in rest[:lead]], *common, *[x.shape[d] for d in rest[lead:]])

    def at(i: Index) -> Expr:
        where_ = i[lead : lead + len(common)]
        plain = iter((*i[:lead], *i[lead + len(common) :]))
        inner = [loaded(element(given[d], where_), x.shape[d]) if d in used else next(plain) for d in range(len(x.shape))]
        return x.at(tuple(inner))

    return low.defs.map(shape, x.dtype, at)


def put(low: Lowering, start: Tensor, over_shape: Index, target: Any, value: Any, operator: str) -> Tensor:
    """``start`` combined with ``value(index)`` at ``target(index)`` for every index of ``over_shape``."""
    axes = low.defs.axes(start.shape)
    over = low.defs.axes(over_shape)
    index = point(over)
    offset = sum((p * s for p, s in zip(target(index), strides(start.shape), strict=True)), ZERO)
    kind = start.kind
    loop = tuple(a for a in over if a.extent is not ONE)
    body = Put(as_kind(start.at(point(axes)), kind), loop, offset, as_kind(value(index), kind), operator)
    return low.defs.add(axes, start.dtype, body)


@rule("segment_reduce")
def segment_reduce(low: Lowering, args: Args, call: Call) -> Value:
    """Rows of a compressed sparse matrix: a reduction whose bounds are loaded."""
    x, offsets, how = args["data"], args["offsets"], args["reduce"]["text"]
    operator = {"sum": "sum", "mean": "sum", "max": "max", "min": "min", "prod": "prod"}[how]
    if offsets is None or args["axis"] != 0 or len(offsets.shape) != 1 or args["initial"] not in (None, 0):
        raise Unsupported("operator aten::segment_reduce by lengths, or with an initial value, has no template")
    axes = low.defs.axes((offsets.shape[0] - 1, *x.shape[1:]))
    over = low.defs.axis(x.shape[0])
    row = point(axes)[0]
    span = (offsets.at((row,)), offsets.at((row + 1,)))
    body = as_kind(x.at((Poly.of(over), *point(axes)[1:])), "float")
    total = low.defs.add(axes, "work", Red(operator, (over,), body, None, span))
    if how != "mean" and (operator == "sum" or args["initial"] is None):
        return total
    if how != "mean":
        raise Unsupported("operator aten::segment_reduce with an initial value has no template")

    def mean(i: Index) -> Expr:
        return fop("div", total.at(i), op("sub", offsets.at((i[0] + 1,)), offsets.at((i[0],))))

    return low.defs.map(total.shape, "work", mean)


@rule("scatter", "scatter_add", "scatter_reduce")
def scatter(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    index: Tensor = args["index"]
    dim = axis_of(x, args["dim"])
    source = args.get("src", args.get("value"))
    how = (args.get("reduce") or {"text": "add" if "scatter_add" in call.op else "set"})["text"]
    operator = {"add": "sum", "sum": "sum", "multiply": "prod", "prod": "prod", "amax": "max", "amin": "min", "set": "set"}.get(
        how
    )
    if operator is None or args.get("include_self") is False:
        raise Unsupported(f"operator aten::scatter_reduce by {how} has no template")

    def target(i: Index) -> Index:
        return (*i[:dim], loaded(index.at(i)), *i[dim + 1 :])

    def value(i: Index) -> Expr:
        return source.at(i) if isinstance(source, Tensor) else low.expr(source)

    return put(low, x, index.shape, target, value, operator)


@rule("index_add", "index_copy", "index_fill")
def index_add(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    index: Tensor = args["index"]
    source = args.get("source", args.get("value"))
    dim = axis_of(x, args["dim"])
    alpha = args.get("alpha", 1)
    shape = (*x.shape[:dim], index.shape[0] if index.shape else ONE, *x.shape[dim + 1 :])

    def value(i: Index) -> Expr:
        if not isinstance(source, Tensor):
            return low.expr(source)
        taken = element(source, i)
        return taken if alpha == 1 else op("mul", taken, low.expr(alpha))

    def target(i: Index) -> Index:
        return (*i[:dim], loaded(element(index, (i[dim],)), x.shape[dim]), *i[dim + 1 :])

    return put(low, x, shape, target, value, "sum" if "add" in call.op else "set")


@rule("index_put", "_unsafe_index_put")
def index_put(low: Lowering, args: Args, call: Call) -> Value:
    x, values = args["self"], args["values"]
    given = [*args["indices"], *[None] * (len(x.shape) - len(args["indices"]))]
    used = [d for d, t in enumerate(given) if t is not None]
    if len(used) == 1 and given[used[0]].dtype == "bool" and not values.shape:
        mask = given[used[0]]
        if used[0] == 0 and len(mask.shape) <= len(x.shape):
            return low.defs.map(x.shape, x.dtype, lambda i: where(mask.at(i[: len(mask.shape)]), values.at(()), x.at(i)))
    if any(given[d].dtype == "bool" for d in used) or used != list(range(used[0], used[-1] + 1)):
        raise Unsupported("operator aten::index_put with these indices has no template")
    common = low.broadcast(*[given[d].shape for d in used])
    lead, after = x.shape[: used[0]], x.shape[used[-1] + 1 :]
    shape = (*lead, *common, *after)

    def target(i: Index) -> Index:
        place = i[len(lead) : len(lead) + len(common)]
        inner = [loaded(element(given[d], place), x.shape[d]) for d in used]
        return (*i[: len(lead)], *inner, *i[len(lead) + len(common) :])

    return put(low, x, shape, target, lambda i: element(values, i), "sum" if args.get("accumulate") else "set")


@rule("slice_scatter", "select_scatter")
def slice_scatter(low: Lowering, args: Args, call: Call) -> Value:
    x, source = args["self"], args["src"]
    dim = axis_of(x, args["dim"])
    single = "select" in call.op
    size = x.shape[dim]
    start = from_end(low, size, args["index"] if single else args["start"] or 0)
    step = 1 if single else args["step"]
    if step != 1:
        raise Unsupported("operator aten::slice_scatter with a step has no template")
    width = ONE if single else source.shape[dim]

    def at(i: Index) -> Expr:
        inside = op("and", op("ge", Position(i[dim]), Position(start)), op("lt", Position(i[dim]), Position(start + width)))
        place = i[dim] - start
        inner = (*i[:dim], *i[dim + 1 :]) if single else (*i[:dim], place, *i[dim + 1 :])
        own = as_kind(element(source, inner), x.kind)
        return Masked(inside, own, x.at(i), x.kind)

    return low.defs.map(x.shape, x.dtype, at)


@rule("masked_scatter", "nonzero", "masked_select", "unique", "_unique2", "repeat_interleave.Tensor")
def data_shape(low: Lowering, args: Args, call: Call) -> Value:
    raise Unsupported(f"operator {call.op.replace('aten.', 'aten::')}: the result's shape depends on data")


@rule("nll_loss_forward", "nll_loss2d_forward")
def nll_loss(low: Lowering, args: Args, call: Call) -> Value:
    x, target, weight = args["self"], args["target"], args["weight"]
    ignored = Const(args["ignore_index"], "int")
    classes = 1 if len(x.shape) > 1 else 0

    def safe(i: Index) -> Expr:
        t = target.at(i)
        return where(op("ne", t, ignored), t, Const(0, "int"))

    def scale(i: Index) -> Expr:
        one = num(1) if weight is None else weight.at((loaded(safe(i)),))
        return where(op("ne", target.at(i), ignored), one, num(0))

    def loss(i: Index) -> Expr:
        taken = x.at((*i[:classes], loaded(safe(i)), *i[classes:]))
        return where(op("ne", target.at(i), ignored), op("neg", fop("mul", taken, scale(i))), num(0))

    losses = low.defs.map(target.shape, "work", loss)
    weights = low.defs.map(target.shape, "float32", scale)
    total = low.reduce(weights, [], False, ("sum", "float32"), lambda e: e)
    if args["reduction"] == 0:
        return losses, total
    summed = low.reduce(losses, [], False, ("sum", "float32"), lambda e: e)
    if args["reduction"] == 2:
        return summed, total
    return low.defs.map((), "work", lambda i: fop("div", summed.at(()), total.at(()))), total


@rule("one_hot")
def one_hot(low: Lowering, args: Args, call: Call) -> Value:
    x = args["self"]
    classes = low.size(call.out["shape"][-1])
    return low.defs.map((*x.shape, classes), "int64", lambda i: as_kind(op("eq", x.at(i[:-1]), Position(i[-1])), "int"))


@rule("bucketize", "searchsorted")
def bucketize(low: Lowering, args: Args, call: Call) -> Value:
    raise Unsupported(f"operator {call.op.replace('aten.', 'aten::')} has no template")
