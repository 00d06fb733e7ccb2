"""CUDA C++ kernels judged on a GPU: the right one passes and is timed, each wrong one has its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernelwright.agent.prompt.knowledge import PROMPTS
from kernelwright.evaluator.backends.cuda import UNPROVEN
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.native import calls, load
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Stage, Status, Task

pytestmark = pytest.mark.requires_cuda


@pytest.fixture(autouse=True, scope="module")
def _allowed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(UNPROVEN, "1")
        yield


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
KERNEL = '''
import torch, torch.nn as nn
from kernelwright.evaluator.native import load
lib = load(cuda=r"""
extern "C" __global__ void scale(const float* x, float* y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (LIMIT) y[i] = VALUE;
}
""")
class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        n = x.numel()
        lib.scale[(n + 255) // 256, 256](x, y, n)
        return RESULT
'''


def kernel(value: str = "x[i] * 2.f + 1.f", limit: str = "i < n", result: str = "y") -> Kernel:
    return Kernel(KERNEL.replace("VALUE", value).replace("LIMIT", limit).replace("RESULT", result), "cuda")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = tmp_path_factory.mktemp("cuda") / "scaled.py"
    path.write_text(REFERENCE)
    return load_task(str(path))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    settings = Settings(baselines=("eager",), timing_seconds=3.0)
    with Judge("cuda", "cuda", tmp_path_factory.mktemp("cache"), settings) as found:
        yield found


def test_a_right_kernel_passes_and_is_timed(judge: Judge, task: Task) -> None:
    verdict = judge.judge(kernel(), task)
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.assurance is Assurance.DEVICE
    assert verdict.timing is not None
    assert verdict.evidence["operators"]["native_calls"] == 1


@pytest.mark.parametrize(
    ("wrong", "status", "stage"),
    [
        (kernel("x[i] * 2.002f + 1.f"), Status.INCORRECT, Stage.SMOKE),
        (kernel(limit="i < n && (i += 1LL << 40)"), Status.RUNTIME_ERROR, Stage.SMOKE),
        (kernel(result="x * 2.0 + 1.0"), Status.CHEATING, Stage.HONEST),
    ],
    ids=["wrong", "illegal address", "library"],
)
def test_each_failure_has_its_verdict_and_the_next_kernel_is_judged_right(
    judge: Judge, task: Task, wrong: Kernel, status: Status, stage: Stage
) -> None:
    verdict = judge.judge(wrong, task)
    assert (verdict.status, verdict.stage) == (status, stage), verdict.reason
    assert judge.judge(kernel(), task).status is Status.PASSED


def test_a_read_past_the_end_is_found_by_compute_sanitizer(task: Task, tmp_path: Path) -> None:
    with Judge("cuda", "cuda", tmp_path, Settings(timing=False, sanitize="all")) as judge:
        honest = judge.judge(kernel(), task)
        seen = honest.evidence["sanitize"]
        if "was not found" in seen["memcheck"]:
            pytest.skip(f"no sanitizer: {seen}")
        assert seen["memcheck"] == seen["racecheck"] == "clean"
        verdict = judge.judge(kernel("x[i] * 2.f + 1.f + (i == n - 1 && x[n + 1] > 1e38f ? 1e-9f : 0.f)"), task)
    assert honest.status is Status.PASSED, honest.reason
    assert (verdict.status, verdict.stage) == (Status.RUNTIME_ERROR, Stage.SANITIZE), verdict.reason


@pytest.mark.parametrize(("name", "of"), [("reduce", "reduce/row_sum")])
def test_an_exemplar_passes(name: str, of: str, tmp_path: Path) -> None:
    source = (PROMPTS / "backends" / "cuda" / "exemplars" / f"{name}.py").read_text()
    with Judge("cuda", "cuda", tmp_path, Settings(timing=False)) as judge:
        verdict = judge.judge(Kernel(source, "cuda"), load_task(of))
    assert verdict.status is Status.PASSED, verdict.reason


def test_the_launcher_counts_types_arguments_and_gives_100_kib_of_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = (
        'extern "C" __global__ void f(double* y, int a, int64_t b, float c, bool d, double e) { extern __shared__ float s[]; '
        "s[25599] = c; y[0] = a; y[1] = (double)b; y[2] = s[25599]; y[3] = d; y[4] = e; }"
    )
    lib = load(cuda=source)
    y = torch.zeros(5, dtype=torch.float64, device="cuda")
    before = calls()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        lib.f[1, 1, 100 << 10](y, -3, 1 << 40, 0.5, True, 1e300)
    stream.synchronize()
    assert y.tolist() == [-3.0, float(1 << 40), 0.5, 1.0, 1e300]
    assert calls() - before == 1
    with pytest.raises(RuntimeError, match="dynamic shared memory"):
        lib.f[1, 1, 300 << 10](y, 0, 0, 0.0, False, 0.0)
