"""C++ on the host: OpenMP, vector extensions, a plain shared library bound by ctypes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends.backend import Built
from kernelwright.evaluator.build import build_native
from kernelwright.evaluator.toolchain import missing_compiler
from kernelwright.tasks.records import Kernel

_INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\t(\w+)(.*)$", re.MULTILINE)
_SCALAR = re.compile(r"v?(?:add|sub|mul|div|sqrt|max|min|fn?m(?:add|sub)\d+)s[sd]$")
_SPILL = re.compile(r"%[yz]mm\d+,-?(?:0x[0-9a-f]+)?\(%r[sb]p\)")
_MATHS = re.compile(r"<_*(?:ZGV\w+_)?((?:exp|log|sin|cos|tan|pow|erf|sqrt|cbrt|sinh|cosh|tgamma|lgamma)\w*)@plt>")


class CppBackend:
    """Kernels whose work is done by ``load(cpp=…)`` on the CPU."""

    name = "cpp"

    def available(self, device: str) -> str:
        if device != "cpu":
            return f"the cpp backend runs on the CPU, not on {device!r}; use --device cpu"
        return missing_compiler()

    def build(self, kernel: Kernel, cache: Path) -> Built:
        built = build_native(kernel.source, cache)
        if built.ok and not built.libraries:
            return Built(
                ok=False,
                log="the kernel loads no native code; a cpp kernel needs `lib = load(cpp=r'''extern \"C\" …''')` "
                "with `from kernelwright.evaluator.native import load`",
                seconds=built.seconds,
            )
        return built

    def run_entry(self, device: str) -> Mapping[str, str]:
        return {}

    def diagnose(self, kernel: Kernel, built: Built) -> Mapping[str, Any]:
        """Per library: which loops were vectorised and which were not, and the instruction mix by ``objdump``."""
        found = []
        for report in built.evidence.get("native", ()):
            found.append(dict(report) | {"instructions": instruction_mix(report["path"])})
        return {"native": found, "warnings": built.log}


def instruction_mix(library: str) -> dict[str, int]:
    """Instructions that bear on speed, counted over the whole library; empty without objdump.

    By vector width (``zmm``, ``ymm``), ``scalar float`` arithmetic, fused multiply-adds, gathers, scatters, divisions and
    square roots, vector registers spilled to the stack, calls, and each function of libm that is called (``calls expf``).
    """
    objdump = shutil.which("objdump")
    if not objdump:
        return {}
    done = subprocess.run(
        [objdump, "-d", "--no-show-raw-insn", library], capture_output=True, text=True, timeout=30, check=False
    )
    mix: Counter[str] = Counter()
    for name, operands in _INSTRUCTION.findall(done.stdout):
        mix["total"] += 1
        for width in ("zmm", "ymm"):
            if f"%{width}" in operands:
                mix[width] += 1
                break
        mix["fma"] += name.startswith(("vfmadd", "vfnmadd", "vfmsub", "fmla"))
        mix["scalar float"] += bool(_SCALAR.match(name))
        mix["gather"] += "gather" in name
        mix["scatter"] += "scatter" in name
        mix["divide"] += name.startswith(("vdiv", "div", "idiv", "fdiv", "vsqrt", "sqrt", "fsqrt"))
        mix["spill"] += bool(_SPILL.search(operands)) and name.startswith("vmov")
        mix["call"] += name.startswith("call")
        if called := _MATHS.search(operands) if name.startswith("call") else None:
            mix[f"calls {called[1]}"] += 1
    return {name: count for name, count in mix.items() if count}
