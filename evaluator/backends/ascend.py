"""Ascend C for a 910B vector core, run by our own functional model of one: no vendor compiler, no device, no timing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.build import build_native
from kernelwright.evaluator.toolchain import missing_compiler
from kernelwright.tasks.records import Kernel


class AscendBackend:
    """Kernels whose work is done by ``load(ascend=…)``, simulated on the CPU."""

    name = "ascend"

    def available(self, device: str) -> str:
        if device != "cpu":
            return f"the ascend backend simulates a 910B core on the CPU, it does not run on {device!r}; use --device cpu"
        return missing_compiler()

    def build(self, kernel: Kernel, cache: Path) -> Built:
        built = build_native(kernel.source, cache)
        languages = [report.get("language") for report in built.evidence.get("native", ())]
        if built.ok and ("ascend" not in languages or set(languages) != {"ascend"}):
            return Built(
                ok=False,
                log="an ascend kernel loads Ascend C and no other native code; it needs "
                "`lib = load(ascend=r'''#include \"kernel_operator.h\" … extern \"C\" __global__ __aicore__ void …''')` "
                "with `from kernelwright.evaluator.native import load`",
                seconds=built.seconds,
            )
        return built

    def run_entry(self, device: str) -> Mapping[str, str]:
        return {}

    def diagnose(self, kernel: Kernel, built: Built) -> Mapping[str, Any]:
        """The kernels and where they stand; a functional model says nothing of speed."""
        return {"native": [dict(report) for report in built.evidence.get("native", ())], "warnings": built.log}
