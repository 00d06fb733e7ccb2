"""Triton-Ascend kernels: what needs no toolchain. The machine that looks at accesses, and what is believed of whom."""

from __future__ import annotations

import ast
import ctypes
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from triton_ascend import REDTEAM, SOFTMAX

from kernelwright.evaluator import native_ascend, replies, selftest
from kernelwright.evaluator.ascend_compiler import BadLaunch, checked
from kernelwright.evaluator.ascend_scans import defined
from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.ascendtri import worker
from kernelwright.evaluator.backends import ascend_launches, ascend_triton
from kernelwright.evaluator.backends.ascend import AscendBackend
from kernelwright.evaluator.runner.sandbox import Plan
from kernelwright.evaluator.runner.visible import visible
from kernelwright.evaluator.specimens import load_corpus
from kernelwright.evaluator.toolchain_hivm import refused
from kernelwright.evaluator.toolchain_triasc import _host, _instructions, _memory, glue
from kernelwright.tasks.records import Kernel

LAUNCH: dict[str, Any] = {"function": "f", "signature": {"x": "*fp32", "n": "i32"}, "constants": {"B": 64}, "options": {}}
NO_LAST_STEP = """\
[ERROR] Cannot find hivmc under $PATH
[ERROR] Failed to run `hivmc --version`.
[WARNING] Failed to detect hivmc version for backward compatibility
[ERROR] Cannot find hivmc under $PATH
loc("kernel.mlir":1:1): error: External hivmc run fails, returning module before running external compiler
[ERROR] Failed to run BiShengIR pipeline
"""
OVERFLOW = """\
[ERROR] Cannot find hivmc under $PATH
[ERROR] Failed to run `hivmc --version`.
[NOTE] Ub overflow detected; automatically set enable-code-motion to false and retrying compilation.
loc("kernel.mlir":1:1): error: Failed to run BiShengHIR pipeline
loc("kernel.mlir":2:3): error: ub overflow, requires 4194304 bits while 1572864 bits available! (possible reason: …)
[ERROR] Failed to run BiShengIR pipeline
"""


def test_the_missing_last_step_is_the_only_failure_that_passes() -> None:
    assert refused(NO_LAST_STEP) == []
    assert refused(OVERFLOW)[0].startswith("ub overflow, requires 4194304 bits")
    assert refused(NO_LAST_STEP + "loc(\"k\":3:1): error: 'hivm.hir.vfoo' op unknown\n") == ["'hivm.hir.vfoo' op unknown"]
    general = 'loc("k":1:1): error: Failed to run BiShengHIR pipeline\n[ERROR] Failed to run BiShengIR pipeline\n'
    assert refused(general), "no other word is no success"


def test_hivm_is_read() -> None:
    text = """
    %c0_i64 = arith.constant 0 : i64
    %c4096_i64 = arith.constant 4096 : i64
    %1 = hivm.hir.pointer_cast(%c0_i64, %c4096_i64) : memref<1024xf32, #hivm.address_space<ub>>
    %2 = hivm.hir.pointer_cast(%c4096_i64) : memref<8x16xf16, #hivm.address_space<cc>>
    hivm.hir.set_flag[<PIPE_V>, <PIPE_MTE2>, <EVENT_ID0>]
    func.call @load_gm_to_ubuf_1d_float(%1) : () -> ()
    func.call @load_gm_to_ubuf_1d_float(%1) : () -> ()
    """
    assert _memory(text) == {"ub_bytes": 8192, "l0c_bytes": 4096 + 256}
    assert _instructions(text) == {"load_gm_to_ubuf_1d_float": 2, "set_flag": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"function": "f; rm"},
        {"signature": {"x": "*fp12"}},
        {"signature": {"x": "i32); evil("}},
        {"constants": {"B": [1]}},
        {"constants": {"B": {"float": "1e999"}}},
        {"constants": {"x": 1}},
        {"options": {"target": "host"}},
        {"more": 1},
    ],
)
def test_what_a_runner_says_of_a_launch_is_checked(change: dict[str, Any]) -> None:
    assert checked(LAUNCH) == LAUNCH
    with pytest.raises(BadLaunch):
        checked({**LAUNCH, **change})


def test_a_wanted_launch_is_all_that_is_taken_of_an_answer() -> None:
    reply = {"wanted": [LAUNCH], "failed": "runtime_error", "message": "NotCompiled", "traceback": []}
    assert replies.parse("call", reply) == {"wanted": [LAUNCH]}


