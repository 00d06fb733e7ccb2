"""Rules of reductions, normalisations and scans."""

from __future__ import annotations

from kernelwright.agent.writers.playbook.defs import Index, Run, Tensor, as_kind, fop, kind_of, num, op, point, where
from kernelwright.agent.writers.playbook.expr import Expr
from kernelwright.agent.writers.playbook.graph import Call, Unsupported
from kernelwright.agent.writers.playbook.index import ONE, Poly
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, axis_of, element, rule, size_float


def dims_of(args: Args) -> list[int]:
    """The dimensions of a reduction; empty: all."""
    dim = args.get("dim")
    return [] if dim is None else [dim] if isinstance(dim, int) else list(dim)


def _plain(name: str, operator: str) -> None:
    def lower(low: Lowering, args: Args, call: Call) -> Value:
        dtype = low.dtype(call)
        kind = kind_of(dtype)
        return low.reduce(args["self"], dims_of(args), bool(args.get("keepdim")), (operator, dtype), lambda e: as_kind(e, kind))

    rule(name)(lower)


for _name, _op in (("sum", "sum"), ("prod", "prod"), ("amax", "max"), ("amin", "min"), ("any", "any"), ("all", "all")):
    _plain(_name, _op)


@rule("mean")
def mean(low: Lowering, args: Args, call: Call) -> Value:
    return low.mean(args["self"], dims_of(args), bool(args.get("keepdim")))


@rule("max", "min")
def extreme(low: Lowering, args: Args, call: Call) -> Value:
    name = call.op.removeprefix("aten.")[:3]
    x: Tensor = args["self"]
    if "other" in args:
        return low.pointwise(low.dtype(call), lambda a, b: op(name, a, b), x, args["other"])
    keep, dims = bool(args.get("keepdim")), dims_of(args)
    values = low.reduce(x, dims, keep, (name, x.dtype), lambda e: e)
    if not dims:
        return values
    return values, low.reduce(x, dims, keep, (f"arg{name}", "int64"), lambda e: e)


@rule("argmax", "argmin")
def arg_extreme(low: Lowering, args: Args, call: Call) -> Value:
    name = call.op.removeprefix("aten.")[:6]
    return low.reduce(args["self"], dims_of(args), bool(args["keepdim"]), (name, "int64"), lambda e: e)


