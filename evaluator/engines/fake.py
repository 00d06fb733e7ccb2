"""An engine that judges nothing: the kernel's own comments say what it gives. For tests and demonstrations of the search."""

from __future__ import annotations

import re
import time
from pathlib import Path

from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import HarnessError, InputError, Pending, TaskError
from kernelwright.tasks.records import Assurance, CaseTiming, Interval, Stage, Status, Task, Timing, Verdict

_WORD = re.compile(r"^# judge: *(\w+) *([\d.]*)", re.MULTILINE)
_REFUSED = re.compile(r"^# admit: *(.+)", re.MULTILINE)


class FakeEngine:
    """Reads lines ``# judge: WORD [NUMBER]`` of the kernel: ``passed 1.5`` (speedup), any other status, ``untimed`` (passed
    without a timing), ``sleep 0.2`` (seconds, before the verdict), ``pending``, ``broken`` (the harness fails).
    A task whose reference has a line ``# admit: REASON`` is refused. ``judged`` lists the ids of the jobs, in order.
    """

    def __init__(
        self, backend: str = "cpp", device: str | None = None, cache: Path | None = None, settings: Settings | None = None
    ) -> None:
        self.judged: list[str] = []
        self.closed = False

    def admit(self, task: Task) -> None:
        refused = _REFUSED.search(task.source)
        if refused:
            raise TaskError(f"{task.name}: {refused.group(1)}", "give another task")

    def evaluate(self, job: Job) -> Verdict:
        self.judged.append(job.id)
        speedup: float | None = 1.0
        status, reason = Status.PASSED, "as its comments say"
        for word, number in _WORD.findall(job.kernel.source):
            if word == "sleep":
                time.sleep(float(number))
            elif word == "pending":
                raise Pending(f"{job.id} waits")
            elif word == "broken":
                raise HarnessError("the fake harness is broken", "write another kernel")
            elif word == "untimed":
                speedup = None
            elif word in {s.value for s in Status}:
                status = Status(word)
                speedup = float(number or 1.0) if status is Status.PASSED else None
            else:
                raise InputError(f"the fake engine knows no {word!r}", "see its docstring")
        passed = status is Status.PASSED
        assurance = Assurance.SIMULATED if passed and speedup is None else Assurance.DEVICE
        timing = _timing(speedup) if speedup is not None else None
        stage = Stage.TIME if timing else Stage.CORRECT
        return Verdict(status, stage, reason, job.kernel.kernel_id, job.task.name, assurance, timing=timing)

    def device(self) -> DeviceInfo:
        return DeviceInfo("cpu", "fake device")

    def close(self) -> None:
        self.closed = True


def _timing(speedup: float) -> Timing:
    """100 µs for eager, 80 µs for compile; intervals of ± 0.5 %."""
    baselines = {"eager": _interval(100.0), "compile": _interval(80.0)}
    ratios = {"eager": _interval(speedup), "compile": _interval(speedup * 0.8), "best": _interval(speedup * 0.8)}
    latency = _interval(100.0 / speedup)
    case = CaseTiming("fake", "float32", latency, baselines, ratios)
    return Timing(latency, baselines, ratios, "compile", None, (case,))


def _interval(median: float) -> Interval:
    return Interval(median, median * 0.995, median * 1.005)
