"""Judging elsewhere: kernels leave in a bundle, and their verdicts come back by a merge (design §8)."""

from __future__ import annotations

import json
from pathlib import Path

from kernelwright.evaluator.device import CHIPS, DeviceInfo, default_device
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.codec import from_json
from kernelwright.tasks.errors import Pending
from kernelwright.tasks.hardware import lookup
from kernelwright.tasks.records import Task, Verdict


def known_device(target: str = "") -> str:
    """The file in the cache folder that says what the last merged bundle, or its part on a target, was judged on."""
    return f"bundle-device@{target}.json" if target else "bundle-device.json"


class BundleEngine:
    """Admits every task and judges none: each verdict is pending until a bundle that was judged is merged.

    ``device`` is ``cpu``, ``cuda``, or the name of the device that will judge (``NVIDIA H100 80GB HBM3``), for prompts;
    once a bundle was merged, what its worker measured is used.
    """

    def __init__(self, backend: str, device: str | None, cache: Path, settings: Settings | None = None) -> None:
        own = cache / known_device(backend)
        self._device = _named(device, own if own.is_file() else cache / known_device())

    def admit(self, task: Task) -> None:
        return None

    def evaluate(self, job: Job) -> Verdict:
        raise Pending(
            f"attempt {job.id} waits for its verdict",
            "`kernelwright bundle create RUN --out DIR`, judge it there, `kernelwright bundle merge DIR`, then resume",
        )

    def device(self) -> DeviceInfo:
        return self._device

    def close(self) -> None:
        return None


def _named(device: str | None, known: Path) -> DeviceInfo:
    measured = from_json(DeviceInfo, json.loads(known.read_text(encoding="utf-8"))) if known.is_file() else None
    wanted = device or (measured.kind if measured else default_device())
    kind = wanted.partition(":")[0]
    if kind in ("cpu", "cuda", *CHIPS):
        return measured if measured and measured.kind == kind else DeviceInfo(kind, f"{kind} device of the bundle's worker")
    hardware = lookup(wanted)
    if measured and hardware and measured.hardware == hardware:
        return measured
    return DeviceInfo(hardware.kind if hardware else "cuda", wanted, hardware)
