"""nvcc, or NVRTC where there is none: one CUDA C++ source in, one cached cubin out, with what ptxas says of each kernel.

Standard library only. Only device code is compiled (``-cubin``): host code in the source never becomes anything that is run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.evaluator import toolchain_nvrtc as nvrtc
from kernelwright.evaluator.toolchain import ERROR_LINES, TIMEOUT_S, BuildError, compiler_version, run_limited

ARCH = "sm_90a"
"""Where there is no GPU to ask."""
FLAGS = ("-cubin", "-O3", "-std=c++17", "-lineinfo", "-Xptxas", "-v")
"""Never ``-use_fast_math``: it would change what the kernel computes."""
_RELAXED = ("--expt-relaxed-constexpr",)
"""NVRTC's library needs no such leave: all of it is for the device."""
PRELUDE = '#include <cstdint>\n#line 1 "kernel.cu"\n'
_INCLUDE = re.compile(r'^[ \t]*(?:#|%:)[ \t]*(?:include(?:_next)?|import|embed)[ \t]*(?:[<"]([^>"\n]*)[>"]|([^\n]*))', re.M)
_SPLICED = re.compile(r"/\*.*?(?:\*/|\Z)", re.S)
_ALLOWED = re.compile(
    r"(?:cuda/(?:std/)?[\w/]+|cuda(?:_\w+)?\.h|cooperative_groups(?:/\w+)*\.h|mma\.h|math_constants\.h|vector_types\.h|cub/[\w/]+\.cuh"
    r"|cstdint|cstddef|cmath|cfloat|climits|limits|type_traits|stdint\.h|math\.h|float\.h)"
)
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Cubin:
    """A compiled module in the cache."""

    path: str
    arch: str
    log: str
    """The compiler's warnings."""
    kernels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Kernel -> ``registers`` a thread, ``stack_bytes``, spills stored and loaded, static ``shared_bytes``."""
    compiler: str = ""
    seconds: float = 0.0
    """What compiling took; 0 when it came from the cache."""


def find_nvcc() -> str:
    """Path of nvcc: on PATH, else under ``CUDA_HOME`` or /usr/local/cuda; empty when there is none."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which("nvcc", path=str(Path(home) / "bin")) or ""


def missing_cuda_compiler() -> str:
    """Why nothing can be compiled here, in one line with the remedy; empty when it can."""
    if find_nvcc() or nvrtc.find_nvrtc():
        return ""
    return (
        "neither nvcc nor NVRTC found; `pip install nvidia-cuda-nvrtc`, or install the CUDA toolkit and put its bin folder on "
        "PATH or set CUDA_HOME"
    )


@functools.lru_cache(maxsize=1)
def device_arch() -> str:
    """The architecture of the first GPU that is visible, :data:`ARCH` where none is.

    From Hopper on with the ``a``: wgmma and the like exist for one architecture only, and nothing newer loads such a cubin.
    """
    job = Path(__file__).with_name("cuda_arch_job.py")
    try:
        done = subprocess.run([sys.executable, "-I", "-S", str(job)], capture_output=True, text=True, timeout=60, check=True)
        major, minor = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return ARCH
    return f"sm_{major}{minor}{'a' if major >= 9 else ''}"


