"""JAX and libtpu absent, half installed, of another version, crashing or hanging: one line with the remedy, and no verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.cli.app import run
from kernelwright.evaluator.absent import Absent
from kernelwright.evaluator.backends import pallas_probe
from kernelwright.evaluator.backends.pallas import PallasBackend
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.trial import Rejected
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Kernel, Stage, Status

SHELL = {
    "jax/export.py": "",
    "jax/experimental/__init__.py": "",
    "jax/experimental/topologies.py": "",
    "jax/experimental/pallas/__init__.py": "",
    "jax/experimental/pallas/tpu.py": "InterpretParams = force_tpu_interpret_mode = reset_tpu_interpret_mode_state = None",
    "jax/_src/__init__.py": "",
    "jax/_src/pallas/__init__.py": "",
    "jax/_src/pallas/mosaic/__init__.py": "",
    "jax/_src/pallas/mosaic/interpret/__init__.py": "",
    "jax/_src/pallas/mosaic/interpret/interpret_pallas_call.py": "races = None",
    "jax/_src/pallas/mosaic/interpret/race_detection_state.py": "RaceDetectionState = None",
    "jax/_src/pallas/mosaic/interpret/shared_memory.py": (
        "class SharedMemory:\n    def get_sempahores_with_nonzero_count(self): pass"
    ),
}
"""A package in which all is there that the judge looks for, and nothing works."""


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    for known in (pallas_probe._jax_problem, pallas_probe.libtpu):
        known.cache_clear()
    yield
    for known in (pallas_probe._jax_problem, pallas_probe.libtpu):
        known.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``jax`` of the test's own, before any other, in this process and in those that it starts."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "jax"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write(tmp_path, {"jax/__init__.py": "__version__ = '0.4.30'", **SHELL})
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_all_that_is_needed_is_there(installed: Path) -> None:
    assert PallasBackend().available("cpu") == ""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("jax/__init__.py", "import jaxlib_that_is_not_there", "No module named 'jaxlib_that_is_not_there'"),
        ("jax/__init__.py", "raise RuntimeError('jaxlib 0.4 is\\nincompatible with jax 0.9')", "jaxlib 0.4 is incompatible"),
        ("jax/__init__.py", "import os; os.abort()", "ended with signal 6"),
        ("jax/__init__.py", "import os; os._exit(7)", "ended with exit code 7"),
        ("jax/experimental/pallas/tpu.py", "", "version 0.4.30 has no jax.experimental.pallas.tpu.InterpretParams"),
        ("jax/_src/pallas/mosaic/interpret/interpret_pallas_call.py", "", "interpret_pallas_call.races"),
        ("jax/_src/pallas/mosaic/interpret/shared_memory.py", "class SharedMemory: pass", "get_sempahores_with_nonzero_count"),
    ],
)
def test_half_of_it_is_told_in_one_line(installed: Path, name: str, text: str, said: str) -> None:
    """A race detector that has moved is trouble, too: a check that is not there must not look like one that found nothing."""
    write(installed, {"jax/__init__.py": "__version__ = '0.4.30'", name: text})
    problem = PallasBackend().available("cpu")
    assert said in problem
    assert problem.endswith("pip install --force-reinstall 'kernelwright[pallas]'")
    assert "\n" not in problem


def test_one_that_hangs_is_given_up(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pallas_probe, "SECONDS", 1.0)
    write(installed, {"jax/__init__.py": "import time; time.sleep(60)"})
    assert "more than 1 s" in PallasBackend().available("cpu")


def test_no_judge_starts_on_it_and_the_command_line_says_why(
    installed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(installed, {"jax/__init__.py": "import os; os.abort()"})
    with pytest.raises(InputError, match="the JAX that is installed cannot be used.*signal 6"):
        Judge("pallas", "cpu", tmp_path / "cache", Settings())
    kernel = tmp_path / "kernel.py"
    kernel.write_text("from jax.experimental import pallas as pl\n")
    code = run(["check", str(kernel), "--task", "row_sum", "--backend", "pallas", "--device", "cpu", "--json"])
    said = json.loads(capfd.readouterr().out)["error"]
    assert code == 2
    assert "signal 6" in said["message"]


def test_libtpu_that_crashes_is_left_out_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(pallas_probe, "_asked", lambda what, **more: {"problem": "trying it ended with signal 11"})
    found = pallas_probe.libtpu()
    assert found.mode == ""
    assert "signal 11; pip install -U libtpu jax, or uninstall libtpu" in found.problem


def test_libtpu_that_knows_no_counts_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(what: str, **more: str) -> dict[str, Any]:
        return {"problem": "trying it ended with exit code 1: ERROR: Unknown command line flag"} if more else {"problem": ""}

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(pallas_probe, "_asked", asked)
    found = pallas_probe.libtpu()
    assert found.mode == pallas_probe.PLAIN
    assert "Unknown command line flag" in found.problem


class Dying:
    """A trial whose process ends in libtpu."""

    work = Path("/nowhere")

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        if request["targets"]:
            raise Rejected(Status.RUNTIME_ERROR, Stage.BUILD, "the process was killed by SIGSEGV", {})
        return {"launches": [{"name": "twice", "tpu_custom_calls": 1}]}

    def inputs(self, opened: Any) -> dict[str, Any]:
        return {}


class Opened:
    key = "cpu/float32"


class Server:
    environment = {"KERNELWRIGHT_LIBTPU": "counts"}


def test_a_compiler_that_dies_of_a_kernel_is_no_fault_of_the_kernel() -> None:
    bench = Absent(Server(), "cpu", Settings(), ())  # type: ignore[arg-type]
    found = bench._for_tpu(Dying(), Opened())  # type: ignore[arg-type]
    assert found["launches"] == [{"name": "twice", "tpu_custom_calls": 1}]
    assert "SIGSEGV" in found["libtpu"]
    assert "problem" not in found


class Remembering(Dying):
    """A trial of a kernel that launches nothing when it is called again."""

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        return {"launches": [] if request["targets"] else [{"name": "twice", "tpu_custom_calls": 1}]}


def test_a_kernel_that_remembers_its_call_is_left_to_later_stages() -> None:
    bench = Absent(Server(), "cpu", Settings(), ())  # type: ignore[arg-type]
    found = bench._for_tpu(Remembering(), Opened())  # type: ignore[arg-type]
    assert len(found["launches"]) == 1
    assert found["libtpu"] == "0 launches to compile in another call"


def test_a_kernel_is_a_kernel_without_jax() -> None:
    assert PallasBackend().build(Kernel("x = 1", "pallas"), Path()).ok is False
