"""Triton-Ascend without an NPU: its linalg compiled by the vendor's `bishengir-compile` to HIVM, and lowered to the host.

The vendor's packages own the name `triton`, so they live in an environment of their own (:mod:`.ascend_environment`); its
compiler is :mod:`.toolchain_hivm`'s.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from kernelwright.evaluator.ascend_environment import Toolchain
from kernelwright.evaluator.ascend_scans import SCALARS, defined
from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.toolchain import machine, run_limited
from kernelwright.evaluator.toolchain_hivm import SECONDS, LastStep, compile_hivm

_PASSES = """
    --inline --symbol-dce --convert-elementwise-to-linalg --linalg-generalize-named-ops --eliminate-empty-tensors
    --empty-tensor-to-alloc-tensor
    --one-shot-bufferize=allow-return-allocs-from-loops=true --convert-linalg-to-loops --buffer-deallocation-pipeline
    --expand-strided-metadata --memref-expand --lower-affine --convert-scf-to-cf --convert-math-to-llvm --convert-math-to-libm
    --convert-cf-to-llvm --convert-arith-to-llvm --convert-index-to-llvm
    --finalize-memref-to-llvm=use-generic-functions=true --convert-func-to-llvm --convert-arith-to-llvm --convert-cf-to-llvm
    --reconcile-unrealized-casts
"""
_SANITIZE = (
    "-fsanitize=kernel-address", "-mllvm", "-asan-instrumentation-with-call-threshold=0", "-mllvm", "-asan-stack=0",
    "-mllvm", "-asan-globals=0", "-mllvm", "-asan-kernel-mem-intrinsic-prefix",
)  # fmt: skip
"""A call before each access, of functions that ``ascendtri/host.c`` defines."""
_CODE = ("-O2", "-march=native", "-ffp-contract=off", "-fPIC")
_CALLED = re.compile(
    r"__asan_\w+|_mlir_memref_to_llvm_\w+|memrefCopy|__(?:trunc|extend|fix|float)\w+"
    r"|(?:a?(?:sin|cos|tan)h?|exp(?:2|m1)?|log(?:2|10|1p)?|pow|sqrt|cbrt|erfc?|floor|ceil|trunc|round(?:even)?|rint|nearbyint"
    r"|fma|fmod|fmax|fmin|fabs|atan2|[lt]gamma|copysign|ldexp)f?"
)
"""What lowered code may call: the functions that look at accesses, those of ``host.c``, arithmetic of the compiler's, libm."""
_FOREIGN = re.compile(r"\bllvm\.(?!readnone\b)\w+|\basm_\w+")
"""Operations that the host would run unseen: inline assembly above all."""
_COUNTED = re.compile(r"hivm\.hir\.(set_flag|wait_flag|pipe_barrier|sync_block_set|sync_block_wait)\b|call @(\w+)\(")
_BUFFER = re.compile(r"pointer_cast\(([^)]*)\) : memref<([^,>]*), #hivm\.address_space<(\w+)>")
_WIDTHS = {"i1": 1, "i8": 1, "f16": 2, "bf16": 2, "i16": 2, "f32": 4, "i32": 4, "i64": 8, "f64": 8}
_MEMORIES = {"ub": "ub_bytes", "cbuf": "l1_bytes", "cc": "l0c_bytes"}


@dataclass(frozen=True)
class Compiled:
    """One specialisation: the host library, and what the vendor's compiler made of it."""

    path: str
    instructions: Mapping[str, int] = field(default_factory=dict)
    """Calls and synchronisation in HIVM; static, once a place in the code."""
    memory: Mapping[str, int] = field(default_factory=dict)
    """Bytes of UB, L1 and L0C that the compiler laid out."""
    notes: Sequence[str] = ()
    """What it said of having to try again."""
    atomic: bool = False
    """The kernel has atomics: its programs are not compared."""
    binary: Mapping[str, Any] = field(default_factory=dict)
    """As :class:`.Hivm` has it."""
    seconds: float = 0.0


