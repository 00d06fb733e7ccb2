"""Nested Python values with tensors, to JSON and back: inputs, constructor arguments and outputs cross processes so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from kernelwright.evaluator.runner.arena import dtype_name, dtype_of


def encode(value: Any, tensors: list[torch.Tensor]) -> Any:
    """``value`` as JSON; its tensors are appended to ``tensors`` and named by their index.

    Raises:
        TypeError: a value of a kind that cannot cross, naming it.
    """
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if value is None or isinstance(value, (bool, int, str)):
        return {"value": value}
    if isinstance(value, float):
        return {"float": value.hex() if math.isfinite(value) else str(value)}
    if isinstance(value, (list, torch.Size)):
        return {"list": [encode(v, tensors) for v in value]}
    if isinstance(value, tuple):
        return {"tuple": [encode(v, tensors) for v in value]}
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"dict": {k: encode(v, tensors) for k, v in value.items()}}
    if isinstance(value, torch.dtype):
        return {"dtype": dtype_name(value)}
    raise TypeError(f"a value of type {type(value).__name__} (expected tensors, numbers, strings, lists, tuples, dicts)")


def decode(data: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """The value that :func:`encode` gave ``data`` for, with ``tensors`` in its places."""
    ((kind, content),) = data.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "value":
        return content
    if kind == "float":
        return float.fromhex(content)
    if kind == "list":
        return [decode(v, tensors) for v in content]
    if kind == "tuple":
        return tuple(decode(v, tensors) for v in content)
    if kind == "dict":
        return {k: decode(v, tensors) for k, v in content.items()}
    if kind == "dtype":
        return dtype_of(content)
    raise TypeError(f"unknown kind {kind!r}")


def describe(t: torch.Tensor) -> dict[str, Any]:
    """What must agree between two output tensors besides their values."""
    return {"shape": list(t.shape), "dtype": dtype_name(t.dtype), "device": t.device.type, "strides": list(t.stride())}
