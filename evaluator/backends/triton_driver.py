"""A stand-in for Triton's driver where there is no GPU: it answers questions about a device and launches nothing.

Triton asks its active driver for the target, loads binaries through it and launches through it. Giving it another
one is the whole trick: binding, specialisation, heuristics, autotuning and caching stay Triton's own.
Tried with Triton 3.6 and 3.9.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

DEVICE = -1
"""Device number of the stand-in: Triton caches kernels by device, and no real one has this number."""
H100: Mapping[str, int] = {
    "max_shared_mem": 232448,
    "max_num_regs": 65536,
    "multiprocessor_count": 132,
    "warpSize": 32,
    "sm_clock_rate": 1980000,
    "mem_clock_rate": 2619000,
    "mem_bus_width": 5120,
}
"""What :func:`cuDeviceGetAttribute` says of an H100 SXM, by Triton's names; clocks in kHz, bus in bits."""


class Loader(Protocol):
    """What a stand-in does with a compiled kernel."""

    def launcher(self, source: Any, metadata: Any) -> Callable[..., None]:
        """The function that is called in place of a launch: (grid x, y, z, stream, function, …, arguments)."""
        ...

    def load(self, name: str, binary: bytes) -> tuple[int, int]:
        """Registers a thread and spilled registers of a binary."""
        ...


class StandInDriver:
    """The part of Triton's driver interface that kernels and Triton's own host code use."""

    def __init__(self, loader: Loader | None = None, arch: int = 90, tuned: int = 3) -> None:
        self._loader = loader
        self._arch = arch
        self._tuned = tuned
        self.utils = types.SimpleNamespace(
            get_device_properties=lambda device=0: dict(H100),
            load_binary=self._load_binary,
            unload_module=lambda module: None,
        )

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self._arch, 32)

    def get_current_device(self) -> int:
        return DEVICE

    def set_current_device(self, device: int) -> None:
        """There is but one."""

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_active_torch_device(self) -> Any:
        import torch

        return torch.device("cpu")

    def launcher_cls(self, source: Any, metadata: Any) -> Callable[..., None]:
        if self._loader is None:
            raise RuntimeError("no GPU here: this kernel can only be interpreted")
        return self._loader.launcher(source, metadata)

    def _load_binary(self, name: str, binary: bytes, shared: int, device: int) -> tuple[None, str, int, int, int]:
        registers, spills = self._loader.load(name, binary) if self._loader else (0, 0)
        # No module: Triton then has nothing to unload when the kernel is collected, under another active driver.
        return None, name, registers, spills, 1024

    def get_benchmarker(self) -> Callable[..., list[float]]:
        """Autotuning without a clock: the first configurations are called once each, and the first that works wins."""
        tried = 0

        def bench(call: Callable[[], Any], quantiles: Sequence[float] = (0.5, 0.2, 0.8), **_: Any) -> list[float]:
            nonlocal tried
            tried += 1
            if self._loader is not None and tried <= self._tuned:
                call()
            return [float(tried)] * len(quantiles)

        return bench

    def get_empty_cache_for_benchmark(self) -> Any:
        import torch

        return torch.empty(0)

    def clear_cache(self, cache: Any) -> None:
        """Nothing is cached."""


def stand_in(driver: StandInDriver) -> AbstractContextManager[StandInDriver]:
    """Make ``driver`` Triton's active one for a while."""
    from triton.runtime import driver as config

    @contextmanager
    def active() -> Any:
        before = getattr(config, "_active", None)
        config.set_active(driver)
        try:
            yield driver
        finally:
            config.set_active(before)

    return active()
