"""Rules of pooling and resizing."""

from __future__ import annotations

import math
from typing import Any

from kernelwright.agent.writers.playbook.defs import Index, Red, Tensor, as_kind, fop, num, op, point
from kernelwright.agent.writers.playbook.expr import Const, Expr, Masked, Position
from kernelwright.agent.writers.playbook.graph import Call, Unsupported, Varying
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Axis, Poly
from kernelwright.agent.writers.playbook.index import Value as Loaded
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, rule, size_float
from kernelwright.agent.writers.playbook.ops_move import all_of
from kernelwright.agent.writers.playbook.walks import substitute


def _geometry(low: Lowering, args: Args, rank: int) -> list[tuple[Poly, ...]]:
    result = []
    for name, default in (("kernel_size", None), ("stride", None), ("padding", 0), ("dilation", 1)):
        values = args.get(name)
        if not values and values != 0:
            values = args["kernel_size"] if name == "stride" else [default]
        values = list(values) if isinstance(values, list) else [values]
        values = values * rank if len(values) == 1 else values
        result.append(tuple(low.number(v) for v in values))
    return result


def _windows(
    low: Lowering, x: Tensor, args: Args, out: Any
) -> tuple[tuple[Axis, ...], tuple[Axis, ...], Index, list[Expr], list[tuple[Poly, ...]]]:
    """(axes of the result, axes of the window, index into x, in-bounds conditions, geometry)."""
    rank = len(args["kernel_size"]) if isinstance(args["kernel_size"], list) else 2
    rank = max(rank, 1)
    geometry = _geometry(low, args, rank)
    taps, stride, padding, dilation = geometry
    lead = len(x.shape) - rank
    shape, ceil = list(x.shape[:lead]), bool(args.get("ceil_mode"))
    for d in range(rank):
        span = x.shape[lead + d] + padding[d] * 2 - dilation[d] * (taps[d] - 1) - 1
        length = span // stride[d] + 1
        if ceil:
            length = low.size(out["shape"][lead + d], (length, (span + stride[d] - 1) // stride[d] + 1))
        shape.append(length)
    axes, window = low.defs.axes(tuple(shape)), low.defs.axes(taps)
    index, conditions = list(point(axes)[:lead]), []
    for d in range(rank):
        o, t = point(axes)[lead + d], point(window)[d]
        place = o * stride[d] + t * dilation[d] - padding[d]
        if padding[d] is not ZERO:
            conditions.append(op("ge", Position(place), Const(0, "int")))
        if padding[d] is not ZERO or ceil:
            conditions.append(op("lt", Position(place), Position(x.shape[lead + d])))
        index.append(place)
    return axes, window, tuple(index), conditions, geometry


def _loop(window: tuple[Axis, ...]) -> tuple[Axis, ...]:
    return tuple(a for a in window if a.extent is not ONE)


@rule("max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool2d", "max_pool1d", "max_pool3d")
def max_pool(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    out = call.out[0] if isinstance(call.out, list) else call.out
    axes, window, index, conditions, _ = _windows(low, x, args, out)
    lowest = num(float("-inf"))
    value = as_kind(x.at(index), "float")
    body = Masked(all_of(conditions), value, lowest, "float") if conditions else value
    result = low.defs.add(axes, "work", Red("max", _loop(window), body))
    if not isinstance(call.out, list):
        return result
    rank = len(window)
    flat = ZERO
    for place, size in zip(index[-rank:], x.shape[-rank:], strict=True):
        flat = flat * size + place
    return result, low.defs.add(axes, "int64", Red("argmax", _loop(window), body, flat))


@rule("avg_pool2d", "avg_pool1d", "avg_pool3d")
def avg_pool(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    axes, window, index, conditions, (taps, stride, padding, _) = _windows(low, x, args, call.out)
    value = as_kind(x.at(index), "float")
    body = Masked(all_of(conditions), value, num(0), "float") if conditions else value
    total = low.defs.add(axes, "float32", Red("sum", _loop(window), body))
    divisor, rank = args.get("divisor_override"), len(window)
    counted = args.get("count_include_pad", True)

    def count(i: Index) -> Expr:
        if divisor:
            return as_kind(low.expr(divisor), "float")
        result: Expr = num(1)
        for d in range(rank):
            size = x.shape[len(x.shape) - rank + d]
            if not conditions or (counted and not args.get("ceil_mode")):
                result = op("mul", result, size_float(taps[d])) if result != num(1) else size_float(taps[d])
                continue
            start: Expr = Position(i[len(i) - rank + d] * stride[d] - padding[d])
            end = op("min", op("add", start, Position(taps[d])), Position(size + padding[d]))
            if not counted:
                start, end = op("max", start, Const(0, "int")), op("min", end, Position(size))
            result = fop("mul", result, op("sub", end, start))
        return result

    return low.defs.map(total.shape, "work", lambda i: fop("div", total.at(i), count(i)))


@rule("_adaptive_avg_pool2d", "adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool2d")
def adaptive_pool(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    sizes = args["output_size"]
    rank = len(sizes)
    lead = len(x.shape) - rank
    largest = "max" in call.op
    shape, reach = list(x.shape[:lead]), []
    for d, given in enumerate(sizes):
        size = x.shape[lead + d]
        o = low.size(given, (size,))
        shape.append(o)
        reach.append(ONE if o is size else size if o is ONE else (size - 1) // o + 2)
    axes, window = low.defs.axes(tuple(shape)), low.defs.axes(tuple(reach))
    index, conditions, counts = list(point(axes)[:lead]), [], []
    for d in range(rank):
        size, o = x.shape[lead + d], shape[lead + d]
        i, t = point(axes)[lead + d], point(window)[d]
        if o is ONE or o is size:
            index.append(t if o is ONE else i)
            counts.append(size_float(size if o is ONE else ONE))
            continue
        first, last = (i * size) // o, ((i + 1) * size + o - 1) // o
        conditions.append(op("lt", Position(first + t), Position(last)))
        index.append(first + t)
        counts.append(as_kind(op("sub", Position(last), Position(first)), "float"))
    value = as_kind(x.at(tuple(index)), "float")
    if conditions:
        value = Masked(all_of(conditions), value, num(float("-inf") if largest else 0), "float")
    total = low.defs.add(axes, "work" if largest else "float32", Red("max" if largest else "sum", _loop(window), value))
    if largest:
        return total, None

    def body(i: Index) -> Expr:
        divisor: Expr = num(1)
        for c in counts:
            divisor = fop("mul", divisor, c)
        moved = substitute(divisor, dict(zip(axes, i, strict=True)))
        return fop("div", total.at(i), moved)

    return low.defs.map(total.shape, "work", body)


def _scales(low: Lowering, x: Tensor, args: Args, call: Call, rank: int) -> tuple[Index, list[Any]]:
    """Result's shape, and the given scale factors (None: from the sizes)."""
    lead = len(x.shape) - rank
    scales = args.get("scale_factors")
    shape = list(x.shape[:lead])
    for d in range(rank):
        size = x.shape[lead + d]
        near: list[Poly] = []
        if scales and not isinstance(scales[d], Varying) and float(scales[d]).is_integer():
            near = [size * int(scales[d])]
        elif scales and not isinstance(scales[d], Varying):
            top, bottom = float(scales[d]).as_integer_ratio()
            near = [(size * top) // bottom] if bottom < 4096 else []
        shape.append(low.size(call.out["shape"][lead + d], (*near, size)))
    return tuple(shape), list(scales) if scales else [None] * rank


@rule("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
def nearest(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args.get("input", args.get("self"))
    rank = int(call.op.split("nearest")[1][0])
    shape, scales = _scales(low, x, args, call, rank)
    lead = len(x.shape) - rank

    def at(i: Index) -> Expr:
        inner = list(i[:lead])
        for d, scale in enumerate(scales):
            size = x.shape[lead + d]
            if isinstance(scale, (int, float)) and float(scale).is_integer():
                inner.append(i[lead + d] // int(scale))
            elif scale is None:
                inner.append((i[lead + d] * size) // shape[lead + d])
            else:
                ratio = fop("div", num(1), low.expr(scale))
                place = as_kind(fop("floor", fop("mul", Position(i[lead + d]), ratio)), "int")
                inner.append(Poly.of(Loaded(op("min", place, Position(size - 1)))))
        return x.at(tuple(inner))

    return low.defs.map(shape, x.dtype, at)


@rule("upsample_bilinear2d", "upsample_linear1d")
def bilinear(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args.get("input", args.get("self"))
    rank = 2 if "bilinear" in call.op else 1
    shape, scales = _scales(low, x, args, call, rank)
    lead, aligned = len(x.shape) - rank, bool(args["align_corners"])

    def place(i: Poly, size: Poly, out: Poly, scale: Any) -> tuple[Poly, Poly, Expr]:
        at = as_kind(Position(i), "float")
        if aligned:
            ratio = fop("div", size_float(size - 1), op("max", size_float(out - 1), num(1)))
            source = fop("mul", at, ratio)
        else:
            ratio = fop("div", num(1), low.expr(scale)) if scale is not None else fop("div", size_float(size), size_float(out))
            source = op("max", op("sub", fop("mul", op("add", at, num(0.5)), ratio), num(0.5)), num(0))
        first = op("min", as_kind(fop("floor", source), "int"), Position(size - 1))
        second = op("min", op("add", first, Const(1, "int")), Position(size - 1))
        return Poly.of(Loaded(first)), Poly.of(Loaded(second)), op("sub", source, as_kind(first, "float"))

    def body(i: Index) -> Expr:
        spots = [place(i[lead + d], x.shape[lead + d], shape[lead + d], scales[d]) for d in range(rank)]

        def mix(d: int, chosen: tuple[Poly, ...]) -> Expr:
            if d == rank:
                return as_kind(x.at((*i[:lead], *chosen)), "float")
            low_, high, weight = spots[d]
            a, b = mix(d + 1, (*chosen, low_)), mix(d + 1, (*chosen, high))
            return op("add", op("mul", a, op("sub", num(1), weight)), op("mul", b, weight))

        return mix(0, ())

    return low.defs.map(shape, x.dtype, body)


@rule("pixel_shuffle", "pixel_unshuffle")
def pixel_shuffle(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    factor = args.get("upscale_factor", args.get("downscale_factor"))
    if not isinstance(factor, int) or math.isnan(factor):
        raise Unsupported("a pixel shuffle whose factor varies")
    *lead, c, h, w = x.shape
    k = len(lead)
    if "unshuffle" in call.op:
        shape = (*lead, c * factor * factor, h // factor, w // factor)

        def at(i: Index) -> Expr:
            channel = i[k]
            row, column = i[k + 1] * factor + channel // factor % factor, i[k + 2] * factor + channel % factor
            return x.at((*i[:k], channel // (factor * factor), row, column))

    else:
        shape = (*lead, c // (factor * factor), h * factor, w * factor)

        def at(i: Index) -> Expr:
            channel = i[k] * (factor * factor) + i[k + 1] % factor * factor + i[k + 2] % factor
            return x.at((*i[:k], channel, i[k + 1] // factor, i[k + 2] // factor))

    return low.defs.map(shape, x.dtype, at)