def compile_linalg(
    linalg: str,
    signature: Sequence[str],
    toolchain: Toolchain,
    cache: Path,
    multibuffer: bool = True,
    seconds: float = SECONDS,
    last: LastStep | None = None,
) -> Compiled:
    """Compile the linalg of one launch for a 910B, and lower it to a host library in ``cache``.

    ``signature``: types of the arguments that are no constants, in order. ``last``: what makes an NPU's binary of it, too.

    Raises:
        NotModelled: a compiler crashes or does not end on it, or the host cannot run it.
        BuildError: the vendor's compiler refuses it; ``log`` is what it said.
    """
    tools = (toolchain.identity, last.identity if last else "", machine())
    parts = (linalg, *signature, str(multibuffer), *tools, _PASSES, *_CODE, *_SANITIZE, _host())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    library, facts = cache / f"{key}.so", cache / f"{key}.json"
    if library.exists() and facts.exists():
        return Compiled(**{**json.loads(facts.read_text()), "path": str(library), "seconds": 0.0})
    cache.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=cache) as scratch:
        folder = Path(scratch)
        hivm = compile_hivm(linalg, toolchain, folder, multibuffer, seconds, last)
        _lower(linalg, signature, toolchain, folder, seconds)
        atomic = 'GenericAtomicRMW = "' in linalg  # no name of the kernel's can hold this
        counts, memory = _instructions(hivm.text), _memory(hivm.text)
        found = Compiled(str(library), counts, memory, hivm.notes, atomic, hivm.binary)
        (folder / "facts.json").write_text(json.dumps(asdict(found)))
        (folder / "facts.json").replace(facts)
        (folder / "kernel.so").replace(library)
    return Compiled(**{**asdict(found), "seconds": round(time.perf_counter() - began, 3)})


@cache
def _host() -> str:
    return (Path(__file__).parent / "ascendtri" / "host.c").read_text()


def _lower(linalg: str, signature: Sequence[str], toolchain: Toolchain, folder: Path, seconds: float) -> None:
    """``kernel.so`` of the same linalg, with every access looked at."""
    text = re.sub(r" \{hivm\.[a-z_]+\}", "", linalg)
    if foreign := _FOREIGN.search(text):
        raise NotModelled(f"the vendor compiles it, the host does not run {foreign[0]}")
    text = defined(text)
    name = re.search(r"func\.func @(\w+)\(", text)
    if name is None or text.count("func.func @") != 1:
        raise NotModelled("its linalg is not one function")
    (folder / "host.mlir").write_text(text.replace(f"func.func @{name[1]}(", "func.func @kw_kernel("))
    _step(
        folder,
        seconds,
        toolchain.tool("mlir-opt"),
        "host.mlir",
        "--allow-unregistered-dialect",
        *_PASSES.split(),
        "-o",
        "llvm.mlir",
    )
    _step(folder, seconds, toolchain.tool("mlir-translate"), "--mlir-to-llvmir", "llvm.mlir", "-o", "plain.ll")
    plain = (folder / "plain.ll").read_text()
    (folder / "kernel.ll").write_text(re.sub(r"(?m)^(define .*) \{$", r"\1 sanitize_address {", plain))
    (folder / "glue.c").write_text(_host() + glue(signature))
    clang = toolchain.tool("clang")
    _step(folder, seconds, clang, *_CODE, "-w", *_SANITIZE, "-c", "-x", "ir", "kernel.ll", "-o", "kernel.o")
    _step(folder, seconds, clang, *_CODE, "-w", "-c", "glue.c", "-o", "glue.o")
    if strangers := _called(folder, seconds):
        raise NotModelled(f"the vendor compiles it, the host cannot run it: it calls {strangers[0]}")
    linked = ("-shared", "-Wl,-Bsymbolic", "-Wl,-z,defs", "kernel.o", "glue.o", "-lm", "-o", "kernel.so")
    _step(folder, seconds, clang, *linked)


