"""A stand-in for Triton's driver where there is no GPU: it answers questions about a device and launches nothing.

Triton asks its active driver for the target, loads binaries through it and launches through it. Giving it another
one is the whole trick: binding, specialisation, heuristics, autotuning and caching stay Triton's own.
Tried with Triton 3.6 and 3.9.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Gpu:
    """What kernels and Triton ask of a GPU that is not here."""

    device: int
    """Number of the stand-in: Triton caches kernels by device, and no real one has this number."""
    backend: str
    """``cuda`` or ``hip``, by Triton's name."""
    arch: int | str
    shared_bytes: int
    """Most that a block (workgroup) may take."""
    processors: int
    """Streaming multiprocessors; compute units."""
    bus_bits: int
    clock_khz: int
    memory_khz: int
    warp: int = 32

    def properties(self) -> dict[str, int]:
        """What the driver says of it, by Triton's names."""
        return {
            "max_shared_mem": self.shared_bytes,
            "max_num_regs": 65536,
            "multiprocessor_count": self.processors,
            "warpSize": self.warp,
            "sm_clock_rate": self.clock_khz,
            "mem_clock_rate": self.memory_khz,
            "mem_bus_width": self.bus_bits,
        }


GPUS: Mapping[str, Gpu] = {
    "sm_90": Gpu(-1, "cuda", 90, 232448, 132, 5120, 1980000, 2619000),
    "sm_80": Gpu(-2, "cuda", 80, 166912, 108, 5120, 1410000, 1593000),
    "sm_100": Gpu(-3, "cuda", 100, 232448, 148, 8192, 1965000, 3996000),
    "gfx942": Gpu(-4, "hip", "gfx942", 65536, 304, 8192, 2100000, 2600000, warp=64),
    "gfx950": Gpu(-5, "hip", "gfx950", 163840, 256, 8192, 2400000, 4000000, warp=64),
}
"""Target -> an H100 SXM, A100 SXM, B200, MI300X and MI355X. Shared memory is the architecture's limit (CUDA C++ programming
guide, CDNA3 and CDNA4 instruction set references); the rest is from data sheets, and only kernels that ask are shaped by it."""


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

    def __init__(self, loader: Loader | None = None, gpu: Gpu = GPUS["sm_90"], tuned: int = 3) -> None:
        self._loader = loader
        self._gpu = gpu
        self._tuned = tuned
        self.utils = types.SimpleNamespace(
            get_device_properties=lambda device=0: gpu.properties(),
            load_binary=self._load_binary,
            unload_module=lambda module: None,
        )

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget(self._gpu.backend, self._gpu.arch, self._gpu.warp)

    def get_current_device(self) -> int:
        return self._gpu.device

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
