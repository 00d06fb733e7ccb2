"""Recorded answers, byte for byte, for tests and exact reproduction; and the verdicts that go with them."""

from __future__ import annotations

from dataclasses import replace

from kernelwright.agent import recording
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Job
from kernelwright.tasks.errors import InputError, Pending, TaskError
from kernelwright.tasks.records import Answer, Attempt, Task, Verdict


class Replay:
    """Gives the recorded answer to the same-numbered idea of the same task, at no cost."""

    def __init__(self, setup: Setup) -> None:
        self.name = setup.name
        self._recording = recording.load(setup.name.removeprefix("replay:"), Workspace(setup.home, setup.store))

    def write(self, assignment: Assignment) -> Answer:
        step = self._recording.step(assignment.task, assignment.idea.number)
        if step is None:
            have = len(self._recording.of(assignment.task))
            raise InputError(
                f"{self.name} has {have} answers for {assignment.task.name}, idea {assignment.idea.number} was asked",
                f"give --budget {max(1, have)}, or leave --policy out so that the recorded ideas are repeated",
            )
        kernel = step.answer.kernel
        if kernel is not None and kernel.backend != assignment.backend:
            raise InputError(
                f"{self.name} was recorded for backend {kernel.backend}, not for {assignment.backend}",
                f"give --backend {kernel.backend}, or leave it out",
            )
        return replace(step.answer, cost_usd=0.0, seconds=0.0)

    def told(self, attempt: Attempt) -> None:
        return None

    def close(self) -> None:
        return None


class RecordedEngine:
    """An engine that judges nothing: it gives the recorded verdict of the same-numbered attempt.

    ``backend`` says which device stands for itself, where the recording has several.
    """

    def __init__(self, recorded: recording.Recording, backend: str = "") -> None:
        self._recording, self._backend = recorded, backend

    def admit(self, task: Task) -> None:
        if not self._recording.of(task):
            raise TaskError(
                f"run {self._recording.run} holds nothing for task {task.name}",
                f"recorded tasks: {', '.join(t.name for t in self._recording.tasks)}",
            )

    def evaluate(self, job: Job) -> Verdict:
        number = int(job.id.split("-audit")[0].rsplit("-", 1)[1])
        step = self._recording.step(job.task, number)
        if step is None or step.verdict is None or step.verdict.kernel_id != job.kernel.kernel_id:
            raise InputError(
                f"run {self._recording.run} has no verdict on kernel {job.kernel.kernel_id}", "judge it with --rejudge"
            )
        if "-audit" not in job.id:
            return step.verdict
        audit = self._recording.audits.get(f"{step.idea.id}-audit{job.id.rsplit('-audit', 1)[1]}")
        if audit is None:
            raise Pending(f"run {self._recording.run} was not audited")
        return audit

    def device(self) -> DeviceInfo:
        found = self._recording.devices.get(self._backend, self._recording.device)
        if found is not None:
            return found
        return DeviceInfo("cpu", "recorded", None, None, {})

    def close(self) -> None:
        return None
