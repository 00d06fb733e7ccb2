"""Nsight Compute over one call of a kernel that has passed: hints for whoever writes the next one, never part of a verdict.

The call runs in a process of its own, sandboxed like a runner, on inputs drawn for it; nothing that was judged or timed is in
there. What the profiler prints passes through that process, so that a candidate can make it up.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernelwright.evaluator.profile_metrics import METRICS, read, summary
from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.evaluator.sanitizers.device_child import job_folder, run_job
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.turns import exclusive
from kernelwright.tasks.records import Kernel

_SECONDS = 30.0
"""Limit of one profile. Most of what it takes is a fresh process with torch, and compiling once more."""
_MOST_BYTES = 1 << 30
"""Inputs and outputs of a case that is profiled: they go through a file."""
_LAUNCHES = 24
_PERMISSION = "ERR_NVGPUCTRPERM"
_REMEDY = "let users read the GPU's counters (NVreg_RestrictProfilingToAdminUsers=0), or profile with --cap-add SYS_ADMIN"
_GIVE_UP = 2


def find_ncu() -> str:
    """Path of Nsight Compute's command line; empty where there is none."""
    places = [os.environ.get("CUDA_HOME", ""), os.environ.get("CUDA_PATH", ""), "/usr/local/cuda"]
    candidates = [shutil.which("ncu"), *(f"{place}/bin/ncu" for place in places if place)]
    return next((path for path in candidates if path and os.access(path, os.X_OK)), "")


def command(tool: str) -> list[str]:
    """``tool`` with its options, to be put before the program. Clocks stay as they are: setting them needs rights."""
    return [
        tool,
        *("--clock-control", "none", "--csv", "--page", "raw", "--print-units", "base"),
        *("--profile-from-start", "off", "--launch-count", str(_LAUNCHES), "--metrics", ",".join(METRICS)),
    ]


class Profiler:
    """One judge's profiler. What makes profiles impossible here is told once, in the evidence of the verdict that met it."""

    def __init__(self) -> None:
        self._tool: str | None = None
        self._failures = 0
        self._impossible = False

    def profile(
        self, kernel: Kernel, session: Session, cases: Sequence[OpenCase], server: ForkServer, device: str, mode: str
    ) -> dict[str, Any]:
        """The figures of one call on the largest of ``cases`` that is not too large, as ``evidence["profile"]`` holds them.

        ``{"problem": …}`` where it failed; empty where there is no tool, nothing to profile, or no use in trying again.
        """
        if self._tool is None:
            self._tool = find_ncu()
        fitting = [case for case in cases if case.nbytes <= _MOST_BYTES]
        if not self._tool or self._impossible or not fitting:
            return {}
        opened = max(fitting, key=lambda case: case.nbytes)
        began = time.monotonic()
        gpu = device.startswith("cuda")
        with job_folder(kernel, session, opened, device, profiled=True) as scratch, exclusive(device):
            words = {"LC_ALL": "C"}  # numbers with a point
            log, how = run_job(command(self._tool), scratch, server, _SECONDS, mode, words, gpu=gpu)
        found = summary(read(log))
        told: dict[str, Any] = {"tool": Path(self._tool).name, "case": opened.key}
        told["seconds"] = round(time.monotonic() - began, 1)
        if found:
            self._failures = 0
            return {**told, **found}
        return {**told, **self._failed(log, how)}

    def _failed(self, log: str, how: str) -> dict[str, str]:
        """Why there are no figures. Where it is not the kernel's doing, or happens again and again, it is not tried again."""
        if _PERMISSION in log:
            self._impossible = True
            return {"problem": f"{_PERMISSION}: no permission to read the GPU's performance counters", "remedy": _REMEDY}
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        own = next((line for line in lines if line.startswith("job failed")), "")
        error = next((line for line in lines if line.startswith("==ERROR==")), "")
        self._failures += 1
        self._impossible = self._failures >= _GIVE_UP or not (own or how.startswith("timeout"))
        if how.startswith("timeout"):
            return {"problem": f"out of time after {_SECONDS:.0f} s"}
        return {"problem": f"{own or error or (lines or ['no output'])[-1]} ({how})"[:300]}
