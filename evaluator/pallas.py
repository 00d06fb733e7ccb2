"""Call JAX Pallas from a kernel's ``forward``: ``y = launch(function, x, w, block=128)``, torch tensors in and out.

Runs beside the candidate. ``function`` takes JAX arrays, calls ``pl.pallas_call`` and returns an array or a tuple of
arrays. Outside ``pallas_call`` it may only reshape, transpose, slice, pad, concatenate, broadcast and cast; whatever else
computes there is XLA's work and counts as library work. JAX is imported at the first launch, by whoever runs a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["launch"]

Launcher = Callable[..., Any]
_launcher: list[Launcher] = []


def launch(function: Callable[..., Any], *tensors: torch.Tensor, **static: Any) -> Any:
    """Trace ``function(*arrays, **static)`` and run it; a TPU where there is one, else TPU interpret mode.

    Args:
        function: a module-level function of JAX arrays; compiled once for equal shapes, dtypes and ``static``.
        tensors: contiguous or strided CPU tensors of float32, bfloat16, float16, bool, int8 to int32, uint8. An int64 tensor
            arrives as int32, since a TPU has no 64-bit integers, and must fit it.
        static: hashable keyword arguments, such as block sizes.

    Returns:
        One tensor, or a tuple as ``function`` returns one, of the arrays' shapes and dtypes.

    Raises:
        TypeError: a dtype that a TPU does not have, or a function that the kernel does not define.
        OverflowError: an int64 value that does not fit int32.
    """
    if not _launcher:
        from kernelwright.evaluator.backends.pallas_launch import Launches

        _launcher.append(Launches().launch)
    return _launcher[0](function, *tensors, **static)


def use(launcher: Launcher) -> None:
    """Send every launch of this process through ``launcher``; for the runner, before the kernel's source is executed."""
    _launcher[:] = [launcher]
