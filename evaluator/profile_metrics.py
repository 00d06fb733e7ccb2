"""What is asked of Nsight Compute, and its CSV as a few figures. Standard library only.

The CSV (``ncu --csv --page raw``) holds a header row, a row of units, and one row a profiled kernel; lines of the tool and of
the program stand before and between them. The program is a candidate's, which may print what it likes: the figures are hints
for whoever writes the next kernel, and nothing that a verdict rests on. Numbers that are none, and rows of the wrong
length, are left out.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_PERCENT = {
    "compute_percent": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "dram_percent": "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    "l1_percent": "l1tex__throughput.avg.pct_of_peak_sustained_active",
    "l2_percent": "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    "l1_hit_percent": "l1tex__t_sector_hit_rate.pct",
    "l2_hit_percent": "lts__t_sector_hit_rate.pct",
    "occupancy_percent": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "occupancy_limit_percent": "sm__maximum_warps_per_active_cycle_pct",
    "tensor_percent": "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",
    "fma_percent": "sm__pipe_fma_cycles_active.avg.pct_of_peak_sustained_active",
    "special_percent": "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active",
    "issue_percent": "smsp__issue_active.avg.pct_of_peak_sustained_active",
}
"""Our name -> metric. ``special``: exp, rsqrt and conversions. ``compute_percent``: the busiest of an SM's parts."""
_PLAIN = {
    "eligible_warps": "smsp__warps_eligible.avg.per_cycle_active",
    "registers": "launch__registers_per_thread",
    "shared_bytes": "launch__shared_mem_per_block",
    "block_size": "launch__block_size",
    "grid_size": "launch__grid_size",
    "waves": "launch__waves_per_multiprocessor",
}
_SUMS = {
    "dram_read_bytes": "dram__bytes_read.sum",
    "dram_written_bytes": "dram__bytes_write.sum",
    "load_sectors": "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum",
    "load_requests": "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum",
    "store_sectors": "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum",
    "store_requests": "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum",
    "bank_conflicts": "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum",
    "shared_wavefronts": "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum",
    "local_loads": "smsp__inst_executed_op_local_ld.sum",
    "local_stores": "smsp__inst_executed_op_local_st.sum",
}
_TIME = "gpu__time_duration.sum"
_STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
_STALLS = (
    *("barrier", "branch_resolving", "dispatch_stall", "drain", "imc_miss", "lg_throttle", "long_scoreboard"),
    *("math_pipe_throttle", "membar", "mio_throttle", "no_instruction", "not_selected", "short_scoreboard", "sleeping"),
    *("tex_throttle", "wait"),
)
METRICS = (_TIME, *_PERCENT.values(), *_PLAIN.values(), *_SUMS.values(), *(_STALL.format(name) for name in _STALLS))
"""Fixed and small: each further group costs one more run of every kernel."""

