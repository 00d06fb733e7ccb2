"""Convolutions as sums of products: which input element each output point and tap multiplies, and where there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kernelwright.agent.writers.playbook.expr import Const, Expr, Load, Masked, Op, Position
from kernelwright.agent.writers.playbook.index import ZERO, Axis, FloorDiv, Mod, Poly
from kernelwright.agent.writers.playbook.ir import Conv, Loop, Nest, Reduce, Store
from kernelwright.agent.writers.playbook.walks import map_poly, substitute

_ZERO = Const(0, "int")


@dataclass(frozen=True)
class Gathered:
    """``acc[batch, group, oc, spatial…] = Σ_{ic, taps…} x · w`` over the points at which ``read`` and ``real`` hold."""

    phases: tuple[Axis, ...]
    """Of a strided transposed convolution: the output position modulo the stride, an axis for each such dimension."""
    spatial: tuple[Axis, ...]
    taps: tuple[Axis, ...]
    x: Expr
    w: Expr
    read: Expr | None
    """Where the input has such an element, and the kernel such a tap, lest infinity meet a zero; None: everywhere."""
    real: Expr | None
    """Where the kernel has such a tap; None as above."""
    inside: Expr | None
    """Where the output has such a point; None as above."""
    stores: tuple[Store, ...]
    positions: tuple[Poly, ...]
    """Of the input, along each spatial dimension."""


@dataclass(frozen=True)
class Image:
    """The input of a convolution as a matrix: a row of channels for each position, which the convolution reads by ``at``."""

    rows: tuple[Axis, ...]
    channels: Axis
    x: Expr
    positions: tuple[Poly, ...]
    inside: Expr | None
    """Where there is such a position."""

    def read(self, buffer: str, channels: Axis) -> Expr:
        """What the convolution reads in ``buffer``, a matrix of rows of all ``channels``; 0 outside the image."""
        at = ZERO
        for axis, position in zip(self.rows, (*map(Poly.of, self.rows[: -len(self.positions)]), *self.positions), strict=True):
            at = at * axis.extent + position
        return masked(self.inside, Load(buffer, at * channels.extent + Poly.of(channels), "float"))


def image_of(kernel: Conv, parts: Gathered) -> Image:
    """The input of ``kernel``, which ``parts`` reads."""
    rows = (kernel.batch, kernel.group, *kernel.positions)
    return Image(rows, kernel.ic, kernel.x, parts.positions, parts.read)


def gathered(kernel: Conv, by_phase: bool) -> Gathered:
    """``kernel`` with its positions written out.

    With ``by_phase`` the output of a transposed convolution of stride ``s`` is taken apart by its position modulo ``s``: with
    ``o = s·u + r`` and dilation ``d`` prime to ``s``, the taps that meet an input element are ``t = t0(r) + s·v``, with
    ``t0·d = r + padding (mod s)``, and it is element ``u + (r + padding − t0·d)/s − v·d``. No tap is tried in vain.
    """
    where: dict[Axis, Poly] = {}
    moved: dict[Axis, Poly] = {}
    chosen: dict[Axis, Poly] = {}
    conditions: list[Expr] = []
    real: list[Expr] = []
    inside: list[Expr] = []
    phases, spatial, taps = [], list(kernel.spatial), list(kernel.taps)
    for i, position in enumerate(kernel.positions):
        stride, dilation, padding = kernel.stride[i], kernel.dilation[i], kernel.padding[i]
        o, t = kernel.spatial[i], kernel.taps[i]
        step, spread = stride.const, dilation.const
        if not kernel.transposed:
            at = Poly.of(o) * stride - padding + Poly.of(t) * dilation
            bounded = padding.const != 0
        elif by_phase and step is not None and spread is not None and step > 1 and math.gcd(step, spread) == 1:
            bounded = True
            r = Axis(f"{o.name}_phase", Poly.of(step))
            u = Axis(f"{o.name}_whole", (o.extent + step - 1) // step)
            v = Axis(f"{t.name}_whole", (t.extent + step - 1) // step)
            first = ((Poly.of(r) + padding) * pow(spread, -1, step)) % step
            tap = first + Poly.of(v) * step
            point = Poly.of(u) * step + Poly.of(r)
            at = Poly.of(u) + (Poly.of(r) + padding - first * spread) // step - Poly.of(v) * spread
            if (t.extent % step).const != 0:
                real.append(_compare("lt", Position(tap), Position(t.extent)))
            if (o.extent % step).const != 0:
                inside.append(_compare("lt", Position(point), Position(o.extent)))
            moved[o], chosen[t] = point, tap
            phases.append(r)
            spatial[i], taps[i] = u, v
        else:
            bounded = True
            at = Poly.of(o) + padding - Poly.of(t) * dilation
            if step != 1:
                conditions.append(_compare("eq", Position(Poly.of(Mod(at, stride))), _ZERO))
                conditions.append(_compare("ge", Position(at), _ZERO))
                at = Poly.of(FloorDiv(at, stride))
                conditions.append(_compare("lt", Position(at), Position(kernel.inputs[i])))
                bounded = False
        if bounded:
            conditions += [_compare("ge", Position(at), _ZERO), _compare("lt", Position(at), Position(kernel.inputs[i]))]
        where[position] = at
    stores = tuple(
        replace(
            store,
            offset=map_poly(store.offset, lambda a: moved.get(a) if isinstance(a, Axis) else None),
            value=substitute(store.value, moved),
        )
        for store in kernel.stores
    )
    return Gathered(
        tuple(phases),
        tuple(spatial),
        tuple(taps),
        substitute(kernel.x, where),
        substitute(kernel.w, chosen),
        _all([*conditions, *real]),
        _all(real),
        _all(inside),
        stores,
        tuple(where[position] for position in kernel.positions),
    )


def conv_nest(kernel: Conv) -> Nest:
    """The same computation as a plain nest over (batch, group, oc, spatial…), reducing over (ic, taps…) with masked loads."""
    parts = gathered(kernel, by_phase=False)
    value = masked(parts.read, Op("mul", (parts.x, parts.w), "float"))
    return Nest(
        kernel.name,
        (kernel.batch, kernel.group, kernel.oc, *kernel.spatial),
        (
            Loop((kernel.ic, *kernel.taps), reduces=(Reduce(kernel.acc, "sum", value, "float"),)),
            Loop((), stores=kernel.stores),
        ),
    )


def masked(condition: Expr | None, value: Expr) -> Expr:
    """``value`` where ``condition`` holds, else 0."""
    return value if condition is None else Masked(condition, value, Const(0.0, "float"), "float")


def _compare(name: str, left: Expr, right: Expr) -> Expr:
    return Op(name, (left, right), "bool")


def _all(parts: list[Expr]) -> Expr | None:
    total = parts[0] if parts else None
    for part in parts[1:]:
        total = Op("and", (total, part), "bool") if total is not None else part
    return total
