"""Rules of matrix products, attention and convolutions."""

from __future__ import annotations

from typing import Any

from kernelwright.agent.writers.playbook.defs import Convolution, Index, Mat, Red, Tensor, as_kind, fop, num, op, point, where
from kernelwright.agent.writers.playbook.expr import Expr, Position
from kernelwright.agent.writers.playbook.graph import Call, Unsupported
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Poly
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, element, rule, size_float, unsqueeze
from kernelwright.agent.writers.playbook.ops_reduce import softmax
from kernelwright.agent.writers.playbook.ops_view import reshape


def product_of(low: Lowering, a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` with batch dimensions broadcast; both have rank 2 or more."""
    batch = low.broadcast(a.shape[:-2], b.shape[:-2])
    if not low.same(a.shape[-1], b.shape[-2]):
        raise Unsupported("a matrix product whose inner sizes differ")
    axes = low.defs.axes((*batch, a.shape[-2], b.shape[-1]))
    k = low.defs.axis(a.shape[-1])
    index = point(axes)
    kk = ZERO if k.extent is ONE else Poly.of(k)
    lead = index[:-2]
    left = as_kind(a.at(_batch(a, lead, (index[-2], kk))), "float")
    right = as_kind(b.at(_batch(b, lead, (kk, index[-1]))), "float")
    if k.extent.const is not None and k.extent.const <= 4 or ONE in (a.shape[-2], b.shape[-1]):
        over = () if k.extent is ONE else (k,)  # too thin for a tiled product: a reduction fuses better
        return low.defs.add(axes, "work", Red("sum", over, op("mul", left, right)))
    return low.defs.add(axes, "work", Mat(k, left, right))


def _batch(x: Tensor, lead: Index, last: tuple[Poly, Poly]) -> Index:
    own = lead[len(lead) - (len(x.shape) - 2) :]
    return (*(ZERO if s is ONE else i for i, s in zip(own, x.shape, strict=False)), *last)


@rule("mm", "bmm", "matmul", "mv", "dot", "vdot")
def matmul(low: Lowering, args: Args, call: Call) -> Value:
    a, b = list(args.values())[:2]
    if len(a.shape) == 1 and len(b.shape) == 1:
        pairs = Tensor(a.shape, "float32", lambda i: fop("mul", a.at(i), b.at(i)))
        return low.reduce(pairs, [], False, ("sum", "work"), lambda e: e)
    row, column = len(a.shape) == 1, len(b.shape) == 1
    a = unsqueeze(a, [0]) if row else a
    b = unsqueeze(b, [1]) if column else b
    folds = len(b.shape) == 2 and len(a.shape) > 2
    result = _folded(low, a, b) if folds else product_of(low, a, b)
    shape = list(result.shape)
    at = result.at
    if row:
        shape.pop(-2)
        return Tensor(tuple(shape), result.dtype, lambda i: at((*i[:-1], ZERO, i[-1])))
    if column:
        shape.pop(-1)
        return Tensor(tuple(shape), result.dtype, lambda i: at((*i, ZERO)))
    return result


def _folded(low: Lowering, a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` with the batch of ``a`` folded into its rows."""
    rows = ONE
    for size in a.shape[:-1]:
        rows = rows * size
    flat = product_of(low, reshape(low, a, (rows, a.shape[-1])), b)
    return reshape(low, flat, (*a.shape[:-1], b.shape[-1]))


def transposed(x: Tensor) -> Tensor:
    """The last two dimensions swapped."""
    shape = (*x.shape[:-2], x.shape[-1], x.shape[-2])
    return Tensor(shape, x.dtype, lambda i: x.at((*i[:-2], i[-1], i[-2])))


@rule("linear")
def linear(low: Lowering, args: Args, call: Call) -> Value:
    x, weight, bias = args["input"], args["weight"], args["bias"]
    result = matmul(low, {"a": x, "b": transposed(weight)}, call)
    if bias is None:
        return result
    return low.pointwise("work", lambda v, c: fop("add", v, c), result, bias)


@rule("addmm", "baddbmm", "addmv")
def addmm(low: Lowering, args: Args, call: Call) -> Value:
    base, a, b = list(args.values())[:3]
    alpha, beta = args["alpha"], args["beta"]
    result = matmul(low, {"a": a, "b": b}, call)
    scale, keep = low.expr(alpha), low.expr(beta)

    def body(v: Expr, c: Expr) -> Expr:
        v = v if alpha == 1 else fop("mul", v, scale)
        c = c if beta == 1 else fop("mul", c, keep)
        return v if beta == 0 else fop("add", v, c)

    return low.pointwise("work", body, result, base)


@rule("outer", "ger")
def outer(low: Lowering, args: Args, call: Call) -> Value:
    a, b = list(args.values())[:2]
    return low.pointwise(low.dtype(call), lambda x, y: op("mul", x, y), unsqueeze(a, [1]), b)


@rule("scaled_dot_product_attention")
def attention(low: Lowering, args: Args, call: Call) -> Value:
    q, k, v, mask = args["query"], args["key"], args["value"], args["attn_mask"]
    if args.get("dropout_p"):
        raise Unsupported("attention with dropout")
    shape = (*q.shape[:-1], v.shape[-1])
    if args.get("enable_gqa") and mask is None and not args["is_causal"]:
        rows = q.shape[-3] // k.shape[-3] * q.shape[-2]
        q = reshape(low, q, (*k.shape[:-2], rows, q.shape[-1]))  # heads that share keys are rows of one product
    elif args.get("enable_gqa"):
        k, v = (_repeat_heads(low, t, q.shape[-3]) for t in (k, v))
    scores = product_of(low, q, transposed(k))
    given = args.get("scale")
    width = size_float(q.shape[-1])
    scale = fop("rsqrt", width) if given is None else low.expr(given)

    def scaled(index: Index) -> Expr:
        value = fop("mul", scores.at(index), scale)
        if args["is_causal"]:
            value = where(op("le", Position(index[-1]), Position(index[-2])), value, num(float("-inf")))
        if mask is not None:
            m = element(mask, index)
            value = where(m, value, num(float("-inf"))) if m.kind == "bool" else fop("add", value, m)
        return value

    logits = low.defs.map(scores.shape, "float32", scaled)
    weights = softmax(low, {"self": logits, "dim": len(logits.shape) - 1}, call)
    return reshape(low, product_of(low, weights, v), shape)


def _repeat_heads(low: Lowering, x: Tensor, heads: Poly) -> Tensor:
    times = heads // x.shape[-3]
    shape = (*x.shape[:-3], heads, *x.shape[-2:])
    return Tensor(shape, x.dtype, lambda i: x.at((*i[:-3], i[-3] // times, *i[-2:])))


@rule("convolution")
def convolution(low: Lowering, args: Args, call: Call) -> Value:
    x, weight, bias = args["input"], args["weight"], args["bias"]
    rank = len(weight.shape) - 2
    if len(x.shape) == rank + 1:
        result = convolution(low, {**args, "input": unsqueeze(x, [0])}, _with_batch(call))
        return Tensor(result.shape[1:], result.dtype, lambda i: result.at((ZERO, *i)))
    geometry = [_spread(low, args[name], rank) for name in ("stride", "padding", "dilation", "output_padding")]
    groups, backwards = low.number(args["groups"]), bool(args["transposed"])
    out_channels = weight.shape[1] * groups if backwards else weight.shape[0]
    result = _convolve(low, x, weight, geometry, groups, backwards)
    whole = reshape(low, result, (x.shape[0], out_channels, *result.shape[3:]))
    if bias is None:
        return whole
    return low.defs.map(whole.shape, "work", lambda i: fop("add", whole.at(i), bias.at((i[1],))))


def _with_batch(call: Call) -> Call:
    return Call(call.name, call.op, call.args, {**call.out, "shape": [1, *call.out["shape"]]})


def _spread(low: Lowering, values: list[Any], rank: int) -> tuple[Poly, ...]:
    given = values * rank if len(values) == 1 else values
    return tuple(low.number(v) for v in given)


def _convolve(
    low: Lowering, x: Tensor, weight: Tensor, geometry: list[tuple[Poly, ...]], groups: Poly, backwards: bool
) -> Tensor:
    """The convolution with axes (n, group, channel in group, spatial…)."""
    stride, padding, dilation, extra = geometry
    sizes, taps_shape = x.shape[2:], weight.shape[2:]
    each_in = x.shape[1] // groups
    each_out = weight.shape[1] if backwards else weight.shape[0] // groups
    out = tuple(
        _length(sizes[d], taps_shape[d], (stride[d], padding[d], dilation[d], extra[d]), backwards) for d in range(len(sizes))
    )
    axes = low.defs.axes((x.shape[0], groups, each_out, *out))
    ic, taps = low.defs.axis(each_in), low.defs.axes(taps_shape)
    n, g, oc = point(axes)[:3]
    c = ZERO if ic.extent is ONE else Poly.of(ic)
    one_by_one = all(t is ONE for t in taps_shape) and all(s is ONE for s in stride) and all(p is ZERO for p in padding)
    if one_by_one:
        return _pointwise(low, x, weight, groups, backwards)
    positions = low.defs.axes(sizes)
    t = point(taps)
    value = as_kind(x.at((n, g * each_in + c, *point(positions))), "float")
    w = weight.at((g * each_in + c, oc, *t)) if backwards else weight.at((g * each_out + oc, c, *t))
    rule_ = Convolution(
        axes[0],
        axes[1],
        axes[2],
        axes[3:],
        ic,
        taps,
        positions,
        sizes,
        stride,
        padding,
        dilation,
        backwards,
        value,
        as_kind(w, "float"),
    )
    return low.defs.add(axes, "work", rule_)


def _length(size: Poly, taps: Poly, geometry: tuple[Poly, ...], backwards: bool) -> Poly:
    stride, padding, dilation, extra = geometry
    reach = dilation * (taps - 1)
    if backwards:
        return (size - 1) * stride - padding * 2 + reach + extra + 1
    span = size + padding * 2 - reach - 1
    return span + 1 if stride is ONE else span // stride + 1


def _pointwise(low: Lowering, x: Tensor, weight: Tensor, groups: Poly, backwards: bool) -> Tensor:
    """A convolution of one tap as a matrix product over channels."""
    each_in = x.shape[1] // groups
    each_out = weight.shape[1] if backwards else weight.shape[0] // groups
    flat = ONE
    for size in x.shape[2:]:
        flat = flat * size
    pixels = reshape(low, x, (x.shape[0], groups, each_in, flat))
    ones = (ZERO,) * (len(weight.shape) - 2)
    if backwards:
        kernel = Tensor((groups, each_out, each_in), weight.dtype, lambda i: weight.at((i[0] * each_in + i[2], i[1], *ones)))
    else:
        kernel = Tensor((groups, each_out, each_in), weight.dtype, lambda i: weight.at((i[0] * each_out + i[1], i[2], *ones)))
    result = product_of(low, unsqueeze(kernel, [0]), pixels)
    return reshape(low, result, (x.shape[0], groups, each_out, *x.shape[2:]))
