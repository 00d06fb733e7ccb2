"""Rules of views and of operators that only move elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kernelwright.agent.writers.playbook.defs import Index, Tensor, as_kind, kind_of, op, where
from kernelwright.agent.writers.playbook.graph import Call, Unsupported, Varying
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Poly, product, strides
from kernelwright.agent.writers.playbook.index import Value as Loaded
from kernelwright.agent.writers.playbook.ir import (
    Const,
    Expr,
    Masked,
    Op,
    Position,
)
from kernelwright.agent.writers.playbook.lower import Lowering, Value, axis_of, element, rule, unsqueeze

Args = Mapping[str, Any]


def reshape(low: Lowering, x: Tensor, shape: Index) -> Tensor:
    """``x`` with another shape: dimensions are matched in groups of equal products."""
    groups = _groups(low, x.shape, shape)

    def place(index: Index) -> Index:
        inner: list[Poly] = [ZERO] * len(x.shape)
        for own, new in groups:
            flat = sum((index[j] * s for j, s in zip(new, strides(tuple(shape[j] for j in new)), strict=True)), ZERO)
            sizes = tuple(x.shape[i] for i in own)
            for nth, (i, step) in enumerate(zip(own, strides(sizes), strict=True)):
                if x.shape[i] is ONE:
                    continue
                position = flat // step
                inner[i] = position if nth == 0 or _first(x.shape, own, nth) else position % x.shape[i]
        return tuple(inner)

    whole, further = x.whole, x.place
    if whole is None or further is None:
        return Tensor(shape, x.dtype, lambda index: x.at(place(index)), x, place)
    return Tensor(shape, x.dtype, lambda index: x.at(place(index)), whole, lambda index: further(place(index)))


def _first(shape: Index, own: list[int], place: int) -> bool:
    return all(shape[own[p]] is ONE for p in range(place))


def _groups(low: Lowering, old: Index, new: Index) -> list[tuple[list[int], list[int]]]:
    """Pairs of dimension lists with equal products, in order."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        own, other = [], []
        if i < len(old):
            own, i = [i], i + 1
        if j < len(new):
            other, j = [j], j + 1
        while True:
            a, b = product(old[k] for k in own), product(new[k] for k in other)
            va, vb = low.symbols.evaluate(a), low.symbols.evaluate(b)
            if va == vb:
                low.same(a, b)
                break
            if va[0] < vb[0] and i < len(old) or (va[0] == vb[0] and i < len(old)):
                own, i = [*own, i], i + 1
            elif j < len(new):
                other, j = [*other, j], j + 1
            elif i < len(old):
                own, i = [*own, i], i + 1
            else:
                raise Unsupported("a view whose sizes do not fit at every shape")
        groups.append((own, other))
    return groups


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten")
def view(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    return reshape(low, x, view_shape(low, x, call))


def view_shape(low: Lowering, x: Tensor, call: Call) -> Index:
    """The traced result's shape, in terms of the sizes of ``x`` where they fit."""
    traced = call.out["shape"]
    near = list(x.shape)
    for start in range(len(near)):
        near.extend(product(x.shape[start:stop]) for stop in range(start + 2, len(x.shape) + 1))
    sizes: list[Poly | None] = []
    for place, value in enumerate(traced):
        same_place = x.shape[place : place + 1]
        constant = not isinstance(value, Varying) and value <= 16
        sizes.append(Poly.of(int(value)) if constant else _try_size(low, value, (*same_place, *near)))
    missing = [i for i, s in enumerate(sizes) if s is None]
    if len(missing) > 1:
        raise Unsupported("a view whose sizes are no expressions of the shapes")
    if missing:
        sizes[missing[0]] = product(x.shape) // product(s for s in sizes if s is not None)
    return tuple(s for s in sizes if s is not None)


def _try_size(low: Lowering, value: Any, near: Index) -> Poly | None:
    try:
        return low.size(value, near)
    except Unsupported:
        return None


@rule("permute", "transpose", "t", "movedim")
def permute(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    rank = len(x.shape)
    if "dims" in args:
        dims = [d % rank for d in args["dims"]]
    else:
        a, b = (axis_of(x, args.get(k, d)) for k, d in (("dim0", 0), ("dim1", 1)))
        dims = list(range(rank))
        if rank > 1:
            dims[a], dims[b] = dims[b], dims[a]

    def at(index: Index) -> Expr:
        inner: list[Poly] = [ZERO] * rank
        for place, d in enumerate(dims):
            inner[d] = index[place]
        return x.at(tuple(inner))

    return Tensor(tuple(x.shape[d] for d in dims), x.dtype, at)


@rule("unsqueeze")
def unsqueeze_rule(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    return unsqueeze(x, [args["dim"] % (len(x.shape) + 1)])


@rule("squeeze")
def squeeze(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    given = args.get("dim")
    dims = list(range(len(x.shape))) if given is None else [given] if isinstance(given, int) else given
    drop = {d % max(len(x.shape), 1) for d in dims}
    kept = [d for d in range(len(x.shape)) if not (d in drop and x.shape[d] is ONE)]

    def at(index: Index) -> Expr:
        inner = [ZERO] * len(x.shape)
        for place, d in enumerate(kept):
            inner[d] = index[place]
        return x.at(tuple(inner))

    return Tensor(tuple(x.shape[d] for d in kept), x.dtype, at)


@rule("expand", "broadcast_to", "expand_as")
def expand(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    traced = call.out["shape"]
    lead = len(traced) - len(x.shape)
    shape = []
    for place, value in enumerate(traced):
        own = x.shape[place - lead] if place >= lead else ONE
        shape.append(own if own is not ONE else low.size(value))
    ones = [s is ONE for s in x.shape]

    def at(index: Index) -> Expr:
        return x.at(tuple(ZERO if one else i for i, one in zip(index[lead:], ones, strict=True)))

    return Tensor(tuple(shape), x.dtype, at)


@rule("slice")
def slice_rule(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    dim = axis_of(x, args["dim"])
    start = from_end(low, x.shape[dim], args["start"] if args["start"] is not None else 0)
    step = args["step"]
    if isinstance(step, Varying):
        raise Unsupported("a slice whose step varies")
    length = slice_length(low, x.shape[dim], start, args["end"], call.out["shape"][dim], step)

    def at(index: Index) -> Expr:
        return x.at((*index[:dim], index[dim] * step + start, *index[dim + 1 :]))

    return Tensor((*x.shape[:dim], length, *x.shape[dim + 1 :]), x.dtype, at)


def slice_length(low: Lowering, size: Poly, start: Poly, end: Any, traced: Any, step: int) -> Poly:
    """Elements of ``start:end:step``, an expression that fits all traces."""
    stop = size
    if end is not None and not (isinstance(end, int) and end > 2**40):
        stop = from_end(low, size, end)
    whole = (stop - start + step - 1) // step
    beyond = (size - start + step - 1) // step
    for candidate in (whole, beyond):
        if low.symbols.evaluate(candidate) == low.symbols.values_of(traced):
            return candidate
    return low.size(traced, (size,))


def from_end(low: Lowering, size: Poly, value: Any) -> Poly:
    """A slice bound or index counted from the front."""
    values = low.symbols.values_of(value)
    if all(v < 0 for v in values):
        if len(set(values)) == 1:
            return size + values[0]
        return size - low.size(Varying(tuple(-v for v in values)), (size,))
    if len(set(values)) == 1:
        return Poly.of(values[0])
    return low.size(value, (size, size // 2))


@rule("select")
def select(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    dim = axis_of(x, args["dim"])
    place = from_end(low, x.shape[dim], args["index"])
    shape = (*x.shape[:dim], *x.shape[dim + 1 :])
    return Tensor(shape, x.dtype, lambda index: x.at((*index[:dim], place, *index[dim:])))


@rule("split", "split_with_sizes", "chunk", "unbind", "tensor_split")
def split(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    dim = axis_of(x, args["dim"])
    parts = []
    start = ZERO
    unbind = "unbind" in call.op
    for out in call.out:
        begin = start
        if unbind:
            shape = (*x.shape[:dim], *x.shape[dim + 1 :])
            size = ONE
        else:
            size = low.size(out["shape"][dim], (x.shape[dim] // len(call.out), x.shape[dim]))
            shape = (*x.shape[:dim], size, *x.shape[dim + 1 :])

        def at(index: Index, begin: Poly = begin) -> Expr:
            middle = begin if unbind else begin + index[dim]
            return x.at((*index[:dim], middle, *index[dim if unbind else dim + 1 :]))

        parts.append(Tensor(shape, x.dtype, at))
        start = start + size
    return tuple(parts)


@rule("cat", "concat")
def cat(low: Lowering, args: Args, call: Call) -> Value:
    tensors = [t for t in args["tensors"] if not (len(t.shape) == 1 and t.shape[0] is ZERO)]
    dim = axis_of(tensors[0], args["dim"])
    dtype = low.dtype(call)
    kind = kind_of(dtype)
    total = sum((t.shape[dim] for t in tensors), ZERO)
    for t in tensors[1:]:
        if not all(low.same(a, b) for d, (a, b) in enumerate(zip(t.shape, tensors[0].shape, strict=True)) if d != dim):
            raise Unsupported("concatenated shapes that do not fit")

    def at(index: Index) -> Expr:
        place = index[dim]
        start = total - tensors[-1].shape[dim]
        result = as_kind(tensors[-1].at((*index[:dim], place - start, *index[dim + 1 :])), kind)
        zero = Const({"float": 0.0, "int": 0, "bool": False}[kind], kind)
        for t in reversed(tensors[:-1]):
            inside = Op("lt", (Position(place), Position(start)), "bool")
            start = start - t.shape[dim]
            own = as_kind(t.at((*index[:dim], place - start, *index[dim + 1 :])), kind)
            result = Masked(inside, own, Masked(op("not", inside), result, zero, kind), kind)
        return result

    shape = (*tensors[0].shape[:dim], total, *tensors[0].shape[dim + 1 :])
    return low.defs.map(shape, dtype, at)


@rule("stack")
def stack(low: Lowering, args: Args, call: Call) -> Value:
    tensors = args["tensors"]
    dim = args["dim"] % (len(tensors[0].shape) + 1)
    return cat(low, {"tensors": [unsqueeze(t, [dim]) for t in tensors], "dim": dim}, call)


@rule("repeat")
def repeat(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    lead = len(args["repeats"]) - len(x.shape)
    shape = [low.size(v) for v in args["repeats"][:lead]]
    plain = []
    for size, times in zip(x.shape, args["repeats"][lead:], strict=True):
        shape.append(size * low.number(times))
        plain.append(times == 1)

    def at(index: Index) -> Expr:
        return x.at(tuple(i if p else i % s for i, p, s in zip(index[lead:], plain, x.shape, strict=True)))

    return low.defs.map(tuple(shape), x.dtype, at)


@rule("flip")
def flip(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    dims = {axis_of(x, d) for d in args["dims"]}

    def at(index: Index) -> Expr:
        return x.at(tuple(s - 1 - i if d in dims else i for d, (i, s) in enumerate(zip(index, x.shape, strict=True))))

    return Tensor(x.shape, x.dtype, at)


@rule("roll")
def roll(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    if not args["dims"]:
        raise Unsupported("operator aten::roll without dims has no template")
    shifts = dict(zip([axis_of(x, d) for d in args["dims"]], args["shifts"], strict=True))

    def at(index: Index) -> Expr:
        inner = []
        for d, i in enumerate(index):
            if d not in shifts:
                inner.append(i)
                continue
            shift = shifts[d]
            size = x.shape[d]
            inner.append(
                (i + (size - low.number(shift) if not isinstance(shift, int) or shift > 0 else Poly.of(-shift))) % size
            )
        return x.at(tuple(inner))

    return low.defs.map(x.shape, x.dtype, at)


def _between(place: Poly, first: Poly, size: Poly) -> list[Expr]:
    """Conditions that ``first <= place < first + size``, without those that always hold."""
    conditions: list[Expr] = []
    if first is not ZERO:
        conditions.append(Op("ge", (Position(place), Position(first)), "bool"))
    conditions.append(Op("lt", (Position(place), Position(first + size)), "bool"))
    return conditions


@rule("constant_pad_nd", "pad")
def pad(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    mode = (args.get("mode") or {"text": "constant"})["text"]
    if mode != "constant":
        return _mirror(low, x, args["pad"], mode)
    value = args["value"] if args["value"] is not None else 0
    kind = x.kind
    fill = as_kind(low.expr(value), kind)
    widths = [low.number(v) for v in args["pad"]]
    shape, before, touched = list(x.shape), [ZERO] * len(x.shape), []
    for k in range(len(widths) // 2):
        d = len(x.shape) - 1 - k
        before[d] = widths[2 * k]
        shape[d] = x.shape[d] + widths[2 * k] + widths[2 * k + 1]
        if shape[d] is not x.shape[d] or before[d] is not ZERO:
            touched.append(d)

    def at(index: Index) -> Expr:
        inner = tuple(i - b for i, b in zip(index, before, strict=True))
        conditions = [c for d in touched for c in _between(index[d], before[d], x.shape[d])]
        result = x.at(inner)
        return Masked(all_of(conditions), result, fill, kind) if conditions else result

    return low.defs.map(tuple(shape), x.dtype, at)


def all_of(conditions: list[Expr]) -> Expr:
    """The conjunction."""
    result = conditions[0]
    for condition in conditions[1:]:
        result = op("and", result, condition)
    return result


def _mirror(low: Lowering, x: Tensor, widths: list[Any], mode: str) -> Tensor:
    fold: dict[int, tuple[Poly, Poly]] = {}
    for k in range(len(widths) // 2):
        fold[len(x.shape) - 1 - k] = (low.number(widths[2 * k]), low.number(widths[2 * k + 1]))
    shape = tuple(s + sum(fold.get(d, (ZERO, ZERO)), ZERO) for d, s in enumerate(x.shape))

    def at(index: Index) -> Expr:
        inner = []
        for d, i in enumerate(index):
            inner.append(i if d not in fold else _fold(i - fold[d][0], x.shape[d], mode))
        return x.at(tuple(inner))

    return low.defs.map(shape, x.dtype, at)


def _fold(place: Poly, size: Poly, mode: str) -> Poly:
    """``place`` brought back inside by reflection, repetition of the edge or wrapping."""
    at, last = Position(place), Position(size - 1)
    if mode == "circular":
        return (place + size) % size
    if mode == "reflect":
        positive = op("abs", at)
        return Poly.of(Loaded(op("sub", last, op("abs", op("sub", last, positive)))))
    return Poly.of(Loaded(op("min", op("max", at, Const(0, "int")), last)))


def _mirror_rule(mode: str) -> Callable[[Lowering, Args, Call], Value]:
    return lambda low, args, call: _mirror(low, args["self"], args["padding"], mode)


for _rank in (1, 2, 3):
    rule(f"reflection_pad{_rank}d")(_mirror_rule("reflect"))
    rule(f"replication_pad{_rank}d")(_mirror_rule("replicate"))


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


@rule("tril", "triu")
def triangle(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    compare = "le" if "tril" in call.op else "ge"
    shift = low.expr(args["diagonal"])
    zero = Const({"float": 0.0, "int": 0, "bool": False}[x.kind], x.kind)

    def at(index: Index) -> Expr:
        inside = op(compare, op("sub", Position(index[-1]), Position(index[-2])), shift)
        return where(inside, x.at(index), zero)

    return low.defs.map(x.shape, x.dtype, at)


@rule("diagonal")
def diagonal(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    a, b, shift = axis_of(x, args["dim1"]), axis_of(x, args["dim2"]), args["offset"]
    if not isinstance(shift, int):
        raise Unsupported("a diagonal whose offset varies")
    rest = [d for d in range(len(x.shape)) if d not in (a, b)]
    length = low.size(call.out["shape"][-1], (x.shape[a], x.shape[b]))

    def at(index: Index) -> Expr:
        inner: list[Poly] = [ZERO] * len(x.shape)
        for place, d in enumerate(rest):
            inner[d] = index[place]
        inner[a], inner[b] = index[-1] + max(-shift, 0), index[-1] + max(shift, 0)
        return x.at(tuple(inner))

    return Tensor((*(x.shape[d] for d in rest), length), x.dtype, at)


@rule("copy")
def copy(low: Lowering, args: Args, call: Call) -> Value:
    x, source = args["self"], args["src"]
    kind = x.kind

    def at(index: Index) -> Expr:
        return as_kind(element(source, index), kind)

    return Tensor(x.shape, x.dtype, at)
