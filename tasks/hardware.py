"""The one table of devices and their ceilings, and how a CPU is described.

Ceilings are the makers' published peaks, dense (no sparsity); a roofline uses what was measured on the device where
that exists. ``float32`` is the rate of the plain units; matrix units take float32 only at reduced precision, listed
as ``tfloat32``.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_KIB, _MIB = 1024, 1024**2


@dataclass(frozen=True)
class Hardware:
    """A device model: what a kernel has to work with and what it can reach at best."""

    name: str
    kind: str
    """``cpu``, ``cuda`` or ``hip``."""
    vendor: str
    arch: str
    """What a compiler calls it: ``sm_90``, ``gfx942``, ``x86-64-v4``."""
    memory_gbps: float | None
    """Peak bandwidth of device memory in GB/s (10**9 bytes); None where only a measurement says."""
    l2_bytes: int
    """The last cache that all units share, which a cold-cache timing flushes; for a CPU the private L2 of one core."""
    units: int
    """Streaming multiprocessors, compute units or cores."""
    flops: Mapping[str, float] = field(default_factory=dict)
    """dtype -> peak TFLOP/s; empty where only a measurement says."""
    shared_memory_bytes: int = 0
    """Most shared memory one block can have."""
    registers: int = 0
    """32-bit registers of one unit."""
    warp: int = 1
    """Threads (CPU: float32 lanes of the widest vector) that go in step."""
    notes: tuple[str, ...] = ()


def _nvidia(
    name: str,
    arch: str,
    memory_gbps: float,
    l2_mib: int,
    units: int,
    shared_kib: int,
    flops: Mapping[str, float],
    *notes: str,
) -> Hardware:
    shared = shared_kib * _KIB
    return Hardware(
        name, "cuda", "NVIDIA", arch, memory_gbps, l2_mib * _MIB, units, flops, shared, 65536, 32, tuple(notes)
    )


def _rates(
    float64: float, float32: float, tfloat32: float, half: float, float8: float | None = None
) -> dict[str, float]:
    rates = {"float64": float64, "float32": float32, "tfloat32": tfloat32, "float16": half, "bfloat16": half}
    return rates if float8 is None else {**rates, "float8": float8}


_HOPPER = ("wgmma and TMA; thread-block clusters", "227 KiB of shared memory a block, 228 KiB a multiprocessor")
_ADA = ("no wgmma, no TMA; mma.sync and cp.async", "large L2: working sets under it never reach device memory")

# NVIDIA H100 data sheet (2430615): SXM5 and PCIe columns; NVL: data sheet of 2024. Sparse figures halved.
_H100_SXM = _nvidia("H100 SXM", "sm_90", 3350, 50, 132, 227, _rates(67, 67, 494.7, 989.4, 1978.9), *_HOPPER)
_H100_PCIE = _nvidia("H100 PCIe", "sm_90", 2039, 50, 114, 227, _rates(51, 51, 378, 756, 1513), *_HOPPER)
_H100_NVL = _nvidia("H100 NVL", "sm_90", 3938, 50, 132, 227, _rates(60, 60, 417.5, 835.5, 1670.5), *_HOPPER)
# NVIDIA H200 data sheet (3002446): the compute of the H100 SXM, 141 GB of HBM3e at 4.8 TB/s.
_H200 = _nvidia("H200", "sm_90", 4800, 50, 132, 227, _rates(67, 67, 494.7, 989.4, 1978.9), *_HOPPER)
# NVIDIA A100 data sheet (1758950): SXM 80 GB, PCIe 80 GB; 40 GB: 1,555 GB/s. Double precision on tensor cores.
_AMPERE = ("mma.sync and cp.async; no TMA, no wgmma", "163 KiB of shared memory a block")
_A100_RATES = _rates(19.5, 19.5, 156, 312)
_A100_SXM_80 = _nvidia("A100 SXM 80GB", "sm_80", 2039, 40, 108, 163, _A100_RATES, *_AMPERE)
_A100_PCIE_80 = _nvidia("A100 PCIe 80GB", "sm_80", 1935, 40, 108, 163, _A100_RATES, *_AMPERE)
_A100_40 = _nvidia("A100 40GB", "sm_80", 1555, 40, 108, 163, _A100_RATES, *_AMPERE)
# NVIDIA L4 and L40S data sheets (sparse figures halved); cache and units: Ada architecture white paper 2.1.
_L4 = _nvidia("L4", "sm_89", 300, 48, 58, 99, _rates(0.47, 30.3, 60, 121, 242.5), *_ADA)
_L40S = _nvidia("L40S", "sm_89", 864, 96, 142, 99, _rates(1.4, 91.6, 183, 362, 733), *_ADA)
# Ada architecture white paper 2.1, appendix A: GeForce rates with float32 accumulation.
_RTX_4090 = _nvidia("RTX 4090", "sm_89", 1008, 72, 128, 99, _rates(1.3, 82.6, 82.6, 165.2, 330.3), *_ADA)
# RTX Blackwell architecture white paper, appendix A: float32 accumulation.
_RTX_5090 = _nvidia(
    "RTX 5090", "sm_120", 1792, 96, 170, 99, _rates(1.6, 104.8, 104.8, 209.5, 419), "no tcgen05, no tensor memory"
)
# NVIDIA Blackwell architecture brief and HGX B200 data sheet, per GPU at 1,000 W, sparse figures halved.
_B200 = _nvidia(
    "B200",
    "sm_100",
    8000,
    126,
    148,
    227,
    _rates(40, 80, 1100, 2250, 4500),
    "tcgen05 with 256 KiB of tensor memory a multiprocessor; two dies share one L2",
)
# AMD Instinct MI300X data sheet (2023) and CDNA 3 white paper.
_MI300X = Hardware(
    "MI300X",
    "hip",
    "AMD",
    "gfx942",
    5300,
    256 * _MIB,
    304,
    _rates(163.4, 163.4, 653.7, 1307.4, 2614.9),
    64 * _KIB,
    131072,
    64,
    ("l2_bytes is the Infinity Cache; each of the 8 dies has 4 MiB of L2", "MFMA; 64 KiB of LDS a workgroup"),
)

# A device's reported name, most particular pattern first.
_TABLE: tuple[tuple[str, Hardware], ...] = (
    (r"\bh100\b.*\bnvl\b", _H100_NVL),
    (r"\bh100\b.*\bpcie\b", _H100_PCIE),
    (r"\bh100\b", _H100_SXM),
    (r"\bh200\b(?!.*nvl)", _H200),
    (r"\ba100\b.*\bpcie\b.*\b80gb\b|\ba100\b.*\b80gb\b.*\bpcie\b", _A100_PCIE_80),
    (r"\ba100\b.*\b40gb\b", _A100_40),
    (r"\ba100\b", _A100_SXM_80),
    (r"\bl40s\b", _L40S),
    (r"\bl4\b", _L4),
    (r"\brtx 4090\b(?! (d|laptop))", _RTX_4090),
    (r"\brtx 5090\b(?! (d|laptop))", _RTX_5090),
    (r"\bb200\b", _B200),
    (r"\bmi300x\b", _MI300X),
)


def lookup(name: str) -> Hardware | None:
    """The device that reports itself as ``name`` (``NVIDIA H100 80GB HBM3``); None when the table lacks it."""
    plain = re.sub(r"[-_\s]+", " ", name.lower())
    if " mig " in f" {plain} ":
        return None
    return next((hardware for pattern, hardware in _TABLE if re.search(pattern, plain)), None)


def devices() -> tuple[Hardware, ...]:
    """Every device of the table."""
    return tuple(hardware for _, hardware in _TABLE)


def host_cpu() -> Hardware:
    """This machine's processor, as far as the system tells; bandwidth and rates are left to measurement."""
    fields = _cpuinfo()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    name = fields.get("model name") or platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    arch, lanes = _x86_level(flags) if platform.machine() in ("x86_64", "AMD64") else (platform.machine(), 4)
    extensions = sorted(
        f for f in flags if re.match(r"avx512_(bf16|fp16|vnni)|amx_|fma$|f16c|avx2$|avx512f|sve|asimd", f)
    )
    notes = (f"vector extensions: {' '.join(extensions)}",) if extensions else ()
    return Hardware(name, "cpu", fields.get("vendor_id", ""), arch, None, _l2_bytes(), cores, warp=lanes, notes=notes)


def _cpuinfo() -> dict[str, str]:
    """The first processor's fields; empty where the system has no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _x86_level(flags: set[str]) -> tuple[str, int]:
    """The psABI level and the float32 lanes of its widest vector."""
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags:
        return "x86-64-v4", 16
    return ("x86-64-v3", 8) if {"avx2", "fma"} <= flags else ("x86-64", 4)


def _l2_bytes() -> int:
    """Bytes of one core's L2; 1 MiB where the system does not say."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
    except OSError:
        return _MIB
    match = re.fullmatch(r"(\d+)([KM])", text)
    return int(match[1]) * (_KIB if match[2] == "K" else _MIB) if match else _MIB
