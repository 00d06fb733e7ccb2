"""What is used when nothing is named: a CUDA device -> triton, a TPU that is named -> pallas, an NPU -> ascend, else cpp; a
provider's key -> its model, else playbook."""

from __future__ import annotations

import os
import re

from kernelwright.agent.llm.providers import present
from kernelwright.evaluator.device import CHIPS, default_device
from kernelwright.tasks.hardware import lookup

_PALLAS = re.compile(r"^\s*(?:import|from)\b[^\n#]*\bpallas\b", re.MULTILINE)
_TRITON = re.compile(r"^\s*(?:import|from)\b[^\n#]*\btriton\b", re.MULTILINE)
_TTLANG = re.compile(r"^\s*(?:import\s+ttl\b|from\s+ttl\b)", re.MULTILINE)
_ASCEND = re.compile(r"\bload\(\s*ascend\s*=")
_CUDA = re.compile(r"\bload\(\s*cuda\s*=|\bload_inline\(")


def device_kind(device: str | None) -> str:
    """``cpu``, ``cuda``, ``tpu`` or ``npu`` for a ``--device``: a kind, an index, or with the bundle engine a device's name."""
    if device is None:
        return default_device()
    kind = device.partition(":")[0]
    if kind in ("cpu", "cuda", *CHIPS):
        return kind
    hardware = lookup(device)
    return hardware.kind if hardware else kind


def backend(device: str | None) -> str:
    """The backend for a device."""
    return {"cuda": "triton", "tpu": "pallas", "npu": "ascend"}.get(device_kind(device), "cpp")


def language(source: str) -> str:
    """A file's backend: ``pallas``, ``triton``, ``ttlang`` where imported, ``ascend``, ``cuda`` where loaded, else ``cpp``."""
    if _PALLAS.search(source):
        return "pallas"
    if _TRITON.search(source):
        return "triton"
    if _TTLANG.search(source):
        return "ttlang"
    if _ASCEND.search(source):
        return "ascend"
    return "cuda" if _CUDA.search(source) else "cpp"


def model() -> str:
    """The writer: ``KERNELWRIGHT_MODEL``, else the model of the first provider whose key is set, else the playbook."""
    named = os.environ.get("KERNELWRIGHT_MODEL", "").strip()
    if named:
        return named
    keys = present(os.environ)
    return keys[0].model if keys else "playbook"
