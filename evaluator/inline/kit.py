"""What translated host functions call as ``_k``: options, pointers into tensors, launches, and numbers as C++ has them.

Imports torch and the standard library. A pointer never leaves its tensor: it is a tensor and a distance from its beginning.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from kernelwright.evaluator.inline.cxx import (
    bfloat16,
    divided,
    float16,
    float32,
    int32,
    int64,
    maths,
    quotient,
    remainder,
    shifted,
    truncated,
    wrapped,
)

__all__ = [
    "bfloat16",
    "divided",
    "float16",
    "float32",
    "int32",
    "int64",
    "maths",
    "quotient",
    "remainder",
    "shifted",
    "truncated",
    "wrapped",
]
"""What is not defined here: numbers, for the functions that are translated."""


class Options:
    """``TensorOptions``: of what dtype and where a tensor is made."""

    __slots__ = ("device", "dtype")

    def __init__(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> None:
        self.dtype = dtype or torch.float32
        self.device = device or torch.device("cpu")

    @property
    def given(self) -> dict[str, Any]:
        """As arguments of torch's functions."""
        return {"dtype": self.dtype, "device": self.device}

    def with_dtype(self, dtype: torch.dtype) -> Options:
        return Options(dtype, self.device)

    def with_device(self, device: torch.device, index: int | None = None) -> Options:
        return Options(self.dtype, device if index is None else torch.device(device.type, index))

    def without_grad(self, grad: bool) -> Options:
        if grad:
            raise RuntimeError("requires_grad(true): kernels are judged without gradients")
        return self


class Pointer:
    """``bytes`` behind the first element of ``tensor``."""

    __slots__ = ("bytes", "tensor")

    def __init__(self, tensor: torch.Tensor, offset: int = 0) -> None:
        self.tensor = tensor
        self.bytes = offset


def pointer(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> Pointer:
    """``data_ptr<…>()``; without a dtype, ``data_ptr()``.

    Raises:
        RuntimeError: the tensor is not of this dtype, or is none.
    """
    if tensor is None:
        raise RuntimeError("data_ptr() of an undefined tensor")
    if dtype is not None and tensor.dtype is not dtype:
        raise RuntimeError(f"expected scalar type {dtype} but found {tensor.dtype}")
    return Pointer(tensor)


def address(place: Pointer | None) -> int:
    """Where a pointer points to: for asking how it is aligned."""
    return 0 if place is None else int(place.tensor.data_ptr()) + place.bytes


def moved(place: Pointer | None, distance: int) -> Pointer:
    """A pointer ``distance`` bytes on."""
    if place is None:
        raise RuntimeError("arithmetic on a null pointer")
    return Pointer(place.tensor, place.bytes + distance)


def _argument(value: Any) -> Any:
    """What the launcher takes for an argument: of a pointer a contiguous tensor that begins there."""
    if not isinstance(value, Pointer):
        return value
    tensor = value.tensor
    if not value.bytes and tensor.is_contiguous():
        return tensor
    size = tensor.element_size()
    start = tensor.storage_offset() * size + value.bytes
    left = tensor.untyped_storage().nbytes() - start
    if value.bytes % size or start < 0 or left < size:
        raise RuntimeError(f"a pointer {value.bytes} bytes from the first element of {tuple(tensor.shape)} {tensor.dtype}")
    return tensor.as_strided((left // size,), (1,), start // size)


def launch(library: Any, name: str, configuration: tuple[Any, ...], arguments: tuple[Any, ...]) -> None:
    """Launch an entry of ``library``; ``configuration``: grid, block and bytes of shared memory."""
    getattr(library, name)[configuration](*map(_argument, arguments))


def false(value: object) -> bool:
    """``!value``."""
    return not value


def value(given: Any) -> Any:
    """What an optional holds."""
    if given is None:
        raise RuntimeError("bad optional access")
    return given


def index(device: torch.device) -> int:
    """Number of a device; -1 where it has none."""
    return -1 if device.index is None else device.index


def same_device(a: torch.device, b: torch.device) -> bool:
    """``a == b``; one without a number stands for its type alone, as ``torch::kCUDA`` does."""
    return a.type == b.type and (a.index is None or b.index is None or a.index == b.index)


def place(at: int, given: Any) -> int:
    """``at``, where ``given`` has such an element.

    Raises:
        IndexError: it has none.
    """
    if not 0 <= at < len(given):
        raise IndexError(f"element {at} of {len(given)}")
    return at


def element(given: Any, at: int) -> Any:
    """An element of a list."""
    return given[place(at, given)]


def guard(device: torch.device) -> None:
    """``CUDAGuard``: a kernel runs where the judge put it.

    Raises:
        RuntimeError: another device.
    """
    if device.type == "cuda" and device.index not in (None, torch.cuda.current_device()):
        raise RuntimeError(f"a guard of {device}: kernels run on the current device, {torch.cuda.current_device()}")


def synchronize() -> int:
    """Wait for the device; the number of no error."""
    torch.cuda.synchronize()
    return 0


def properties() -> Any:
    """Of the current device."""
    return torch.cuda.get_device_properties(torch.cuda.current_device())


def fail(*parts: Any) -> NoReturn:
    """What a check or a ``throw`` says."""
    raise RuntimeError("".join(str(list(part)) if isinstance(part, (tuple, list)) else str(part) for part in parts))
