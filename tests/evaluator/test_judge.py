"""The cascade on real kernels: honest ones pass, each way of failing gets its own verdict, and nothing outlives an attempt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernelwright.evaluator import contest
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.stopwatch import Reading, measure
from kernelwright.evaluator.trial import Trial
from kernelwright.tasks.errors import InputError, TaskError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Stage, Status, Task

REFERENCE = """
import torch, torch.nn as nn
ROWS = 64
COLS = 96
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(COLS))
    def forward(self, x):
        return x * self.weight + 1.0
def get_inputs():
    return [torch.randn(ROWS, COLS)]
def get_init_inputs():
    return []
"""

KERNEL = '''
import os
import torch, torch.nn as nn
from kernelwright.evaluator.native import OutsideEnvelope, load
lib = load(cpp=r"""
extern "C" void scale(const float* x, const float* w, float* y, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) y[i * cols + j] = x[i * cols + j] * w[j] + 1.0f;
}
extern "C" void crash() { *(volatile int*)8 = 1; }
extern "C" void spin() { for (volatile int i = 0;; i = i + 1) {} }
""")
class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(COLS_HERE))
        self.kept = {}
    def run(self, x):
        y = torch.empty_like(x)
        lib.scale(x, self.weight, y, x.shape[0], x.shape[1])
        return y
    def forward(self, x):
        BODY
'''


def kernel(body: str) -> Kernel:
    lines = body.replace("\n", "\n        ")
    init = "torch.ones(COLS_HERE)"
    source = KERNEL.replace(init, "torch.ones(96)").replace("BODY", lines)
    return Kernel(source, "cpp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judge")


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    path = folder / "scaled.py"
    path.write_text(REFERENCE)
    return load_task(str(path))


@pytest.fixture(scope="module")
def judge(folder: Path) -> Iterator[Judge]:
    settings = Settings(timing=False, smoke_seconds=4.0, call_seconds=20.0, memory_bytes=2 << 30)
    with Judge("cpp", "cpu", folder / "cache", settings) as found:
        yield found


# The parameter has the size of the constructor's constant, so derived shapes fall outside: the kernel says so.
OUTSIDE = "if x.shape[1] != 96: raise OutsideEnvelope('96 columns only')\n"


def test_honest_kernel_passes_and_narrows_its_envelope(judge: Judge, task: Task) -> None:
    verdict = judge.judge(kernel(OUTSIDE + "return self.run(x)"), task)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.assurance is Assurance.DEVICE
    assert verdict.timing is None
    assert all(case.status in ("passed", "outside_envelope") for case in verdict.cases)


@pytest.mark.parametrize(
    ("body", "status", "stage"),
    [
        ("return self.run(x) * 1.001", Status.INCORRECT, Stage.SMOKE),
        ("return self.run(x)[:, :5]", Status.INCORRECT, Stage.SMOKE),
        ("return self.run(x).double()", Status.INCORRECT, Stage.SMOKE),
        ("return self.run(x), 1", Status.INCORRECT, Stage.SMOKE),
        ("return self.run(x.half().float())", Status.INCORRECT, Stage.SMOKE),
        ("lib.scale(x, self.weight, x, x.shape[0], x.shape[1]); return x", Status.INCORRECT, Stage.SMOKE),
        ("y = torch.empty_like(x)\nlib.scale(x, self.weight, y, x.shape[0] - 1, x.shape[1])\nreturn y",
         Status.INCORRECT, Stage.SMOKE),
        ("k = x.data_ptr()\nif k not in self.kept: self.kept[k] = self.run(x)\nreturn self.kept[k]",
         Status.INCORRECT, Stage.CORRECT),
        ("w = self.kept.setdefault('w', self.weight.detach().clone())\ny = torch.empty_like(x)\n"
         "lib.scale(x, w, y, x.shape[0], x.shape[1])\nreturn y", Status.INCORRECT, Stage.CORRECT),
        ("return x * self.weight + 1.0", Status.CHEATING, Stage.HONEST),
        ("self.run(x)\nreturn torch.addcmul(torch.ones_like(x), x, self.weight)", Status.CHEATING, Stage.HONEST),
        ("return self.run(x) if torch.autograd._profiler_enabled() else x * self.weight + 1.0",
         Status.CHEATING, Stage.HONEST),
        ("lib.crash()\nreturn x", Status.RUNTIME_ERROR, Stage.SMOKE),
        ("lib.spin()\nreturn x", Status.TIMEOUT, Stage.SMOKE),
        ("raise ValueError('no')", Status.RUNTIME_ERROR, Stage.SMOKE),
        ("os.kill(os.getpid(), 9)\nreturn x", Status.CHEATING, Stage.SCREEN),
        ("torch.empty(1 << 40)\nreturn x", Status.OUT_OF_MEMORY, Stage.SMOKE),
    ],
)
def test_each_failure_has_its_verdict(judge: Judge, task: Task, body: str, status: Status, stage: Stage) -> None:
    verdict = judge.judge(kernel(OUTSIDE + body), task)
    assert (verdict.status, verdict.stage) == (status, stage), verdict.reason
    assert verdict.reason
    assert verdict.timing is None


def test_next_kernel_is_judged_right_after_a_crash(judge: Judge, task: Task) -> None:
    assert judge.judge(kernel("lib.crash()"), task).status is Status.RUNTIME_ERROR
    assert judge.judge(kernel(OUTSIDE + "return self.run(x)"), task).passed


def test_text_that_does_not_parse_is_rejected_unexecuted(judge: Judge, task: Task) -> None:
    verdict = judge.judge(Kernel("class ModelNew(:\n", "cpp"), task)
    assert (verdict.status, verdict.stage) == (Status.BUILD_FAILED, Stage.SCREEN)
    assert verdict.seconds < 0.5


def test_cpp_that_does_not_compile_shows_the_compilers_words(judge: Judge, task: Task) -> None:
    broken = kernel("return self.run(x)").source.replace("y[i * cols + j] =", "nonsense =")
    verdict = judge.judge(Kernel(broken, "cpp"), task)
    assert (verdict.status, verdict.stage) == (Status.BUILD_FAILED, Stage.BUILD)
    assert "nonsense" in verdict.reason + str(verdict.evidence)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return x * self.weight + 1.0", "return x * self.weight + torch.rand_like(x)", "random"),
        ("return x * self.weight + 1.0", "return x @ self.weight[:3]", "RuntimeError"),
        ("return x * self.weight + 1.0", "return 'text'", "no tensor"),
        ("return [torch.randn(ROWS, COLS)]", "raise OSError('no data')", "no data"),
        ("return [torch.randn(ROWS, COLS)]", "return [object()]", "object"),
        ("return [torch.randn(ROWS, COLS)]", "import os; os._exit(3)", "exit code 3"),
    ],
)
def test_reference_that_cannot_be_judged_is_refused(
    judge: Judge, folder: Path, old: str, new: str, words: str
) -> None:
    path = folder / "refused.py"
    path.write_text(REFERENCE.replace(old, new))
    with pytest.raises(TaskError, match=words):
        judge.judge(kernel("return self.run(x)"), load_task(str(path)))


def test_reference_that_mutates_an_input_makes_it_an_output(judge: Judge, folder: Path) -> None:
    path = folder / "mutating.py"
    path.write_text(REFERENCE.replace("return x * self.weight + 1.0", "x.mul_(self.weight); return x + 1.0"))
    task = load_task(str(path))
    leaves_it = judge.judge(kernel(OUTSIDE + "return self.run(x)"), task)
    assert leaves_it.status is Status.INCORRECT
    assert "input 0" in leaves_it.reason


def test_timing_is_paired_and_has_intervals(folder: Path, task: Task) -> None:
    settings = Settings(timing_seconds=1.0, min_blocks=3, max_blocks=60, baselines=("eager",), half_width=1.0)
    with Judge("cpp", "cpu", folder / "cache", settings) as judge:
        verdict = judge.judge(kernel(OUTSIDE + "return self.run(x)"), task)
    assert verdict.passed, verdict.reason
    assert verdict.timing is not None
    assert set(verdict.timing.speedup) == {"eager", "best"}
    for found in [verdict.timing.latency_us, *verdict.timing.speedup.values()]:
        assert 0 < found.low <= found.median <= found.high


def test_a_short_contest_compares_as_many_timed_outputs_as_a_long_one(
    folder: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    verify = Trial.verify_timed

    def counted(self: Trial, *args: Any) -> None:
        compared.append(args)
        verify(self, *args)

    monkeypatch.setattr(Trial, "verify_timed", counted)
    monkeypatch.setattr(contest, "_MAX_CALLS", {"cpu": 8})  # a run of few calls, as of slow ones: four outputs a visit at most
    settings = Settings(timing_seconds=1.0, min_blocks=3, max_blocks=3, baselines=("eager",), half_width=1.0)
    with Judge("cpp", "cpu", folder / "cache", settings) as judge:
        verdict = judge.judge(kernel(OUTSIDE + "return self.run(x)"), task)
    assert verdict.passed, verdict.reason
    assert verdict.timing is not None
    assert len(compared) >= 24 * len(verdict.timing.cases)


def test_readings_beside_other_processes_are_taken_again(folder: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = 0

    def beside_others(*args: Any) -> Reading:
        nonlocal readings
        readings += 1
        return replace(measure(*args), withheld=0.5 if readings <= 5 else 0.0)

    monkeypatch.setattr(contest, "measure", beside_others)
    settings = Settings(timing_seconds=8.0, min_blocks=3, max_blocks=3, baselines=("eager",), half_width=1.0)
    with Judge("cpp", "cpu", folder / "cache", settings) as judge:
        verdict = judge.judge(kernel(OUTSIDE + "return self.run(x)"), task)
    assert verdict.timing is not None, verdict.reason
    assert "waited for a core in 1 of 12 readings, 4 more were taken again" in "; ".join(verdict.timing.cases[0].notes)


def test_wrong_only_when_timed_is_caught(folder: Path, task: Task) -> None:
    body = "self.n = getattr(self, 'n', 0) + 1\ny = self.run(x)\nif self.n > 80: y = torch.empty_like(x).fill_(1.0)\nreturn y"
    settings = Settings(timing_seconds=1.0, min_blocks=3, max_blocks=60, baselines=("eager",), half_width=1.0)
    with Judge("cpp", "cpu", folder / "cache", settings) as judge:
        verdict = judge.judge(kernel(OUTSIDE + body), task)
    assert (verdict.status, verdict.stage) == (Status.INCORRECT, Stage.TIME)


def test_library_work_only_when_timed_is_caught(folder: Path, task: Task) -> None:
    body = "self.n = getattr(self, 'n', 0) + 1\nreturn self.run(x) if self.n <= 30 else x * self.weight + 1.0"
    settings = Settings(timing_seconds=1.0, min_blocks=3, max_blocks=60, baselines=("eager",), half_width=1.0)
    with Judge("cpp", "cpu", folder / "cache", settings) as judge:
        verdict = judge.judge(kernel(OUTSIDE + body), task)
    assert (verdict.status, verdict.stage) == (Status.CHEATING, Stage.HONEST)


def test_unknown_device_and_backend_are_input_errors(folder: Path) -> None:
    with pytest.raises(InputError, match="tpu"):
        Judge("cpp", "tpu", folder / "cache")
    with pytest.raises(InputError, match="available"):
        Judge("cobol", "cpu", folder / "cache")
