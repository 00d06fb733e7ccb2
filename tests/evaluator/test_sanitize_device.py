"""compute-sanitizer's words and endings as findings; and, where no GPU is, its job's hand-over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kernelwright
from kernelwright.evaluator.sanitizers import device_child
from kernelwright.evaluator.sanitizers.device import judged
from kernelwright.tasks.records import Status

INVALID = """job start
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at scale+0x1c0 in /tmp/k/libraries/kernel.py:9
=========     by thread (32,0,0) in block (7,0,0)
=========     Access to 0x7f0e0a000fa0 is out of bounds
=========     and is 1 bytes after the nearest allocation at 0x7f0e0a000000 of size 4,000 bytes
=========
========= ERROR SUMMARY: 24 errors
"""
RACE = """job start
========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at k+0xf0 in /tmp/k/libraries/kernel.py:12
=========     and Read access at k+0x120 in /tmp/k/libraries/kernel.py:14 [32 hazards]
"""
CLEAN = "job start\njob end\n========= ERROR SUMMARY: 0 errors\n"


def test_access_out_of_bounds_is_a_runtime_error_at_its_line() -> None:
    finding, state = judged("memcheck", INVALID, "exit 99")
    assert finding is not None
    assert (finding.status, finding.access, finding.where, finding.function) == (
        Status.RUNTIME_ERROR,
        "write",
        "kernel line 9",
        "scale",
    )
    assert "1 bytes after the nearest allocation" in finding.detail
    assert state == "found"


def test_hazard_in_shared_memory_is_incorrect() -> None:
    finding, _ = judged("racecheck", RACE, "exit 99")
    assert finding is not None
    assert (finding.status, finding.where) == (Status.INCORRECT, "kernel line 12")


@pytest.mark.parametrize(
    ("log", "how", "state"),
    [
        (CLEAN, "exit 0", "clean"),
        ("job start\n", "timeout 0", "not run"),
        ("job start\njob end\n", "exit 99", "not run"),
        ("", "signal 11", "not run"),
        ("job start\njob failed: OutsideEnvelope: no\n", "exit 3", "not run to its end (exit 3): job failed: OutsideEnvelope"),
        ("========= Error: Target application terminated before first instrumented API call\n", "exit 1", "not run"),
    ],
)
def test_nobody_is_accused_without_a_report(log: str, how: str, state: str) -> None:
    finding, words = judged("memcheck", log, how)
    assert finding is None
    assert words.startswith(state)


def test_what_a_job_has_of_this_package_can_be_imported_alone(tmp_path: Path) -> None:
    """A module that it lacks would leave every kernel unsanitized, with no finding."""
    for path in device_child.needed(device_child.SEEN):
        target = tmp_path / "kernelwright" / path.relative_to(Path(kernelwright.__file__).resolve().parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    code = f"import kernelwright, {', '.join(device_child.SEEN)}; print(kernelwright.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stderr
    assert Path(ended.stdout.strip()).is_relative_to(tmp_path)
