"""The wire across ATen: what computes is counted, then refused, by every way in; what is free stays free and right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from forked import run_forked

INSTALL = """
import warnings
import numpy as np
import torch
torch.set_num_threads(1)  # the children are forked from here
from kernelwright.evaluator.runner.tripwire import Tripwire
torch.set_grad_enabled(False)
wire = Tripwire("cpu")
x, y, w = torch.randn(4, 6), torch.randn(4, 6), torch.randn(6, 6)
total, product = x + y, x @ w
wire.install([ALLOWED])
raised, result = [], None
def attempt(f):
    try:
        return f()
    except Exception as error:
        raised.append(f"{type(error).__name__}: {error}")
def report():
    return {"tripped": wire.tripped, "raised": raised, "result": result}
"""

COMPUTE = {
    "an operator": ("x + y", "aten::add.Tensor"),
    "a method": ("x.exp()", "aten::exp"),
    "in place": ("x.relu_()", "aten::relu_"),
    "out": ("torch.mul(x, y, out=torch.empty_like(x))", "aten::mul"),
    "by torch.ops": ("torch.ops.aten.mul.Tensor(x, y)", "aten::mul.Tensor"),
    "by the C binding": ("torch._C._VariableFunctions.exp(x)", "aten::exp"),
    "composite": ("torch.nn.functional.linear(x, w)", "aten::"),
    "a reduction": ("x.sum()", "aten::sum"),
    "indexing": ("x[torch.tensor([1, 2])]", "aten::index"),
    "concatenation": ("torch.cat([x, y])", "aten::cat"),
    "attention": ("torch.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None])", "aten::"),
    "convolution": ("torch.nn.functional.conv1d(x[None], torch.empty(2, 4, 3))", "aten::"),
    "an fft": ("torch.fft.rfft(x)", "aten::_fft_r2c"),
    "sparse": ("torch.sparse.mm(SPARSE, w)", "aten::"),
    "sparse rows": ("torch.mv(ROWS, w[0])", "aten::"),
    "quantized": ("torch.ops.quantized.add(QUANTIZED, QUANTIZED, 0.1, 0)", "quantized::add"),
    "mkldnn's space": ("torch.ops.mkldnn._linear_pointwise(x, w, None, 'none', [], '')", "mkldnn::_linear_pointwise"),
    "under autograd": ("torch.enable_grad()(lambda: torch.exp(x.clone().requires_grad_()))()", "aten::exp"),
    "in inference mode": ("torch.inference_mode()(lambda: x + y)()", "aten::add"),
    "below autograd": ("BELOW()", "aten::exp"),
    "vmapped": ("torch.vmap(torch.exp)(x)", "aten::exp"),
    "in a thread": ("IN_THREAD(lambda: x.exp())", "aten::exp"),
    "numpy()": ("x.numpy()", "Tensor.numpy"),
    "np.asarray": ("np.asarray(x)", "Tensor."),
    "dlpack": ("np.from_dlpack(x)", "Tensor.__dlpack__"),
    "to_dlpack": ("torch.utils.dlpack.to_dlpack(x)", "Tensor."),
    "torch._C's dlpack": ("torch._C._to_dlpack(x)", "Tensor._to_dlpack"),
}
WAYS = """
import threading
def IN_THREAD(f):
    got = []
    def run():
        try:
            got.append(f())
        except Exception as error:
            got.append(error)
    t = threading.Thread(target=run); t.start(); t.join()
    if isinstance(got[0], Exception):
        raise got[0]
    return got[0]
def BELOW():
    with torch._C._AutoDispatchBelowAutograd():
        return x.exp()
"""
LAYOUTS = """
SPARSE, ROWS = x.to_sparse(), w.to_sparse_csr()
QUANTIZED = torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)
"""

FREE = """
result = []
wire.arm()
wire.refuse()
attempt(lambda: result.append([
    torch.empty_like(x).fill_(2.0).tolist()[0][0],
    torch.zeros(3).numel(),
    x.t().contiguous().view(-1)[3:5].reshape(2, 1).shape[0],
    x.to(torch.bfloat16).float().double().clone().copy_(x)[0, 0].item() == x[0, 0].item(),
    x.expand(2, 4, 6).permute(1, 0, 2).unsqueeze(0).squeeze(0).is_contiguous(),
    torch.arange(4)[2].item(),
    torch.full((2,), 3.0)[1].item(),
]))
"""

NUMBERS = """(
    e * 2.0, 2.0 - e, e / 3, e + 1j, e ** 0.5, 2 ** e, e > 0.2, e * True, e.double() * 0.1, 0.1 + e.double(), e.half() * 0.1,
    torch.arange(3) + 1, torch.arange(3) * 0.5, torch.arange(3) * True, torch.arange(3) // 2, torch.add(e, 1, alpha=2),
    torch.mul(e, 2.0, out=torch.empty(3)), torch.where(e > 0.2, e, 0.0), e.clamp(min=0.2), e.bfloat16() + 0.1,
)"""

CASES = {
    "free": FREE,
    "disarmed": "result = bool(torch.equal(x + y, total))",
    "constructors after arming": """
