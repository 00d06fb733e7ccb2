"""Rules of Fourier transforms."""

from __future__ import annotations

from kernelwright.agent.writers.playbook.defs import Complex, Fourier, Tensor, as_kind, point
from kernelwright.agent.writers.playbook.graph import Call, Unsupported
from kernelwright.agent.writers.playbook.index import Poly, text
from kernelwright.agent.writers.playbook.ir import Guard
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, axis_of, rule

LIMITS = (4, 32768)
"""Least and greatest length of a row."""


@rule("_fft_r2c")
def real_fft(low: Lowering, args: Args, call: Call) -> Value:
    """Along the last dimension, lengths that are powers of two: others are outside the kernel's envelope."""
    x: Tensor = args["self"]
    dims = [axis_of(x, d) for d in args["dim"]]
    if dims != [len(x.shape) - 1] or args["normalization"] or not args["onesided"]:
        raise Unsupported("operator aten::_fft_r2c but for plain spectra of the last dimension has no template")
    length = x.shape[-1]
    size, (least, most) = text(length), LIMITS
    low.conditions.append(
        Guard(f"{least} <= {size} <= {most} and ({size}) & ({size} - 1) == 0", f"rows of a power of two, {least} to {most}")
    )
    axes = low.defs.axes((*x.shape[:-1], length // 2 + 1, Poly.of(2)))
    along = low.defs.axis(length)
    body = as_kind(x.at((*point(axes)[:-2], Poly.of(along))), "float")
    return Complex(low.defs.add(axes, x.dtype, Fourier(along, body)))


@rule("view_as_real")
def view_as_real(low: Lowering, args: Args, call: Call) -> Value:
    value = args["self"]
    if not isinstance(value, Complex):
        raise Unsupported("operator aten::view_as_real of an input has no template")
    return value.parts