def test_of_a_source_the_worker_executes_jitted_functions_and_constants_alone() -> None:
    text = (
        "import torch, triton\nfrom os import system\nimport triton.language as tl\n"
        "N: tl.constexpr = 2 * 3\nK = tl.constexpr(4)\nE = system('x')\nT = tl.float32\n"
        "@triton.autotune([], [])\n@triton.jit\ndef f(x): pass\ndef g(): pass\nclass M: pass\nsystem('y')\n"
    )
    kept = [ast.unparse(node) for node in ast.parse(text).body if worker._kept(node)]
    constants = ["N: tl.constexpr = 2 * 3", "K = tl.constexpr(4)", "T = tl.float32"]
    assert kept[:5] == ["import triton", "import triton.language as tl", *constants]
    assert kept[5].splitlines() == ["@triton.jit", "def f(x):", "    pass"]
    assert len(kept) == 6


def test_types_and_constants_of_a_launch() -> None:
    names = {"x": False, "y": False, "n": False, "one": False, "kept": True, "big": False, "f": False, "flag": False}
    params = [SimpleNamespace(name=name, is_constexpr=False, do_not_specialize=no) for name, no in names.items()]
    params.append(SimpleNamespace(name="B", is_constexpr=True, do_not_specialize=False))
    values = (torch.zeros(2, dtype=torch.bfloat16), None, 5, 1, 1, 1 << 40, 0.5, True, float("-inf"))
    bound = dict(zip([*names, "B"], values, strict=True))
    signature, constants = ascend_launches._specialise(SimpleNamespace(params=params), bound)
    assert signature == {"x": "*bf16", "n": "i32", "kept": "i32", "big": "i64", "f": "fp32", "flag": "i1"}
    assert constants == {"y": None, "one": 1, "B": {"float": "-inf"}}
    with pytest.raises(TypeError, match="float64"):
        ascend_launches._specialise(SimpleNamespace(params=params), {**bound, "x": torch.zeros(2, dtype=torch.float64)})


def test_a_grid_is_at_most_what_the_npu_launches() -> None:
    assert ascend_launches._grid(lambda given: (given["n"], 2), {"n": 3}) == (3, 2, 1)
    assert ascend_launches._grid((65535,), {}) == (65535, 1, 1)
    with pytest.raises(ValueError, match="at most 65535"):
        ascend_launches._grid((256, 256), {})


def test_a_kernel_is_of_one_kind_and_its_functions_at_the_top(tmp_path: Path) -> None:
    both = SOFTMAX + "\nfrom kernelwright.evaluator.native import load\nlib = load(cpp='extern \"C\" void f(float* x) {}')\n"
    built = AscendBackend().build(Kernel(both, "ascend"), tmp_path)
    assert not built.ok
    assert "and not both" in built.log
    assert ascend_triton.uses_triton(SOFTMAX)
    assert not ascend_triton.uses_triton("import torch")


def test_without_a_toolchain_the_self_test_leaves_its_kernels_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERNELWRIGHT_ASCEND_ENV", str(tmp_path))
    corpus = load_corpus(REDTEAM, "ascend")
    left = [specimen.name for specimen in corpus if not selftest.tried_here(specimen)]
    assert left == [specimen.name for specimen in corpus if "import triton" in specimen.source]
    assert len(left) >= 16


def test_the_environment_is_shown_to_whom_it_is_named_for(tmp_path: Path) -> None:
    assert str(tmp_path) in visible(False, True, (), (str(tmp_path),)).read
    assert not any(str(tmp_path).startswith(f"{path}/") or path == str(tmp_path) for path in visible(False, True).read)
    assert Plan.of(json.loads(json.dumps(asdict(Plan(seen=("/a", "/b")))))).seen == ("/a", "/b")


