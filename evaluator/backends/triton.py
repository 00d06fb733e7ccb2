"""Triton: on a GPU, or interpreted on the CPU where there is none (numerics only, never a time)."""

from __future__ import annotations

import ast
import ctypes
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.build import build_native
from kernelwright.evaluator.syntax import dotted, import_aliases, parse
from kernelwright.tasks.records import Kernel

_JIT = frozenset({"triton.jit", "triton.runtime.jit", "triton.runtime.jit.jit", "triton.experimental.gluon.jit"})
EXECUTOR = "KERNELWRIGHT_TRITON"
"""Says in a runner's environment who executes launches: ``ttsem``; else Triton itself, which may interpret."""
_COMMON = {"TRITON_DEFAULT_FP_FUSION": "1"}
"""Triton 3.10 changes the default of fusing multiply and add: say which one is meant."""
BY_IR: Mapping[str, str] = {EXECUTOR: "ttsem", **_COMMON}
"""Environment of a runner whose launches are executed by :mod:`.triton_semantics`."""
TTSEM = "0.1.0"
_TTSEM_TRITON = (3, 8)
_TUNE = frozenset({"triton.autotune", "triton.heuristics", "triton.runtime.autotuner.autotune"})


class TritonBackend:
    """Kernels whose work is done by ``@triton.jit`` functions."""

    name = "triton"

    def available(self, device: str) -> str:
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed; pip install triton (Linux only)"
        if device == "cpu":
            return ""
        if device != "cuda":
            return f"the triton backend runs on cuda, or interpreted on cpu, not on {device!r}"
        return driver_problem()

    def build(self, kernel: Kernel, cache: Path) -> Built:
        """Compile what ``load(cpp=…)`` asks for; Triton itself compiles at the first launch, in the runner."""
        built = build_native(kernel.source, cache)
        if not built.ok:
            return built
        functions = jit_functions(kernel.source)
        note = {} if functions else {"note": "no @triton.jit function found in the source"}
        return Built(
            ok=True,
            libraries=built.libraries,
            log=built.log,
            evidence={**built.evidence, "triton": {"functions": functions, **note}},
            seconds=built.seconds,
        )

    def run_entry(self, device: str) -> Mapping[str, str]:
        return _COMMON | {"TRITON_INTERPRET": "1"} if device == "cpu" else _COMMON

    def diagnose(self, kernel: Kernel, built: Built) -> Mapping[str, Any]:
        """The jitted functions; registers, spills and instructions come from the runner, by ``triton_compile``."""
        return dict(built.evidence)


def jit_functions(source: str) -> list[dict[str, Any]]:
    """Every ``@triton.jit`` function of a source: name, line, number of arguments, constexprs, whether it is tuned."""
    tree = parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        names.update(import_aliases(node))
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        marks = [dotted(d.func if isinstance(d, ast.Call) else d, names) for d in node.decorator_list]
        if _JIT.isdisjoint(marks):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        constexprs = [a.arg for a in arguments if a.annotation is not None and "constexpr" in ast.unparse(a.annotation)]
        found.append(
            {
                "name": node.name,
                "line": node.lineno,
                "arguments": len(arguments),
                "constexprs": constexprs,
                "tuned": not _TUNE.isdisjoint(marks),
            }
        )
    return found


def semantics_problem() -> str:
    """Why no launch can be executed by its IR here; empty where it can."""
    if importlib.util.find_spec("ttsem") is None:
        return "ttsem is not installed; pip install 'kernelwright[ttsem]' (Python 3.12)"
    try:
        found, triton = importlib.metadata.version("ttsem"), importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError as missing:
        return f"{missing.name} is not installed"
    if found != TTSEM:
        return f"ttsem is {found}; kernelwright works with {TTSEM}"
    if tuple(int(part) for part in triton.split(".")[:2]) < _TTSEM_TRITON:
        return f"triton is {triton}; ttsem needs 3.8"
    return ""


def driver_problem() -> str:
    """Why there is no GPU driver. Opens no device: a process that has opened one is of no use as a fork-server."""
    for library, nodes in (
        ("libcuda.so.1", ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")),
        ("libamdhip64.so", ("/dev/kfd",)),
    ):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        if any(Path(node).exists() for node in nodes):
            return ""
    return "no GPU driver found (libcuda.so.1 and /dev/nvidiactl); use --device cpu to interpret, or a machine with a GPU"
