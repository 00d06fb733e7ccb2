"""What the playbook writes in C++ is right at shapes it never saw, in fp32 and bf16."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from playbook_check import check, compare, load, program
from playbook_zoo import FAST, HEAD, ZOO, function

from kernelwright.agent.writers.playbook import emit_cpp
from kernelwright.agent.writers.playbook.ir import Nest
from kernelwright.evaluator.native import OutsideEnvelope

SOURCES = dict(ZOO)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow, id=n) for n in SOURCES])
def test_zoo(name: str) -> None:
    check(name, SOURCES[name], 3 if name in FAST else None)


def test_special_values_pass_through() -> None:
    source = function("return torch.relu(x), x.max(1)[0], torch.tanh(x), torch.exp(x), x.clamp(-1, 1)", "torch.randn(N, M)")
    kernel = load(emit_cpp.emit(program(source), {}))()
    special = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e-40, 88.9, -103.0, 3e38, -3e38]
    x = torch.tensor(special * 4).reshape(4, 10)
    wanted = (torch.relu(x), x.max(1)[0], torch.tanh(x), torch.exp(x), x.clamp(-1, 1))
    for mine, theirs in zip(kernel(x), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=3e-6, atol=1e-44, equal_nan=True)


@pytest.mark.parametrize(
    "point", [{"width": 512, "streams": 8, "chunk": 1024}, {"cache": False, "streams": 1, "streams_dear": 4}]
)
def test_every_point_is_right(point: dict[str, int]) -> None:
    kernel = load(emit_cpp.emit(program(SOURCES["row_of_chains"]), point))
    assert compare(kernel, SOURCES["row_of_chains"], torch.float32)


def test_layer_norm_and_gelu_are_one_kernel_over_rows() -> None:
    (kernel,) = program(SOURCES["layer_norm_gelu"]).kernels
    assert isinstance(kernel, Nest)
    assert [len(loop.axes) for loop in kernel.phases] == [1, 1, 1]
    assert len(kernel.outer) == 1, "batch and sequence are one loop"


def test_shapes_that_contradict_the_trace_are_outside_the_envelope() -> None:
    kernel = load(emit_cpp.emit(program(SOURCES["residual"]), {}))()
    with pytest.raises(OutsideEnvelope):
        kernel(torch.randn(4, 8), torch.randn(4, 9))


def test_inputs_in_other_layouts_and_dtypes() -> None:
    kernel = load(emit_cpp.emit(program(SOURCES["rms"], ("float32",)), {}))()
    x, w = torch.randn(40, 6).t(), torch.randn(80)[::2]
    wanted = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w
    torch.testing.assert_close(kernel(x, w), wanted, rtol=1e-5, atol=1e-6)
    half = kernel(x.half(), w.half())
    assert half.dtype is torch.float16
    torch.testing.assert_close(half.float(), wanted, rtol=5e-3, atol=5e-3)


def test_the_constructor_needs_nothing_of_the_reference() -> None:
    text = emit_cpp.emit(program(SOURCES["mlp"]), {})
    assert "class Model(" not in text
    assert "get_inputs" not in text
    assert "F.gelu" not in text
    assert HEAD.splitlines()[0] in text
