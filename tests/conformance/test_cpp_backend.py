"""The cpp backend keeps the contract, and says what the compiler made of the loops."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.backends import BackendConformance

from kernelwright.evaluator.backends.backend import Backend
from kernelwright.evaluator.backends.cpp import CppBackend
from kernelwright.tasks.records import Kernel

GOOD = '''
import torch
from kernelwright.evaluator.native import load

lib = load(cpp=r"""
extern "C" void twice(const float* __restrict__ x, float* __restrict__ y, int64_t n) {
  #pragma omp parallel for simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] + x[i];
}
extern "C" float chain(const float* x, int64_t n) {
  float s = 0;
  for (int64_t i = 0; i < n; ++i) s = std::sin(s) + x[i];
  return s;
}""")


class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.twice(x, y, x.numel())
        return y
'''


class TestCppBackend(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return CppBackend()

    @pytest.fixture
    def good(self) -> str:
        return GOOD

    @pytest.fixture
    def broken(self) -> tuple[str, str]:
        return GOOD.replace("x[i] + x[i]", "x[j] + x[i]"), "'j' was not declared"

    def test_a_kernel_without_native_code_does_not_build(self, backend: Backend, tmp_path: Path) -> None:
        built = backend.build(Kernel("import torch\nclass ModelNew(torch.nn.Module): pass", "cpp"), tmp_path)
        assert not built.ok
        assert "loads no native code" in built.log

    def test_the_gpu_is_not_its_device(self, backend: Backend) -> None:
        assert "--device cpu" in backend.available("cuda")

    def test_diagnosis_tells_vectorised_loops_from_scalar_ones(self, backend: Backend, tmp_path: Path) -> None:
        kernel = Kernel(GOOD, "cpp")
        (library,) = backend.diagnose(kernel, backend.build(kernel, tmp_path))["native"]
        assert "void twice(float32* x, float32* y, int64 n)" in library["functions"]
        assert set(library["vectorised_loops"]) & {"3", "4"}
        assert 8 in library["scalar_loops"]
        assert library["instructions"]["total"] > 10
