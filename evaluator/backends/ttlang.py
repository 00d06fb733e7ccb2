"""TT-Lang for Tenstorrent's Tensix cores, run by the vendor's own functional simulator: no device, no compiler, no timing."""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends import ttlang_probe
from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.syntax import dotted, import_aliases, parse
from kernelwright.tasks.records import Kernel

_PARTS = {
    "launch": "kernelwright.evaluator.ttlang.launch",
    "operation": "ttl.operation",
    "compute": "ttl.compute",
    "datamovement": "ttl.datamovement",
}


class TTLangBackend:
    """Kernels whose work is done by a TT-Lang operation, run by :func:`kernelwright.evaluator.ttlang.launch`."""

    name = "ttlang"

    def available(self, device: str) -> str:
        if device != "cpu":
            return f"the ttlang backend simulates Tensix cores on the CPU, it does not run on {device!r}; use --device cpu"
        return ttlang_probe.problem()

    def build(self, kernel: Kernel, cache: Path) -> Built:
        """Parse, and find the parts; threads are Python, traced by nothing before they run in the runner."""
        began = time.monotonic()
        try:
            found = parts(kernel.source)
        except SyntaxError as error:
            return Built(ok=False, log=f"line {error.lineno}: {error.msg}", seconds=time.monotonic() - began)
        for name, lines in found.items():
            if not lines:
                said = _PARTS[name].removeprefix("kernelwright.evaluator.ttlang.")
                log = (
                    f"the kernel never uses {said}; it needs a function under @ttl.operation with one "
                    "@ttl.compute() and two @ttl.datamovement() threads, run by "
                    "`launch(operation, *tensors)` with `from kernelwright.evaluator.ttlang import launch`"
                )
                return Built(ok=False, log=log, seconds=time.monotonic() - began)
        return Built(ok=True, evidence={"ttlang": found}, seconds=time.monotonic() - began)

    def run_entry(self, device: str) -> Mapping[str, str]:
        return {"KERNELWRIGHT_IMPORT": "kernelwright.evaluator.ttlang_simulator,kernelwright.evaluator.ttlang_language"}

    def diagnose(self, kernel: Kernel, built: Built) -> Mapping[str, Any]:
        """Where the parts are; a functional simulator says nothing of speed."""
        return dict(built.evidence)


def parts(source: str) -> dict[str, list[int]]:
    """Lines of a source's uses of what every TT-Lang kernel has.

    Raises:
        SyntaxError: it does not parse.
    """
    tree = parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        names.update(import_aliases(node))
    found: dict[str, list[int]] = {name: [] for name in _PARTS}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            path = dotted(node, names)
            for name in [name for name, part in _PARTS.items() if part == path]:
                found[name].append(node.lineno)
    return found