def build_cubin(source: str, cache: Path, arch: str = "", timeout: float = TIMEOUT_S, relaxed: bool = False) -> Cubin:
    """Compile ``source`` into ``cache``, or find it there. Safe to call from many processes at once.

    ``arch``: as nvcc names it; that of the device here unless it is given. ``relaxed``: device code may call the host's
    ``constexpr`` functions (``std::numeric_limits``), as torch's extensions may.

    Raises:
        BuildError: no compiler, a refused header, a compiler error or a timeout; ``log`` holds its own first lines.
    """
    cache, arch = cache.absolute(), arch or device_arch()
    _check_includes(source)
    if reason := missing_cuda_compiler():
        raise BuildError(reason)
    nvcc = find_nvcc()
    parts: tuple[str, ...]
    if nvcc:
        flags = (*FLAGS, *_RELAXED * relaxed)
        prelude, parts = PRELUDE, (*flags, nvcc, _release(nvcc))
    else:
        library = nvrtc.find_nvrtc()
        prelude, parts = nvrtc.PRELUDE, (*nvrtc.FLAGS, library, nvrtc.identity(library), json.dumps(nvrtc.HEADERS))
    key = hashlib.sha256("\0".join((source, prelude, arch, *parts)).encode()).hexdigest()[:24]
    cubin, facts = cache / f"{key}.cubin", cache / f"{key}.json"
    if (known := _known(cubin, facts)) is not None:
        return known
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tmp-", dir=cache) as name:
        folder = Path(name)
        (folder / "kernel.cu").write_text(prelude + source + "\n")
        if nvcc:
            command = [nvcc, *flags, f"-arch={arch}", "kernel.cu", "-o", "kernel.cubin"]
        else:
            command = nvrtc.command(library, arch, folder, cache)
        said, seconds = _run(command, folder, timeout, "nvcc" if nvcc else "NVRTC")
        version = _release(nvcc) if nvcc else (folder / "version.txt").read_text()
        warnings = _head("\n".join(line for line in said.splitlines() if "warning" in line))
        made = Cubin(str(cubin), arch, warnings, resources(said), version, seconds)
        # The cubin goes last: whoever finds it finds its facts too.
        (folder / "facts.json").write_text(json.dumps(asdict(made)))
        (folder / "facts.json").replace(facts)
        (folder / "kernel.cubin").replace(cubin)
    return made


def allowed_header(name: str) -> bool:
    """Whether device code may include a header."""
    return _ALLOWED.fullmatch(name) is not None


def _check_includes(source: str) -> None:
    for include in _INCLUDE.finditer(_SPLICED.sub(" ", source.replace("\\\n", ""))):
        name = include[1] or include[2]
        if not include[1] or not allowed_header(name):
            raise BuildError(
                f"#include {name}: CUDA kernels include CUDA's own device headers only (cuda_fp16.h, cuda_bf16.h, mma.h, "
                "cooperative_groups.h, cuda/…, cub/…); no torch headers, no host libraries"
            )


def _run(command: Sequence[str], folder: Path, timeout: float, name: str) -> tuple[str, float]:
    """What the compiler said, and its seconds."""
    started = time.perf_counter()
    code = run_limited(command, folder, timeout)
    seconds = time.perf_counter() - started
    said = (folder / "stderr.txt").read_text(errors="replace")[:1_000_000]
    if code is None:
        raise BuildError(f"{name} ran past {timeout:g} s and was stopped; make the source smaller", _head(said))
    if code != 0:
        raise BuildError(_headline(said, code, name), _head(said))
    return said, seconds


def resources(said: str) -> dict[str, dict[str, int]]:
    """What ``ptxas -v`` told of each kernel."""
    found: dict[str, dict[str, int]] = {}
    current: dict[str, int] = {}
    for line in said.splitlines():
        if entry := _ENTRY.search(line):
            current = found.setdefault(entry[1], {})
        elif spill := _SPILL.search(line):
            current |= zip(("stack_bytes", "spill_store_bytes", "spill_load_bytes"), map(int, spill.groups()), strict=True)
        elif used := _USED.search(line):
            shared = _SHARED.search(line)
            current |= {"registers": int(used[1]), "shared_bytes": int(shared[1]) if shared else 0}
            current = {}  # device functions that are not inlined have figures of their own
    return found


@functools.lru_cache(maxsize=8)
def _release(nvcc: str) -> str:
    done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=20, check=False)
    return next((line.strip() for line in done.stdout.splitlines() if "release" in line), compiler_version(nvcc))


def _known(cubin: Path, facts: Path) -> Cubin | None:
    if not cubin.exists():
        return None
    try:
        known: dict[str, Any] = json.loads(facts.read_text())
        return Cubin(**(known | {"path": str(cubin), "seconds": 0.0}))
    except (OSError, ValueError, TypeError):
        return None


def _headline(said: str, code: int, name: str) -> str:
    first = next((line.strip() for line in said.splitlines() if "error" in line), "")
    return first or f"{name} ended with status {code}"


def _head(said: str) -> str:
    lines = [line[:400] for line in said.splitlines()]
    more = [f"… {len(lines) - ERROR_LINES} more lines"] if len(lines) > ERROR_LINES else []
    return "\n".join(lines[:ERROR_LINES] + more)
