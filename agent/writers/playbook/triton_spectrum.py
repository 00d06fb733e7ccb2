"""A :class:`~.ir.Spectrum` as a Triton kernel: a row of N reals is one complex transform of N / 2 in registers.

Even and odd elements are real and imaginary parts (Cooley, Lewis and Welch 1970). The transform decimates in frequency by up to
sixteen at a time: a pass holds the points of each small transform in one thread, written out, so that elements move between
threads once a pass and not once a factor of two. The last step needs Z[k] beside Z[-k], which a gather across registers would
make thousands of shuffles of: it is a second transform, of the conjugate. Roots of unity are a table, made once a length and
device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kernelwright.agent.writers.playbook.ir import Program, Spectrum
from kernelwright.agent.writers.playbook.triton_code import size_text as text
from kernelwright.agent.writers.playbook.triton_launch import Piece

TUNING: dict[str, list[Any]] = {"spectrum_lane": [16, 32], "spectrum_tile": [2048, 1024, 4096]}
"""Parameter of a spectrum -> its values, the default first: complex elements of a thread, least of a program."""

_TABLES = '''
@functools.lru_cache(maxsize=None)
def roots(device, n):
    """Cosine, then sine of the first n multiples of 2 pi / n."""
    angles = [2 * math.pi * i / n for i in range(n)]
    return torch.tensor([*map(math.cos, angles), *map(math.sin, angles)], dtype=torch.float32, device=device)


def digits(bits):
    """Bits of each pass: four at most, as even as they go."""
    passes = max(1, -(-bits // 4))
    found = [bits // passes + (i < bits % passes) for i in range(passes)]
    return (*found, 0, 0, 0)[:4]
'''
_TRANSFORM = '''
@triton.jit
def kw_pass(re, im, ROOTS, BR: tl.constexpr, A: tl.constexpr, C: tl.constexpr, R: tl.constexpr, N: tl.constexpr):
    """A pass over [BR, A, R, C]: transforms of R points, times roots of unity; R comes before A in the result. And of the
    conjugate, which in a first pass are the same transforms in another order."""
    re = tl.permute(tl.reshape(re, [BR, A, R, C]), (0, 1, 3, 2))
    im = tl.permute(tl.reshape(im, [BR, A, R, C]), (0, 1, 3, 2))
    if R == 16:
        a, b, c, d = kw_points16(re, im, BR, A, C)
    elif R == 8:
        a, b, c, d = kw_points8(re, im, BR, A, C)
    elif R == 4:
        a, b, c, d = kw_points4(re, im, BR, A, C)
    else:
        a, b, c, d = kw_points2(re, im, BR, A, C)
    if C > 1:
        w = ROOTS + (tl.arange(0, C)[:, None] * tl.arange(0, R)[None, :] * (N // (C * R)))[None, None, :, :]
        cos, sin = tl.load(w), tl.load(w + N)
        a, b = a * cos + b * sin, b * cos - a * sin
        c, d = c * cos + d * sin, d * cos - c * sin
    a, b = tl.permute(a, (0, 3, 1, 2)), tl.permute(b, (0, 3, 1, 2))
    return a, b, tl.permute(c, (0, 3, 1, 2)), tl.permute(d, (0, 3, 1, 2))


@triton.jit
def kw_rest(
    re, im, ROOTS, BR: tl.constexpr, M: tl.constexpr, B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, B3: tl.constexpr
):
    """What the first pass leaves of the transform of [BR, M], whose digits have B0, B1, … bits."""
    if B1 > 0:
        re, im, _, _ = kw_pass(re, im, ROOTS, BR, 1 << B0, M >> B0 + B1, 1 << B1, 2 * M)
    if B2 > 0:
        re, im, _, _ = kw_pass(re, im, ROOTS, BR, 1 << B0 + B1, M >> B0 + B1 + B2, 1 << B2, 2 * M)
    if B3 > 0:
        re, im, _, _ = kw_pass(re, im, ROOTS, BR, 1 << B0 + B1 + B2, 1, 1 << B3, 2 * M)
    return tl.reshape(re, [BR, M]), tl.reshape(im, [BR, M])
'''
_KERNEL = """
@triton.jit
def {name}(
    p_{source}, p_{target}, ROOTS, rows, BR: tl.constexpr, M: tl.constexpr,
    B0: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, B3: tl.constexpr,
):
    r = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    k = tl.arange(0, M)
    part = tl.arange(0, 2)[None, None, :]
    inside = (r < rows)[:, None, None]
    given = p_{source} + r[:, None, None] * (2 * M) + k[None, :, None] * 2 + part
    re, im = tl.split(tl.load(given, mask=inside, other=0.0).to(tl.float32))
    a, b, c, d = kw_pass(re, im, ROOTS, BR, 1, M >> B0, 1 << B0, 2 * M)
    a, b = kw_rest(a, b, ROOTS, BR, M, B0, B1, B2, B3)
    c, d = kw_rest(c, d, ROOTS, BR, M, B0, B1, B2, B3)  # the conjugate of Z[-k]
    cos, sin = tl.load(ROOTS + k)[None, :], tl.load(ROOTS + 2 * M + k)[None, :]
    odd, even = b - d, c - a
    x = 0.5 * (a + c + cos * odd + sin * even)
    y = 0.5 * (b + d + cos * even - sin * odd)
    out = p_{target} + r[:, None, None] * (2 * M + 2) + part
    element = p_{target}.dtype.element_ty
    tl.store(out + k[None, :, None] * 2, tl.join(x, y).to(element), mask=inside)
    middle = tl.join(a - b, tl.zeros([BR, M], tl.float32)).to(element)
    tl.store(out + 2 * M + k[None, :, None] * 0, middle, mask=inside & (k == 0)[None, :, None])
