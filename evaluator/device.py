"""Which device kernels are judged on, found without importing torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kernelwright.tasks.errors import InputError
from kernelwright.tasks.hardware import Hardware


@dataclass(frozen=True)
class DeviceInfo:
    """A device, as the judge's reference process found it."""

    kind: str
    """``cpu``, ``cuda`` or ``tpu``."""
    name: str
    hardware: Hardware | None = None
    """Its row in the hardware table, where it has one."""
    memory_gbps: float | None = None
    """Measured copy bandwidth, bytes read plus written, GB/s; None until measured."""
    tflops: Mapping[str, float] = field(default_factory=dict)
    """Measured matrix-product rate by dtype."""
    cores: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)


def default_device() -> str:
    """``cuda`` where a CUDA device and its driver are present, else ``cpu``."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    return "cuda" if Path("/dev/nvidia0").exists() and not hidden else "cpu"


def parse_device(name: str) -> str:
    """``cpu``, ``cuda``, ``cuda:N``, ``tpu`` or ``tpu:N``, checked as far as that goes without torch.

    Whether there is a TPU says the backend that runs on it, which asks JAX.

    Raises:
        InputError: another word, an NPU, or a CUDA device on a machine without one.
    """
    kind, colon, index = name.partition(":")
    if kind == "npu":
        raise InputError(
            f"device {name!r}: no kernel is judged or timed on an NPU",
            "use --device cpu: backend ascend runs kernels in its model of a 910B, and compiles them where CANN is installed",
        )
    if kind not in ("cpu", "cuda", "tpu") or (colon and not (kind != "cpu" and index.isdigit())):
        raise InputError(f"unknown device {name!r}", "use cpu, cuda, cuda:N, tpu or tpu:N")
    if kind == "cuda" and default_device() != "cuda":
        raise InputError(f"device {name!r} asked for, but no CUDA device is visible here", "use --device cpu")
    return name


def host_of(device: str) -> str:
    """Where torch keeps a kernel's tensors on ``device``: torch knows no TPU, there they are the host's."""
    return "cpu" if device.partition(":")[0] == "tpu" else device
