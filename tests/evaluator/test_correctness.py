"""The numeric rule: what it accepts, what it must not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from kernelwright.evaluator.correctness import compare
from kernelwright.evaluator.runner.cases import Case
from kernelwright.evaluator.runner.draws import moved_by_one
from kernelwright.tasks.records import Task


def triple(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """A float64 oracle and its rounding to ``dtype`` with the noise of a long sum."""
    generator = torch.Generator().manual_seed(7)
    oracle = torch.randn(64, 33, generator=generator, dtype=torch.float64)
    eager = (oracle * (1 + 1e-7 * torch.randn(64, 33, generator=generator))).to(dtype)
    return oracle, eager


def test_eager_itself_passes_with_ratio_at_most_one() -> None:
    oracle, eager = triple()
    found = compare(eager, oracle, eager)
    assert found.passed
    assert found.ratio <= 1


@pytest.mark.parametrize("inner", [torch.float16, torch.bfloat16])
def test_lower_precision_inside_fp32_is_rejected(inner: torch.dtype) -> None:
    oracle, eager = triple()
    assert not compare(eager.to(inner).float(), oracle, eager).passed


def test_tf32_rounding_everywhere_is_rejected_though_kernelbench_would_pass_it() -> None:
    oracle, eager = triple()
    bits = (eager.view(torch.int32) + 0x1000) & ~0x1FFF
    found = compare(bits.view(torch.float32), oracle, eager)
    assert not found.passed
    assert found.kernelbench["1e-2"]


def test_one_wrong_element_is_found_and_named() -> None:
    oracle, eager = triple()
    candidate = eager.clone()
    candidate[5, 8] += 0.01
    found = compare(candidate, oracle, eager)
    assert not found.passed
    assert found.where == (5, 8)
    assert "[5, 8]" in found.detail


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nonfinite_is_never_a_wildcard(value: float) -> None:
    oracle, eager = triple()
    candidate = eager.clone()
    candidate[0, 0] = value
    assert not compare(candidate, oracle, eager).passed
    oracle[0, 0] = value
    eager[0, 0] = value
    assert compare(candidate, oracle, eager).passed
    assert not compare(torch.zeros_like(eager) + eager.nan_to_num(0, 0, 0), oracle, eager).passed


def test_overflow_of_the_reference_excuses_either() -> None:
    oracle = torch.tensor([1e39, 1.0], dtype=torch.float64)
    eager = oracle.float()
    assert torch.isinf(eager[0])
    assert compare(eager, oracle, eager).passed


def test_integers_and_booleans_are_exact() -> None:
    expected = torch.tensor([1, 2, 3])
    assert compare(expected, expected, expected).passed
    found = compare(torch.tensor([1, 2, 4]), expected, expected)
    assert not found.passed
    assert found.where == (2,)
    flags = torch.tensor([True, False])
    assert not compare(~flags, flags, flags).passed


def test_rtol_overrides_and_empty_tensors_agree() -> None:
    oracle, eager = triple()
    assert compare(eager.half().float(), oracle, eager, rtol=1e-2).passed
    nothing = torch.empty(0, 4)
    assert compare(nothing, nothing.double(), nothing).passed


def amplified(noise: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An oracle some of whose columns were divided by a small number, and outputs with noise before that division."""
    generator = torch.Generator().manual_seed(7)
    oracle = torch.randn(512, 256, generator=generator, dtype=torch.float64)
    columns = torch.ones(256, dtype=torch.float64)
    columns[::64] = 30.0

    def noisy(size: float, number: int) -> torch.Tensor:
        draw = torch.Generator().manual_seed(number)
        return (oracle + size * columns * torch.randn(512, 256, generator=draw, dtype=torch.float64)).float()

    return noisy(noise, seed), oracle, noisy(1e-4, 1)


@pytest.mark.parametrize("seed", range(2, 8))
def test_noise_no_larger_than_the_reference_has_in_the_same_columns_passes(seed: int) -> None:
    candidate, oracle, eager = amplified(0.8e-4, seed)
    found = compare(candidate, oracle, eager)
    assert found.passed, found.detail
    assert found.ratio <= 1.0
    noise = (eager - oracle).abs()
    bound = torch.maximum(1e-5 * oracle.square().mean().sqrt() + 1e-4 * oracle.abs(), 6 * noise.square().mean().sqrt())
    assert (noise > bound).any()  # the reference exceeds the bound here, and so would a kernel like it


def test_further_out_or_more_often_than_the_reference_fails() -> None:
    _, oracle, eager = amplified(1e-4, 2)
    assert not compare(amplified(4e-4, 3)[0], oracle, eager).passed
    one = eager.clone()
    one[5, 64] = oracle[5, 64] + 20 * (eager - oracle).abs().max()
    assert not compare(one, oracle, eager).passed
    rows = eager.clone()
    rows[:20] = oracle[:20] + (eager - oracle).abs().max()
    assert not compare(rows, oracle, eager).passed


@pytest.mark.parametrize("first", [1, 65])
def test_what_the_noisy_columns_are_allowed_is_not_spent_in_quiet_ones(first: int) -> None:
    _, oracle, eager = amplified(1e-4, 2)
    candidate = eager.clone()
    candidate[:, first : first + 4] = oracle[:, first : first + 4].to(torch.bfloat16).float()
    assert not compare(candidate, oracle, eager).passed


