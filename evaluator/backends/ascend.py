"""Kernels for a 910B: Ascend C in our own functional model of a vector core and, where one is asked for, on an NPU; and
Triton-Ascend, compiled by the vendor's compiler and run on the host."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.evaluator.ascend_environment import ARCH, toolchain
from kernelwright.evaluator.ascend_source import kernels, launched
from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.backends.triton import jit_functions
from kernelwright.evaluator.build import build_native, native_sources
from kernelwright.evaluator.cann import REMEDY
from kernelwright.evaluator.chip_npu import Npu
from kernelwright.evaluator.chip_probe import Found
from kernelwright.evaluator.chip_probe import chip as try_chip
from kernelwright.evaluator.toolchain import missing_compiler, npu_key
from kernelwright.evaluator.toolchain_cann import build_launchers, compiler
from kernelwright.tasks.records import Kernel


class AscendBackend:
    """Kernels whose work is done by ``load(ascend=…)``, or by ``@triton.jit`` functions."""

    name = "ascend"
    chip = Npu()
    """What device ``npu`` is. A subclass for tests puts torch's CPU there."""

    def available(self, device: str) -> str:
        kind, _, index = device.partition(":")
        if kind not in ("cpu", "npu"):
            return f"the ascend backend runs on an NPU or simulates a 910B core, not on {device!r}; use --device cpu or npu"
        return missing_compiler() or (self._no_npu(int(index or 0)) if kind == "npu" else "")

    def _no_npu(self, index: int) -> str:
        if self.chip.stands_in or (problem := self.chip.absent()):
            return "" if self.chip.stands_in else problem
        using = compiler()
        if isinstance(using, str):
            return using or f"an NPU is here and no CANN, whose compiler makes what runs on it; {REMEDY}"
        return self.facts(index).problem

    def facts(self, index: int) -> Found:
        """What NPU ``index`` is, and why it cannot be used where it cannot."""
        return try_chip(self.chip, index)

    def launchers(self, kernel: Kernel, cache: Path) -> Mapping[str, str]:
        """For each Ascend C source a library of its kernels and of a host function for each, by the vendor's compiler.

        Raises:
            BuildError: it makes none.
        """
        sources = [native.source for native in native_sources(kernel.source) if native.language == "ascend"]
        return {npu_key(source): build_launchers(launched(source, kernels(source)), cache) for source in sources}

    def build(self, kernel: Kernel, cache: Path) -> Built:
        """Compile the Ascend C; Triton-Ascend is compiled when it is launched, since only then its constants are known."""
        built = build_native(kernel.source, cache)
        if not built.ok:
            return built
        languages = {report.get("language") for report in built.evidence.get("native", ())}
        functions = jit_functions(kernel.source)
        if functions and not languages:
            return _triton(kernel.source, functions, built)
        if functions or languages != {"ascend"}:
            return Built(
                ok=False,
                log="an ascend kernel loads Ascend C and no other native code, or has @triton.jit functions; it needs "
                "`lib = load(ascend=r'''#include \"kernel_operator.h\" … extern \"C\" __global__ __aicore__ void …''')` "
                "with `from kernelwright.evaluator.native import load`, or `import triton` and `@triton.jit`, and not both",
                seconds=built.seconds,
            )
        return built

    def run_entry(self, device: str) -> Mapping[str, str]:
        kind, _, index = device.partition(":")
        return self.chip.environment(int(index or 0)) if kind == "npu" else {}

    def diagnose(self, kernel: Kernel, built: Built) -> Mapping[str, Any]:
        """The kernels and where they stand; neither a functional model nor the host says anything of speed."""
        found = {"native": [dict(report) for report in built.evidence.get("native", ())], "warnings": built.log}
        return found | {name: built.evidence[name] for name in ("triton",) if name in built.evidence}


def _triton(source: str, functions: list[dict[str, Any]], built: Built) -> Built:
    found = toolchain()
    if isinstance(found, str):
        return Built(ok=False, log=f"a Triton-Ascend kernel, and {found}", seconds=built.seconds, unsupported=True)
    top = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    inner = [f"{function['name']} (line {function['line']})" for function in functions if function["name"] not in top]
    if inner:
        log = f"@triton.jit functions stand at the top level of the source; {', '.join(inner)} does not"
        return Built(ok=False, log=log, seconds=built.seconds)
    evidence = {**built.evidence, "triton": {"functions": functions, "target": ARCH, "compiler": found.versions}}
    return Built(ok=True, log=built.log, evidence=evidence, seconds=built.seconds)
