"""Triton launches in this process, real, interpreted or executed by their IR, however a kernel makes them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from kernelwright.evaluator.backends import triton_memory, triton_semantics
from kernelwright.evaluator.backends.triton import EXECUTOR
from kernelwright.evaluator.backends.triton_memory import Seen


class Launches(Protocol):
    """What the runner asks of launches."""

    count: int

    def check(self) -> None:
        """Raise what a launch raised, whatever the kernel made of it."""
        ...

    def watch_races(self) -> AbstractContextManager[Seen]:
        """Compare the accesses of all programs of every launch made inside, where they are simulated."""
        ...


def install(lent: Callable[[], AbstractContextManager[None]]) -> Launches:
    """Start counting, before the kernel's source is executed; and where :mod:`.triton_semantics` is asked for, executing.

    Real launches are seen by Triton's launch hook (a kernel called through ``JITFunction`` or a kept ``CompiledKernel``
    alike), interpreted ones at the interpreter's grid loop. Where launches are simulated, ``@triton.autotune`` takes
    its first configuration: there is no clock to ask. ``lent``: inside it torch may compute, for whoever simulates.
    """
    if os.environ.get(EXECUTOR) == "ttsem":
        return triton_semantics.install(lent)
    counted = _Counted()
    if _interpreting():
        _count_interpreted(counted.launched)
    else:
        _hook(counted.launched)
    return counted


class _Counted:
    """Launches that Triton makes by itself."""

    def __init__(self) -> None:
        self.count = 0

    def launched(self, *_: Any, **__: Any) -> None:
        self.count += 1

    def check(self) -> None:
        """A launch that fails raises, and leaves nothing to be told later."""

    def watch_races(self) -> AbstractContextManager[Seen]:
        return triton_memory.watch_races()


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
