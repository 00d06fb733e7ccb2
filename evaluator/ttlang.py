"""Run TT-Lang from a kernel's ``forward``: ``launch(operation, x, y, rows=4)`` changes the tensors that it writes in place.

Runs beside the candidate. ``operation`` is a module-level function under ``@ttl.operation(grid=…)`` with one compute and two
data movement threads; ``import ttl`` gives a kernel the language and nothing else of the simulator's package. Nothing is
imported from it before the first launch, or before a runner executes a kernel's source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["launch"]

Launcher = Callable[..., None]
_launcher: list[Launcher] = []


def launch(operation: Any, *tensors: torch.Tensor, row_major: tuple[int, ...] = (), **static: Any) -> None:
    """Put the tensors into the device's memory, run ``operation(*tensors, **static)`` on its grid, bring back what was written.

    Args:
        operation: what ``@ttl.operation`` made of a function of the kernel's own.
        tensors: CPU tensors of float32, bfloat16, int32 or uint8, of at least two dimensions unless row-major. The last two
            are padded with zeros to multiples of 32; the operation sees the padded shape, and what it writes there is dropped.
        row_major: positions of tensors that are laid out by rows and not in tiles; these are not padded.
        static: further arguments, such as block sizes.

    Raises:
        TypeError: a dtype that a Tensix core does not have, or an operation that the kernel does not define.
        RuntimeError: what the simulator found: a deadlock, a block used out of turn, an access out of bounds, a race.
    """
    if not _launcher:
        from kernelwright.evaluator.backends.ttlang_launch import Launches

        _launcher.append(Launches().launch)
    _launcher[0](operation, *tensors, row_major=row_major, **static)


def use(launcher: Launcher) -> None:
    """Send every launch of this process through ``launcher``; for the runner, before the kernel's source is executed."""
    _launcher[:] = [launcher]
