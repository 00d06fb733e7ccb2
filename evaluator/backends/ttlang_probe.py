"""Whether the simulator that is installed can be used: tried in a process of its own, which may crash or hang.

Run as ``python -m kernelwright.evaluator.backends.ttlang_probe``; prints one JSON object in its last line.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import kernelwright

PACKAGE, VERSION = "tt-lang-sim", "1.1.6"
REMEDY = "pip install 'kernelwright[ttlang]'"
SECONDS = 60.0
_ASKED = "kernelwright.evaluator.backends.ttlang_probe"


def problem() -> str:
    """Empty where the simulator can be used, else reason and remedy in one line; tried once in a process."""
    found = _installed()
    if not found and importlib.util.find_spec("ttl") is None:
        return f"{PACKAGE} is not installed; {REMEDY}"
    if not found:
        return f"a module ttl is there, but {PACKAGE} is not installed; {REMEDY}"
    if found != VERSION:
        return f"{PACKAGE} {found} is installed, {VERSION} is what was tried; pip install '{PACKAGE}=={VERSION}'"
    return _tried()


@cache
def _tried() -> str:
    said = _asked()
    why = said.get("problem")
    remedy = f"pip install --force-reinstall '{PACKAGE}=={VERSION}'"
    return f"the {PACKAGE} that is installed cannot be used: {why}; {remedy}" if why else ""


def _installed() -> str:
    """The version, or nothing."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


def _asked() -> dict[str, Any]:
    """What the process said, or its ``problem``."""
    paths = [str(Path(kernelwright.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    around = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    how: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "stdin": subprocess.DEVNULL}
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, "-m", _ASKED], env=around, cwd=folder, timeout=SECONDS, **how)
    except subprocess.TimeoutExpired:
        return {"problem": f"trying it took more than {SECONDS:.0f} s"}
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        said = None
    if isinstance(said, dict):
        return said
    text = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return {"problem": f"trying it ended with {ended}" + (f": {text[-1].strip()[:200]}" if text else "")}


def try_simulator() -> dict[str, Any]:
    """Run a small operation, and one that must be stopped."""
    import torch

    try:
        from kernelwright.evaluator.backends import ttlang_trial
        from kernelwright.evaluator.backends.ttlang_launch import Fault, Launches

        launches = Launches()
        good, late = ttlang_trial.operations(launches.modules()["ttl"])
        x = torch.arange(2048.0).reshape(32, 64)
        y = torch.zeros_like(x)
        launches.launch(good, x, y)
        if not torch.equal(y, x + x):
            return {"problem": "a sum came out wrong"}
        try:
            launches.launch(late, x, y)
        except Fault as fault:
            if "Deadlock" in str(fault):
                return {"problem": ""}
            return {"problem": f"a deadlock was told as {_line(fault)}"}
    except Exception as error:  # noqa: BLE001 - a half-installed package fails as it likes
        return {"problem": _line(error)}
    return {"problem": "a deadlock was not seen"}


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(try_simulator())}\n")
