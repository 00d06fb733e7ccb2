"""The ascend backend keeps the contract: Ascend C built against the model of a core, and what that lacks is unsupported."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.backends import BackendConformance

from kernelwright.agent.cli.defaults import language
from kernelwright.evaluator.backends.ascend import AscendBackend
from kernelwright.evaluator.backends.backend import Backend
from kernelwright.evaluator.screen import screen
from kernelwright.tasks.records import Kernel

GOOD = '''
import torch
from kernelwright.evaluator.native import load

lib = load(ascend=r"""
#include "kernel_operator.h"
using namespace AscendC;

extern "C" __global__ __aicore__ void twice(GM_ADDR x, GM_ADDR y, uint32_t n) {
  TPipe pipe;
  TQue<TPosition::VECIN, 1> in;
  TQue<TPosition::VECOUT, 1> out;
  GlobalTensor<float> xGm, yGm;
  xGm.SetGlobalBuffer((__gm__ float*)x, n);
  yGm.SetGlobalBuffer((__gm__ float*)y, n);
  pipe.InitBuffer(in, 1, 1024);
  pipe.InitBuffer(out, 1, 1024);
  for (uint32_t at = GetBlockIdx() * 256; at < n; at += GetBlockNum() * 256) {
    uint32_t count = n - at < 256 ? n - at : 256, bytes = count * sizeof(float);
    LocalTensor<float> a = in.AllocTensor<float>();
    DataCopyPad(a, xGm[at], {1, bytes, 0, 0, 0}, {false, 0, 0, 0});
    in.EnQue(a);
    a = in.DeQue<float>();
    LocalTensor<float> b = out.AllocTensor<float>();
    Add(b, a, a, count);
    in.FreeTensor(a);
    out.EnQue(b);
    b = out.DeQue<float>();
    DataCopyPad(yGm[at], b, {1, bytes, 0, 0, 0});
    out.FreeTensor(b);
  }
}
""")


class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.twice[3](x, y, x.numel())
        return y
'''


class TestAscendBackend(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return AscendBackend()

    @pytest.fixture
    def good(self) -> str:
        return GOOD

    @pytest.fixture
    def broken(self) -> tuple[str, str]:
        return GOOD.replace("Add(b, a, a, count)", "Add(b, a, c, count)"), "'c' was not declared"

    def test_a_kernel_without_ascend_c_does_not_build(self, backend: Backend, tmp_path: Path) -> None:
        built = backend.build(Kernel("import torch\nclass ModelNew(torch.nn.Module): pass", "ascend"), tmp_path)
        assert not built.ok
        assert "load(ascend=" in built.log
        cpp = GOOD + "\nother = load(cpp='extern \"C\" void f(float* x) { x[0] = 1; }')\n"
        assert "no other native code" in backend.build(Kernel(cpp, "ascend"), tmp_path).log

    def test_the_screen_lets_the_language_in(self) -> None:
        assert [f for f in screen(Kernel(GOOD, "ascend")) if f.tier != "record"] == []

    def test_a_file_is_told_by_its_text(self) -> None:
        assert language(GOOD) == "ascend"

    def test_the_gpu_is_not_its_device(self, backend: Backend) -> None:
        assert "--device cpu" in backend.available("cuda")

    @pytest.mark.parametrize(
        ("said", "instead", "reason"),
        [
            ("Add(b, a, a, count)", "SoftMax(b, a, a, count)", "line 21: SoftMax is not modelled by the simulator"),
            ("Add(b, a, a, count)", "Muls(b, a, expf(1.0f), count)", "expf() of libc or libm"),
            ("Add(b, a, a, count)", "SyncAll()", "SyncAll is not modelled"),
            ("TQue<TPosition::VECIN, 1>", "TQue<TPosition::A1, 1>", "by the simulator: a queue of a cube position"),
            ("Add(b, a, a, count)", "yGm.SetValue(at, 1.0f)", "not modelled by the simulator: GlobalTensor::SetValue"),
        ],
    )
    def test_what_is_not_modelled_is_unsupported_by_name(
        self, backend: Backend, tmp_path: Path, said: str, instead: str, reason: str
    ) -> None:
        built = backend.build(Kernel(GOOD.replace(said, instead), "ascend"), tmp_path)
        assert not built.ok
        assert built.unsupported
        assert reason in built.log.splitlines()[0]

    @pytest.mark.parametrize(
        ("said", "instead", "reason"),
        [
            ("using namespace AscendC;", "#include <vector>", "`#include <`: of directives"),
            ("using namespace AscendC;", "/**/ #include <vector>", "`#include <`: of directives"),
            ("using namespace AscendC;", "#def\\\nine A kw\\\nsim::core()", "the simulator's own"),
            ("using namespace AscendC;", "#define A(x) k ## x", "of directives"),
            ("using namespace AscendC;", "%:include <vector>", "of directives"),
            ("using namespace AscendC;", "#pragma GCC optimize (3)", "`#pragma GCC`: of directives"),
            ("Add(b, a, a, count)", "__gm__ float** p = (__gm__ float**)n", "the pointer **"),
            ("using namespace AscendC;", "#ifdef HERE\n#endif", "of directives"),
            ("using namespace AscendC;", "using namespace AscendC; float kept[8];", "the variable kept outlives the launch"),
            ("TPipe pipe;", "TPipe pipe; static float kept;", "a static variable"),
            ("Add(b, a, a, count)", "auto p = new float[4]", "no AI core has `new`"),
            ("Add(b, a, a, count)", "kwsim::core()", "the simulator's own"),
            ("Add(b, a, a, count)", "__builtin_trap()", "belongs to the host's compiler"),
            ("Add(b, a, a, count)", "std::swap(a, b)", "std::swap is the host's library"),
            ("Add(b, a, a, count)", 'asm("")', "no AI core has `asm`"),
            ("Add(b, a, a, count)", "float* p = (float*)n", "the pointer float*"),
            ("Add(b, a, a, count)", "auto p = &count", "the address &count"),
            ("Add(b, a, a, count)", "__gm__ float p", "of __gm__ there are pointers"),
            ("Add(b, a, a, count)", "LocalTensor<float> c({}, 0, 1 << 30, 0, 0)", "error"),
            ("GM_ADDR x, ", "__gm__ float* x, ", "tensors are passed as GM_ADDR"),
        ],
    )
    def test_what_no_core_runs_does_not_build(
        self, backend: Backend, tmp_path: Path, said: str, instead: str, reason: str
    ) -> None:
        built = backend.build(Kernel(GOOD.replace(said, instead), "ascend"), tmp_path)
        assert not built.ok
        assert not built.unsupported
        assert reason in built.log.splitlines()[0]
