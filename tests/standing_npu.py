"""An ascend backend whose NPU is torch's CPU, and the model of a core its launches: what an NPU would do, but for the chip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernelwright.evaluator.backends.ascend import AscendBackend
from kernelwright.evaluator.chip_npu import Npu
from kernelwright.tasks.records import Kernel


class StandIn(AscendBackend):
    """Everything as on an NPU; where tensors are moved to and what launches is the stand-in's."""

    chip = Npu("cpu")

    def launchers(self, kernel: Kernel, cache: Path) -> Mapping[str, str]:
        return {}


class Gone(StandIn):
    """An NPU that opens for whoever looks first, and never for a runner."""

    def run_entry(self, device: str) -> Mapping[str, str]:
        entry = super().run_entry(device)
        return {**entry, "KERNELWRIGHT_CHIP": "npu:npu"} if device.startswith("npu") else entry


class Present(AscendBackend):
    """As where an NPU is: of a kernel the vendor's compiler makes what is launched there."""

    def available(self, device: str) -> str:
        return ""
