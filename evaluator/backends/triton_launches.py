"""Count Triton launches in this process, real and interpreted, however a kernel makes them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def install() -> Callable[[], int]:
    """Start counting; returns the function that tells the count. Call before the kernel's source is executed.

    Real launches are seen by Triton's launch hook (a kernel called through ``JITFunction`` or a kept ``CompiledKernel``
    alike), interpreted ones at the interpreter's grid loop. Where launches are interpreted, ``@triton.autotune`` takes
    its first configuration: there is no clock to ask.
    """
    count = [0]

    def launched(*_: Any, **__: Any) -> None:
        count[0] += 1

    if _interpreting():
        _count_interpreted(launched)
    else:
        _hook(launched)
    return lambda: count[0]


def _interpreting() -> bool:
    import triton

    return bool(triton.knobs.runtime.interpret)


def _hook(launched: Callable[..., None]) -> None:
    from triton import knobs

    chain = knobs.runtime.launch_enter_hook
    if hasattr(chain, "add"):
        chain.add(launched)
    else:  # Triton 3.4 has one hook instead of a chain
        knobs.runtime.launch_enter_hook = launched


def _count_interpreted(launched: Callable[..., None]) -> None:
    import torch
    from triton.runtime import driver, interpreter

    from kernelwright.evaluator.backends import triton_memory
    from kernelwright.evaluator.backends.triton_driver import StandInDriver

    original = interpreter.GridExecutor.__call__

    @functools.wraps(original)
    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        launched()
        return original(self, *arguments, **options)

    interpreter.GridExecutor.__call__ = counted
    triton_memory.install()
    if not torch.cuda.is_available():
        driver.set_active(StandInDriver())
