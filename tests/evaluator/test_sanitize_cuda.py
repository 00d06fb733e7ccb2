"""compute-sanitizer on a GPU: an access out of bounds is named, an honest kernel is clean, and a race is left to others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.local import LocalEngine
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.sanitizers.device import find_tool
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Stage, Status, Task

pytestmark = [pytest.mark.requires_cuda, pytest.mark.skipif(not find_tool(), reason="no compute-sanitizer")]

REFERENCE = """
import torch, torch.nn as nn
N = 1003
class Model(nn.Module):
    def forward(self, x):
        return EXPRESSION
def get_inputs():
    return [torch.rand(N)]
def get_init_inputs():
    return []
"""

KERNEL = """
import torch, torch.nn as nn, triton, triton.language as tl

@triton.jit
def k(x, o, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    m = i < n
    BODY

class ModelNew(nn.Module):
    def forward(self, x):
        o = torch.OUTPUT
        k[(triton.cdiv(x.numel(), 128),)](x, o, x.numel(), B=128)
        return o
"""
LINE = 8
"""Of the first line of BODY."""
HONEST = "tl.store(o + i, tl.load(x + i, mask=m) * 2.0, mask=m)"
READS_PAST = "tl.store(o + i, tl.load(x + i) * 2.0, mask=m)"
RACY = "tl.store(o, tl.load(o) + tl.sum(tl.load(x + i, mask=m, other=0.0)))"


def kernel(body: str, output: str = "empty_like(x)") -> Kernel:
    return Kernel(KERNEL.replace("BODY", body).replace("OUTPUT", output), "triton")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    settings = Settings(timing=False, sanitize="all")
    with Judge("triton", "cuda", tmp_path_factory.mktemp("cache"), settings) as found:
        yield found


def task(tmp_path_factory: pytest.TempPathFactory, expression: str) -> Task:
    path = tmp_path_factory.mktemp("task") / "t.py"
    path.write_text(REFERENCE.replace("EXPRESSION", expression))
    return load_task(str(path))


def test_read_past_the_end_is_found_at_its_line(judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> None:
    verdict = judge.judge(kernel(READS_PAST), task(tmp_path_factory, "x * 2.0"))
    assert (verdict.status, verdict.stage) == (Status.RUNTIME_ERROR, Stage.SANITIZE), verdict.evidence.get("sanitize")
    found = verdict.evidence["sanitizer"]
    assert (found["tool"], found["access"], found["where"]) == ("memcheck", "read", f"kernel line {LINE}")


def test_the_audit_of_a_winner_revokes_what_the_search_let_pass(tmp_path_factory: pytest.TempPathFactory) -> None:
    engine = LocalEngine("triton", "cuda", tmp_path_factory.mktemp("audit"), Settings(timing=False))
    what = task(tmp_path_factory, "x * 2.0")
    try:
        searched = engine.evaluate(Job("a", kernel(READS_PAST), what))
        audited = engine.evaluate(Job("a-audit1", kernel(READS_PAST), what, thorough=True))
    finally:
        engine.close()
    assert searched.passed, searched.reason
    assert (audited.status, audited.stage) == (Status.RUNTIME_ERROR, Stage.SANITIZE), audited.evidence.get("sanitize")


def test_honest_kernel_is_clean(judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> None:
    verdict = judge.judge(kernel(HONEST), task(tmp_path_factory, "x * 2.0"))
    assert verdict.passed, verdict.reason
    assert verdict.evidence["sanitize"]["memcheck"] == "clean"


def test_race_on_global_memory_fails_by_its_values(judge: Judge, tmp_path_factory: pytest.TempPathFactory) -> None:
    verdict = judge.judge(kernel(RACY, "zeros(1, device=x.device)"), task(tmp_path_factory, "x.sum().reshape(1)"))
    assert verdict.status is Status.INCORRECT, verdict.reason
