"""The cascade on a GPU: shared arenas, a poisoned context that costs one attempt, and a clock that agrees with the device's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Stage, Status, Task

pytestmark = pytest.mark.requires_cuda

REFERENCE = """
import torch, torch.nn as nn
ROWS = 8192
COLS = 4096
class Model(nn.Module):
    def forward(self, x):
        return x * 2.0 + 1.0
def get_inputs():
    return [torch.randn(ROWS, COLS)]
def get_init_inputs():
    return []
"""

KERNEL = """
import torch, torch.nn as nn, triton, triton.language as tl

@triton.jit
def scale(x, y, n, B: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    m = i < n
    VALUE
    tl.store(y + i + SHIFT, v, mask=m)

class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        scale[(triton.cdiv(x.numel(), 2048),)](x, y, x.numel(), B=2048, num_warps=8)
        return RESULT
"""


def kernel(value: str = "v = tl.load(x + i, mask=m) * 2.0 + 1.0", shift: str = "0", result: str = "y") -> Kernel:
    return Kernel(KERNEL.replace("VALUE", value).replace("SHIFT", shift).replace("RESULT", result), "triton")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = tmp_path_factory.mktemp("cuda") / "scaled.py"
    path.write_text(REFERENCE)
    return load_task(str(path))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    settings = Settings(baselines=("eager",), timing_seconds=3.0)
    with Judge("triton", "cuda", tmp_path_factory.mktemp("cache"), settings) as found:
        yield found


def test_honest_kernel_is_timed_and_the_clocks_agree(judge: Judge, task: Task) -> None:
    verdict = judge.judge(kernel(), task)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.assurance is Assurance.DEVICE
    assert verdict.timing is not None
    (events,) = verdict.evidence["device_events_us"].values()
    assert verdict.timing.latency_us.median == pytest.approx(events["candidate"], rel=0.15, abs=5)
    assert verdict.timing.speedup["eager"].low > 1.2


@pytest.mark.parametrize(
    ("wrong", "status", "stage"),
    [
        (kernel("v = tl.load(x + i, mask=m) * 2.002 + 1.0"), Status.INCORRECT, Stage.SMOKE),
        (kernel("v = (tl.load(x + i, mask=m).to(tl.bfloat16) * 2.0 + 1.0).to(tl.float32)"), Status.INCORRECT, Stage.SMOKE),
        (kernel(shift="(1 << 40)"), Status.RUNTIME_ERROR, Stage.SMOKE),
        (kernel(result="x * 2.0 + 1.0"), Status.CHEATING, Stage.HONEST),
        (kernel(result="y + torch.empty(1 << 42, device=x.device)[0]"), Status.OUT_OF_MEMORY, Stage.SMOKE),
    ],
    ids=["wrong", "half", "illegal address", "library", "memory"],
)
def test_each_failure_has_its_verdict_and_the_next_kernel_is_judged_right(
    judge: Judge, task: Task, wrong: Kernel, status: Status, stage: Stage
) -> None:
    verdict = judge.judge(wrong, task)
    assert (verdict.status, verdict.stage) == (status, stage), verdict.reason
    assert judge.judge(kernel(), task).status is Status.PASSED


GATHER_REFERENCE = """
import torch, torch.nn as nn
ROWS = 50257
TAKEN = 32768
class Model(nn.Module):
    def forward(self, table, ids):
        return nn.functional.embedding(ids, table)
def get_inputs():
    return [torch.randn(ROWS, 1024), torch.randint(0, ROWS, (TAKEN,))]
def get_init_inputs():
    return []
"""
GATHER = """
import torch, torch.nn as nn, triton, triton.language as tl

@triton.jit
def gather(table, ids, out, B: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, B)
    tl.store(out + row * B + i, tl.load(table + tl.load(ids + row) * B + i))

class ModelNew(nn.Module):
    def forward(self, table, ids):
        out = torch.empty((ids.shape[0], table.shape[1]), dtype=table.dtype, device=table.device)
        gather[(ids.shape[0],)](table, ids, out, B=table.shape[1])
        return out
"""


def test_random_rows_are_as_near_to_the_runner_as_to_the_baseline(judge: Judge, tmp_path: Path) -> None:
    """Both map the memory in large pages. Opened by CUDA IPC it took the runner 1.6 times as long."""
    path = tmp_path / "gather.py"
    path.write_text(GATHER_REFERENCE)
    verdict = judge.judge(Kernel(GATHER, "triton"), load_task(str(path)))
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.timing is not None
    assert 0.9 < verdict.timing.speedup["eager"].median < 1.15


def test_a_strangers_reference_is_confined_and_recorded_seeds_give_the_same_inputs(tmp_path: Path, task: Task) -> None:
    settings = Settings(baselines=("eager", "compile"), timing_seconds=2.0, record=True, stranger=True)
    with Judge("triton", "cuda", tmp_path / "cache", settings) as judge:
        verdict = judge.judge(kernel(), task)
        assert verdict.status is Status.PASSED, verdict.reason
        assert verdict.timing is not None
        assert set(verdict.timing.baselines) == {"eager", "compile"}, verdict.timing.cases[0].notes
        layers = verdict.environment["reference_sandbox"]
        assert (layers["landlock"], layers["seccomp"]) == ("on", "on")
        record = verdict.evidence["record"]
        (timed,) = record["timing"].values()
        assert timed["clock"] == "events"
        assert all(own for side in timed["sides"].values() for _, _, own in side["readings"])
        judge.settings = Settings(timing=False, record=True, stranger=True)
        again = judge.judge(kernel(), task, record).evidence["record"]
    drawn = [[(draw["case"], draw["seed"], draw["inputs"]) for draw in found["draws"]] for found in (record, again)]
    assert drawn[0] == drawn[1]
