"""A :class:`~.ir.Spectrum` as a Triton kernel: a row of N reals is one complex transform of N / 2 in registers.

Even and odd elements are real and imaginary parts (Cooley, Lewis and Welch 1970). The transform decimates in frequency by
twos: where partners are in one thread nothing moves, within a warp a shuffle does. It leaves its result in bit-reversed
places. The last step needs Z[k] beside Z[-k]; the program's own rows of the result serve as its scratch for that, since a
gather across a program's registers becomes thousands of shuffles, and Z is written there in its right places. Roots of unity
are a table that is made once a length and device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernelwright.agent.writers.playbook.ir import Program, Spectrum
from kernelwright.agent.writers.playbook.triton_expr import size_text as text
from kernelwright.agent.writers.playbook.triton_launch import Piece

TUNING: dict[str, list[Any]] = {"spectrum_lane": [32, 64, 16], "spectrum_tile": [1024, 512, 2048]}
"""Parameter of a spectrum -> its values, the default first: complex elements of a thread, least of a program."""

TABLES = '''
@functools.lru_cache(maxsize=None)
def roots(device, n):
    """Cosine, then sine of the first n / 2 multiples of 2 pi / n."""
    angles = [2 * math.pi * i / n for i in range(n // 2)]
    return torch.tensor([*map(math.cos, angles), *map(math.sin, angles)], dtype=torch.float32, device=device)

'''
KERNEL = '''
@triton.jit
def {name}(p_{source}, p_{target}, ROOTS, rows, BR: tl.constexpr, M: tl.constexpr, L: tl.constexpr):
    r = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    k = tl.arange(0, M)
    part = tl.arange(0, 2)[None, None, :]
    inside = (r < rows)[:, None, None]
    given = p_{source} + r[:, None, None] * (2 * M) + k[None, :, None] * 2 + part
    re, im = tl.split(tl.load(given, mask=inside, other=0.0).to(tl.float32))
    for s in tl.static_range(0, L):
        re, im = kw_butterfly(re, im, ROOTS, BR, M, s)
    turned = k * 0
    for s in tl.static_range(0, L):
        turned = turned * 2 + (k >> s & 1)
    out = p_{target} + r[:, None, None] * (2 * M + 2) + part
    element = p_{target}.dtype.element_ty
    tl.store(out + turned[None, :, None] * 2, tl.join(re, im).to(element), mask=inside)
    tl.debug_barrier()
    a, b = tl.split(tl.load(out + k[None, :, None] * 2, mask=inside, other=0.0).to(tl.float32))
    c, d = tl.split(tl.load(out + ((M - k) & (M - 1))[None, :, None] * 2, mask=inside, other=0.0).to(tl.float32))
    tl.debug_barrier()
    cos, sin = tl.load(ROOTS + k)[None, :], tl.load(ROOTS + M + k)[None, :]
    odd, even = b + d, c - a
    x = 0.5 * (a + c + cos * odd + sin * even)
    y = 0.5 * (b - d + cos * even - sin * odd)
    tl.store(out + k[None, :, None] * 2, tl.join(x, y).to(element), mask=inside)
    middle = tl.join(a - b, tl.zeros([BR, M], tl.float32)).to(element)
    tl.store(out + 2 * M + k[None, :, None] * 0, middle, mask=inside & (k == 0)[None, :, None])
'''


def pieces(kernel: Spectrum, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str]]:
    """The kernel with its tables, and the lines of ``forward`` that run it."""
    lane, tile = (int(point.get(name, values[0])) for name, values in TUNING.items())
    source, rows, length = kernel.value.buffer, text(kernel.rows), text(kernel.length)
    body = KERNEL.strip().format(name=kernel.name, source=source, target=kernel.buffer)
    lines = [
        f"M = ({length}) // 2",
        f"BR = min(p2({rows}), max(1, {tile} // M))",
        f"ROOTS, L = roots(device, {length}), M.bit_length() - 1",
        f"{kernel.name}[(-(-({rows}) // BR),)](p_{source}, p_{kernel.buffer}, ROOTS, {rows}, BR=BR, M=M, L=L,"
        f" num_warps=warps(BR * M, {lane}))",
    ]
    return [Piece(kernel.name, body)], lines
