"""Kernels that the playbook emits for Triton.

They are right in the interpreter, and compile for sm_90 without spills. Run as a script, this file is the child that does so.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

HEAD = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"


def reference(sizes: str, forward: str, inputs: str, init: str = "", arguments: str = "x") -> str:
    """A reference in KernelBench's form."""
    return f"""{HEAD}{sizes}

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {init or "pass"}

    def forward(self, {arguments}):
        return {forward}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""


ROWS = "n, m = 4096, 4096"
CASES: dict[str, tuple[str, list[str], str, list[dict[str, Any]]]] = {
    # name: (source, sizes traced, sizes run, points)
    "softmax": (
        reference(ROWS, "torch.softmax(x, -1)", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 7, 301",
        [
            {},
            {"row_tile": 16384},
            {"schedule": "loop", "loop_tile": 64},
            {"schedule": "loop", "loop_tile": 64, "online_unroll": 1},
            {"schedule": "split"},
        ],
    ),
    "layer_norm": (
        reference(ROWS, "self.f(x)", "torch.randn(n, m)", "self.f = nn.LayerNorm(m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 5, 203",
        [{}, {"schedule": "loop", "loop_tile": 32}, {"schedule": "split"}, {"row_tile": 16384}],
    ),
    "sum_all": (
        reference(ROWS, "(x * x).mean()", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 61, 67",
        [{}, {"schedule": "loop", "loop_tile": 512}],
    ),
    "row_sum_ragged": (
        reference(ROWS, "x.sum(-1)", "torch.randn(n, m)"),
        ["n, m = 4096, 50257", "n, m = 33, 129"],
        "n, m = 9, 77",
        [{}, {"loop_tile": 16}],
    ),
    "row_sum_tiny": (
        reference(ROWS, "x.sum(-1)", "torch.randn(n, m)"),
        ["n, m = 4096, 50257", "n, m = 33, 129"],
        "n, m = 11, 3",
        [{}],
    ),
    "softmax_column": (
        reference("n, c, m = 8, 512, 256", "torch.softmax(x, 1)", "torch.randn(n, c, m)"),
        ["n, c, m = 8, 512, 256", "n, c, m = 3, 7, 65"],
        "n, c, m = 2, 19, 37",
        [{}, {"schedule": "loop", "loop_tile": 128}, {"schedule": "split"}],
    ),
    "column_sum": (
        reference(ROWS, "x.sum(0)", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 41, 37",
        [{}, {"schedule": "row"}],
    ),
    "row_mean": (reference(ROWS, "x.mean(1)", "torch.randn(n, m)"), [ROWS, "n, m = 33, 129"], "n, m = 7, 301", [{}]),
    "reduced_again": (  # over the one element that a reduction left
        reference(
            ROWS, "F.gelu(x.amax(1, keepdim=True) * 2 - x.amax(1, keepdim=True).mean(1, keepdim=True))", "torch.randn(n, m)"
        ),
        [ROWS, "n, m = 33, 129"],
        "n, m = 7, 301",
        [{}],
    ),
    "argmax": (
        reference(ROWS, "x.argmax(-1)", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 6, 77",
        [{}, {"schedule": "loop", "loop_tile": 16}, {"schedule": "split"}],
    ),
    "cumsum": (
        reference(ROWS, "torch.cumsum(x, 1)", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 5, 301",
        [{}, {"schedule": "loop", "loop_tile": 64}],
    ),
    "cross_entropy": (
        reference(ROWS, "F.cross_entropy(x, t)", "torch.randn(n, m), torch.randint(0, m, (n,))", arguments="x, t"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 21, 131",
        [{}, {"schedule": "loop", "loop_tile": 64}],
    ),
    "transposed_map": (
        reference(ROWS, "torch.tanh(x.t() + b[:, None]).contiguous()", "torch.randn(n, m), torch.randn(m)", arguments="x, b"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 35, 50",
        [{}],
    ),
    "linear_relu": (
        reference("n, k, m = 2048, 2048, 2048", "torch.relu(self.f(x))", "torch.randn(n, k)", "self.f = nn.Linear(k, m)"),
        ["n, k, m = 2048, 2048, 2048", "n, k, m = 17, 33, 65"],
        "n, k, m = 37, 130, 45",
        [{}, {"split_k": 4}, {"tile32": "16x64x32x4x3", "precision": "ieee", "swizzle": 1}],
    ),
    "conv2d": (
        reference(
            "b, c, o, h, w = 8, 32, 32, 28, 28", "self.f(x)", "torch.randn(b, c, h, w)", "self.f = nn.Conv2d(c, o, 3, 2, 1)"
        ),
        ["b, c, o, h, w = 8, 32, 32, 28, 28", "b, c, o, h, w = 2, 5, 9, 7, 9"],
        "b, c, o, h, w = 2, 5, 9, 11, 14",
        [{}, {"split_k": 2}],
    ),
    "max_pool2d": (
        reference("b, c, h, w = 8, 32, 28, 28", "F.max_pool2d(x, 3, 2, 1)", "torch.randn(b, c, h, w)"),
        ["b, c, h, w = 8, 32, 28, 28", "b, c, h, w = 2, 5, 7, 9"],
        "b, c, h, w = 2, 5, 11, 14",
        [{}],
    ),
    "scatter": (
        reference(
            ROWS, "torch.zeros(n, m).index_add(0, t, x)", "torch.randn(n, m), torch.randint(0, n, (n,))", arguments="x, t"
        ),
        [ROWS, "n, m = 33, 129"],
        "n, m = 19, 23",
        [{}],
    ),
}

ENDS = "torch.cat((torch.tensor([0]), torch.randint(0, z + 1, (n - 1,)).sort().values, torch.tensor([z])))"
"""Where rows of a compressed sparse matrix start and end: of uneven length, some empty."""
TIES = "torch.randint(0, 9, (n, m)).float()"
CASES |= {
    "sort": (
        reference(ROWS, "torch.sort(x, -1).values * 2", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 5, 301",
        [{}, {"order_tile": 1024, "order_lane": 8}, {"order_run": 64, "merge_block": 128}],
    ),
    "sort_places": (
        reference(ROWS, "torch.sort(x, dim=-1, descending=True, stable=True).indices", TIES),
        [ROWS, "n, m = 33, 129"],
        "n, m = 5, 301",
        [{}, {"order_run": 64}],
    ),
    "sort_columns": (
        reference(ROWS, "torch.sort(x, 0, descending=True).values", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 67, 19",
        [{}, {"order_run": 16}],
    ),
    "sort_integers": (
        reference(ROWS, "torch.sort(x, -1).values", "torch.randint(-(2**40), 2**40, (n, m))"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 3, 77",
        [{}],
    ),
    "topk": (
        reference(ROWS, "torch.topk(x, 5).values", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 6, 301",
        [{}, {"order_tile": 64}, {"order_tile": 1}],
    ),
    "topk_least": (
        reference(ROWS, "torch.topk(x, 1, largest=False).values", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 6, 77",
        [{}, {"order_tile": 16}],
    ),
    "topk_places": (
        reference(ROWS, "torch.topk(x, 3, dim=0).indices", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 77, 6",
        [{}, {"order_tile": 16}],
    ),
    "histogram": (
        reference(
            ROWS, "torch.bincount(x, minlength=b.shape[0])", "torch.randint(0, n, (m,)).int(), torch.zeros(n)", arguments="x, b"
        ),
        ["n, m = 256, 4096", "n, m = 33, 129"],
        "n, m = 77, 5003",
        [{}, {"count_block": 1024, "count_programs": 2}],
    ),
    "histogram_many": (  # more bins than a program holds
        reference(
            ROWS, "torch.bincount(x, minlength=b.shape[0])", "torch.randint(0, n, (m,)).int(), torch.zeros(n)", arguments="x, b"
        ),
        ["n, m = 256, 4096", "n, m = 33, 129"],
        "n, m = 5003, 1001",
        [{}],
    ),
    "weighted_histogram": (
        reference(
            ROWS,
            "torch.bincount(x, w, minlength=b.shape[0]).float()",
            "torch.randint(0, n, (m,)), torch.rand(m), torch.zeros(n)",
            arguments="x, w, b",
        ),
        ["n, m = 256, 4096", "n, m = 33, 129"],
        "n, m = 77, 1003",
        [{}],
    ),
    "embedding_bag": (
        reference(
            "n, k, m = 1000, 12, 64",
            "F.embedding_bag(i, t, mode='sum')",
            "torch.randint(0, 4 * n, (n, k)), torch.randn(4 * n, m)",
            arguments="i, t",
        ),
        ["n, k, m = 1000, 12, 64", "n, k, m = 33, 5, 129"],
        "n, k, m = 21, 7, 77",
        [{}, {"schedule": "loop", "loop_tile": 64}],
    ),
    "embedding_bag_mean": (
        reference(
            "n, k, m = 1000, 12, 64",
            "F.embedding_bag(i, t)",
            "torch.randint(0, 4 * n, (n, k)), torch.randn(4 * n, m)",
            arguments="i, t",
        ),
        ["n, k, m = 1000, 12, 64", "n, k, m = 33, 5, 129"],
        "n, k, m = 21, 7, 77",
        [{}],
    ),
    "embedding_bag_uneven": (
        reference(
            "n, z, m = 1000, 4096, 64",
            "F.embedding_bag(i, t, o[:-1], mode='sum', per_sample_weights=w)",
            f"torch.randint(0, n, (z,)), torch.randn(n, m), {ENDS}, torch.rand(z)",
            arguments="i, t, o, w",
        ),
        ["n, z, m = 1000, 4096, 64", "n, z, m = 33, 129, 65"],
        "n, z, m = 21, 307, 37",
        [{}, {"span_tile": 8, "column_block": 32}],
    ),
    "csr_spmm": (
        reference(
            "n, z, m = 1000, 4096, 64",
            "torch.segment_reduce(v[:, None] * x[c], 'sum', offsets=o, axis=0, initial=0)",
            f"{ENDS}, torch.randint(0, n, (z,)), torch.randn(z), torch.randn(n, m)",
            arguments="o, c, v, x",
        ),
        ["n, z, m = 1000, 4096, 64", "n, z, m = 33, 129, 65"],
        "n, z, m = 21, 307, 37",
        [{}, {"span_tile": 8, "column_block": 32}],
    ),
    "spectrum": (
        reference(ROWS, "torch.view_as_real(torch.fft.rfft(x * 2))", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 128"],
        "n, m = 5, 512",
        [{}, {"spectrum_lane": 8, "spectrum_tile": 512}],
    ),
    "spectrum_short": (
        reference(ROWS, "torch.view_as_real(torch.fft.rfft(x))", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 128"],
        "n, m = 35, 4",
        [{}],
    ),
    "csr_spmv": (
        reference(
            "n, z = 1000, 4096",
            "torch.segment_reduce(v * x[c], 'sum', offsets=o, initial=0)",
            f"{ENDS}, torch.randint(0, n, (z,)), torch.randn(z), torch.randn(n)",
            arguments="o, c, v, x",
        ),
        ["n, z = 1000, 4096", "n, z = 33, 129"],
        "n, z = 21, 307",
        [{}, {"span_tile": 8}],
    ),
}

COMPILED: dict[str, tuple[str, dict[str, Any], str]] = {
    # name: (sizes, point, an instruction that must be there)
    "softmax": ("n, m = 64, 8192", {}, "LDG.E.128"),
    "layer_norm": ("n, m = 64, 4096", {}, "LDG.E.128"),
    "row_sum_ragged": ("n, m = 64, 50257", {}, "LDG(STS)?.E(.BYPASS)?.*128"),
    "row_mean": ("n, m = 64, 1", {}, "STG"),  # Triton hands an argument that is 1 to the compiler as a plain number
    "linear_relu": ("n, k, m = 2048, 2048, 2048", {}, "HGMMA"),
    "transposed_map": ("n, m = 64, 64", {}, "STG.E.128"),
    "sort": ("n, m = 64, 1024", {}, "LDG.E.(64|128)"),
    "topk": ("n, m = 64, 256", {}, "SHFL.BFLY"),
    "histogram": ("n, m = 256, 8192", {}, "(ATOM|RED)G?.E.ADD.*"),
    "spectrum": ("n, m = 64, 2048", {}, "SHFL.BFLY"),
    "csr_spmm": ("n, z, m = 64, 1024, 64", {}, "LDG.E.*"),
}


def program(name: str, order: int = 1) -> Any:
    """The traced program of a case; ``order`` -1: traced at its sizes the other way round."""
    from kernelwright.agent.writers.playbook.export import answer
    from kernelwright.agent.writers.playbook.holder import forward_arguments
    from kernelwright.agent.writers.playbook.program import program_of

    source, traced, _, _ = CASES[name]
    variants = [[_resized(source, sizes)] for sizes in traced[::order]]
    answered = answer({"variants": variants, "training": False, "seconds": 60, "arguments": forward_arguments(source)[1]})
    assert not answered["problem"], (name, answered["problem"])
    return program_of(answered["graphs"], source)


def _resized(source: str, sizes: str) -> str:
    head = HEAD.rstrip().splitlines()
    lines = source.splitlines()
    return "\n".join([*lines[: len(head)], sizes, *lines[len(head) + 1 :]])


def load(text: str, folder: str, name: str) -> types.ModuleType:
    """A kernel file as a module (Triton reads its functions' text from the file)."""
    import importlib.util

    path = Path(folder) / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def build(name: str, point: dict[str, Any], sizes: str, folder: str, planned: Any) -> tuple[Any, Any, list[Any]]:
    """The reference and the emitted model with equal parameters, and inputs, at ``sizes``."""
    import torch

    from kernelwright.agent.writers.playbook.emit_triton import emit

    module = load(emit(planned, point), folder, f"kernel_{name}_{abs(hash(json.dumps(point)))}")
    exec(sizes, module.__dict__)  # the constructor's sizes, which a judge passes as arguments
    namespace: dict[str, Any] = {}
    exec(_resized(CASES[name][0], sizes), namespace)
    torch.manual_seed(0)
    expected, model = namespace["Model"](), module.ModelNew()
    model.load_state_dict(expected.state_dict())
    return expected, model, namespace["get_inputs"]()


def interpret() -> dict[str, float]:
    """Relative error of every case at every point."""
    import torch

    errors = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name, (_, _, sizes, points) in CASES.items():
            planned = program(name)
            for point in points:
                expected, model, inputs = build(name, point, sizes, folder, planned)
                given = [v.double() if v.is_floating_point() else v for v in inputs]
                torch.set_default_dtype(torch.float64)
                exact = expected.double()(*given).double()
                torch.set_default_dtype(torch.float32)
                got = model(*inputs)
                assert got.shape == exact.shape
                errors[f"{name} {point}"] = float((got.double() - exact).norm() / exact.norm())
    return errors


def compiled() -> dict[str, Any]:
    """Spilled bytes and instructions of each kernel in :data:`COMPILED`, for sm_90 and bfloat16."""
    import torch
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import JITFunction

    class Driver:
        get_current_device = staticmethod(lambda: 0)
        get_current_stream = staticmethod(lambda device=None: 0)
        get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))

    triton.runtime.driver.set_active(Driver())
    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    seen: list[Any] = []
    run = JITFunction.run
    JITFunction.run = lambda self, *a, grid=None, warmup=False, **k: seen.append(run(self, *a, grid=grid, warmup=True, **k))
    results = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name, (sizes, point, _) in COMPILED.items():
            seen.clear()
            _, model, inputs = build(name, point, sizes, folder, program(name))
            model.to(torch.bfloat16)(*[v.bfloat16() if v.is_floating_point() else v for v in inputs])
            for number, kernel in enumerate(seen):
                path = Path(folder) / f"{name}{number}.cubin"
                path.write_bytes(kernel.asm["cubin"])
                usage = subprocess.run(
                    [tools / "cuobjdump", "-res-usage", path], capture_output=True, text=True, check=True
                ).stdout
                code = subprocess.run([tools / "nvdisasm", "-c", path], capture_output=True, text=True, check=True).stdout
                stack = re.search(r"STACK:(\d+)", usage)
                words = sorted(set(re.findall(r"\b[A-Z]+[A-Z0-9]*(?:\.[A-Z0-9]+)+|HGMMA", code)))
                results[f"{name} {number}"] = {"stack": int(stack.group(1)) if stack else -1, "code": words}
    return results


