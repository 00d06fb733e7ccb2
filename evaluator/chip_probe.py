"""Whether a chip is here and opens: tried in a process of its own, which may crash or hang.

Run as ``python -m kernelwright.evaluator.chip_probe``, the chip being named in its environment; its last line is a JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import kernelwright
from kernelwright.evaluator.chip import Chip, busy, one_line

SECONDS = 90.0
_REMEDIES = {
    "tpu": "pip install -U 'kernelwright[tpu]' (JAX and libtpu of one time), see {docs}, or --device cpu",
    "npu": "see that driver, CANN and torch_npu fit each other and that set_env.sh was sourced, {docs}, or --device cpu",
}


@dataclass(frozen=True)
class Found:
    """What opening a chip gave."""

    name: str = ""
    """As its vendor's library calls it; where another process holds it, that."""
    versions: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    """Why it cannot be used, in one line with the remedy."""


@cache
def chip(wanted: Chip, index: int) -> Found:
    """Chip ``index``, opened and given back in a process of its own; asked once in a process.

    A TPU that another process holds is no trouble: judges take turns at it, and who holds one shows in no other way. NPUs let
    several in, so that one which does not is held for good.
    """
    if not wanted.stands_in and (problem := wanted.absent()):
        return Found(problem=problem)
    said = _asked(wanted.environment(index))
    problem = str(said.get("problem") or "")
    if busy(problem) and wanted.kind == "tpu":
        return Found(name="a TPU that another process holds now")
    if busy(problem):
        return Found(problem=f"the {wanted.title} is held by another process: {problem}; see {wanted.holders}, or --device cpu")
    if problem:
        remedy = _REMEDIES[wanted.kind].format(docs=wanted.docs)
        return Found(problem=f"the {wanted.title} cannot be used: {problem}; {remedy}")
    return Found(str(said["name"]), dict(said["versions"]))


def _asked(environment: Mapping[str, str]) -> dict[str, Any]:
    return asked("kernelwright.evaluator.chip_probe", (), environment, SECONDS)


def asked(module: str, arguments: Sequence[str], environment: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """What a module that prints JSON in its last line said, run with more variables in its environment, or its ``problem``."""
    paths = [str(Path(kernelwright.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    around = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", module, *arguments]
    how: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "stdin": subprocess.DEVNULL}
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(command, env=around, cwd=folder, timeout=seconds, **how)
    except subprocess.TimeoutExpired:
        return {"problem": f"trying it took more than {seconds:.0f} s"}
    lines = done.stdout.strip().splitlines()
    try:
        said = json.loads(lines[-1])
    except (IndexError, ValueError):
        said = None
    if isinstance(said, dict):
        return said
    text = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return {"problem": f"trying it ended with {ended}" + (f": {text[-1].strip()[:200]}" if text else "")}


def try_chip() -> dict[str, Any]:
    """Open the chip that the environment names, and add on it."""
    wanted = Chip.of(os.environ)
    assert wanted is not None
    found = wanted.open()
    total = wanted.total()
    return {**found, "problem": "" if total == 36.0 else f"1 + … + 8 is {total} there"}


def main() -> int:
    """Try it and print what came of it."""
    try:
        said = try_chip()
    except Exception as error:  # noqa: BLE001 - the process is there to find out
        said = {"problem": one_line(error)}
    sys.stdout.write(f"\n{json.dumps(said)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