def _step(folder: Path, seconds: float, *command: str) -> None:
    code = run_limited(command, folder, seconds)
    if code == 0:
        return
    log = (folder / "stderr.txt").read_text(errors="replace")[:8000]
    first = next((line for line in log.splitlines() if "error" in line or "undefined" in line), log[:200])
    ended = "was stopped" if code is None else f"ended with {code}"
    what = re.sub(r"^\S+?:\d+:\d+: |^\S*ld: ", "", first.strip())[:250]
    raise NotModelled(f"the vendor compiles it, the host cannot run it: {Path(command[0]).name} {ended}: {what}", log)


def _called(folder: Path, seconds: float) -> list[str]:
    """Functions that the lowered kernel calls and that nobody here knows: what they touch would not be looked at."""
    if run_limited([shutil.which("nm") or "nm", "-u", "kernel.o"], folder, seconds) != 0:
        return ["what `nm` would tell, which is not here"]
    names = [line.split()[-1] for line in (folder / "stderr.txt").read_text().splitlines() if line.split()]
    return [name for name in names if name not in SCALARS and not _CALLED.fullmatch(name)]


def glue(signature: Sequence[str]) -> str:
    """C that calls the kernel for one program: memrefs spelled out, scalars by their types, then grid and place."""
    empty = ["(char *)0, (char *)0, (int64_t)0, (int64_t)0, (int64_t)1"] * 2
    memref = "char *, char *, int64_t, int64_t, int64_t"
    types, given = [memref] * 2, empty
    for n, kind in enumerate(signature):
        if kind.startswith("*"):
            types.append(memref)
            given.append(f"a[{n}].pointer, a[{n}].pointer, (int64_t)0, a[{n}].elements, (int64_t)1")
            continue
        types.append(_C_TYPES[kind])
        given.append(f"({_C_TYPES[kind]})a[{n}].{'real' if kind.startswith('fp') else 'integer'}")
    types += ["int32_t"] * 6
    given += ["grid[0], grid[1], grid[2], at[0], at[1], at[2]"]
    return (
        f"\nvoid kw_kernel({', '.join(types)});\n"
        "void kw_program(const Argument *a, const int32_t *grid, const int32_t *at) {\n"
        f"  kw_kernel({', '.join(given)});\n}}\n"
    )


_C_TYPES = {
    "i1": "_Bool", "i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t",
    "u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t", "fp32": "float", "fp64": "double",
}  # fmt: skip


def _instructions(hivm: str) -> dict[str, int]:
    found = Counter(match[1] or match[2] for match in _COUNTED.finditer(hivm))
    return dict(sorted(found.items()))


def _memory(hivm: str) -> dict[str, int]:
    """The highest byte that a buffer of each on-chip memory ends at."""
    found: dict[str, int] = {}
    values = {name: int(value) for name, value in re.findall(r"(%c\w*_i64\w*) = arith\.constant (-?\d+) : i64", hivm)}
    for at, shape, space in _BUFFER.findall(hivm):
        *sizes, kind = shape.split("x")
        if not all(size.isdigit() for size in sizes) or kind not in _WIDTHS or space not in _MEMORIES:
            continue
        ends = [
            values[place.strip()] + prod(map(int, sizes)) * _WIDTHS[kind] for place in at.split(",") if place.strip() in values
        ]
        found[_MEMORIES[space]] = max([found.get(_MEMORIES[space], 0), *ends])
    return found


def summary(compiled: Compiled, spec: Mapping[str, Any]) -> dict[str, Any]:
    """One launch for the verdict's evidence."""
    return {
        "name": spec["function"],
        "signature": dict(spec["signature"]),
        "constexprs": dict(spec["constants"]),
        **dict(compiled.memory),
        "instructions": dict(compiled.instructions),
        **({"notes": list(compiled.notes)} if compiled.notes else {}),
        **({"atomic": True} if compiled.atomic else {}),
        **({"binary": dict(compiled.binary)} if compiled.binary else {}),
        "compile_seconds": compiled.seconds,
    }
