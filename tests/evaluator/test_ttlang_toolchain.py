"""tt-lang-sim absent, half installed, of another version, crashing or hanging: one line with the remedy, and no verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kernelwright.agent.cli.app import run
from kernelwright.evaluator.backends import registry, ttlang_probe
from kernelwright.evaluator.backends.ttlang import TTLangBackend
from kernelwright.evaluator.backends.ttlang_access import Accesses
from kernelwright.evaluator.runner.tripwire import Tripwire
from kernelwright.evaluator.screen import screen
from kernelwright.tasks.records import Kernel


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    ttlang_probe._tried.cache_clear()
    yield
    ttlang_probe._tried.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``ttl`` of the test's own, before any other, in this process and in those that it starts."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ttl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    release(tmp_path, "1.1.6")
    (tmp_path / "ttl" / "sim").mkdir(parents=True)
    (tmp_path / "ttl" / "__init__.py").write_text("")
    (tmp_path / "ttl" / "sim" / "__init__.py").write_text("")
    return tmp_path


def release(folder: Path, version: str) -> None:
    info = folder / f"tt_lang_sim-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tt-lang-sim\nVersion: {version}\n")


def problem(installed: Path, text: str) -> str:
    (installed / "ttl" / "sim" / "__init__.py").write_text(text)
    said = TTLangBackend().available("cpu")
    assert "\n" not in said
    return said


def test_absent_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttlang_probe, "_installed", lambda: "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert TTLangBackend().available("cpu") == "tt-lang-sim is not installed; pip install 'kernelwright[ttlang]'"


def test_a_module_of_the_name_is_not_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttlang_probe, "_installed", lambda: "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert "a module ttl is there, but tt-lang-sim is not installed" in TTLangBackend().available("cpu")


def test_another_version_is_named_with_the_one_that_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttlang_probe, "_installed", lambda: "2.0.0")
    assert "tt-lang-sim 2.0.0 is installed, 1.1.6 is what was tried; pip install" in TTLangBackend().available("cpu")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No module named 'ttl.sim.block'"),
        ("import greenlet_that_is_not_there", "No module named 'greenlet_that_is_not_there'"),
        ("raise RuntimeError('built for\\nanother Python')", "RuntimeError: built for another Python"),
        ("import os; os.abort()", "ended with signal 6"),
        ("import os; os._exit(7)", "ended with exit code 7"),
    ],
)
def test_half_an_installation_is_told(installed: Path, text: str, said: str) -> None:
    found = problem(installed, text)
    assert said in found
    assert "pip install --force-reinstall 'tt-lang-sim==1.1.6'" in found


def test_one_that_hangs_is_left(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttlang_probe, "SECONDS", 0.2)
    assert "trying it took more than" in problem(installed, "import time; time.sleep(60)")


def test_doctor_and_check_say_it(
    installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ttlang_probe, "_installed", lambda: "2.0.0")
    monkeypatch.setenv("COLUMNS", "300")
    run(["doctor"])
    line = next(line for line in capsys.readouterr().out.splitlines() if "backend ttlang" in line)
    assert line.startswith("no")
    assert "tt-lang-sim 2.0.0 is installed, 1.1.6 is what was tried" in line
    kernel = tmp_path / "kernel.py"
    kernel.write_text("import ttl\nclass ModelNew: ...\n")
    assert run(["check", str(kernel), "--task", "row_sum", "--backend", "ttlang", "--device", "cpu"]) == 2
    assert "tt-lang-sim 2.0.0 is installed" in capsys.readouterr().err


def test_it_is_a_backend_by_name() -> None:
    assert isinstance(registry.backend("ttlang"), TTLangBackend)


def kernel(line: str) -> Kernel:
    body = "import torch\nclass ModelNew(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
    return Kernel(f"import ttl\nfrom kernelwright.evaluator.ttlang import launch\n{line}\n{body}", "ttlang")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import ttnn\nttnn.matmul(1, 2)", "library"),
        ("import ttl.sim.context as c\nc.set_dry_run(True)", "patching"),
        ("block = launch.raw_tensor", "simulator"),
        ("ttl.math.exp = len", "patching"),
        ("from greenlet import getcurrent\ngetcurrent()", "frames"),
    ],
)
def test_what_is_behind_the_language_is_refused_by_text(line: str, rule: str) -> None:
    assert rule in {finding.rule for finding in screen(kernel(line)) if finding.tier == "reject"}


def test_the_language_and_its_annotations_are_let_in() -> None:
    line = "import ttnn\n@ttl.operation(grid=(1, 1))\ndef f(x: ttnn.Tensor): ...\n_shape = launch"
    assert [finding for finding in screen(kernel(line)) if finding.tier == "reject"] == []


def noted(*accesses: tuple[int, int, int, bool] | tuple[str, int]) -> list[str]:
    """Accesses by (core, first row, behind the last, whether it writes), and a message by ("sent" or "received", core)."""
    tensor = torch.zeros(8, 8)
    found = Accesses([torch.zeros(4), tensor])
    for access in accesses:
        if len(access) == 2:
            getattr(found, access[0])(1, access[1])
        else:
            core, first, last, write = access
            found.note(tensor[first:last, 2:6], core, write)
    return found.races


@pytest.mark.parametrize(
    "accesses",
    [
        [(0, 0, 4, True), (1, 4, 8, True)],
        [(0, 0, 8, False), (1, 0, 8, False), (2, 3, 4, False)],
        [(0, 0, 4, True), (0, 0, 4, False), (0, 2, 6, True)],
        [(0, 0, 4, True), ("sent", 0), ("received", 1), (1, 0, 4, False), (1, 0, 4, True)],
    ],
)
def test_parts_of_ones_own_what_all_read_and_what_a_message_orders_are_no_race(
    accesses: list[tuple[int, int, int, bool] | tuple[str, int]],
) -> None:
    assert noted(*accesses) == []


@pytest.mark.parametrize(
    ("accesses", "said"),
    [
        ([(0, 0, 4, True), (1, 3, 8, True)], "core 1 writes elements of tensor 1 that core 0 writes"),
        ([(0, 0, 4, True), (3, 3, 8, False)], "core 3 reads elements of tensor 1 that core 0 writes"),
        ([(0, 0, 4, False), (1, 0, 1, True)], "core 1 writes elements of tensor 1 that core 0 reads"),
        ([(0, 0, 4, False), (1, 0, 4, False), (1, 0, 1, True)], "core 1 writes elements of tensor 1 that several cores read"),
        (
            [("sent", 0), (0, 0, 4, True), ("received", 1), (1, 0, 4, False)],
            "core 1 reads elements of tensor 1 that core 0 writes",
        ),
        (
            [(0, 0, 4, True), ("sent", 0), ("received", 1), (2, 0, 4, True)],
            "core 2 writes elements of tensor 1 that core 0 writes",
        ),
    ],
)
def test_cores_that_touch_the_same_elements_race(
    accesses: list[tuple[int, int, int, bool] | tuple[str, int]], said: str
) -> None:
    assert said in noted(*accesses)[0]


def test_lent_torch_computes_and_no_longer() -> None:
    wire = Tripwire("cpu")
    reports: list[Any] = []
    wire.arm()
    with wire.lent():
        wire.report("lent")
    reports.append(dict(wire.tripped))
    wire.report("taken")
    assert reports == [{}]
    assert wire.tripped == {"taken": 1}