def centred(low: Lowering, x: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
    """Mean (dimensions kept) and sum of squared differences from it (kept), by two passes."""
    middle = low.mean(x, dims, True)

    def body(index: Index) -> Expr:
        d = op("sub", as_kind(x.at(index), "float"), middle.at(at_kept(index, middle.shape, x.shape)))
        return op("mul", d, d)

    lazy = Tensor(x.shape, "float32", body)
    return middle, low.reduce(lazy, dims, True, ("sum", "float32"), lambda e: e)


def at_kept(index: Index, shape: Index, full: Index) -> Index:
    """``index`` with 0 along the dimensions that ``shape`` has reduced."""
    return tuple(Poly.of(0) if s is ONE and f is not ONE else i for i, s, f in zip(index, shape, full, strict=True))


def _spread(low: Lowering, args: Args, root: bool) -> tuple[Tensor, Tensor]:
    x: Tensor = args["self"]
    dims = dims_of(args)
    correction = args.get("correction")
    if correction is None:
        correction = 1 if args.get("unbiased", True) else 0
    middle, squares = centred(low, x, dims)
    count = op("sub", size_float(low.count(x, dims)), low.expr(correction))

    def body(index: Index) -> Expr:
        value = fop("div", squares.at(index), op("max", count, num(0)))
        return fop("sqrt", value) if root else value

    result = low.defs.map(squares.shape, "float32", body)
    if not args.get("keepdim"):
        over = sorted({d % len(x.shape) for d in dims}) if dims else list(range(len(x.shape)))
        return without(result, over), without(middle, over)
    return result, middle


def without(x: Tensor, over: list[int]) -> Tensor:
    """``x`` without its (extent 1) dimensions ``over``."""
    kept = [d for d in range(len(x.shape)) if d not in over]

    def at(index: Index) -> Expr:
        inner = [Poly.of(0)] * len(x.shape)
        for place, d in enumerate(kept):
            inner[d] = index[place]
        return x.at(tuple(inner))

    return Tensor(tuple(x.shape[d] for d in kept), x.dtype, at)


@rule("var", "std")
def spread(low: Lowering, args: Args, call: Call) -> Value:
    return _spread(low, args, "std" in call.op)[0]


@rule("var_mean", "std_mean")
def spread_mean(low: Lowering, args: Args, call: Call) -> Value:
    return _spread(low, args, "std" in call.op)


@rule("logsumexp")
def logsumexp(low: Lowering, args: Args, call: Call) -> Value:
    x, dims, keep = args["self"], dims_of(args), bool(args["keepdim"])
    top, total = _log_parts(low, x, dims)

    def body(index: Index) -> Expr:
        return op("add", fop("log", total.at(index)), top.at(index))

    result = low.defs.map(total.shape, low.dtype(call), body)
    return result if keep else without(result, sorted(d % len(x.shape) for d in dims or range(len(x.shape))))


def _log_parts(low: Lowering, x: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
    """A finite maximum and the sum of exp(x - maximum), dimensions kept."""
    highest = low.reduce(x, dims, True, ("max", x.dtype), lambda e: as_kind(e, "float"))

    def finite(index: Index) -> Expr:
        m = highest.at(index)
        return where(op("eq", fop("abs", m), num(float("inf"))), num(0), m)

    top = low.defs.map(highest.shape, "float32", finite)
    shifted = Tensor(
        x.shape,
        "float32",
        lambda i: fop("exp", op("sub", as_kind(x.at(i), "float"), top.at(at_kept(i, top.shape, x.shape)))),
    )
    return top, low.reduce(shifted, dims, True, ("sum", "float32"), lambda e: e)


@rule("linalg_vector_norm", "norm")
def vector_norm(low: Lowering, args: Args, call: Call) -> Value:
    x, dims, keep = args["self"], dims_of(args), bool(args.get("keepdim"))
    order = args.get("ord", args.get("p", 2))
    order = float(order["float"]) if isinstance(order, dict) else 2 if order is None else order

    def absolute(e: Expr) -> Expr:
        return fop("abs", e)

    if order in (float("inf"), float("-inf")):
        return low.reduce(x, dims, keep, ("max" if order > 0 else "min", "float32"), absolute)
    if order == 0:
        return low.reduce(x, dims, keep, ("sum", "float32"), lambda e: as_kind(op("ne", e, num(0)), "float"))
    if order == 1:
        return low.reduce(x, dims, keep, ("sum", "float32"), absolute)
    if order == 2:
        total = low.reduce(x, dims, keep, ("sum", "float32"), lambda e: fop("mul", e, e))
        return low.defs.map(total.shape, low.dtype(call), lambda i: fop("sqrt", total.at(i)))
    total = low.reduce(x, dims, keep, ("sum", "float32"), lambda e: op("pow", fop("abs", e), num(order)))
    return low.defs.map(total.shape, low.dtype(call), lambda i: op("pow", total.at(i), num(1 / order)))


@rule("softmax", "_softmax", "_safe_softmax")
def softmax(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    top, total = _softmax_parts(low, x, args["dim"])

    def body(index: Index) -> Expr:
        kept = at_kept(index, top.shape, x.shape)
        return fop("div", fop("exp", op("sub", as_kind(x.at(index), "float"), top.at(kept))), total.at(kept))

    return low.defs.map(x.shape, low.dtype(call), body)


def _softmax_parts(low: Lowering, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    top = low.reduce(x, [dim], True, ("max", "float32"), lambda e: as_kind(e, "float"))
    shifted = Tensor(
        x.shape,
        "float32",
        lambda i: fop("exp", op("sub", as_kind(x.at(i), "float"), top.at(at_kept(i, top.shape, x.shape)))),
    )
    return top, low.reduce(shifted, [dim], True, ("sum", "float32"), lambda e: e)


@rule("log_softmax", "_log_softmax")
def log_softmax(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    top, total = _softmax_parts(low, x, args["dim"])

    def body(index: Index) -> Expr:
        kept = at_kept(index, top.shape, x.shape)
        return op("sub", op("sub", as_kind(x.at(index), "float"), top.at(kept)), fop("log", total.at(kept)))

    return low.defs.map(x.shape, low.dtype(call), body)


def _scan(names: tuple[str, ...], operator: str) -> None:
    def lower(low: Lowering, args: Args, call: Call) -> Value:
        x: Tensor = args["self"]
        if not x.shape:
            return x
        return scan(low, x, axis_of(x, args["dim"]), operator, low.dtype(call, 0 if isinstance(call.out, list) else None))

    rule(*names)(lower)


def scan(low: Lowering, x: Tensor, dim: int, operator: str, dtype: str, position: bool = False) -> Tensor:
    """The running ``operator`` of ``x`` along ``dim``."""
    axes = low.defs.axes(x.shape)
    kind = kind_of(dtype) if not position else x.kind
    return low.defs.add(axes, dtype, Run(operator, axes[dim], as_kind(x.at(point(axes)), kind), position=position))


_scan(("cumsum",), "sum")
_scan(("cumprod",), "prod")


@rule("cummax", "cummin")
def running_extreme(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    name, dim = call.op.removeprefix("aten.")[3:6], axis_of(x, args["dim"])
    return scan(low, x, dim, name, x.dtype), scan(low, x, dim, name, "int64", position=True)


@rule("logcumsumexp")
def logcumsumexp(low: Lowering, args: Args, call: Call) -> Value:
    raise Unsupported("operator aten::logcumsumexp has no template")


@rule("cosine_similarity")
def cosine_similarity(low: Lowering, args: Args, call: Call) -> Value:
    a, b, dim = args["x1"], args["x2"], [args["dim"]]
    shape = low.broadcast(a.shape, b.shape)

    def both(x: Tensor, y: Tensor) -> Tensor:
        pairs = Tensor(shape, "float32", lambda i: fop("mul", element(x, i), element(y, i)))
        return low.reduce(pairs, dim, False, ("sum", "float32"), lambda e: e)

    dot, aa, bb = both(a, b), both(a, a), both(b, b)
    eps = low.expr(args["eps"])

    def body(index: Index) -> Expr:
        norms = op("mul", op("max", fop("sqrt", aa.at(index)), eps), op("max", fop("sqrt", bb.at(index)), eps))
        return fop("div", dot.at(index), norms)

    return low.defs.map(dot.shape, low.dtype(call), body)
