"""Real command lines in processes of their own, for tests that kill them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from preloaded import Preloaded

from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import RunRecord

TESTS = Path(__file__).parent


def spawn(home: Path, *arguments: str) -> Preloaded:
    """``kernelwright … --json`` at work in ``home``, the tests' own modules within its reach."""
    paths = (str(TESTS), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "KERNELWRIGHT_HOME": str(home)}
    return Preloaded([*arguments, "--json"], environment)


def told(process: Preloaded) -> dict[str, Any]:
    """What it printed."""
    out, _ = process.communicate(timeout=60)
    data: dict[str, Any] = json.loads(out)
    return data


def until(condition: Any, process: Preloaded | subprocess.Popen[str]) -> None:
    """Wait for ``condition`` while the process lives."""
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the condition never came"
        time.sleep(0.03)


def the_run(home: Path) -> RunRecord:
    """The one run of a workspace."""
    store = Workspace.at(home, None).open_store()
    (run,) = store.runs()
    store.close()
    return run
