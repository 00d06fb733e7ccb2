"""Whose work it was, on operators that torch really reports."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from kernelwright.evaluator.honesty import base_name, classify, library_class, may_stay, rule


class Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops[str(func)] += 1
        return func(*args, **(kwargs or {}))


def seen(call: Callable[[], Any]) -> Counter[str]:
    """Operators of one call by dispatcher and profiler, in both spellings."""
    with torch.no_grad():
        with Recorder() as recorder:
            call()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                call()
    return recorder.ops + Counter({e.key: e.count for e in profile.key_averages() if e.key.startswith("aten::")})


X = torch.randn(2, 4, 8, 8)
W = torch.randn(8, 8)
K2, K1 = torch.randn(4, 4, 3, 3), torch.randn(8, 8, 3)


def edges() -> torch.Tensor:
    """All that a kernel may leave to torch."""
    y = torch.empty_like(X)
    torch.zeros(3), torch.ones(2), torch.full((2,), 3.0), X.new_empty(2), torch.empty_strided((2,), (1,)), torch.arange(3)
    y.copy_(X), y.zero_(), y.fill_(1.0)
    a = X.view(8, -1).t().contiguous().reshape(-1).unsqueeze(0).squeeze()
    (
        a[2:4],
        a[1],
        X[..., None],
        X.permute(0, 2, 3, 1).contiguous(),
        X.transpose(1, 2).clone(),
        X.flatten(1),
        X.expand(2, 4, 8, 8),
    )
    (
        X.split(1),
        X.chunk(2),
        X.unbind(0),
        X.narrow(0, 0, 1),
        X.as_strided((2,), (1,)),
        X.unfold(3, 2, 1),
        X.detach(),
        X.movedim(0, 1),
    )
    X.to(torch.bfloat16).float(), X.double(), X.half(), X.contiguous(memory_format=torch.channels_last), a[0].item()
    torch.view_as_real(torch.view_as_complex(X.view(2, 4, 8, 4, 2))), X.is_contiguous(), X.numel(), X.type(torch.int32)
    return y


def test_edges_are_free() -> None:
    library = {op for op in seen(edges) if classify(op) == "library"}
    assert library == set()


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: X + X, ""),
        (lambda: torch.add(X, 1, out=torch.empty_like(X)), ""),
        (lambda: X.clone().relu_(), ""),
        (lambda: F.softmax(X, -1), ""),
        (lambda: F.layer_norm(X, (8,)), ""),
        (lambda: torch.cat([X, X]), ""),
        (lambda: F.pad(X, (1, 1)), ""),
        (lambda: X.sum(), ""),
        (lambda: X[torch.tensor([0, 1])], ""),
        (lambda: F.embedding(torch.tensor([1]), W), ""),
        (lambda: X.flip(0), ""),
        (lambda: torch.where(X > 0, X, X), ""),
        (lambda: F.max_pool2d(X, 2), ""),
        (lambda: W @ W, "matmul"),
        (lambda: F.linear(W, W, W[0]), "matmul"),
        (lambda: torch.bmm(X[0], X[0]), "matmul"),
        (lambda: torch.einsum("ij,jk->ik", W, W), "matmul"),
        (lambda: torch.matmul(X, W), "matmul"),
        (lambda: torch.mv(W, W[0]), "matmul"),
        (lambda: F.conv2d(X, K2), "convolution"),
        (lambda: F.conv1d(W[None], K1), "convolution"),
        (lambda: F.conv_transpose2d(X, K2), "convolution"),
        (lambda: F.scaled_dot_product_attention(X, X, X), "attention"),
        (lambda: torch.fft.rfft(W), "fft"),
    ],
)
def test_compute_is_library_work_of_its_class(call: Callable[[], Any], kind: str) -> None:
    found = {op for op in seen(call) if classify(op) == "library"}
    assert found
    assert {library_class(op) for op in found} == {kind}


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("aten.addmm.default", "addmm"),
        ("aten::addmm", "addmm"),
        ("aten::add_.Tensor", "add"),
        ("aten::__and__", "__and__"),
        ("mm", "mm"),
    ],
)
def test_spellings_of_one_operator(name: str, base: str) -> None:
    assert base_name(name) == base


@pytest.mark.parametrize(
    ("name", "verdict", "kind"),
    [
        ("ampere_sgemm_128x64_tn", "library", "matmul"),
        ("nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNT", "library", "matmul"),
        ("sm90_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize128", "library", "matmul"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>", "library", ""),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64>>", "library", "attention"),
        ("void cudnn::winograd_nonfused::winogradForwardData4x4", "library", "convolution"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>", "free", ""),
        (
            "void at::native::elementwise_kernel<128, 4, at::native::direct_copy_kernel_cuda>",
            "free",
            "",
        ),
        ("gemm_softmax_kernel", "free", ""),
        ("my_matmul", "free", ""),
        ("cudaLaunchKernel", "free", ""),
        ("Memcpy DtoD (Device -> Device)", "free", ""),
    ],
)
def test_device_kernels_by_name(name: str, verdict: str, kind: str) -> None:
    assert classify(name) == verdict
    if verdict == "library":
        assert library_class(name) == kind


def test_operators_that_a_kernel_registers_itself_are_not_library() -> None:
    assert classify("mykernels::softmax") == "free"
    assert classify("mkldnn::_linear_pointwise") == "library"


LINEAR = seen(lambda: F.linear(W, W, W[0]))
MLP = seen(lambda: F.gelu(F.linear(W, W)))
SOFTMAX = seen(lambda: F.softmax(X, -1))
ATTENTION = seen(lambda: F.scaled_dot_product_attention(X, X, X))
BLOCK = seen(lambda: F.layer_norm(F.scaled_dot_product_attention(X, X, X), (8,)))
OWN = seen(edges)


@pytest.mark.parametrize("reference", [LINEAR, MLP, SOFTMAX, ATTENTION, BLOCK])
def test_own_work_with_free_edges_passes(reference: Counter[str]) -> None:
    assert rule((), reference, OWN, 1) is None


@pytest.mark.parametrize("reference", [LINEAR, SOFTMAX, ATTENTION])
def test_a_single_operator_must_be_done_by_the_kernel(reference: Counter[str]) -> None:
    finding = rule((), reference, reference, 3)
    assert finding is not None
    assert (finding.tier, finding.rule) == ("reject", "library")
    assert any(op in finding.detail for op in reference if classify(op) == "library")


def test_in_a_fused_task_matmul_may_stay_and_the_rest_may_not() -> None:
    assert may_stay((), MLP) == {"matmul"}
    assert rule((), MLP, seen(lambda: torch.mm(W, W)), 1) is None, "another spelling of the same class"
    finding = rule((), MLP, MLP, 1)
    assert finding is not None
    assert "gelu" in finding.detail
    assert "matmul may stay" in finding.detail


def test_only_classes_that_the_reference_calls_may_stay() -> None:
    assert rule((), BLOCK, ATTENTION, 1) is None
    assert rule((), BLOCK, LINEAR, 1) is not None


def test_the_task_can_allow_more() -> None:
    assert rule(("convolution",), SOFTMAX, seen(lambda: F.conv2d(X, K2)), 1) is None
    assert rule(("softmax", "_softmax"), SOFTMAX, SOFTMAX, 1) is None
    assert rule(("mm",), SOFTMAX, SOFTMAX, 1) is not None


@pytest.mark.parametrize("kernel_ops", [Counter(), OWN, seen(lambda: torch.mm(W, W))])
def test_a_kernel_without_work_of_its_own_is_cheating(kernel_ops: Counter[str]) -> None:
    finding = rule((), MLP, kernel_ops, 0)
    assert finding is not None
    assert finding.rule == "no_own_work"
