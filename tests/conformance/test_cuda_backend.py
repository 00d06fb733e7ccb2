"""The cuda backend keeps the contract as far as a machine without a GPU can tell: it compiles and reads the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernelwright.agent.cli.defaults import language
from kernelwright.agent.prompt.knowledge import PROMPTS
from kernelwright.evaluator.backends.cuda import CudaBackend
from kernelwright.evaluator.backends.registry import backend
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.native import load
from kernelwright.evaluator.prototypes import kernel_prototypes
from kernelwright.evaluator.screen import screen
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.toolchain import BuildError
from kernelwright.evaluator.toolchain_cuda import build_cubin, missing_cuda_compiler
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Stage, Status

nvcc = pytest.mark.skipif(bool(missing_cuda_compiler()), reason="nvcc is not installed")

SOURCE = """
extern "C" __global__ void __launch_bounds__(256) twice(const float* __restrict__ x, float* y, int64_t n) {
  __shared__ float tile[256];
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  tile[threadIdx.x] = i < n ? x[i] : 0.f;
  __syncthreads();
  if (i < n) y[i] = tile[255 - (255 - threadIdx.x)] * 2.f;
}
"""
GOOD = f'''
import torch
from kernelwright.evaluator.native import load

lib = load(cuda=r"""{SOURCE}""")


class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.twice[(x.numel() + 255) // 256, 256](x, y, x.numel())
        return y
'''


@nvcc
def test_a_kernel_is_compiled_once_and_its_figures_are_read(tmp_path: Path) -> None:
    kernel = Kernel(GOOD, "cuda")
    built = backend("cuda").build(kernel, tmp_path)
    assert built.ok, built.log
    (report,) = backend("cuda").diagnose(kernel, built)["native"]
    assert report["functions"] == ["void twice(float32* x, float32* y, int64 n)"]
    assert report["arch"] == "sm_90a"
    assert report["kernels"]["twice"]["shared_bytes"] == 1024
    assert report["kernels"]["twice"]["spill_store_bytes"] == 0
    assert 0 < report["kernels"]["twice"]["registers"] < 64
    assert report["instructions"].get("STG", 1) == 1
    again = build_cubin(SOURCE, tmp_path)
    assert (again.path, again.seconds) == (report["path"], 0.0)


@nvcc
def test_errors_are_nvccs_own(tmp_path: Path) -> None:
    built = CudaBackend().build(Kernel(GOOD.replace("* 2.f", "* two"), "cuda"), tmp_path)
    assert not built.ok
    assert 'kernel.cu(7): error: identifier "two" is undefined' in built.log.splitlines()[0]


@nvcc
def test_hopper_instructions_can_be_reached(tmp_path: Path) -> None:
    source = 'extern "C" __global__ void f() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }'
    assert set(build_cubin(source, tmp_path).kernels) == {"f"}


@pytest.mark.parametrize(
    "line", ["#include <torch/extension.h>", '#include "/etc/passwd"', "# /**/ include <fstream>", "#inc\\\nlude <cstdio>"]
)
def test_other_headers_than_cudas_are_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="CUDA's own device headers only"):
        build_cubin(f"{line}\n{SOURCE}", tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('extern "C" void host(float* x) { x[0] = 1; }\n' + SOURCE, "host is no kernel"),
        ("__global__ void f(float* x) { x[0] = 1; }", 'no `extern "C" __global__'),
        ('extern "C" __global__ void f(float4* x) { }', "cannot be bound"),
    ],
)
def test_what_cannot_be_launched_is_named(source: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        kernel_prototypes(source)


@nvcc
def test_a_launch_is_checked_before_any_device_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lib = load(cuda=SOURCE)
    x = torch.zeros(4)
    with pytest.raises(TypeError, match="must be on the GPU"):
        lib.twice[1, 256](x, x, 4)
    with pytest.raises(TypeError, match="takes 3 arguments"):
        lib.twice[1, 256](x)
    with pytest.raises(ValueError, match="more than 1024 threads"):
        lib.twice[1, (32, 64)]
    with pytest.raises(ValueError, match="grid"):
        lib.twice[0, 32]
    with pytest.raises(TypeError, match="needs its grid"):
        lib.twice(x, x, 4)
    with pytest.raises(AttributeError, match="it has: twice"):
        _ = lib.thrice


def test_inline_ptx_is_free_but_a_clock_is_flagged() -> None:
    def rules(body: str) -> set[str]:
        return {f.rule for f in screen(Kernel(GOOD.replace("__syncthreads();", body), "cuda")) if f.tier != "record"}

    assert rules("__syncthreads();") == set()
    assert rules('asm volatile("wgmma.fence.sync.aligned;" ::: "memory");') == set()
    assert rules("tile[0] = clock64();") == {"clock"}
    assert rules('long t; asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));') == {"clock"}


@nvcc
def test_without_a_gpu_a_kernel_is_compiled_and_no_more_is_claimed(tmp_path: Path) -> None:
    with Judge("cuda", "cpu", tmp_path, Settings()) as judge:
        verdict = judge.judge(Kernel(GOOD, "cuda"), load_task("reduce/row_sum"))
        broken = judge.judge(Kernel(GOOD.replace("* 2.f", "* two"), "cuda"), load_task("reduce/row_sum"))
    assert (verdict.status, verdict.assurance, verdict.timing) == (Status.UNSUPPORTED, Assurance.COMPILED, None)
    assert verdict.evidence["compiled"]["target"] == "sm_90a"
    assert verdict.evidence["compiled"]["launches"][0]["kernels"]["twice"]["registers"] > 0
    assert (broken.status, broken.stage) == (Status.BUILD_FAILED, Stage.BUILD)


def test_a_files_language_is_told_by_what_it_loads() -> None:
    assert language(GOOD) == "cuda"
    assert language("from torch.utils.cpp_extension import load_inline\nm = load_inline(name='m', cuda_sources=CUDA)") == "cuda"


@nvcc
@pytest.mark.parametrize("path", sorted((PROMPTS / "backends" / "cuda" / "exemplars").glob("*.py")), ids=lambda p: p.stem)
def test_exemplars_compile_without_spills(path: Path, tmp_path: Path) -> None:
    kernel = Kernel(path.read_text(), "cuda")
    assert not [f for f in screen(kernel) if f.tier == "reject"]
    built = CudaBackend().build(kernel, tmp_path)
    assert built.ok, built.log
    for report in built.evidence["native"]:
        assert all(figures["spill_store_bytes"] == 0 for figures in report["kernels"].values())
