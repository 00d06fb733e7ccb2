"""Memory that a kernel gets and has not written: filled before each judged call, never zero and never the last result.

A kernel that skips a region, or adds to memory that "is zero anyway", passes on a quiet heap. Here uninitialised memory holds
NaN in one call, some 1e30, ordinary numbers, and zeros with a few NaN in the next, so that both a skipped write and
an uninitialised read show in the result, also of code that looks for the first two.

CPU: NaN and 1e38 by glibc's own perturbation (``M_PERTURB``: every allocation), the other two by blocks that use up the
heap's holes, from the outputs' sizes down, filled and freed just before the call. GPU: every free block of torch's caching
allocator, filled through the driver; memory that the driver hands out for the first time is not covered, so the first call
of a case is never the only one.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kernelwright.evaluator.runner.arena import dtype_of

NAN, HUGE, PLAUSIBLE, SPARSE = "nan", "huge", "plausible", "sparse"
KINDS = (NAN, HUGE, PLAUSIBLE, SPARSE)
_WORDS = {NAN: 0x7FC07FC0, HUGE: 0x7149F2CA}
"""Two bfloat16 NaNs, which are a float32 NaN as well; 1.0e30 as float32, about as much as bfloat16, 1e4 as float16."""
_M_PERTURB = -6
_PERTURB = {NAN: 0x100, HUGE: 0x80}
"""glibc fills allocations with the low byte of the complement: 0xFF, which is NaN in every float dtype; and 0x7F, which is
3.4e38 as float32 and NaN as float16. What is freed is filled with the low byte itself."""
_BLOCKS = 8
"""Blocks of each size: as many as the heap may have holes that fit better than the one filled first."""
_SLACK = 256
"""Bytes that every other block is larger than an output: glibc looks for more than it hands out when it aligns, so that a
block of the output's own size fills a hole that is there but is passed by when it is free itself."""
_SMALLEST = 1024
"""Bytes of the smallest holes filled: with their free neighbours they make one that fits."""
_LARGE = 1 << 22
"""Bytes from which fewer blocks are made: there are fewer such holes, and filling them takes time."""
_TILE = 4099
_SPARSE = 0.02
"""Share of NaN among zeros."""
_kept: list[torch.Tensor] = []
"""Contents of the last blocks: freed only when the next are made."""


def poison(device: str, kind: str, outputs: Sequence[Mapping[str, Any]], seed: int) -> None:
    """Fill what the next call will be given as uninitialised.

    ``outputs``: specs of what it should return; ``seed``: of the ordinary numbers.
    """
    if device == "cpu":
        _perturb(_PERTURB.get(kind, 0))
    elif kind in _WORDS:
        _fill_cached(_WORDS[kind])
    if kind in (PLAUSIBLE, SPARSE):
        _recycle(outputs, device, kind, seed)


def quiet() -> None:
    """No perturbation: for timed calls."""
    _perturb(0)


def _perturb(value: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(_M_PERTURB, value)


def _recycle(outputs: Sequence[Mapping[str, Any]], device: str, kind: str, seed: int) -> None:
    """Leave freed blocks of the sizes that the outputs will ask for.

    What making the contents takes is freed before the blocks are allocated or kept, so that the next call is not given that.
    """
    _kept.clear()
    tiles = {str(spec["dtype"]): _tile(dtype_of(spec["dtype"]), device, kind, seed) for spec in outputs}
    blocks = []
    for spec in outputs:
        tile = tiles[str(spec["dtype"])]
        count = math.prod(int(n) for n in spec["shape"])
        for size in _sizes(count, tile.element_size(), device):
            block = torch.empty(size, dtype=tile.dtype, device=device)
            _fill(block, tile)
            blocks.append(block)
    _kept.extend(tiles.values())


def _sizes(count: int, itemsize: int, device: str) -> list[int]:
    """Elements of each block for an output of ``count``: large ones first, so that small ones are left the small holes."""
    if device != "cpu":
        return [count] * 4
    sizes = [count + _SLACK // itemsize, count] * (_BLOCKS // 2 if count * itemsize < _LARGE else 2)
    while (count := count // 2) * itemsize >= _SMALLEST:
        sizes += [count] * (_BLOCKS if count * itemsize < _LARGE else 1)
    return sizes


def _tile(dtype: torch.dtype, device: str, kind: str, seed: int) -> torch.Tensor:
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.ones(1, dtype=dtype, device=device)
    rng = np.random.default_rng(seed)
    values = np.full(_TILE, np.nan)
    if kind == PLAUSIBLE:
        values = rng.standard_normal(_TILE)
    elif kind == SPARSE:
        values[rng.random(_TILE) > _SPARSE] = 0.0
    return torch.from_numpy(values).to(device, dtype, copy=True)


def _fill(flat: torch.Tensor, tile: torch.Tensor) -> None:
    whole = flat.numel() // tile.numel() * tile.numel()
    flat[:whole].view(-1, tile.numel()).copy_(tile)
    flat[whole:].copy_(tile[: flat.numel() - whole])


def _fill_cached(word: int) -> None:
    torch.cuda.synchronize()
    driver = ctypes.CDLL("libcuda.so.1")
    for segment in torch.cuda.memory_snapshot():
        address = segment["address"]
        for block in segment["blocks"]:
            at = block.get("address", address)
            if block["state"] == "inactive":
                driver.cuMemsetD32_v2(ctypes.c_uint64(at), ctypes.c_uint(word), ctypes.c_size_t(block["size"] // 4))
            address = at + block["size"]
    torch.cuda.synchronize()