_SCALE = {
    **{"second": 1e6, "s": 1e6, "msecond": 1e3, "ms": 1e3, "usecond": 1.0, "us": 1.0, "nsecond": 1e-3, "ns": 1e-3},
    **{"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12},
}
"""Unit (of what stands before a ``/``) -> factor to microseconds or bytes; others count as they are."""
_LIBRARY = re.compile(r"\bat::|cutlass|cublas|cudnn|gemmSN|\bMem(?:set|cpy)|vectorized_elementwise|elementwise_kernel")
"""Kernels of torch and its libraries: the edges of a call, not the candidate's own work."""
_KERNELS = 64
_NAME = 60
_SHOWN = 4
_TOP_STALLS = 3
_BUSY = 30.0


@dataclass(frozen=True)
class KernelRow:
    """One kernel launch as the profiler saw it."""

    name: str
    microseconds: float
    figures: Mapping[str, float] = field(default_factory=dict)
    """By our names; those that the profiler did not give are missing."""
    stalls: Mapping[str, float] = field(default_factory=dict)
    """Reason -> warps waiting for it, on average, each time an instruction was issued."""

    @property
    def library(self) -> bool:
        return bool(_LIBRARY.search(self.name))


def read(text: str) -> tuple[KernelRow, ...]:
    """The kernels of an output of ``ncu --csv --page raw``, in order; none when there is no table in it."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"') and '"Kernel Name"' in line), None)
    if start is None:
        return ()
    rows = csv.reader(lines[start:])
    header = next(rows)
    units: dict[str, str] = {}
    found: list[KernelRow] = []
    for row in rows:
        if len(row) != len(header) or len(found) == _KERNELS:
            continue
        cells = dict(zip(header, row, strict=True))
        if not cells["ID"].strip():
            units = cells
        elif (kernel := _kernel(cells, units)) is not None:
            found.append(kernel)
    return tuple(found)


def _kernel(cells: Mapping[str, str], units: Mapping[str, str]) -> KernelRow | None:
    def value(metric: str) -> float | None:
        return number(cells.get(metric, ""), units.get(metric, ""))

    took = value(_TIME)
    if took is None or took <= 0:
        return None
    known = {name: value(metric) for name, metric in {**_PERCENT, **_PLAIN, **_SUMS}.items()}
    stalls = {name.replace("_", " "): value(_STALL.format(name)) for name in _STALLS}
    name = re.sub(r"[^\w:<>,()*&~ .-]", "", cells["Kernel Name"])[:_NAME]
    return KernelRow(name, took, _given(known), _given(stalls))


def number(text: str, unit: str = "") -> float | None:
    """A cell as a number, in microseconds or bytes where its unit is one of time or size; None when it is none."""
    plain = text.strip().replace(",", "").replace("\u00a0", "").replace(" ", "")
    try:
        value = float(plain)
    except ValueError:
        return None
    value *= _SCALE.get(unit.strip().partition("/")[0], 1.0)
    return value if math.isfinite(value) else None


def summary(rows: Sequence[KernelRow]) -> dict[str, object]:
    """One call of a kernel: its own launches weighted by their time, the longest of them apart, and what the library took.

    Percentages and stalls are means over time, counts and bytes sums. ``memory_percent`` is the busiest of L1, L2 and DRAM.
    """
    own = [row for row in rows if not row.library] or list(rows)
    if not own:
        return {}
    total = sum(row.microseconds for row in own)
    found: dict[str, object] = {"launches": len(own), "microseconds": round(total, 2)}
    if rest := sum(row.microseconds for row in rows) - total:
        found["library_microseconds"] = round(rest, 2)
    means = dict(_means(own, (*_PERCENT, *_PLAIN)))
    levels = [means[name] for name in ("dram_percent", "l2_percent", "l1_percent") if name in means]
    if levels:
        found["memory_percent"] = round(max(levels), 1)
    found |= {name: round(value, 2) for name, value in means.items()}
    found |= {name: round(value) for name, value in _sums(own)}
    stalls = dict(_means([KernelRow(r.name, r.microseconds, r.stalls) for r in own], [s.replace("_", " ") for s in _STALLS]))
    top = sorted(stalls.items(), key=lambda item: -item[1])[:_TOP_STALLS]
    found["stalls"] = {name: round(value, 2) for name, value in top if value > 0.005}
    longest = sorted(own, key=lambda row: -row.microseconds)[:_SHOWN]
    if len(own) > 1:
        found["kernels"] = [_shown(row, total) for row in longest]
    return found


def bottleneck(profile: Mapping[str, object]) -> str:
    """``compute``, ``memory`` or ``latency`` by CUDAMaster's filter (above 30 % of the peak, in this order), or empty."""
    compute, memory = profile.get("compute_percent"), profile.get("memory_percent")
    if not isinstance(compute, (int, float)) and not isinstance(memory, (int, float)):
        return ""
    if isinstance(compute, (int, float)) and compute > _BUSY:
        return "compute"
    return "memory" if isinstance(memory, (int, float)) and memory > _BUSY else "latency"


def _shown(row: KernelRow, total: float) -> dict[str, object]:
    names = ("compute_percent", "dram_percent", "occupancy_percent", "registers")
    figures = {name: round(row.figures[name], 1) for name in names if name in row.figures}
    return {"name": row.name, "microseconds": round(row.microseconds, 2), "share": round(row.microseconds / total, 3)} | figures


def _means(rows: Sequence[KernelRow], names: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name in names:
        known = [(row.microseconds, row.figures[name]) for row in rows if name in row.figures]
        if known:
            yield name, sum(t * v for t, v in known) / sum(t for t, _ in known)


def _sums(rows: Sequence[KernelRow]) -> Iterator[tuple[str, float]]:
    for name in _SUMS:
        known = [row.figures[name] for row in rows if name in row.figures]
        if known:
            yield name, sum(known)


def _given(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
