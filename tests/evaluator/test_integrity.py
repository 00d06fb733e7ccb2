"""What may not change in a runner's process is told when it changes, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from forked import run_forked

IMPORTS = """
import gc, json, os, socket, sys, threading, time, warnings
import torch, triton, triton.testing, triton.runtime.jit
import kernelwright.evaluator.runner.candidate as candidate
import kernelwright.evaluator.native as native
from kernelwright.evaluator.runner import clockwork, integrity, observe
torch.set_num_threads(1)
torch.set_grad_enabled(False)
"""
SETUP = """
snapshot = integrity.Integrity()
raised = ""
def report():
    by_parts = sorted({name for _ in range(integrity._TURNS) for name in snapshot.broken(whole=False)})
    return {"broken": snapshot.broken(), "by_parts": by_parts, "raised": raised}
"""

BROKEN = {
    "the clock": ("time.perf_counter = lambda: 0.0", "time.perf_counter"),
    "the clock in nanoseconds": ("time.perf_counter_ns = lambda: 0", "time.perf_counter_ns"),
    "a module's attribute gone": ("del time.monotonic", "time.monotonic"),
    "synchronisation": ("torch.cuda.synchronize = lambda *a: None", "torch.cuda.synchronize"),
    "an event's method": ("torch.cuda.Event.elapsed_time = lambda *a: 0.0", "torch.cuda.streams.Event.elapsed_time"),
    "a tensor's method": ("torch.Tensor.detach = lambda t: t", "Tensor.detach"),
    "a method that was not there": ("torch.Tensor.equals = lambda t: True", "torch.Tensor.equals"),
    "a module's call": ("torch.nn.Module.__call__ = lambda *a: None", "torch.nn.modules.module.Module.__call__"),
    "the profiler": ("torch.autograd.profiler.profile = object", "torch.autograd.profiler.profile"),
    "a function's code": ("clockwork.run_calls.__code__ = (lambda call, inputs, flush, head, cuda: None).__code__",
                          "clockwork.run_calls"),
    "the runner's loop": ("clockwork.run_calls = print", "clockwork.run_calls"),
    "the name where it is used": ("candidate.run_calls = print", "candidate.run_calls"),
    "the runner's own method": ("candidate.Candidate.export = print", "candidate.Candidate.export"),
    "the count": ("native.calls = lambda: 7", "native.calls"),
    "the observer": ("observe.observe = print", "observe.observe"),
    "triton's launcher": ("triton.runtime.jit.JITFunction = object", "triton.runtime.jit.JITFunction"),
    "triton's stopwatch": ("triton.testing.do_bench = print", "triton.testing.do_bench"),
    "json": ("json.dumps = str", "json.dumps"),
    "writing": ("os.write = print", "os.write"),
    "collection": ("gc.disable()", "the garbage collector"),
    "the number of threads": ("torch.set_num_threads(2)", "torch.num_threads"),
    "TF32": ("torch.backends.cuda.matmul.allow_tf32 = True", "torch.backends.cuda.matmul.allow_tf32"),
    "TF32 by precision": ("torch.set_float32_matmul_precision('medium')", "torch.float32_matmul_precision"),
    "cuDNN": ("torch.backends.cudnn.enabled = False", "torch.backends.cudnn.enabled"),
    "the default dtype": ("torch.set_default_dtype(torch.float64)", "torch.default_dtype"),
    "mkldnn": ("torch.backends.mkldnn.enabled = False", "torch.mkldnn"),
    "deterministic mode": ("torch.use_deterministic_algorithms(True)", "torch.deterministic"),
    "denormals": ("torch.set_flush_denormal(True)", "the treatment of denormals"),
    "tracing": ("sys.settrace(lambda *a: None)", "sys.settrace"),
    "profiling": ("sys.setprofile(lambda *a: None)", "sys.setprofile"),
    "tracing of threads": ("threading.settrace(lambda *a: None)", "threading.settrace"),
    "a variable": ("os.environ['OMP_NUM_THREADS'] = '1'", "os.environ['OMP_NUM_THREADS']"),
    "a variable gone": ("del os.environ['PATH']", "os.environ['PATH']"),
}  # fmt: skip

FREE = {
    "nothing": "",
    "a seed": "torch.manual_seed(3)",
    "a model": "m = torch.nn.Linear(3, 3)\nm(torch.randn(2, 3))",
    "a class of its own": "class T(torch.nn.Module):\n    def forward(self, x): return x\nT()(1)",
    "a lazy import": "import torch.utils.flop_counter, colorsys",
    "warnings": "warnings.simplefilter('ignore')",
    "a collection": "gc.collect()",
    "what libraries set": "os.environ['TRITON_CACHE_DIR'] = '/x'\nos.environ['CUDA_MODULE_LOADING'] = 'LAZY'",
    "a profile": "observe.observe(lambda: torch.zeros(3), False)",
    "gradients for a moment": "with torch.enable_grad():\n    (torch.ones(2, requires_grad=True) * 2).sum().backward()",
    "an operator of its own": ("@torch.library.custom_op('mine::f', mutates_args=())\n"
                               "def f(x: torch.Tensor) -> torch.Tensor:\n    return x.clone()\nf(torch.empty(2))"),
    "a Triton kernel": "import triton.language as tl\n@triton.jit\ndef k(x): tl.store(x, 1.0)",
}  # fmt: skip


@pytest.fixture(scope="module")
def done() -> dict[str, Any]:
    return run_forked(SETUP, {**{name: text for name, (text, _) in BROKEN.items()}, **FREE}, IMPORTS)


@pytest.mark.parametrize("name", BROKEN)
def test_change_is_named(done: dict[str, Any], name: str) -> None:
    assert done[name]["raised"] == ""
    assert [what for what in done[name]["broken"] if what.endswith(BROKEN[name][1])], done[name]
    assert set(done[name]["by_parts"]) == set(done[name]["broken"])


@pytest.mark.parametrize("name", FREE)
def test_what_honest_code_does_breaks_nothing(done: dict[str, Any], name: str) -> None:
    assert done[name] == {"broken": [], "by_parts": [], "raised": ""}
