"""Rules of views and of operators that only move elements."""

from __future__ import annotations

from typing import Any

from kernelwright.agent.writers.playbook.defs import Index, Tensor
from kernelwright.agent.writers.playbook.expr import Expr
from kernelwright.agent.writers.playbook.graph import Call, Unsupported, Varying
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Poly, product, strides
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, axis_of, rule, unsqueeze


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
