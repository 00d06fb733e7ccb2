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
