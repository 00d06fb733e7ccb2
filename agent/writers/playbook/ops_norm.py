"""Rules of normalisations."""

from __future__ import annotations

from collections.abc import Callable

from kernelwright.agent.writers.playbook.defs import Index, Tensor, as_kind, fop, op
from kernelwright.agent.writers.playbook.expr import Expr
from kernelwright.agent.writers.playbook.graph import Call
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, rule, size_float
from kernelwright.agent.writers.playbook.ops_reduce import at_kept, centred, without
from kernelwright.agent.writers.playbook.ops_view import reshape


def normalise(
    low: Lowering, x: Tensor, dims: list[int], eps: Expr, scale: Callable[[Index, Expr], Expr]
) -> tuple[Tensor, Tensor, Tensor]:
    """``scale(index, (x - mean) / sqrt(var + eps))`` over ``dims``, with mean and 1/std (dimensions kept)."""
    middle, squares = centred(low, x, dims)
    count = low.count(x, dims)
    inverse = low.defs.map(
        squares.shape,
        "float32",
        lambda i: fop("rsqrt", op("add", fop("div", squares.at(i), size_float(count)), eps)),
    )

    def body(index: Index) -> Expr:
        kept = at_kept(index, middle.shape, x.shape)
        value = op("mul", op("sub", as_kind(x.at(index), "float"), middle.at(kept)), inverse.at(kept))
        return scale(index, value)

    return low.defs.map(x.shape, "work", body), middle, inverse


@rule("layer_norm", "native_layer_norm")
def layer_norm(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["input"]
    count = len(args["normalized_shape"])
    dims = list(range(len(x.shape) - count, len(x.shape)))
    weight, bias = args["weight"], args["bias"]

    def scale(index: Index, value: Expr) -> Expr:
        return affine(value, weight, bias, index[len(index) - count :])

    y, middle, inverse = normalise(low, x, dims, low.expr(args["eps"]), scale)
    return (y, middle, inverse) if "native" in call.op else y


def affine(value: Expr, weight: Tensor | None, bias: Tensor | None, index: Index) -> Expr:
    """``value * weight[index] + bias[index]``."""
    if weight is not None:
        value = fop("mul", value, weight.at(index))
    return value if bias is None else fop("add", value, bias.at(index))


@rule("rms_norm")
def rms_norm(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["input"]
    count = len(args["normalized_shape"])
    dims = list(range(len(x.shape) - count, len(x.shape)))
    eps = args["eps"] if args["eps"] is not None else 1.1920928955078125e-07
    square = low.mean(x, dims, True, lambda e: fop("mul", e, e))

    def body(index: Index) -> Expr:
        kept = at_kept(index, square.shape, x.shape)
        inverse = fop("rsqrt", op("add", square.at(kept), low.expr(eps)))
        return affine(fop("mul", x.at(index), inverse), args["weight"], None, index[len(index) - count :])

    return low.defs.map(x.shape, "work", body)


@rule("group_norm", "native_group_norm")
def group_norm(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["input"]
    groups = low.number(args.get("num_groups", args.get("group")))
    width = x.shape[1] // groups
    split = reshape(low, x, (x.shape[0], groups, width, *x.shape[2:]))
    dims = list(range(2, len(split.shape)))

    def scale(index: Index, value: Expr) -> Expr:
        return affine(value, args["weight"], args["bias"], (index[1] * width + index[2],))

    y, middle, inverse = normalise(low, split, dims, low.expr(args["eps"]), scale)
    whole = reshape(low, y, x.shape)
    return (whole, without(middle, dims), without(inverse, dims)) if "native" in call.op else whole


@rule("instance_norm")
def instance_norm(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["input"]
    if not args["use_input_stats"]:
        return _batch_norm(low, args, call)
    dims = list(range(2, len(x.shape)))

    def scale(index: Index, value: Expr) -> Expr:
        return affine(value, args["weight"], args["bias"], (index[1],))

    return normalise(low, x, dims, low.expr(args["eps"]), scale)[0]


@rule("_native_batch_norm_legit_no_training")
def batch_norm_eval(low: Lowering, args: Args, call: Call) -> Value:
    return _batch_norm(low, args, call), None, None


@rule("_native_batch_norm_legit", "_native_batch_norm_legit.no_stats")
def batch_norm_train(low: Lowering, args: Args, call: Call) -> Value:
    if "running_mean" in args and not args["training"]:
        return _batch_norm(low, args, call), None, None
    x: Tensor = args["input"]
    dims = [0, *range(2, len(x.shape))]

    def scale(index: Index, value: Expr) -> Expr:
        return affine(value, args["weight"], args["bias"], (index[1],))

    y, middle, inverse = normalise(low, x, dims, low.expr(args["eps"]), scale)
    return y, without(middle, dims), without(inverse, dims)


def _batch_norm(low: Lowering, args: Args, call: Call) -> Tensor:
    x: Tensor = args["input"]
    eps = low.expr(args["eps"])

    def body(index: Index) -> Expr:
        c = (index[1],)
        inverse = fop("rsqrt", fop("add", args["running_var"].at(c), eps))
        if args["weight"] is not None:
            inverse = fop("mul", inverse, args["weight"].at(c))
        value = fop("mul", fop("sub", x.at(index), args["running_mean"].at(c)), inverse)
        return affine(value, None, args["bias"], c)

    return low.defs.map(x.shape, "work", body)
