"""What the instructions of the modelled core compute, against torch; and the skeleton of the prompt."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from kernelwright.agent.prompt.knowledge import PROMPTS
from kernelwright.evaluator import native

HEAD = r"""
#include "kernel_operator.h"
using namespace AscendC;

constexpr uint32_t N = 512;

template <class T, class U>
struct Core {  // x of T in, y of U out
  TPipe pipe;
  TQue<TPosition::VECIN, 1> in;
  TQue<TPosition::VECOUT, 1> out;
  TBuf<TPosition::VECCALC> buf;
  GlobalTensor<T> xGm;
  GlobalTensor<U> yGm;
  LocalTensor<T> x;
  LocalTensor<U> y;
  __aicore__ inline Core(GM_ADDR from, GM_ADDR to) {
    xGm.SetGlobalBuffer((__gm__ T*)from, N);
    yGm.SetGlobalBuffer((__gm__ U*)to, N);
    pipe.InitBuffer(in, 1, N * sizeof(T));
    pipe.InitBuffer(out, 1, N * sizeof(U));
    pipe.InitBuffer(buf, 16384);
    x = in.AllocTensor<T>();
    DataCopy(x, xGm, N);
    in.EnQue(x);
    x = in.DeQue<T>();
    y = out.AllocTensor<U>();
  }
  __aicore__ inline void End(uint32_t count) {
    in.FreeTensor(x);
    out.EnQue(y);
    y = out.DeQue<U>();
    DataCopyPad(yGm, y, {1, static_cast<uint32_t>(count * sizeof(U)), 0, 0, 0});
    out.FreeTensor(y);
  }
};
"""
BODIES = {
    "to_half": ("float, half", "Cast(c.y, c.x, RoundMode::CAST_NONE, N); c.End(N);"),
    "to_bf16": ("float, bfloat16_t", "Cast(c.y, c.x, RoundMode::CAST_RINT, N); c.End(N);"),
    "from_bf16": ("bfloat16_t, float", "Cast(c.y, c.x, RoundMode::CAST_NONE, N); c.End(N);"),
    "to_int": ("float, int32_t", "Cast(c.y, c.x, RoundMode::CAST_FLOOR, N); c.End(N);"),
    "half_exp": ("half, half", "Exp(c.y, c.x, N); c.End(N);"),
    "clipped": (
        "float, float",
        "LocalTensor<uint8_t> m = c.buf.template Get<uint8_t>(); CompareScalar(m, c.x, 0.5f, CMPMODE::GT, N);"
        "Select(c.y, m, c.x, -1.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, N); c.End(N);",
    ),
    "larger": (
        "float, float",
        "LocalTensor<uint8_t> m = c.buf.template Get<uint8_t>(); LocalTensor<float> z = c.buf.template Get<float>()[1024];"
        "Muls(z, c.x, -1.0f, N); Compare(m, c.x, z, CMPMODE::GE, N);"
        "Select(c.y, m, c.x, z, SELMODE::VSEL_TENSOR_TENSOR_MODE, N); c.End(N);",
    ),
    "row_added": ("float, float", "Add(c.y, c.x, c.x, 64, 8, {1, 1, 1, 8, 8, 0}); c.End(N);"),
    "whole_sums": ("float, float", "WholeReduceSum(c.y, c.x, 64, 8, 1, 1, 8); c.End(8);"),
    "whole_maxima": ("float, float", "WholeReduceMax(c.y, c.x, 64, 8, 1, 1, 8, ReduceOrder::ORDER_ONLY_VALUE); c.End(8);"),
    "block_minima": ("float, float", "BlockReduceMin(c.y, c.x, 8, 64, 1, 1, 8); c.End(64);"),
    "largest": (
        "float, float",
        "LocalTensor<float> w = c.buf.template Get<float>(); ReduceMax(c.y, c.x, w, N, true); c.End(2);",
    ),
    "silu": ("float, float", "Silu(c.y, c.x, N); c.End(N);"),
    "arc_tangent": ("float, float", "Atan(c.y, c.x, c.buf.template Get<uint8_t>(), N); c.End(N);"),
    "spread": ("float, float", "Brcb(c.y, c.x, 8, {1, 8}); c.End(N);"),
    "gathered": (
        "float, float",
        "LocalTensor<int32_t> at = c.buf.template Get<int32_t>(); ArithProgression(at, static_cast<int32_t>(4 * (N - 1)),"
        "static_cast<int32_t>(-4), N); Gather(c.y, c.x, at.template ReinterpretCast<uint32_t>(), 0, N); c.End(N);",
    ),
    "rows_apart": (
        "float, float",
        "c.in.FreeTensor(c.x); c.x = c.in.template AllocTensor<float>();"
        "DataCopyPad(c.x, c.xGm, {4, 20, 12, 1, 0}, {true, 0, 3, 7.0f}); c.in.EnQue(c.x); c.x = c.in.template DeQue<float>();"
        "Duplicate(c.y, 0.0f, 64); DataCopy(c.y, c.x, {4, 1, 1, 1}); c.End(64);",
    ),
    "summed_by_blocks": (
        "float, float",
        "Muls(c.y, c.x, 1.0f, N); c.in.FreeTensor(c.x); c.out.EnQue(c.y); c.y = c.out.template DeQue<float>();"
        "SetAtomicAdd<float>(); DataCopy(c.yGm, c.y, N); SetAtomicNone(); c.out.FreeTensor(c.y);",
    ),
}


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Any:
    kernel = 'extern "C" __global__ __aicore__ void {}(GM_ADDR x, GM_ADDR y) {{ Core<{}> c(x, y); {} }}\n'
    source = HEAD + "".join(kernel.format(name, types, body) for name, (types, body) in BODIES.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("KERNELWRIGHT_LIBRARIES", raising=False)
        yield native.load(ascend=source)


def ran(lib: Any, name: str, x: torch.Tensor, dtype: torch.dtype = torch.float32, blocks: int = 1) -> torch.Tensor:
    y = torch.zeros(512, dtype=dtype)
    getattr(lib, name)[blocks](x, y)
    return y


@pytest.fixture
def x() -> torch.Tensor:
    return 3.0 * torch.randn(512, generator=torch.Generator().manual_seed(7))


def test_casts_round_as_they_say(lib: Any, x: torch.Tensor) -> None:
    assert torch.equal(ran(lib, "to_half", x, torch.float16), x.half())
    assert torch.equal(ran(lib, "to_bf16", x, torch.bfloat16), x.bfloat16())
    assert torch.equal(ran(lib, "from_bf16", x.bfloat16()), x.bfloat16().float())
    assert torch.equal(ran(lib, "to_int", x, torch.int32), x.floor().int())


def test_half_is_rounded_once_an_instruction(lib: Any, x: torch.Tensor) -> None:
    torch.testing.assert_close(ran(lib, "half_exp", x.half(), torch.float16), x.half().float().exp().half(), rtol=1e-3, atol=0)


def test_comparisons_select(lib: Any, x: torch.Tensor) -> None:
    assert torch.equal(ran(lib, "clipped", x), torch.where(x > 0.5, x, -1.0))
    assert torch.equal(ran(lib, "larger", x), x.abs())


def test_a_repeat_stride_of_zero_uses_a_row_again(lib: Any, x: torch.Tensor) -> None:
    assert torch.equal(ran(lib, "row_added", x), (x.view(8, 64) + x[:64]).flatten())


def test_reductions(lib: Any, x: torch.Tensor) -> None:
    rows = x.view(8, 64)
    torch.testing.assert_close(ran(lib, "whole_sums", x)[:8], rows.sum(1))
    assert torch.equal(ran(lib, "whole_maxima", x)[:8], rows.amax(1))
    assert torch.equal(ran(lib, "block_minima", x)[:64], x.view(64, 8).amin(1))
    found = ran(lib, "largest", x)
    assert found[0] == x.max()
    assert found[1:2].view(torch.int32).item() == x.argmax()


def test_functions_of_the_library(lib: Any, x: torch.Tensor) -> None:
    torch.testing.assert_close(ran(lib, "silu", x), torch.nn.functional.silu(x))
    torch.testing.assert_close(ran(lib, "arc_tangent", x), x.atan())


def test_elements_move(lib: Any, x: torch.Tensor) -> None:
    assert torch.equal(ran(lib, "spread", x), x[:64].repeat_interleave(8))
    assert torch.equal(ran(lib, "gathered", x), x.flip(0))


def test_rows_are_padded_to_blocks_with_gaps_between(lib: Any, x: torch.Tensor) -> None:
    expected = torch.zeros(8, 8)
    expected[::2, :5] = x[:32].view(4, 8)[:, :5]
    expected[::2, 5:] = 7.0
    assert torch.equal(ran(lib, "rows_apart", x)[:64], expected.flatten())


def test_blocks_add_up_atomically_in_either_order(lib: Any, x: torch.Tensor) -> None:
    for _ in range(2):
        torch.testing.assert_close(ran(lib, "summed_by_blocks", x, blocks=5), 5 * x)


def test_the_skeleton_of_the_prompt_is_a_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KERNELWRIGHT_LIBRARIES", raising=False)
    text = (PROMPTS / "sections" / "contract.j2").read_text().split("The skeleton for `ascend`", 1)[1]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    path = tmp_path / "skeleton.py"
    path.write_text(found[1])
    namespace: dict[str, Any] = {}
    exec(compile(found[1], str(path), "exec"), namespace)
    given = torch.randn(33, 401)
    assert torch.equal(namespace["ModelNew"]()(given), 2 * given)


def test_views_of_one_tensor_share_their_memory(lib: Any, x: torch.Tensor) -> None:
    whole = torch.cat([x, torch.zeros(512)])
    lib.larger[1](whole[:512], whole[256:768])
    assert torch.equal(whole[256:768], x.abs())
