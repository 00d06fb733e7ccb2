"""JAX Pallas for TPU: on a TPU, or interpreted as a TPU would run it where there is none, and lowered by the real compiler."""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends import pallas_probe
from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.chip_probe import Found
from kernelwright.evaluator.chip_probe import chip as try_chip
from kernelwright.evaluator.chip_tpu import Tpu
from kernelwright.evaluator.syntax import dotted, import_aliases, parse
from kernelwright.tasks.records import Kernel

_LAUNCH = "kernelwright.evaluator.pallas.launch"
_IMPORTS = ",".join(pallas_probe.IMPORTS)
"""Imported by the fork-server: none of them starts a thread or a device."""
_PALLAS_CALL = ("jax.experimental.pallas.pallas_call",)


class PallasBackend:
    """Kernels whose work is done by ``pl.pallas_call``, called through :func:`kernelwright.evaluator.pallas.launch`."""

    name = "pallas"
    chip = Tpu()
    """What device ``tpu`` is. A subclass for tests puts the interpreter there."""

    def available(self, device: str) -> str:
        kind, _, index = device.partition(":")
        if kind not in ("cpu", "tpu"):
            return f"the pallas backend runs on a TPU or simulates one, not on {device!r}; use --device cpu or tpu"
        return pallas_probe.jax_problem() or (self.facts(int(index or 0)).problem if kind == "tpu" else "")

    def facts(self, index: int) -> Found:
        """What chip ``index`` is, and why it cannot be used where it cannot."""
        return try_chip(self.chip, index)

    def build(self, kernel: Kernel, cache: Path) -> Built:
        """Parse, and find the calls; Pallas is traced in the runner, since a trace executes the kernel's Python."""
        began = time.monotonic()
        try:
            found = pallas_calls(kernel.source)
        except SyntaxError as error:
            return Built(ok=False, log=f"line {error.lineno}: {error.msg}", seconds=time.monotonic() - began)
        if not found["launch"] or not found["pallas_call"]:
            missing = "launch" if not found["launch"] else "pl.pallas_call"
            log = (
                f"the kernel never calls {missing}; it needs `from kernelwright.evaluator.pallas import launch` and "
                "`launch(function, *tensors)` around a function that uses pl.pallas_call"
            )
            return Built(ok=False, log=log, seconds=time.monotonic() - began)
        return Built(ok=True, evidence={"pallas": {**found, "libtpu": _libtpu()}}, seconds=time.monotonic() - began)

    def launchers(self, kernel: Kernel, cache: Path) -> Mapping[str, str]:
        """None: JAX compiles what is launched."""
        return {}

    def run_entry(self, device: str) -> Mapping[str, str]:
        kind, _, index = device.partition(":")
        if kind == "tpu":
            return {**self.chip.environment(int(index or 0)), "KERNELWRIGHT_IMPORT": _IMPORTS}
        own = {"KERNELWRIGHT_IMPORT": _IMPORTS, "KERNELWRIGHT_LIBTPU": pallas_probe.libtpu().mode}
        return pallas_probe.environment() | own

    def diagnose(self, kernel: Kernel, built: Built) -> Mapping[str, Any]:
        """Where the calls are; what lowering and libtpu say comes from the runner."""
        return dict(built.evidence)


def _libtpu() -> bool | str:
    """Whether libtpu compiles ahead, or why it does not give all that it could."""
    found = pallas_probe.libtpu()
    return found.problem or bool(found.mode)


def pallas_calls(source: str) -> dict[str, list[int]]:
    """Lines of a source's uses of ``launch`` and ``pallas_call``.

    Raises:
        SyntaxError: it does not parse.
    """
    tree = parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        names.update(import_aliases(node))
    found: dict[str, list[int]] = {"launch": [], "pallas_call": []}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            path = dotted(node, names)
            if path == _LAUNCH:
                found["launch"].append(node.lineno)
            elif path in _PALLAS_CALL:
                found["pallas_call"].append(node.lineno)
    return found