# The machine of ascendtri/host.c, driven by kernels in C that call what an instrumented kernel calls.
KERNELS = """
static void put(int64_t *p, int64_t v) { __asan_store8_noabort((char *)p); *p = v; }
static int64_t get(int64_t *p) { __asan_load8_noabort((char *)p); return *p; }
void kw_program(const Argument *a, const int32_t *grid, const int32_t *at) {
  int64_t *x = (int64_t *)a[0].pointer, *o = (int64_t *)a[1].pointer, n = a[2].integer, p = at[0];
  switch (a[3].integer) {
    case 0: put(o + p, get(x + p) + 1); break;                             /* as it should be */
    case 1: put(o + p, get(x + p + n)); break;                             /* reads past the end */
    case 2: put(o + p - 1, 0); break;                                      /* writes before the start */
    case 3: put(o, get(x + p)); break;                                     /* all write one place */
    case 4: put(o, 7); break;                                              /* all write the same there */
    case 5: put(o + p, p ? get(o + p - 1) + 1 : 1); break;                 /* reads a neighbour's result */
    case 6: put(o + p, ((int64_t *)_mlir_memref_to_llvm_alloc(64))[3]); break; /* an uninitialised buffer */
    case 7: { char *b = _mlir_memref_to_llvm_alloc(64); __asan_load8_noabort(b + 60); break; }
    case 8: { char *b = _mlir_memref_to_llvm_alloc(64); _mlir_memref_to_llvm_free(b); __asan_load8_noabort(b); break; }
    case 9: __asan_memcpy((char *)(o + p), (char *)(x + n - 1), 16); break; /* a copy that ends past the end */
    case 10: put(o + p, p * 100 + at[1] * 10 + at[2]); break;
  }
}
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("machine")
    (folder / "machine.c").write_text(_host() + KERNELS)
    command = [compiler, "-O1", "-w", "-shared", "-fPIC", "machine.c", "-o", "machine.so"]
    subprocess.run(command, cwd=folder, check=True)
    entry = ctypes.CDLL(str(folder / "machine.so")).kw_run
    entry.argtypes = [ctypes.c_void_p]

    def launch(kind: int, x: torch.Tensor, o: torch.Tensor, programs: int, times: int = 1, compare: bool = True) -> None:
        made = ascend_launches.Launches()
        made._entries["k"] = (entry, compare)
        for _ in range(times):
            made.count += 1
            made._run("kernel", "k", (programs, 1, 1), {"x": x, "o": o, "n": x.numel(), "kind": kind})

    return launch


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (1, r"program \(0, 0, 0\): reads 8 bytes outside every tensor of the launch, 8 bytes past the end of `x`"),
        (2, "writes 8 bytes outside every tensor of the launch, 8 bytes before the start of `o`"),
        (3, "a race: another program of the launch wrote another value to the same byte"),
        (5, "a race: reads what another program of the launch wrote"),
        (7, "outside every tensor"),
        (8, "outside every tensor"),
        (9, "reads 16 bytes outside every tensor of the launch, 8 bytes past the end of `x`"),
    ],
)
def test_an_access_that_is_not_the_programs_own_ends_the_launch(machine: Callable[..., None], kind: int, words: str) -> None:
    x, o = torch.arange(8), torch.zeros(8, dtype=torch.int64)
    with pytest.raises(native_ascend.SimulatedFault, match=words):
        machine(kind, x, o, 8)
    with pytest.raises(native_ascend.SimulatedFault):  # and it is kept, whoever catches it
        native_ascend.check()
    native_ascend._faults.clear()


def test_what_is_sound_runs_in_both_orders(machine: Callable[..., None]) -> None:
    x, o = torch.arange(8), torch.zeros(8, dtype=torch.int64)
    machine(0, x, o, 8, times=2)
    assert o.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    machine(4, x, o, 8, times=2)  # equal values are no race
    assert o[0] == 7
    machine(6, x, o, 8)
    assert o.tolist() == [-1] * 8
    machine(10, x, o, 8)
    assert o.tolist() == [100 * n for n in range(8)]


def test_order_shows_where_programs_are_not_compared(machine: Callable[..., None]) -> None:
    x, o = torch.arange(8), torch.zeros(8, dtype=torch.int64)
    seen = []
    for times in (1, 2):
        machine(3, x, o, 8, times=times, compare=False)
        seen.append(int(o[0]))
    assert seen == [7, 0]


def test_scans_of_the_vendors_library_are_written_out() -> None:
    declared = "func.func private @triton_cumprod_0(tensor<4x8xi32>, i32, i1) -> tensor<4x8xi32>\n"
    body = "%c0_i32 = arith.constant 0 : i32\n%2 = call @triton_cumprod_0(%1, %c0_i32, %false) : (…)\n"
    text = defined(declared + body)
    assert text.endswith(body)
    assert "arith.muli %sum, %v : i32" in text
    assert "scf.for %i = %c0 to %n0" in text
    assert "tensor.extract %given[%at, %i1]" in text
    sort = (declared + body).replace("cumprod", "sort")
    for other in (sort, declared + body.replace("0 : i32", "x")):
        with pytest.raises(NotModelled, match="of the vendor's library"):
            defined(other)


def test_the_glue_spells_every_argument() -> None:
    text = glue(["*fp32", "i32", "i64", "fp32", "i1", "u64"])
    memref = "char *, char *, int64_t, int64_t, int64_t"
    assert f"void kw_kernel({memref}, {memref}, {memref}, int32_t, int64_t, float, _Bool, uint64_t, int32_t" in text
    assert "(float)a[3].real" in text
    assert "(uint64_t)a[5].integer" in text