"""


def pieces(kernel: Spectrum, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str]]:
    """The kernel, and the lines of ``forward`` that run it."""
    lane, tile = (int(point.get(name, values[0])) for name, values in TUNING.items())
    source, rows, length = kernel.value.buffer, text(kernel.rows), text(kernel.length)
    body = _KERNEL.strip().format(name=kernel.name, source=source, target=kernel.buffer)
    lines = [
        f"M = ({length}) // 2",
        f"BR = min(p2({rows}), max(1, {tile} // M))",
        "B0, B1, B2, B3 = digits(M.bit_length() - 1)",
        f"{kernel.name}[(-(-({rows}) // BR),)](p_{source}, p_{kernel.buffer}, roots(device, {length}), {rows}, BR=BR, M=M,"
        f" B0=B0, B1=B1, B2=B2, B3=B3, num_warps=warps(BR * M, {lane}))",
    ]
    return [Piece(kernel.name, body)], lines


def _points(size: int) -> str:
    """Transforms of ``size`` points along the last dimension of [BR, A, C, size], and of their conjugates, written out."""
    bits = size.bit_length() - 1
    lines = ["@triton.jit", f"def kw_points{size}(re, im, BR: tl.constexpr, A: tl.constexpr, C: tl.constexpr):"]
    add = lines.append
    for part in ("re", "im"):
        lines += [f"    {line}" for line in _parted(part, bits)]
    for width in (size >> step for step in range(1, bits + 1)):
        for low in (start + i for start in range(0, size, 2 * width) for i in range(width)):
            high, angle = low + width, (low % width) * (size // (2 * width))
            for part in ("re", "im"):
                add(f"    {part}{low}, {part}{high} = {part}{low} + {part}{high}, {part}{low} - {part}{high}")
            lines += [f"    {line}" for line in _turned(high, angle, size)]
    order = [int(f"{k:0{bits}b}"[::-1], 2) for k in range(size)]
    for part in ("re", "im"):
        lines += [f"    {part}_{place} = {part}{place}" for place in range(size)]
        lines += [f"    {line}" for line in _joined(f"{part}_", [order[-k] for k in range(size)])]
        lines += [f"    {line}" for line in _joined(part, order)]
    whole = [f"tl.reshape({part}, [BR, A, C, {size}])" for part in ("re", "im", "re_", "-im_")]
    add(f"    return {', '.join(whole)}")
    return "\n".join(lines)


def _parted(part: str, bits: int) -> list[str]:
    """``part`` as one tensor for each place in its last dimension."""
    lines = [f"{part} = tl.reshape({part}, [BR, A, C, {', '.join('2' * bits)}])"]
    names = [part]
    for _ in range(bits):
        lines += [f"{name}_0, {name}_1 = tl.split({name})" for name in names]
        names = [f"{name}_{bit}" for bit in "01" for name in names]  # what is split first are the lowest bits
    return [*lines, *(f"{part}{place} = {name}" for place, name in enumerate(names))]


def _joined(part: str, order: list[int]) -> list[str]:
    """The tensors of ``order`` side by side in the last dimensions."""
    names, lines = [f"{part}{at}" for at in order], []
    while len(names) > 1:
        half = len(names) // 2
        lines += [f"{names[i]} = tl.join({names[i]}, {names[i + half]})" for i in range(half)]
        names = names[:half]
    return [*lines, f"{part} = {names[0]}"]


def _turned(at: int, angle: int, size: int) -> list[str]:
    """``at`` times the root of unity of ``angle`` parts in ``size``."""
    re, im = f"re{at}", f"im{at}"
    if angle == 0:
        return []
    if 4 * angle == size:
        return [f"{re}, {im} = {im}, -{re}"]
    cos, sin = math.cos(2 * math.pi * angle / size), math.sin(2 * math.pi * angle / size)
    return [f"{re}, {im} = {re} * {cos!r} + {im} * {sin!r}, {im} * {cos!r} - {re} * {sin!r}"]


TABLES = "\n\n\n".join(part.strip() for part in (_TABLES, *map(_points, (2, 4, 8, 16)), _TRANSFORM))
"""What every spectrum's kernel needs."""
