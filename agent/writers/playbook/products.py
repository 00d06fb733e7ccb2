"""Products in a program, whatever kernel they stand in: one form for matrix products and convolutions."""

from __future__ import annotations

from dataclasses import dataclass

from kernelwright.agent.writers.playbook.convolution import Image, gathered, image_of, masked
from kernelwright.agent.writers.playbook.expr import Expr
from kernelwright.agent.writers.playbook.index import ZERO, Axis, Poly, estimate, product
from kernelwright.agent.writers.playbook.ir import Conv, Matmul, Program, Store
from kernelwright.agent.writers.playbook.walks import substitute


@dataclass(frozen=True)
class Product:
    """``acc[s…, m, n] = Σ_(lead, k) a · b``: what products and convolutions have in common. A group is a flat run of axes."""

    name: str
    scalars: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    lead: tuple[Axis, ...]
    k: tuple[Axis, ...]
    a: Expr
    b: Expr
    acc: str
    stores: tuple[Store, ...]
    inside: Expr | None = None
    """Where the result has such a point; None: everywhere."""
    near: bool = False
    """Programs that differ in ``scalars`` alone write between each other's elements: they run side by side."""
    image: Image | None = None
    """What ``b`` reads, of a convolution of many channels."""


def as_product(kernel: Matmul | Conv, program: Program) -> Product | None:
    """``kernel`` as a tiled product, or None where it is too thin for tensor cores or not of floats."""
    hints = program.hints
    if isinstance(kernel, Matmul):
        if kernel.a.kind != "float" or min(estimate(kernel.m.extent, hints), estimate(kernel.n.extent, hints)) < 8:
            return None
        return Product(
            kernel.name, kernel.batch, (kernel.m,), (kernel.n,), (), (kernel.k,), kernel.a, kernel.b, kernel.acc, kernel.stores
        )
    depth = estimate(kernel.ic.extent, hints)
    taps = estimate(product(t.extent for t in kernel.taps), hints)
    if estimate(kernel.oc.extent, hints) < 8 or depth * taps < 16 or kernel.x.kind != "float":
        return None
    if _is_pointwise(kernel):
        change = dict(zip(kernel.positions, map(Poly.of, kernel.spatial), strict=True)) | dict.fromkeys(kernel.taps, ZERO)
        batch = tuple(axis for axis in (kernel.batch, kernel.group) if axis.extent.const != 1)
        return Product(
            kernel.name,
            batch,
            (kernel.oc,),
            kernel.spatial,
            (),
            (kernel.ic,),
            substitute(kernel.w, change),
            substitute(kernel.x, change),
            kernel.acc,
            kernel.stores,
        )
    parts = gathered(kernel, by_phase=True)
    lead, k = (parts.taps, (kernel.ic,)) if depth >= 16 else ((), (kernel.ic, *parts.taps))
    return Product(
        kernel.name,
        (kernel.group, *parts.phases),
        (kernel.oc,),
        (kernel.batch, *parts.spatial),
        lead,
        k,
        masked(parts.real, parts.w),
        masked(parts.read, parts.x),
        kernel.acc,
        parts.stores,
        parts.inside,
        bool(parts.phases),
        image_of(kernel, parts) if depth >= 16 else None,
    )


def _is_pointwise(kernel: Conv) -> bool:
    """Whether each output point is the product with the channels of one input point, the same."""
    units = (*(tap.extent for tap in kernel.taps), *kernel.stride)
    return not kernel.transposed and all(u.const == 1 for u in units) and all(p.const == 0 for p in kernel.padding)