wire.arm(); wire.disarm()
torch.manual_seed(0)
m = torch.nn.Linear(3, 3)
result = [bool(m.weight.abs().sum() > 0), m(torch.ones(1, 3)).shape[1]]
""",
    "numbers": f"e = torch.arange(1, 4) / 7\nresult = [(str(t.dtype), str(t.tolist())) for t in {NUMBERS}]",
    "counted numbers": "wire.arm()\nresult = bool(torch.equal(attempt(lambda: x * 2.0), x.clone().copy_(x + x)))",
    "allowed": """
wire.arm(); wire.refuse()
got = attempt(lambda: (x @ w, torch.addmm(y, x, w), torch.nn.functional.linear(x, w)))
wire.disarm()
result = None if got is None else bool(torch.equal(got[0], product))
""",
    "allowed, but not the rest": "wire.arm(); wire.refuse()\nattempt(lambda: torch.relu(x @ w))",
    "errors pass through": "wire.arm()\nattempt(lambda: x @ y)\nattempt(lambda: torch.cat([x, w[:, :2]], 0))",
    "bridges disarmed": "result = [float(x.numpy()[0, 0]) == x[0, 0].item(), float(np.asarray(x)[0, 0]) == x[0, 0].item()]",
    "closed": """
import importlib, importlib.util
result = []
for name in ("numba", "scipy", "sklearn", "jax", "cupy", "torch._inductor.compile_fx"):
    if importlib.util.find_spec(name.partition(".")[0]):
        try:
            importlib.import_module(name)
            result.append(name)
        except ImportError as error:
            raised.append(str(error))
""",
    "compile": "wire.arm()\nwire.refuse()\nattempt(lambda: torch.compile(lambda a: a.exp() * 2)(x))",
}


@pytest.fixture(scope="module")
def done() -> dict[str, Any]:
    snippets = {}
    for name, (expression, _) in COMPUTE.items():
        snippets[f"counted: {name}"] = f"wire.arm()\nattempt(lambda: {expression})"
        snippets[f"refused: {name}"] = f"wire.arm()\nwire.refuse()\nwire.disarm()\nwire.arm()\nattempt(lambda: {expression})"
    found = run_forked("", {**snippets, **CASES}, INSTALL.replace("ALLOWED", "") + WAYS + LAYOUTS)
    allowed = {name: text for name, text in CASES.items() if name.startswith("allowed")}
    return {**found, **run_forked("", allowed, INSTALL.replace("ALLOWED", "'matmul'"))}


@pytest.mark.parametrize("name", COMPUTE)
def test_what_computes_is_counted_before_refusing(done: dict[str, Any], name: str) -> None:
    found = done[f"counted: {name}"]
    assert any(op.startswith(COMPUTE[name][1]) for op in found["tripped"]), found
    assert not [error for error in found["raised"] if "LibraryWork" in error]


@pytest.mark.parametrize("name", COMPUTE)
def test_what_computes_is_refused_after(done: dict[str, Any], name: str) -> None:
    found = done[f"refused: {name}"]
    assert [error for error in found["raised"] if "library work; the kernel must do it itself" in error], found
    assert sum(found["tripped"].values()) == 1, "the first one already stops it"


def test_free_operators_are_free_and_right(done: dict[str, Any]) -> None:
    assert done["free"] == {"tripped": {}, "raised": [], "result": [[2.0, 3, 2, True, False, 2, 3.0]]}


@pytest.mark.parametrize("name", ["disarmed", "constructors after arming", "bridges disarmed"])
def test_the_harness_and_constructors_are_left_alone(done: dict[str, Any], name: str) -> None:
    found = done[name]
    assert (found["tripped"], found["raised"]) == ({}, [])
    assert found["result"] in (True, [True, 3], [True, True])


def test_numbers_keep_torchs_type_promotion(done: dict[str, Any]) -> None:
    e = torch.arange(1, 4) / 7
    wanted = [[str(t.dtype), str(t.tolist())] for t in eval(NUMBERS, {"torch": torch, "e": e})]
    assert done["numbers"] == {"tripped": {}, "raised": [], "result": wanted}
    assert done["counted numbers"]["result"] is True


def test_allowed_classes_call_through(done: dict[str, Any]) -> None:
    assert done["allowed"] == {"tripped": {}, "raised": [], "result": True}
    assert list(done["allowed, but not the rest"]["tripped"]) == ["aten::relu"]
    assert done["allowed, but not the rest"]["raised"]


def test_torchs_own_errors_come_through(done: dict[str, Any]) -> None:
    assert [error.partition(":")[0] for error in done["errors pass through"]["raised"]] == ["RuntimeError"] * 2


def test_packages_that_would_do_the_work_cannot_be_loaded(done: dict[str, Any]) -> None:
    assert done["closed"]["result"] == []
    assert all("not available to kernels" in why for why in done["closed"]["raised"])
    assert [why for why in done["closed"]["raised"] if why.startswith("torch._inductor.compile_fx")]
    assert done["compile"]["raised"]
