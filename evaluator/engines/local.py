"""Judging on this machine, one kernel at a time: on a CPU the cores are the device."""

from __future__ import annotations

from pathlib import Path

from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.records import Task, Verdict


class LocalEngine:
    """An :class:`~kernelwright.evaluator.engines.engine.Engine` over one :class:`Judge`."""

    def __init__(self, backend: str, device: str | None, cache: Path, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._judge = Judge(backend, device, cache, self._settings)

    def admit(self, task: Task) -> None:
        self._judge.admit(task)

    def evaluate(self, job: Job) -> Verdict:
        self._judge.settings = self._settings.thorough(self._judge.kind) if job.thorough else self._settings
        return self._judge.judge(job.kernel, job.task)

    def device(self) -> DeviceInfo:
        return self._judge.device_info()

    def close(self) -> None:
        self._judge.close()
