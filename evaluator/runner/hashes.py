"""Hashes of tensors, for the journal: do two judgings see the same inputs, expect and get the same outputs?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch

_WHOLE = 4 << 20
"""Bytes up to which a tensor is hashed as a whole: hashing gigabytes would take longer than judging."""
_PIECES, _PIECE = 64, 64 << 10
"""Of a larger one: so many evenly spaced pieces, of so many bytes each."""


def hash_of(tensors: Iterable[torch.Tensor]) -> str:
    """SHA-256 over dtype, shape and bytes of each tensor."""
    found = hashlib.sha256()
    for t in tensors:
        found.update(f"{t.dtype} {tuple(t.shape)}\n".encode())
        if t.numel():
            found.update(_bytes(t).cpu().numpy().tobytes())
    return found.hexdigest()


def _bytes(t: torch.Tensor) -> torch.Tensor:
    raw = t.detach().contiguous().reshape(-1).view(torch.uint8)
    if raw.numel() <= _WHOLE:
        return raw
    step = raw.numel() // _PIECES
    return raw[: step * _PIECES].view(_PIECES, step)[:, :_PIECE].contiguous()
