"""Rules of operators that put elements elsewhere: joined, repeated, turned, padded, or counted out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kernelwright.agent.writers.playbook.defs import Index, Tensor, as_kind, kind_of, op, where
from kernelwright.agent.writers.playbook.expr import Const, Expr, Masked, Op, Position
from kernelwright.agent.writers.playbook.graph import Call, Unsupported
from kernelwright.agent.writers.playbook.index import ZERO, Poly
from kernelwright.agent.writers.playbook.index import Value as Loaded
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, axis_of, element, rule, unsqueeze


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
