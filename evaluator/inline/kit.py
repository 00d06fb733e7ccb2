"""What translated host functions call: integers and floats as C++ has them, options, pointers into tensors, launches.

Imports torch and the standard library. A pointer never leaves its tensor: it is a tensor and a distance from its beginning.
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable
from typing import Any, NoReturn

import torch

_INT32, _INT64 = 1 << 31, 1 << 63


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


def wrapped(value: int, bits: int, unsigned: bool) -> int:
    """An integer as one of fewer bits."""
    value &= (1 << bits) - 1
    return value if unsigned or value < 1 << (bits - 1) else value - (1 << bits)


def truncated(value: float, bits: int, unsigned: bool) -> int:
    """A float as an integer.

    Raises:
        RuntimeError: no integer of that type is near it; C++ leaves open what comes out.
    """
    low, high = (0, 1 << bits) if unsigned else (-(1 << (bits - 1)), 1 << (bits - 1))
    if not (math.isfinite(value) and low <= int(value) < high):
        raise RuntimeError(f"{value} as an integer of {bits} bits: C++ does not say what that is")
    return int(value)


def int32(value: int) -> int:
    """The result of arithmetic on ``int``."""
    if -_INT32 <= value < _INT32:
        return value
    raise RuntimeError(f"int overflow: {value}; C++ does not say what that is")


def int64(value: int) -> int:
    """The result of arithmetic on ``int64_t``."""
    if -_INT64 <= value < _INT64:
        return value
    raise RuntimeError(f"int64_t overflow: {value}; C++ does not say what that is")


def divided(a: int, b: int) -> int:
    """``a / b`` of integers, towards zero."""
    if b == 0:
        raise RuntimeError("integer division by zero")
    return a // b if (a < 0) == (b < 0) else -(-a // b)


def remainder(a: int, b: int) -> int:
    """``a % b`` of integers, with the sign of ``a``."""
    return a - divided(a, b) * b


def shifted(a: int, b: int, bits: int) -> int:
    """``a << b`` of integers of ``bits``; ``a >> -b`` where ``b`` is negative.

    Raises:
        RuntimeError: as far as no integer of that type may be shifted.
    """
    if abs(b) >= bits:
        raise RuntimeError(f"a shift of {a} by {abs(b)}: C++ does not say what that is")
    return a << b if b >= 0 else a >> -b


def float32(value: float) -> float:
    """Rounded to ``float``."""
    return float(ctypes.c_float(value).value)


def float16(value: float) -> float:
    """Rounded to ``c10::Half``."""
    try:
        return float(struct.unpack("e", struct.pack("e", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def bfloat16(value: float) -> float:
    """Rounded to ``c10::BFloat16``."""
    if not math.isfinite(value):
        return value
    (bits,) = struct.unpack("I", struct.pack("f", ctypes.c_float(value).value))
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return float(struct.unpack("f", struct.pack("I", bits))[0])


def quotient(a: float, b: float) -> float:
    """``a / b`` of floats."""
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def maths(name: str, *values: float) -> float:
    """A function of ``<cmath>``."""
    try:
        return float(_MATHS.get(name, getattr(math, name, None))(*values))  # type: ignore[misc]
    except ValueError:
        return -math.inf if name.startswith("log") and values[0] == 0 else math.nan
    except OverflowError:
        return math.inf


def _whole(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda x: float(function(x)) if math.isfinite(x) else x


_MATHS: dict[str, Callable[..., float]] = {
    "ceil": _whole(math.ceil),
    "floor": _whole(math.floor),
    "trunc": _whole(math.trunc),
    "round": _whole(lambda x: math.trunc(x + math.copysign(0.5, x))),
    "rsqrt": lambda x: quotient(1.0, math.sqrt(x)),
    "exp2": lambda x: 2.0**x,
    "cbrt": lambda x: math.copysign(abs(x) ** (1 / 3), x),
    "fmin": min,
    "fmax": max,
}


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
