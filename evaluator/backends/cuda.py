"""CUDA C++: raw kernels, compiled by nvcc or NVRTC to a cubin and launched by :mod:`~kernelwright.evaluator.native`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.build import build_native
from kernelwright.evaluator.toolchain_cuda import missing_cuda_compiler
from kernelwright.tasks.records import Kernel

UNPROVEN = "KERNELWRIGHT_CUDA_UNPROVEN"
"""Set to 1: judge on a GPU although no hostile kernel has been tried there against this backend's launcher."""


class CudaBackend:
    """Kernels that ``load(cuda=…)`` or ``load_inline(…)`` builds; where there is no GPU they are compiled, never run."""

    name = "cuda"

    def available(self, device: str) -> str:
        if device not in ("cpu", "cuda"):
            return f"the cuda backend runs on cuda, or compiles only on cpu, not on {device!r}"
        if device == "cuda":
            from kernelwright.evaluator.backends.triton import driver_problem

            if os.environ.get(UNPROVEN) != "1":
                return f"it only compiles so far (--device cpu): no hostile kernel was tried on a GPU; {UNPROVEN}=1 allows it"
            return missing_cuda_compiler() or driver_problem()
        return missing_cuda_compiler()

    def build(self, kernel: Kernel, cache: Path) -> Built:
        built = build_native(kernel.source, cache)
        if built.ok and not any("kernels" in report for report in built.evidence.get("native", ())):
            return Built(
                ok=False,
                log="the kernel loads no CUDA code; a cuda kernel needs `lib = load(cuda=r'''extern \"C\" __global__ …''')` "
                "with `from kernelwright.evaluator.native import load`, or load_inline(…) of torch.utils.cpp_extension",
                seconds=built.seconds,
            )
        return built

    def run_entry(self, device: str) -> Mapping[str, str]:
        return {}

    def diagnose(self, kernel: Kernel, built: Built) -> Mapping[str, Any]:
        """Per module: registers, spills and shared memory a kernel by ptxas, and the instruction mix by ``nvdisasm``."""
        return {"native": with_mix(built), "warnings": built.log}


def with_mix(built: Built) -> list[dict[str, Any]]:
    """The reports of a build, those of CUDA modules with ``instructions``; empty where no nvdisasm is found."""
    found = []
    for report in built.evidence.get("native", ()):
        extra = {}
        if "kernels" in report:
            from kernelwright.evaluator.backends.triton_compile import instruction_mix

            try:
                extra = {"instructions": instruction_mix(Path(report["path"]).read_bytes())}
            except ImportError:  # the disassembler comes in Triton's wheel
                extra = {"instructions": {}}
        found.append(dict(report) | extra)
    return found
