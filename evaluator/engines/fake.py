"""An engine that judges nothing: the kernel's own comments say what it gives. For tests and demonstrations of the search."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.figures import CANDIDATE, case_timing, headline, samples_key
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import HarnessError, InputError, Pending, TaskError
from kernelwright.tasks.records import Assurance, Stage, Status, Task, Timing, Verdict

_WORD = re.compile(r"^# judge: *(\w+) *([\d.]*)", re.MULTILINE)
_REFUSED = re.compile(r"^# admit: *(.+)", re.MULTILINE)


class FakeEngine:
    """Reads lines ``# judge: WORD [NUMBER]`` of the kernel: ``passed 1.5`` (speedup), any other status, ``untimed`` (passed
    without a timing), ``sleep 0.2`` (seconds, before the verdict), ``pending``, ``broken`` (the harness fails), ``leaky`` (a
    thorough judging finds a memory error).
    A task whose reference has a line ``# admit: REASON`` is refused. ``judged`` lists the ids of the jobs, in order;
    ``thorough`` those that were to be judged thoroughly.
    """

    def __init__(
        self, backend: str = "cpp", device: str | None = None, cache: Path | None = None, settings: Settings | None = None
    ) -> None:
        self.judged: list[str] = []
        self.thorough: list[str] = []
        self.closed = False

    def admit(self, task: Task) -> None:
        refused = _REFUSED.search(task.source)
        if refused:
            raise TaskError(f"{task.name}: {refused.group(1)}", "give another task")

    def evaluate(self, job: Job) -> Verdict:
        self.judged.append(job.id)
        self.thorough += [job.id] * job.thorough
        speedup: float | None = 1.0
        status, reason = Status.PASSED, "as its comments say"
        for word, number in _WORD.findall(job.kernel.source):
            if word == "sleep":
                time.sleep(float(number))
            elif word == "pending":
                raise Pending(f"{job.id} waits")
            elif word == "broken":
                raise HarnessError("the fake harness is broken", "write another kernel")
            elif word == "leaky":
                if job.thorough:
                    speedup, status, reason = None, Status.RUNTIME_ERROR, "out of bounds, says the sanitizer"
                    break
            elif word == "untimed":
                speedup = None
            elif word in {s.value for s in Status}:
                status = Status(word)
                speedup = float(number or 1.0) if status is Status.PASSED else None
            else:
                raise InputError(f"the fake engine knows no {word!r}", "see its docstring")
        passed = status is Status.PASSED
        assurance = Assurance.SIMULATED if passed and speedup is None else Assurance.DEVICE
        samples = fake_samples(speedup) if speedup is not None else {}
        timing = fake_timing(samples) if samples else None
        evidence = {"samples_us": samples} if samples else {}
        stage = Stage.TIME if timing else Stage.CORRECT
        return Verdict(status, stage, reason, job.kernel.kernel_id, job.task.name, assurance, evidence, timing=timing)

    def device(self) -> DeviceInfo:
        return DeviceInfo("cpu", "fake device")

    def close(self) -> None:
        self.closed = True


def fake_samples(speedup: float, spread: float = 0.005) -> dict[str, dict[str, list[float]]]:
    """Six blocks of one timing case, 100 µs for eager and 80 µs for compile; the candidate varies by ± ``spread``."""
    candidate = [100.0 / speedup * (1 + spread * step) for step in (-1, -0.5, 0, 0, 0.5, 1)]
    sides = {"eager": [100.0] * 6, "compile": [80.0] * 6, CANDIDATE: candidate}
    return {samples_key("fake", "float32"): sides}


def fake_timing(samples: Mapping[str, Mapping[str, Sequence[float]]]) -> Timing:
    """The figures of :func:`fake_samples`."""
    return headline([case_timing("fake", "float32", [sides]) for sides in samples.values()])