ATTENTION = """
import torch
from torch import nn
class Model(nn.Module):
    def forward(self, q, k, v):
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
def get_inputs():
    return [torch.randn(2, 3, 65, 32) for _ in range(3)]
"""


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, product: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Causal attention in float32 with ``product`` for its two products."""
    scores = product(q, k.mT) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    return product(weights / weights.sum(-1, keepdim=True), v)


def in_halves(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    half = a.shape[-1] // 2
    return a[..., :half] @ b[..., :half, :] + a[..., half:] @ b[..., half:, :]


def tf32(t: torch.Tensor) -> torch.Tensor:
    return ((t.view(torch.int32) + 4096) & -8192).view(torch.float32)


PRODUCTS = {
    "in halves": in_halves,
    "tf32": lambda a, b: tf32(a) @ tf32(b),
    "bfloat16": lambda a, b: a.bfloat16().float() @ b.bfloat16().float(),
}


def test_nearly_tied_softmaxes_condemn_no_other_order_and_excuse_no_lower_precision() -> None:
    """Eight times as large, a tenth of such draws has rows in which the last bits of a score are seen."""
    case = Case(Task("t", ATTENTION, "", ()), {}, "float32", "cpu", None, 1)
    rejected = dict.fromkeys((*PRODUCTS, "by the rms alone"), 0)
    for seed in range(20):
        assert case.draw(seed, 8.0, "", False)
        for name, product in PRODUCTS.items():
            case.output(0).copy_(attention(*case.inputs, product))
            plain = compare(case.output(0), case.expected.oracle[0], case.expected.eager[0])
            rejected["by the rms alone"] += name == "in halves" and not plain.passed
            (found,) = case.compare_outputs(None)
            rejected[name] += not found["passed"]
    assert rejected["by the rms alone"] > 0, "else this shows nothing"
    assert rejected == {**rejected, "in halves": 0, "tf32": 20, "bfloat16": 20}


def test_inputs_are_moved_by_one_unit_in_the_last_place_of_their_own_dtype() -> None:
    moved = moved_by_one(torch.ones(1000, dtype=torch.bfloat16), torch.Generator().manual_seed(0))
    assert moved.dtype == torch.float64
    assert set(moved.tolist()) == {1 - 2.0**-7, 1 + 2.0**-7}
    double = moved_by_one(torch.ones(1000, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert set(double.tolist()) == {1 - 2.0**-52, 1 + 2.0**-52}
    whole = torch.arange(5)
    assert torch.equal(moved_by_one(whole, torch.Generator()), whole)


PRODUCT = """
import torch
from torch import nn
class Model(nn.Module):
    def forward(self, a, b):
        return a @ b
def get_inputs():
    return [torch.randn(65, 129), torch.randn(129, 33)]
"""


def int8(t: torch.Tensor) -> torch.Tensor:
    step = t.float().abs().amax(-1, keepdim=True) / 127
    return (t.float() / step).round() * step


NARROWER = {
    "int8": lambda a, b: int8(a) @ int8(b.mT).mT,
    "int8 weights": lambda a, b: a.float() @ int8(b.mT).mT,
    "fp8": lambda a, b: a.float().to(torch.float8_e4m3fn).float() @ b.float().to(torch.float8_e4m3fn).float(),
}


@pytest.mark.parametrize(("scale", "spikes"), [(1.0, ""), (8.0, ""), (1e-3, ""), (1.0, "rows")])
def test_even_noise_excuses_no_narrower_format(scale: float, spikes: str) -> None:
    """One unit of bfloat16 moves a product by as much as int8 inside does, but all of its elements alike."""
    case = Case(Task("t", PRODUCT, "", ()), {}, "bfloat16", "cpu", None, 1)
    for seed in range(4):
        assert case.draw(seed, scale, spikes, False)
        a, b = case.inputs
        for name, product in NARROWER.items():
            case.output(0).copy_(product(a, b))
            assert not case.compare_outputs(None)[0]["passed"], name
        case.output(0).copy_(a.float() @ b.float())
        assert case.compare_outputs(None)[0]["passed"]


def test_what_is_compared_is_left_as_it_was() -> None:
    """In float64 nothing is converted, so that working in place would spoil the next comparison with the same reference."""
    oracle = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    given = [oracle + 1.0, oracle.clone(), oracle + 1e-12, oracle + 1e-11]
    before = [t.clone() for t in given]
    compare(given[0], given[1], given[2], None, given[3:])
    assert all(map(torch.equal, given, before))


def test_float32_inside_float64_fails_however_often_it_is_compared() -> None:
    case = Case(Task("t", PRODUCT, "", ()), {}, "float64", "cpu", None, 1)
    assert case.draw(0, 1.0, "", False)
    a, b = case.inputs
    for _ in range(3):
        case.output(0).copy_(a.float() @ b.float())
        assert not case.compare_outputs(None)[0]["passed"]


def test_outputs_that_are_mostly_zero_make_no_noise_uneven() -> None:
    """After a ReLU that clears most elements the median noise is 0, and int8 in the others would be excused."""
    source = PRODUCT.replace("return a @ b", "return torch.relu(a @ b - 8.0)")
    case = Case(Task("t", source, "", ()), {}, "bfloat16", "cpu", None, 1)
    for seed in range(4):
        assert case.draw(seed, 1.0, "", False)
        a, b = case.inputs
        assert float((case.expected.eager[0] == 0).float().mean()) > 0.6
        case.output(0).copy_(torch.relu(int8(a) @ int8(b.mT).mT - 8.0))
        assert not case.compare_outputs(None)[0]["passed"]
