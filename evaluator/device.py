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
    """``cpu``, ``cuda``, ``tpu`` or ``npu``."""
    name: str
    hardware: Hardware | None = None
    """Its row in the hardware table, where it has one."""
    memory_gbps: float | None = None
    """Measured copy bandwidth, bytes read plus written, GB/s; None until measured."""
    tflops: Mapping[str, float] = field(default_factory=dict)
    """Measured matrix-product rate by dtype."""
    cores: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)


CHIPS = ("tpu", "npu")
"""Kinds of devices that a runner opens for itself (``chip``), while the reference stays on the host."""


def default_device() -> str:
    """``cuda`` where a CUDA device and its driver are present, else ``cpu``."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    return "cuda" if Path("/dev/nvidia0").exists() and not hidden else "cpu"


def parse_device(name: str) -> str:
    """``cpu``, or ``cuda``, ``tpu``, ``npu`` with ``:N`` or without, checked as far as that goes without torch.

    Whether there is a TPU or an NPU says the backend that runs on it, which opens it.

    Raises:
        InputError: another word, or a CUDA device on a machine without one.
    """
    kind, colon, index = name.partition(":")
    if kind not in ("cpu", "cuda", *CHIPS) or (colon and not (kind != "cpu" and index.isdigit())):
        raise InputError(f"unknown device {name!r}", "use cpu, cuda, cuda:N, tpu, tpu:N, npu or npu:N")
    if kind == "cuda" and default_device() != "cuda":
        raise InputError(f"device {name!r} asked for, but no CUDA device is visible here", "use --device cpu")
    return name


def host_of(device: str) -> str:
    """Where torch keeps a kernel's tensors on ``device``: those of a chip are the host's, its runner moves them."""
    return "cpu" if device.partition(":")[0] in CHIPS else device
