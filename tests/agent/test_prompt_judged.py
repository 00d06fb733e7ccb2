"""From a real judging to the prompt: what the compiler said of a C++ kernel reaches whoever refines it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelwright.agent.prompt.build import build_prompt
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.toolchain import missing_compiler
from kernelwright.memory.records import Context
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Answer, Attempt, Idea, IdeaStage, Kernel

REFERENCE = """import torch
import torch.nn as nn
N = 1003


class Model(nn.Module):
    def forward(self, x):
        return torch.exp(x) * 0.5


def get_inputs():
    return [torch.rand(N)]


def get_init_inputs():
    return []
"""
KERNEL = """import torch
import torch.nn as nn
from kernelwright.evaluator.native import load

lib = load(cpp=r\'\'\'
extern "C" void half_exp(const float* __restrict__ x, float* __restrict__ y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = expf(x[i]);
  for (int64_t i = 0; i < n; ++i) y[i] *= 0.5f;
}
\'\'\')


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.half_exp(x, y, x.numel())
        return y
"""


@pytest.mark.skipif(bool(missing_compiler()), reason=missing_compiler())
def test_vectorised_and_scalar_loops_and_calls_of_libm_reach_the_refinement(tmp_path: Path) -> None:
    path = tmp_path / "half_exp.py"
    path.write_text(REFERENCE)
    task, kernel = load_task(str(path)), Kernel(KERNEL, "cpp")
    with Judge("cpp", "cpu", tmp_path / "cache", Settings(timing=False, sanitize="off")) as judge:
        verdict = judge.judge(kernel, task)
        device = judge.device_info()
    assert verdict.passed, verdict.reason
    start = Attempt(Idea("r", task.name, 1, IdeaStage.DRAFT), Answer("", kernel), verdict)
    idea = Idea("r", task.name, 2, IdeaStage.REFINE, start.id)
    text = build_prompt(Assignment(idea, task, "cpp", device, Context(start=start, history=(start,))))
    assert "- loops that the compiler vectorised: 1, widest" in text
    assert "`for (int64_t i = 0; i < n; ++i) y[i] = expf(x[i]);` (line 3)" in text
    assert " calls of expf" in text


@pytest.mark.parametrize(
    ("model", "profile"), [("playbook", "off"), ("replay:r1", "off"), ("exchange", "auto"), ("openai/gpt-5,playbook", "auto")]
)
def test_runs_whose_writer_reads_prompts_ask_for_a_profile(model: str, profile: str) -> None:
    assert RunConfig(("optimize",), ("t",), "triton", model).judging().profile == profile
