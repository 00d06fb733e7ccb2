"""Memory that a kernel gets and has not written: filled before each judged call, never zero and never the last result.

A kernel that skips a region, or adds to memory that "is zero anyway", passes on a quiet heap. Here uninitialised memory holds
NaN in one call, some 1e30, ordinary numbers, and zeros with a few NaN in the next, so that both a skipped write and
an uninitialised read show in the result, also of code that looks for the first two.

CPU: glibc's own perturbation (``M_PERTURB``: every allocation and every freed block), and blocks of the outputs' sizes
filled and freed just before the call. GPU: every free block of torch's caching allocator, filled through the driver; memory
that the driver hands out for the first time is not covered, so the first call of a case is never the only one.
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
_PERTURB = 0x80
"""Allocations are filled with its complement, 0x7F: 3.4e38 as float32, NaN as float16."""
_SLACKS = (0, 0, 256, 256)
"""Bytes that each block is larger than an output: glibc looks for more than it hands out when it aligns, so that a block of
the output's own size fills a hole that is there but is passed by when it is free itself."""
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
        _perturb(kind == HUGE)
    elif kind in _WORDS:
        _fill_cached(_WORDS[kind])
    if kind in (PLAUSIBLE, SPARSE) or (kind == NAN and device == "cpu"):
        _recycle(outputs, device, kind, seed)


def quiet() -> None:
    """No perturbation: for timed calls."""
    _perturb(False)


def _perturb(on: bool) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(_M_PERTURB, _PERTURB if on else 0)


def _recycle(outputs: Sequence[Mapping[str, Any]], device: str, kind: str, seed: int) -> None:
    """Leave freed blocks of the sizes that the outputs will ask for.

    What making the contents takes is freed before the blocks are allocated or kept, so that the next call is not given that.
    """
    _kept.clear()
    tiles = {str(spec["dtype"]): _tile(dtype_of(spec["dtype"]), device, kind, seed) for spec in outputs}
    blocks = []
    for spec in outputs:
        dtype = dtype_of(spec["dtype"])
        for slack in _SLACKS:
            count = math.prod(int(n) for n in spec["shape"]) + (slack // dtype.itemsize if device == "cpu" else 0)
            block = torch.empty(count, dtype=dtype, device=device)
            _fill(block, tiles[str(spec["dtype"])])
            blocks.append(block)
    _kept.extend(tiles.values())


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
