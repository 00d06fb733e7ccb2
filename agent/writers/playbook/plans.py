"""Which points of a program's space do the same work on a task: what their kernels launch at the shapes that are timed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from kernelwright.agent.writers.playbook.graph import Unsupported
from kernelwright.agent.writers.playbook.space import Point, key
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task, Use
from kernelwright.tasks.shapes import with_sizes

SECONDS = 60.0
"""For one answer of the child; then it is given up."""
UNITS, ARCH = 132, "sm_90"
"""Of a GPU that the hardware table lacks."""


class Plans:
    """What the points of one program, emitted in Triton, do on one task and device. Asked from one thread at a time.

    A child process runs the files' Python on fake tensors (:mod:`.launches`), some 20 ms a file. Where that tells nothing,
    because the task has no plain timing shape, its inputs are made from data, or the child fails, every point is its own.
    """

    def __init__(self, task: Task, device: DeviceInfo) -> None:
        self._request = _request(task, device)
        self._child: subprocess.Popen[str] | None = None
        self._known: dict[str, str] = {}

    def of(self, point: Point, emit: Callable[[], str]) -> str:
        """Equal for points that do the same work; ``emit`` gives the point's file."""
        own = key(point)
        if own not in self._known:
            try:
                self._known[own] = self._ask(emit()) or own
            except Unsupported:
                self._known[own] = own
        return self._known[own]

    def close(self) -> None:
        """End the child. What is asked afterwards is its own."""
        self._request = None
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _ask(self, text: str) -> str | None:
        if self._request is None:
            return None
        if self._child is None:
            self._child = _started()
            if self._say(self._request) is not True:
                self.close()
                return None
        answer = self._say(text)
        return answer if isinstance(answer, str) else None

    def _say(self, what: Any) -> Any:
        """The child's answer; None, and no child any more, where it failed."""
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        timer = threading.Timer(SECONDS, child.kill)
        timer.start()
        try:
            child.stdin.write(json.dumps(what) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except OSError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            self.close()
            return None
        with contextlib.suppress(ValueError):
            return json.loads(line)
        return None


def _started() -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "kernelwright.agent.writers.playbook.launches"]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True, env=environment, start_new_session=True
    )


def _request(task: Task, device: DeviceInfo) -> dict[str, Any] | None:
    """What the child has to know; None where there is no shape to look at."""
    cases = [case for case in task.cases_for(device.kind, Use.TIMING) if not case.derived and case.leading is None]
    try:
        shapes: Sequence[Any] = [[with_sizes(task.source, dict(case.sizes)), list(case.dtypes)] for case in cases]
    except TaskError:
        return None
    if not shapes:
        return None
    hardware = device.hardware
    units, arch = (hardware.units, hardware.arch) if hardware is not None else (UNITS, ARCH)
    number = arch.removeprefix("sm_")
    capability = [int(number[:-1]), int(number[-1])] if number.isdigit() and arch != number else [9, 0]
    return {"shapes": shapes, "training": task.training, "units": units, "capability": capability}
