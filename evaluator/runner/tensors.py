"""What the reference's side asks of tensors and models: are they the same, whose memory is it, how large; put them back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def restored(model: Any, stateful: bool) -> Iterator[dict[str, torch.Tensor]]:
    """Put a stateful model's state back afterwards; what was changed is in the mapping then, by name."""
    changed: dict[str, torch.Tensor] = {}
    if not stateful:
        yield changed
        return
    before = {name: value.data.clone() for name, value in model.state_dict(keep_vars=True).items() if is_tensor(value)}
    try:
        yield changed
    finally:
        for name, value in model.state_dict(keep_vars=True).items():
            if name in before and not same(value.data, before[name]):
                changed[name] = value.data.clone()
                value.data.copy_(before[name])


def shares_memory(outputs: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> list[bool]:
    """Of each output, whether it lies in the memory of one of the others."""
    places = {t.untyped_storage().data_ptr() for t in others if t.numel()}
    return [t.numel() > 0 and t.untyped_storage().data_ptr() in places for t in outputs]


def is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def available_memory() -> int:
    """Bytes that the host can still give, by the kernel's own estimate."""
    with open("/proc/meminfo") as file:  # noqa: PTH123 - not a path of ours
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62


_OTHERS = 0.15
"""Share of a GPU's memory that the runner of this process's cases may take."""


def free_memory(wanted: int) -> int:
    """Bytes that the GPU can still give, what torch keeps for later given back first where ``wanted`` asks for it."""
    free = int(torch.cuda.mem_get_info()[0])
    if wanted > free:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free = int(torch.cuda.mem_get_info()[0])
    return free


def crowded(shared: int) -> bool:
    """Whether other processes hold more of the GPU's memory than this one's own runner would, beyond the ``shared`` bytes."""
    free, whole = torch.cuda.mem_get_info()
    return bool(whole - free - torch.cuda.memory_reserved() - shared > _OTHERS * whole)


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Factory functions make their tensors on the device, so that large inputs are not drawn on the host."""
    if device == "cpu":
        yield
    else:
        with torch.device(device):
            yield


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(previous)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bitwise equal."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.numel() == 0:
        return True
    return bool(torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)))


def nearly_same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two outputs agree but for the order of a sum; infinities and NaN in the same places agree."""
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    finite = a[a.isfinite()].abs().float()
    largest = float(finite.max()) if finite.numel() else 0.0
    return bool(torch.allclose(a, b, rtol=1e-2, atol=1e-3 * (largest + 1e-30), equal_nan=True))


def total_bytes(tensors: Sequence[Any]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))
