"""The chip that Ascend C kernels run on, through ``torch_npu``. **Written from documentation, not run: no NPU was here.**

Names: torch_npu's API reference (``set_device``, ``synchronize``, ``matmul.allow_hf32``, ``conv.allow_hf32``), CANN's
``ASCEND_RT_VISIBLE_DEVICES`` and log variables, and for device files and folders what Ascend Docker Runtime mounts by default
(MindCluster, "Default content mounted"). Other processes may open the same NPU; judges take turns (``turns``).
"""

from __future__ import annotations

import copy
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kernelwright.evaluator.chip import VARIABLE, Chip, NoChip, one_line

if TYPE_CHECKING:
    import torch

_VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"
_PASSED_ON = (
    "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH", "ASCEND_AICPU_PATH", "ASCEND_CUSTOM_OPP_PATH",
)  # fmt: skip
"""What CANN's ``set_env.sh`` sets beside PATH and LD_LIBRARY_PATH."""
_FIRST = "npu:0"
"""The only one that a process sees."""
_COMMON_NODES = ("davinci_manager", "devmm_svm", "hisi_hdc")
FOLDERS = (
    "/usr/local/Ascend", "/usr/local/dcmi", "/etc/ascend_install.info", "/etc/Ascend", "/etc/hdcBasic.cfg",
    "/etc/sys_version.conf", "/var/queue_schedule", "/sys/bus/pci", "/sys/devices", "/sys/class",
)  # fmt: skip
"""Driver, its settings, and where it looks for chips."""


def seen_folders() -> tuple[str, ...]:
    """What a process on an NPU reads besides: :data:`FOLDERS` and the toolkit's."""
    return (*FOLDERS, *(path for name in _PASSED_ON if (path := os.environ.get(name, "")).startswith("/")))


def nodes() -> list[str]:
    """Device files: ``/dev/davinciN``, and those that all NPUs share."""
    chips = [str(node) for node in Path("/dev").glob("davinci[0-9]*")]
    return sorted(chips) + [str(node) for name in _COMMON_NODES if (node := Path("/dev") / name).exists()]


def physical(index: int) -> str:
    """The name of NPU ``index``, counted as this process's ``ASCEND_RT_VISIBLE_DEVICES`` counts."""
    seen = [entry.strip() for entry in os.environ.get(_VISIBLE, "").split(",") if entry.strip()]
    return seen[index] if index < len(seen) else str(index)


@dataclass(frozen=True)
class Npu(Chip):
    """One NPU. ``cpu``: torch's CPU stands in."""

    kind: ClassVar[str] = "npu"
    title: ClassVar[str] = "NPU"
    holders: ClassVar[str] = "npu-smi info"
    docs: ClassVar[str] = "docs/backends/ascend.md"
    baselines: ClassVar[tuple[str, ...]] = ("eager",)
    timed: ClassVar[str] = "forward on tensors that lie on the NPU, whose L2 nobody flushed"
    platform: str = "npu"

    @property
    def device(self) -> str:
        return "cpu" if self.stands_in else _FIRST

    @property
    def imports(self) -> str:
        return "" if self.stands_in else "torch_npu"

    def environment(self, index: int) -> dict[str, str]:
        """Torch loads ``torch_npu`` when it is asked for, not by itself; logs of errors alone go to the process's home."""
        common = {VARIABLE: f"{self.kind}:{self.platform}", "KERNELWRIGHT_IMPORT": self.imports}
        if self.stands_in:
            return common
        given = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        quiet = {"ASCEND_GLOBAL_LOG_LEVEL": "3", "ASCEND_SLOG_PRINT_TO_STDOUT": "0", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
        return {**given, **common, **quiet, _VISIBLE: physical(index)}

    def absent(self) -> str:
        if not any(node.startswith("/dev/davinci") and node[12:].isdigit() for node in nodes()):
            return (
                "no NPU is visible: no /dev/davinci0 is here (in a container pass on --device /dev/davinci0, davinci_manager, "
                "devmm_svm and hisi_hdc); use --device cpu, where kernels are simulated"
            )
        if importlib.util.find_spec("torch_npu") is None:
            return "an NPU is here and torch_npu is not installed; pip install the torch-npu of this torch's version"
        return ""

    def unmeasured(self) -> str:
        return ""

    def open(self) -> dict[str, Any]:
        """Make it torch's current device and start its context."""
        import torch

        if self.stands_in:
            return {"name": "torch's CPU stands in for an NPU", "versions": {"torch": torch.__version__}}
        try:
            importlib.import_module("torch_npu")
            npu = _npu()
            npu.set_device(_FIRST)
            torch.zeros(1, device=_FIRST)
            npu.synchronize()
            name = str(npu.get_device_name(0))
        except Exception as error:  # noqa: BLE001 - torch_npu and AscendCL raise what they like
            raise NoChip(f"torch_npu opens no NPU: {one_line(error)}") from error
        self.exact()
        return {"name": name, "versions": {"torch": torch.__version__, "torch_npu": version("torch-npu")}}

    def total(self) -> float:
        import torch

        return float((torch.arange(8, dtype=torch.float32, device=self.device) + 1.0).sum().cpu())

    def exact(self) -> None:
        """Convolutions may use HF32 by torch_npu's default, products of matrices may not; here neither."""
        if not self.stands_in:
            npu = _npu()
            npu.matmul.allow_hf32 = npu.conv.allow_hf32 = False

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy that lies there as it does here: all from its first element's byte to its last's, seen in its strides."""
        import torch

        moved = flat(tensor).to(self.device, copy=True)
        return torch.as_strided(moved, tensor.shape, tensor.stride(), 0)

    def wait(self, values: Any) -> None:
        """All streams of the device are done."""
        if not self.stands_in:
            _npu().synchronize()

    def get(self, output: Any) -> list[torch.Tensor]:
        from kernelwright.evaluator.runner.trees import encode

        tensors: list[torch.Tensor] = []
        encode(output, tensors)
        return [tensor.cpu() for tensor in tensors]

    def calls(self, model: torch.nn.Module, tree: Any) -> dict[str, Callable[..., Any]]:
        from kernelwright.evaluator.runner.trees import decode

        there = copy.deepcopy(model).to(self.device)
        return {"eager": lambda *tensors: there(*decode(tree, tensors))}


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """The elements of memory from a tensor's first to its last, in one dimension."""
    import torch

    span = 0 if 0 in tensor.shape else 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return torch.as_strided(tensor, (span,), (1,), tensor.storage_offset())


def _npu() -> Any:
    """``torch.npu``, which importing torch_npu adds."""
    import torch

    return torch.npu  # type: ignore[attr-defined]
