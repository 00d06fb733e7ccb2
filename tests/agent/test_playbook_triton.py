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

sys.path.insert(0, str(Path(__file__).parent))
from triton_cases import CASES, COMPILED, HEAD, LARGE


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


FORMS = ("linear_relu", "conv2d", "attention_causal")
"""Of the large products, those whose forms differ most; the others are ``slow``."""
_ALIKE = """
    row_sum_tiny row_mean product_left_transposed conv_transpose2d_dilated sort_places sort_columns sort_integers topk_least
    topk_places histogram_many weighted_histogram embedding_bag_mean embedding_bag_uneven spectrum_short csr_spmv
    attention_written_out
"""
ALIKE = frozenset(_ALIKE.split())
"""Cases whose emitters others go through as well; they are ``slow``."""


def interpret(every: bool = False) -> dict[str, float]:
    """Relative error of every case at its first point, or at each."""
    import torch

    errors = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name, (_, _, sizes, points) in CASES.items():
            if name in ALIKE and not every:
                continue
            planned = program(name)
            for point in points if every else points[:1]:
                expected, model, inputs = build(name, point, sizes, folder, planned)
                given = [v.double() if v.is_floating_point() else v for v in inputs]
                torch.set_default_dtype(torch.float64)
                exact = expected.double()(*given).double()
                torch.set_default_dtype(torch.float32)
                got = model(*inputs)
                assert got.shape == exact.shape
                errors[f"{name} {point}"] = float((got.double() - exact).norm() / exact.norm())
    return errors


def dense(every: bool = False) -> dict[str, list[Any]]:
    """Of products (:data:`FORMS`, or all) whose sizes and addresses allow the large tiles.

    Errors of the kernels and of the reference, and which kernels were launched.
    """
    import torch
    from triton.runtime.interpreter import InterpretedFunction

    from kernelwright.agent.writers.playbook.emit_triton import emit

    launched: list[str] = []
    run = InterpretedFunction.run
    InterpretedFunction.run = lambda self, *a, **k: (launched.append(self.fn.__name__), run(self, *a, **k))[1]
    results = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name in LARGE if every else FORMS:
            sizes = LARGE[name][0]
            text = emit(program(name), {})
            for bound, less in (
                ("m >= 128 and n >= 128 and k >= 256", "k >= 16"),
                ("m >= 64 and n >= 32 and k >= 16", "True"),
                (">= UNITS // 2", ">= 1"),
                ("m >= 1024 or", "True or"),
            ):
                assert bound in text or name == "attention_decode", (name, bound)  # too few rows for the large forms
                text = text.replace(bound, less)
            module = load(text, folder, f"dense_{name}")
            for dtype in (torch.float32, torch.float16):  # Triton's interpreter multiplies the bits of bfloat16
                exec(sizes, module.__dict__)
                namespace: dict[str, Any] = {}
                exec(_resized(CASES[name][0], sizes), namespace)
                torch.manual_seed(0)
                expected, model = namespace["Model"]().to(dtype), module.ModelNew().to(dtype)
                model.load_state_dict(expected.state_dict())
                given = [v.to(dtype) for v in namespace["get_inputs"]()]
                given[0][(1,) * given[0].ndim] = float("inf")
                launched.clear()
                got, same = model(*given), expected(*given)
                exact = expected.double()(*(v.double() for v in given))
                finite = exact.isfinite()
                assert torch.equal(got.double()[~finite].nan_to_num(), exact[~finite].nan_to_num())
                errors = [float((y.double() - exact)[finite].abs().max()) for y in (got, same)]
                results[f"{name} {dtype}"] = [errors[0], errors[1], sorted(set(launched))]
    return results


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


def texts() -> dict[str, str]:
    """Kernel files of the cases that the tests read."""
    from kernelwright.agent.writers.playbook.emit_triton import emit

    return {name: emit(program(name), {}) for name in ("equal_layers", "strides_of_the_first", "attention_causal")}


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


def test_kernels_are_right_in_the_interpreter() -> None:
    right_in_the_interpreter(child("interpret", TRITON_INTERPRET="1"), len(CASES) - len(ALIKE))


@pytest.mark.slow
def test_kernels_are_right_in_the_interpreter_at_every_schedule() -> None:
    points = sum(len(points) for _, _, _, points in CASES.values())
    right_in_the_interpreter(child("interpret_every", TRITON_INTERPRET="1"), points)


def right_in_the_interpreter(errors: dict[str, float], count: int) -> None:
    wrong = {name: error for name, error in errors.items() if not error < 3e-6}
    assert not wrong
    assert len(errors) == count


@pytest.mark.parametrize("task", ["dense", pytest.param("dense_every", marks=pytest.mark.slow)])
def test_large_tiles_are_right_where_a_product_ends_inside_one(task: str) -> None:
    results = child(task, TRITON_INTERPRET="1")
    for name, (_, single, half) in ((n, LARGE[n]) for n in (LARGE if task == "dense_every" else FORMS)):
        for dtype, way in (("float32", single), ("float16", half)):
            error, least, launched = results[f"{name} torch.{dtype}"]
            assert error <= 2 * least + 1e-5, (name, dtype)
            assert any(kernel.endswith(way) for kernel in launched), (name, dtype, launched)


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


def test_what_layers_share_is_written_once_and_what_strides_allow_beside_what_they_do_not() -> None:
    files = child("texts")
    packed = re.findall(r"def (\w+_packed)\(", files["equal_layers"])
    assert len(packed) == 1
    assert files["equal_layers"].count(f"{packed[0]}[") == 4
    strided = files["strides_of_the_first"]
    assert re.search(r"if s\d+ == 3 and s\d+ == 2 and s\d+ == 1:\n\s+launch_(\w+)s\(.*\n\s+else:\n\s+launch_\1\(", strided)
    assert "% (2)" in re.split(r"def launch_\w+s\(", strided)[0]  # the output's phases
    causal = files["attention_causal"]
    assert re.search(r"if attention_ok\(.*\n\s+launch_\w+_attention\(", causal)
    assert causal.count("if not attention_ok(") == 4  # the kernels that store scores


def test_space_starts_with_the_default() -> None:
    for name, (choices, plain, first) in child("spaces").items():
        assert plain == first, name
        assert all(len(set(map(str, values))) == len(values) > 1 for values in choices.values())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    tasks = {
        "texts": texts,
        "interpret": interpret,
        "interpret_every": lambda: interpret(True),
        "dense": dense,
        "dense_every": lambda: dense(True),
        "compile": compiled,
        "spaces": spaces,
        "orders": orders,
    }
    json.dump(tasks[sys.argv[1]](), sys.stdout)
