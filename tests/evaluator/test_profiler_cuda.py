"""Nsight Compute over a kernel that has passed, on a GPU: the figures are there, and the verdict is the same without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.profiler import find_ncu
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel

pytestmark = [pytest.mark.requires_cuda, pytest.mark.skipif(not find_ncu(), reason="no ncu")]

REFERENCE = """import torch
import torch.nn as nn
N = 1 << 24


class Model(nn.Module):
    def forward(self, x):
        return x * 2 + 1


def get_inputs():
    return [torch.rand(N)]


def get_init_inputs():
    return []
"""
KERNEL = """import torch, torch.nn as nn, triton, triton.language as tl


@triton.jit
def twice_and_one(x, y, n, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    m = i < n
    tl.store(y + i, tl.load(x + i, mask=m) * 2.0 + 1.0, mask=m)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        twice_and_one[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), B=1024)
        return y
"""


def test_a_streaming_kernel_is_memory_bound_by_its_profile(tmp_path: Path) -> None:
    path = tmp_path / "twice.py"
    path.write_text(REFERENCE)
    settings = Settings(timing_seconds=0.5, baselines=("eager",), profile="auto")
    with Judge("triton", "cuda", tmp_path / "cache", settings) as judge:
        verdict = judge.judge(Kernel(KERNEL, "triton"), load_task(str(path)))
    assert verdict.passed, verdict.reason
    found = verdict.evidence["profile"]
    if any(why in found.get("problem", "") for why in ("ERR_NVGPUCTRPERM", "Nsight Compute is not installed")):
        pytest.skip(found["problem"])
    assert "problem" not in found, found
    assert found["launches"] == 1
    assert found["registers"] > 0
    assert found["dram_percent"] > 50
    assert found["dram_read_bytes"] == pytest.approx(4 << 24, rel=0.2)
    assert found["stalls"]
    assert verdict.evidence["bottleneck"] in ("memory", "compute")