def spaces() -> dict[str, tuple[dict[str, Any], str, str]]:
    """A case's parameters, its kernel file at no point and at every parameter's first value, without their first lines."""
    from kernelwright.agent.writers.playbook.emit_triton import emit, space

    found = {}
    for name in ("softmax", "linear_relu", "sort", "topk", "histogram", "spectrum", "csr_spmm"):
        planned = program(name)
        choices = space(planned)
        first = {key: values[0] for key, values in choices.items()}
        found[name] = (choices, *(emit(planned, point).split("\n", 1)[1] for point in ({}, first)))
    return found


def orders() -> dict[str, bool]:
    """Whether a program that was traced at a small shape first gives the kernels of one traced at a large shape first."""
    from kernelwright.agent.writers.playbook.emit_triton import emit, space

    found = {}
    for name in ("softmax", "column_sum", "linear_relu", "conv2d"):
        large, small = program(name), program(name, -1)
        assert large.hints != small.hints
        found[name] = emit(large, {}) == emit(small, {}) and space(large) == space(small)
    return found


def child(task: str, **environment: str) -> Any:
    """What ``task`` gives in a fresh interpreter."""
    scrubbed = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, __file__, task],
        capture_output=True,
        text=True,
        env={**scrubbed, **environment},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_kernels_are_right_in_the_interpreter_at_every_schedule() -> None:
    errors = child("interpret", TRITON_INTERPRET="1")
    wrong = {name: error for name, error in errors.items() if not error < 3e-6}
    assert not wrong
    assert len(errors) == sum(len(points) for _, _, _, points in CASES.values())


def test_default_points_compile_for_sm90_without_spills() -> None:
    triton = pytest.importorskip("triton")
    if not (Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump").exists():
        pytest.skip("this triton ships no cuobjdump")
    results = child("compile")
    assert {name.split()[0] for name in results} == set(COMPILED)
    assert not {name: r["stack"] for name, r in results.items() if r["stack"]}
    for name, (_, _, instruction) in COMPILED.items():
        words = [w for key, r in results.items() if key.split()[0] == name for w in r["code"]]
        assert any(re.fullmatch(f".*{instruction}.*", w) for w in words), (name, words)


def test_schedules_are_chosen_by_the_largest_shape_wherever_it_was_traced() -> None:
    assert child("orders") == dict.fromkeys(("softmax", "column_sum", "linear_relu", "conv2d"), True)


def test_space_starts_with_the_default() -> None:
    for name, (choices, plain, first) in child("spaces").items():
        assert plain == first, name
        assert all(len(set(map(str, values))) == len(values) > 1 for values in choices.values())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    json.dump({"interpret": interpret, "compile": compiled, "spaces": spaces, "orders": orders}[sys.argv[1]](), sys.stdout)
