"""Memory that a kernel gets and has not written: filled before each judged call, never zero and never the last result.

A kernel that skips a region, or adds to memory that "is zero anyway", passes on a quiet heap. Here uninitialised memory holds
NaN in one call, some 1e30, ordinary numbers, and zeros with a few NaN in the next, so that both a skipped write and
an uninitialised read show in the result, also of code that looks for the first two.

CPU: NaN and 1e38 by glibc's own perturbation (``M_PERTURB``: every allocation), the other two by blocks that use up the
heap's holes, from the outputs' sizes down, filled and freed just before the call. GPU: every free block of torch's caching
allocator, filled through the driver; memory that the driver hands out for the first time is not covered, so the first call
of a case is never the only one. NPU: four blocks of each output's size, by whatever is to be found, filled and freed.
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
_BLOCKS, _BYTES = 1024, 1 << 25
"""Blocks of each size at most, and bytes of them (two in any case): they end when the heap has no more hole that fits."""
_ROW = 8
"""Blocks side by side after which only holes are left that hold more than these: the filled ones fit better. As many are made
where the C library doesn't say where the heap ends."""
_SLACK = 256
"""Bytes that the first blocks are larger than an output: glibc looks for more than it hands out when it aligns."""
_SMALLEST = 1040
"""Bytes of the smallest holes filled: with their free neighbours they make one that fits. What is smaller glibc keeps aside
when it is freed (its tcache), so that it would never again be part of a larger one."""
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
    elif device.startswith("cuda") and kind in _WORDS:
        _fill_cached(_WORDS[kind])
    if kind in (PLAUSIBLE, SPARSE) or not device.startswith(("cpu", "cuda")):
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
    wanted = [(tiles[str(spec["dtype"])], math.prod(int(n) for n in spec["shape"])) for spec in outputs]
    if device == "cpu":
        _fill_holes([(tile, count * tile.element_size()) for tile, count in wanted])
    else:
        blocks = [(torch.empty(count, dtype=tile.dtype, device=device), tile) for tile, count in wanted for _ in range(4)]
        for block, tile in blocks:
            _fill(block, tile)
    _kept.extend(tiles.values())


def _fill_holes(wanted: Sequence[tuple[torch.Tensor, int]]) -> None:
    """Fill the heap's holes that an output of so many bytes may be given, and the small ones that such holes are made of."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    end = _heap_end(libc)
    held = []
    for tile, size in wanted:
        for part in _parts(size):
            row, last = 0, 0
            for _ in range(max(2, min(_BLOCKS, _BYTES // part))):
                block = libc.malloc(part)
                if not block:
                    break
                held.append(block)
                _repeat(block, tile, part)
                row = row + 1 if not end or 0 <= block - last < _SLACK else 0
                last = block + part
                if row == _ROW or 0 < end <= block:
                    break
    for block in held:
        libc.free(block)


def _parts(size: int) -> list[int]:
    """Bytes of the blocks to make for an output of ``size``: large first, so that small ones are left the small holes."""
    parts = [size + _SLACK] + ([size] if size >= _SMALLEST else [])
    while (size := size // 2) >= _SMALLEST:
        parts.append(size)
    return parts


def _repeat(address: int, tile: torch.Tensor, size: int) -> None:
    done = min(size, tile.nbytes)
    ctypes.memmove(address, tile.data_ptr(), done)
    while done < size:
        step = min(done, size - done)
        ctypes.memmove(address + done, address, step)
        done += step


class _Mallinfo2(ctypes.Structure):
    _fields_ = (("counts", ctypes.c_size_t * 9), ("keepcost", ctypes.c_size_t))


def _heap_end(libc: ctypes.CDLL) -> int:
    """Address behind which the heap has only fresh memory; 0 where the C library doesn't say."""
    if not hasattr(libc, "mallinfo2"):  # glibc before 2.33, musl
        return 0
    libc.mallinfo2.restype = _Mallinfo2
    libc.sbrk.restype = ctypes.c_void_p
    return int(libc.sbrk(0)) - int(libc.mallinfo2().keepcost)


def _tile(dtype: torch.dtype, device: str, kind: str, seed: int) -> torch.Tensor:
    if not (dtype.is_floating_point or dtype.is_complex):
        return torch.ones(1, dtype=dtype, device=device)
    rng = np.random.default_rng(seed)
    values = np.full(_TILE, np.nan)
    if kind == HUGE:
        values[:] = 1e30
    elif kind == PLAUSIBLE:
        values = rng.standard_normal(_TILE)
    elif kind == SPARSE:
        values[rng.random(_TILE) > _SPARSE] = 0.0
    return torch.from_numpy(values).to(dtype).to(device, copy=True)


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
