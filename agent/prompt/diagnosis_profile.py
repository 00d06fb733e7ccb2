"""Of a profile (``evaluator.profile_metrics.summary``), the figures that matter to a bottleneck, in words.

A profile comes from a process that a candidate shares: whatever is no number is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_MATTER = {
    "compute": ("pipes", "issue", "eligible", "occupancy", "registers", "spills", "conflicts", "stalls", "launches"),
    "memory": ("dram", "caches", "coalescing", "occupancy", "eligible", "spills", "stalls", "launches"),
    "latency": ("launches", "grid", "occupancy", "registers", "eligible", "spills", "coalescing", "conflicts", "stalls"),
    "unknown": ("occupancy", "stalls"),
}
"""Label -> what bears on it, in the order shown."""
_IDEAL_SECTORS = 4.0
"""Sectors of 32 bytes a warp's request needs for 32 neighbouring 4-byte values; 16 for 16-byte accesses."""


def facts(profile: Mapping[str, Any], label: str) -> Iterator[tuple[str, str]]:
    """(name, value) of what matters to ``label``; nothing for an empty or failed profile."""
    for name in _MATTER[label]:
        words, value = _FACTS[name](_Figures(profile))
        if value:
            yield words, value


class _Figures:
    """A profile's numbers."""

    def __init__(self, profile: Mapping[str, Any]) -> None:
        self.profile = profile

    def __getitem__(self, name: str) -> float | None:
        value = self.profile.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        return float(value)

    def percent(self, name: str) -> str:
        value = self[name]
        return "" if value is None else f"{value:.0f}%"

    def ratio(self, above: str, below: str) -> float | None:
        a, b = self[above], self[below]
        return None if a is None or not b else a / b


def _pipes(figures: _Figures) -> tuple[str, str]:
    names = {"tensor cores": "tensor_percent", "fma": "fma_percent", "exp, rsqrt and conversions": "special_percent"}
    return "pipes busy", ", ".join(f"{words} {found}" for words, key in names.items() if (found := figures.percent(key)))


def _issue(figures: _Figures) -> tuple[str, str]:
    return "cycles in which an instruction was issued", figures.percent("issue_percent")


def _eligible(figures: _Figures) -> tuple[str, str]:
    value = figures["eligible_warps"]
    return "warps ready to issue, a cycle and scheduler", "" if value is None else f"{value:.2f}"


def _occupancy(figures: _Figures) -> tuple[str, str]:
    achieved, limit = figures.percent("occupancy_percent"), figures.percent("occupancy_limit_percent")
    return "occupancy", f"{achieved} achieved of {limit} possible" if achieved and limit else achieved


def _registers(figures: _Figures) -> tuple[str, str]:
    registers, shared, threads = figures["registers"], figures["shared_bytes"], figures["block_size"]
    parts = [
        f"{registers:.0f} registers a thread" if registers else "",
        f"{shared:.0f} bytes of shared memory" if shared else "",
        f"{threads:.0f} threads a block" if threads else "",
    ]
    return "resources", ", ".join(part for part in parts if part)


def _grid(figures: _Figures) -> tuple[str, str]:
    programs, waves = figures["grid_size"], figures["waves"]
    if programs is None:
        return "programs", ""
    return "programs", f"{programs:.0f}" + ("" if waves is None else f", {waves:.2f} waves over the device")


def _spills(figures: _Figures) -> tuple[str, str]:
    loads, stores = figures["local_loads"] or 0.0, figures["local_stores"] or 0.0
    return "local memory (spills)", f"{loads:.0f} loads and {stores:.0f} stores by warps" if loads or stores else ""


def _conflicts(figures: _Figures) -> tuple[str, str]:
    share = figures.ratio("bank_conflicts", "shared_wavefronts")
    return "shared memory accesses that are bank conflicts", f"{min(share, 1.0):.0%}" if share and share > 0.02 else ""


def _dram(figures: _Figures) -> tuple[str, str]:
    read, written, took = figures["dram_read_bytes"], figures["dram_written_bytes"], figures["microseconds"]
    busy = figures.percent("dram_percent")
    if read is None or written is None:
        return "DRAM", f"{busy} of its peak" if busy else ""
    rate = f", {(read + written) / took / 1e3:.0f} GB/s" if took else ""
    return "DRAM", f"{busy or '?'} of its peak, {read / 1e6:.1f} MB read, {written / 1e6:.1f} MB written{rate}"


def _caches(figures: _Figures) -> tuple[str, str]:
    parts = []
    for level in ("L1", "L2"):
        busy, hits = figures.percent(f"{level.lower()}_percent"), figures.percent(f"{level.lower()}_hit_percent")
        if busy or hits:
            parts.append(f"{level} {busy or '?'} of its peak" + (f", {hits} hits" if hits else ""))
    return "caches", "; ".join(parts)


def _coalescing(figures: _Figures) -> tuple[str, str]:
    parts = []
    for words, key in (("loads", "load"), ("stores", "store")):
        sectors = figures.ratio(f"{key}_sectors", f"{key}_requests")
        if sectors is not None:
            parts.append(f"{words} {sectors:.1f}")
    ideal = f" ({_IDEAL_SECTORS:.0f} for neighbouring 4-byte values, 16 for 16-byte accesses)"
    return "32-byte sectors a request", ", ".join(parts) + ideal if parts else ""


def _stalls(figures: _Figures) -> tuple[str, str]:
    found = figures.profile.get("stalls")
    stalls = _Figures(found if isinstance(found, Mapping) else {})
    known = [(name, value) for name in stalls.profile if (value := stalls[name]) is not None]
    return "warps waiting at each issue, for", ", ".join(f"{name} {value:.1f}" for name, value in known[:3])


def _launches(figures: _Figures) -> tuple[str, str]:
    launches, took, rest = figures["launches"], figures["microseconds"], figures["library_microseconds"]
    if launches is None or took is None or (launches < 2 and not rest):
        return "launches", ""
    kernels = figures.profile.get("kernels")
    named = [k for k in kernels if isinstance(k, Mapping)] if isinstance(kernels, (list, tuple)) else []
    shares = ", ".join(f"{k.get('name')} {_Figures(k)['share'] or 0.0:.0%}" for k in named)
    library = f"; besides, library kernels {rest:.1f} µs" if rest else ""
    return "launches", f"{launches:.0f} in {took:.1f} µs" + (f": {shares}" if shares else "") + library


_FACTS: Mapping[str, Callable[[_Figures], tuple[str, str]]] = {
    "pipes": _pipes,
    "issue": _issue,
    "eligible": _eligible,
    "occupancy": _occupancy,
    "registers": _registers,
    "grid": _grid,
    "spills": _spills,
    "conflicts": _conflicts,
    "dram": _dram,
    "caches": _caches,
    "coalescing": _coalescing,
    "stalls": _stalls,
    "launches": _launches,
}
