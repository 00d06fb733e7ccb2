"""Integers and floats as C++ has them, in Python. Standard library only."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable

_INT32, _INT64 = 1 << 31, 1 << 63


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
