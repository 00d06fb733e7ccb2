"""Whether the simulator that is installed can be used: tried in a process of its own, which may crash or hang.

Run as ``python -m kernelwright.evaluator.backends.ttlang_probe``; prints one JSON object in its last line.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from kernelwright.evaluator.chip_probe import asked

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
    said = asked(_ASKED, (), {}, SECONDS)
    why = said.get("problem")
    remedy = f"pip install --force-reinstall '{PACKAGE}=={VERSION}'"
    return f"the {PACKAGE} that is installed cannot be used: {why}; {remedy}" if why else ""


def _installed() -> str:
    """The version, or nothing."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""


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
