"""NVRTC, the CUDA compiler as a library: comes with torch's GPU wheels and by ``pip install nvidia-cuda-nvrtc``.

For machines without nvcc. It runs in a program of its own (:mod:`~kernelwright.evaluator.nvrtc_job`) under the limits of any
compiler. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from kernelwright.evaluator import nvrtc_job

FLAGS = ("-std=c++17", "-lineinfo", "--ptxas-options=-v")
"""What nvcc is given, as NVRTC says it; it optimises by itself. Never ``--use_fast_math``."""
_INTEGERS = "".join(
    f"typedef {sign}{name} {prefix}int{bits}_t;\n"
    for sign, prefix in (("signed ", ""), ("unsigned ", "u"))
    for bits, name in ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))
)
_POINTERS = "typedef int64_t intptr_t;\ntypedef uint64_t uintptr_t;\n"
_STDINT = f"#pragma once\n{_INTEGERS}{_POINTERS}"
_MATH = """#pragma once
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif
#define M_E 2.7182818284590452354
#define M_LN2 0.69314718055994530942
#define M_PI 3.14159265358979323846
#define M_PI_2 1.57079632679489661923
#define M_1_PI 0.31830988618379067154
#define M_2_SQRTPI 1.12837916709551257390
#define M_SQRT2 1.41421356237309504880
#define M_SQRT1_2 0.70710678118654752440
"""
_FLOAT = """#pragma once
#define FLT_MAX 3.402823466e+38F
#define FLT_MIN 1.175494351e-38F
#define FLT_EPSILON 1.192092896e-07F
#define DBL_MAX 1.7976931348623157e+308
#define DBL_MIN 2.2250738585072014e-308
#define DBL_EPSILON 2.2204460492503131e-16
"""
_LIMITS = """#pragma once
#include <cuda/std/climits>
"""
_OF_STD = "#pragma once\n#include <cuda/std/{0}>\nnamespace std {{ using namespace cuda::std; }}\n"
_DRIVER = """#pragma once
typedef struct CUtensorMap_st { alignas(64) unsigned long long opaque[16]; } CUtensorMap;
"""
HEADERS = {
    "cstdint": "#pragma once\n#include <stdint.h>\n",
    "stdint.h": _STDINT,
    "cstddef": "#pragma once\n",
    "cmath": "#pragma once\n#include <math.h>\n",
    "math.h": _MATH,
    "cfloat": "#pragma once\n#include <float.h>\n",
    "float.h": _FLOAT,
    "climits": _LIMITS,
    "limits": _OF_STD.format("limits"),
    "type_traits": _OF_STD.format("type_traits"),
    "cuda.h": _DRIVER,
}
"""Headers of the host's that sources may include and NVRTC does not have; of the driver's, the one type that kernels take."""
PRELUDE = '#include <cstdint>\n#include <cmath>\n#line 1 "kernel.cu"\n'
"""nvcc sees the mathematics unasked."""


def find_nvrtc() -> str:
    """Path of the newest libnvrtc among the installed packages, else under ``CUDA_HOME``; empty when there is none."""
    found = [path for folder in _packages() for path in folder.glob("nvidia/*/lib/libnvrtc.so.*")]
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    found = found or [*home.glob("lib64/libnvrtc.so.*"), *home.glob("targets/*/lib/libnvrtc.so.*")]
    return str(max((path for path in found if re.fullmatch(r"[\d.]+", path.name[12:])), key=_release, default=""))


def identity(library: str) -> str:
    """What tells this library from the one that an update puts in its place, without loading it."""
    facts = Path(library).stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


def command(library: str, arch: str, folder: Path, cache: Path) -> list[str]:
    """Lay down in ``folder`` what the job reads beside ``kernel.cu``, and say how it is run."""
    options = [*FLAGS, f"--gpu-architecture={arch}"]
    include = [str(path) for path in _include(Path(library))]
    (folder / "job.json").write_text(json.dumps({"options": options, "include": include, "headers": HEADERS}))
    unpacked = cache / f"headers-{Path(library).stat().st_mtime_ns:x}"
    return [sys.executable, "-I", "-S", str(nvrtc_job.__file__), library, str(unpacked)]


def _packages() -> Iterator[Path]:
    """Folders of installed packages."""
    return (Path(entry) for entry in dict.fromkeys(sys.path) if entry.endswith(("site-packages", "dist-packages")))


def _release(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.name[12:].split(".") if part)


def _include(library: Path) -> Iterator[Path]:
    """Folders of CUDA's headers that came with the library: its own neighbours, or those of the packages beside it."""
    own = [library.parent.parent / "include", *sorted(library.parents[2].glob("*/include"))]
    for folder in dict.fromkeys(own):
        if (folder / "cuda_fp16.h").is_file() or (folder / "nv" / "target").is_file():
            yield folder
        if (folder / "cccl").is_dir():
            yield folder / "cccl"
