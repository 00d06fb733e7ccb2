"""compute-sanitizer for kernels on an NVIDIA GPU: memcheck, then racecheck under a cap, in a process of their own.

Off the critical path: for winners, where a failure revokes the verdict, or in every judging when asked.
memcheck sees accesses outside every allocation and misaligned ones, at the kernel's line. racecheck sees hazards in
*shared* memory only: programs of a launch that race on global memory are not seen (the numerics, repeated, are for
those; without a GPU the interpreter sees them). Tensors are separate allocations, so an access that jumps from one into
another is seen as fine.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.evaluator.sanitizers.device_child import job_folder, run_job
from kernelwright.evaluator.sanitizers.finding import Finding, excerpt
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.tasks.records import Kernel, Status

_PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia", "/usr/local")
_ERROR_EXIT = 99
_SEPARATE = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
"""Every tensor is an allocation of its own."""
_ADJUST = {"memcheck": ["--report-api-errors", "no", "--padding", "64"], "racecheck": []}
"""Allocations lie side by side otherwise, and an access just past one falls into the next."""
_MEMCHECK_SECONDS = 240.0
_RACECHECK_SECONDS = 120.0
_PREFIX = re.compile(r"^=+ ?")
_INVALID = re.compile(r"(Invalid|Misaligned) (\w+) (read|write|atomic)(?: of size (\d+))?", re.I)
_HAZARD = re.compile(r"(?:Error: )?(?:Race reported|Potential \w+ hazard)")
_AT = re.compile(r"at (\S+?)(?:\+0x[0-9a-f]+)?(?:\([^)]*\))?(?:\+0x[0-9a-f]+)? in (\S+):(\d+)")
_NEAR = re.compile(r"and is ([\d,]+ bytes .+)")


def find_tool() -> str:
    """Path of compute-sanitizer; empty where there is none."""
    if found := shutil.which("compute-sanitizer"):
        return found
    for place in map(Path, _PLACES):
        for pattern in ("compute-sanitizer", "*/compute-sanitizer", "*/*/compute-sanitizer/compute-sanitizer"):
            for path in sorted(place.glob(pattern)):
                if path.is_file() and os.access(path, os.X_OK):
                    return str(path)
    return ""


def sanitize_on_device(
    kernel: Kernel, session: Session, opened: OpenCase, server: ForkServer, device: str, mode: str = "auto"
) -> tuple[Finding | None, dict[str, Any]]:
    """The first error of a call on ``opened``, if any, and the evidence; never an accusation when the tool fails."""
    tool = find_tool()
    if not tool:
        return None, {"memcheck": "not run: compute-sanitizer was not found", "racecheck": "not run"}
    evidence: dict[str, Any] = {"seconds": {}}
    with job_folder(kernel, session, opened, device) as scratch:
        for check, seconds in (("memcheck", _MEMCHECK_SECONDS), ("racecheck", _RACECHECK_SECONDS)):
            began = time.monotonic()
            log, how = run_job(_command(tool, check), scratch, server, seconds, mode, _SEPARATE)
            evidence["seconds"][check] = round(time.monotonic() - began, 1)
            finding, state = judged(check, log, how)
            evidence[check] = state
            if finding is not None:
                return finding, evidence
    return None, evidence


def _command(tool: str, check: str) -> list[str]:
    return [tool, "--tool", check, "--error-exitcode", str(_ERROR_EXIT), *_ADJUST[check], "--print-limit", "20"]


def judged(check: str, log: str, how: str) -> tuple[Finding | None, str]:
    """(finding, state in words) of a tool's output and of how it ended (``exit 0``, ``timeout 0``, …)."""
    lines = [_PREFIX.sub("", line) for line in log.splitlines()]
    for i, line in enumerate(lines):
        if match := _INVALID.search(line) or _HAZARD.search(line):
            return _finding(check, match, lines[i : i + 40]), "found"
    if "job end" in log and how == "exit 0":
        return None, "clean"
    if how.startswith("timeout"):
        return None, "not run to its end: out of time"
    failed = next((line for line in lines if line.startswith("job failed")), "")
    last = failed or next((line for line in reversed(lines) if line.strip()), "")
    return None, f"not run to its end ({how}): {last.strip()[:200]}"


def _finding(check: str, match: re.Match[str], lines: list[str]) -> Finding:
    place = next((m for m in map(_AT.search, lines[:8]) if m), None)
    near = next((m for m in map(_NEAR.search, lines[:12]) if m), None)
    where = f"kernel line {place[3]}" if place else ""
    function = place[1] if place else ""
    if check == "racecheck":
        return Finding(check, "shared-memory hazard", "", where, function, "", excerpt(lines), Status.INCORRECT)
    size = f"{match[4]} bytes" if match[4] else ""
    detail = ", ".join(part for part in (size, near[1] if near else "") if part)
    kind = f"{match[1].lower()} {match[2].strip('_')} access"
    return Finding(check, kind, match[3].lower(), where, function, detail, excerpt(lines))
