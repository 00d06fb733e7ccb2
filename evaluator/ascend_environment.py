"""Where Triton-Ascend, its compiler and LLVM are, whether they work, and how they are installed. Runs nothing of a kernel's.

The vendor's packages own the name `triton`: they live in a virtual environment of their own, by default below the user's cache
folder. `KERNELWRIGHT_ASCEND_ENV` names another one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kernelwright.evaluator.toolchain import run_limited

ARCH = "Ascend910B1"
PLACE = "KERNELWRIGHT_ASCEND_ENV"
TRIED = {"triton-ascend": "3.2.0", "ascendnpu-ir": "1.2.0"}
PACKAGES = ("numpy", "pybind11")
"""What Triton-Ascend needs and does not ask for; torch it does not need to compile."""
PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))
APT = ("mlir-19-tools", "llvm-19", "clang-19")
TOOLS = ("mlir-opt", "mlir-translate", "clang")
REMEDY = "kernelwright doctor --install ascend"
_LLVM = Path("/usr/lib/llvm-19/bin")
_SECONDS = 90.0
_ASK = """
import json, importlib.metadata as m
found = {n: m.version(n) for n in ("triton-ascend", "ascendnpu-ir")}
import triton, ascendnpuir, pathlib
from triton.backends.ascend.compiler import AscendBackend, make_ttir, ttir_to_linalg
found["vendor"] = str(pathlib.Path(ascendnpuir.__file__).parent / "bin" / "bishengir-compile")
print("\\n" + json.dumps(found))
"""


@dataclass(frozen=True)
class Toolchain:
    """What was found, all of it working when it was asked."""

    python: Path
    vendor: Path
    """`bishengir-compile`."""
    tools: tuple[str, ...]
    """Paths of :data:`TOOLS`."""
    versions: str

    @property
    def identity(self) -> str:
        """What a compiled kernel depends on."""
        return f"{self.versions} {self.vendor} {' '.join(self.tools)}"

    @property
    def place(self) -> Path:
        return self.python.parent.parent

    def tool(self, name: str) -> str:
        return self.tools[TOOLS.index(name)]

    def seen(self) -> tuple[str, ...]:
        """Folders that its python needs to see."""
        return tuple(dict.fromkeys((str(self.place), *_base(self.place))))


def _base(place: Path) -> list[str]:
    """Where the environment's python comes from."""
    try:
        lines = (place / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return []
    homes = [line.partition("=")[2].strip() for line in lines if line.partition("=")[0].strip() == "home"]
    return [str(Path(home).resolve().parent) for home in homes]


def place() -> Path:
    """Where the environment is, or is to be."""
    if given := os.environ.get(PLACE):
        return Path(given).expanduser().absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "kernelwright" / "ascend"


def toolchain() -> Toolchain | str:
    """The toolchain, or why it cannot be used: one line with the remedy. Tried once in a process and place."""
    return _tried(str(place()), os.environ.get("PATH", ""))


@cache
def _tried(where: str, path: str) -> Toolchain | str:
    python = Path(where) / "bin" / "python"
    if not python.exists():
        return f"Triton-Ascend is not installed (no {python}); {REMEDY}"
    said = _asked(python)
    if isinstance(said, str):
        return f"the Triton-Ascend in {where} cannot be used: {said}; {REMEDY}"
    tools = tuple(filter(None, map(_tool, TOOLS)))
    if len(tools) != len(TOOLS):
        lacking = ", ".join(f"{name}-19" for name in TOOLS if not _tool(name))
        return f"{lacking} not found, which run Triton-Ascend kernels on the host; apt-get install {' '.join(APT)}"
    vendor = Path(said["vendor"])
    problem = _vendor_problem(vendor)
    if problem:
        return f"the Triton-Ascend in {where} cannot be used: {problem}; {REMEDY}"
    versions = ", ".join(f"{name} {said[name]}" for name in TRIED)
    return Toolchain(python, vendor, tools, versions)


def _asked(python: Path) -> dict[str, str] | str:
    """What the environment's python says of its packages, or why it cannot."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            code = run_limited([str(python), "-I", "-c", _ASK], folder, _SECONDS)
        except OSError as error:
            return f"its python does not start ({error.strerror})"
        said = (folder / "stderr.txt").read_text(errors="replace").strip().splitlines() or [""]
    if code is None:
        return f"importing it takes longer than {_SECONDS:g} s"
    if code != 0:
        return said[-1][:200] or f"its python ended with {code}"
    try:
        found = json.loads(said[-1])
    except ValueError:
        return f"it does not say its version, but {said[-1][:80]!r}"
    other = [f"{name} {found.get(name)}" for name, tried in TRIED.items() if found.get(name) != tried]
    if other:
        return f"it has {', '.join(other)}, and this judge was tried with {', '.join(map(' '.join, TRIED.items()))}"
    return {str(key): str(value) for key, value in found.items()}


def _vendor_problem(vendor: Path) -> str:
    if not os.access(vendor, os.X_OK):
        return "the package ascendnpu-ir has no bishengir-compile"
    try:
        done = subprocess.run([str(vendor), "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bishengir-compile does not start ({type(error).__name__})"
    if done.returncode != 0 or "bishengir" not in done.stdout:
        first = (done.stderr.strip().splitlines() or [""])[0][:160]
        return f"bishengir-compile --version ended with {done.returncode} {first}".strip()
    return ""


def _tool(name: str) -> str:
    return shutil.which(f"{name}-19") or (str(_LLVM / name) if (_LLVM / name).exists() else "")


def steps() -> list[list[str]]:
    """The commands that make the environment, in order."""
    python = str(place() / "bin" / "python")
    root = [] if os.geteuid() == 0 else ["sudo"]
    pinned = [f"{name}=={version}" for name, version in TRIED.items()]
    return [
        [*root, "apt-get", "install", "-y", *APT],
        [sys.executable, "-m", "venv", "--clear", str(place())],
        [python, "-m", "pip", "install", "--no-deps", *pinned, *PACKAGES],
    ]


def steps_problem() -> str:
    """Why :func:`steps` cannot work here, in one line; empty when they can."""
    if sys.platform != "linux":
        return "the vendor's packages are for Linux"
    if sys.version_info[:2] not in PYTHONS:
        known = ", ".join(".".join(map(str, version)) for version in PYTHONS)
        return f"the vendor's packages are for Python {known}; run kernelwright with one of them"
    where = place()
    if where.exists() and not (where / "pyvenv.cfg").exists() and (not where.is_dir() or any(where.iterdir())):
        return f"{where} is something else; move it, or name another place by {PLACE}"
    return "" if shutil.which("apt-get") else f"no apt-get here; install LLVM 19 with MLIR's tools by hand: {', '.join(APT)}"


def key_of(spec: Mapping[str, Any]) -> str:
    """The name of a specialisation of a launched kernel, in a runner and at the judge."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:24]
