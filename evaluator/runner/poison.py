"""Memory that a kernel gets and has not written: filled before each judged call, never zero and never the last result.

A kernel that skips a region, or adds to memory that "is zero anyway", passes on a quiet heap. Here uninitialised memory holds
NaN in one call, some 1e30 in the next and an ordinary number that nobody knows in the third, so that both a skipped write and
an uninitialised read show in the result, also of code that looks for the first two.

CPU: glibc's own perturbation (``M_PERTURB``: every allocation and every freed block), and blocks of the outputs' sizes
filled and freed just before the call. GPU: every free block of torch's caching allocator, filled through the driver; memory
that the driver hands out for the first time is not covered, so the first call of a case is never the only one.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kernelwright.evaluator.runner.arena import dtype_of

NAN, HUGE, PLAUSIBLE = "nan", "huge", "plausible"
_WORDS = {NAN: 0x7FC07FC0, HUGE: 0x7149F2CA}
"""Two bfloat16 NaNs, which are a float32 NaN as well; 1.0e30 as float32, about as much as bfloat16, 1e4 as float16."""
_M_PERTURB = -6
_PERTURB = 0x80
"""Allocations are filled with its complement, 0x7F: 3.4e38 as float32, NaN as float16."""
_COPIES = 3


def poison(device: str, kind: str, outputs: Sequence[Mapping[str, Any]], value: float) -> None:
    """Fill what the next call will be given as uninitialised.

    ``outputs``: specs of what it should return; ``value``: the ordinary number of ``plausible``.
    """
    if device == "cpu":
        _perturb(kind == HUGE)
        if kind != HUGE:
            _recycle(outputs, float("nan") if kind == NAN else value)
    else:
        _fill_cached(_WORDS[kind] if kind in _WORDS else struct.unpack("I", struct.pack("f", value))[0])


def quiet() -> None:
    """No perturbation: for timed calls."""
    _perturb(False)


def _perturb(on: bool) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # musl has none
        libc.mallopt(_M_PERTURB, _PERTURB if on else 0)


def _recycle(outputs: Sequence[Mapping[str, Any]], value: float) -> None:
    """Leave freed blocks full of ``value``, of the sizes that the outputs will ask for."""
    blocks = []
    for spec in outputs:
        for _ in range(_COPIES):
            block = torch.empty([int(n) for n in spec["shape"]], dtype=dtype_of(spec["dtype"]))
            block.fill_(value if block.is_floating_point() or block.is_complex() else 1)
            blocks.append(block)


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
