"""One label by CUDAMaster's filter, and only the metrics that bear on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.prompt.diagnosis import LABELS, diagnose
from kernelwright.evaluator.backends.cpp import CppBackend
from kernelwright.evaluator.profile_metrics import bottleneck
from kernelwright.evaluator.toolchain import missing_compiler
from kernelwright.tasks.records import Assurance, CaseTiming, Interval, Kernel, Stage, Status, Timing, Verdict


def exactly(value: float) -> Interval:
    return Interval(value, value, value)


def verdict(cases: list[tuple[str, float | None]], evidence: dict[str, Any] | None = None) -> Verdict:
    """A passed verdict; a case is the ceiling that bounds it and the share of it that is reached."""
    one = {"eager": exactly(1.0), "best": exactly(1.0)}
    timings = tuple(
        CaseTiming(f"case{i}", "float32", exactly(100.0), {"eager": exactly(100.0)}, one, share and share * 100, bound)
        for i, (bound, share) in enumerate(cases)
    )
    timing = Timing(exactly(100.0), {"eager": exactly(100.0)}, one, "eager", None, timings) if cases else None
    return Verdict(Status.PASSED, Stage.TIME, "", "k", "t", Assurance.DEVICE, evidence or {}, timing=timing)


@pytest.mark.parametrize(
    ("cases", "label"),
    [
        ([("memory", 0.8)], "memory"),
        ([("memory", 0.31)], "memory"),
        ([("memory", 0.29)], "latency"),
        ([("compute", 0.31)], "compute"),
        ([("compute", 0.2)], "latency"),
        ([("compute", 0.4), ("memory", 0.9)], "compute"),
        ([("compute", 0.1), ("memory", 0.9)], "memory"),
        ([("memory", 0.1), ("memory", 0.7)], "memory"),
        ([("memory", None)], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_label_follows_the_roofline(cases: list[tuple[str, float | None]], label: str) -> None:
    assert label in LABELS
    assert diagnose(verdict(cases)).label == label


@pytest.mark.parametrize(
    ("profile", "label"),
    [
        ({"compute_percent": 62.0, "memory_percent": 88.0}, "compute"),
        ({"compute_percent": 12.0, "memory_percent": 88.0}, "memory"),
        ({"compute_percent": 12.0, "memory_percent": 20.0}, "latency"),
    ],
)
def test_a_profile_overrules_the_roofline(profile: dict[str, float], label: str) -> None:
    assert diagnose(verdict([("memory", 0.9)], {"profile": profile})).label == label


PROFILE = {
    "tool": "ncu", "case": "big/timing/float32", "seconds": 6.1, "launches": 2, "microseconds": 41.2,
    "library_microseconds": 3.0, "compute_percent": 24.6, "dram_percent": 88.2, "l2_percent": 51.0,
    "l2_hit_percent": 33.0, "memory_percent": 88.2,
    "occupancy_percent": 41.0, "occupancy_limit_percent": 50.0, "registers": 168, "shared_bytes": 4096, "block_size": 128,
    "grid_size": 264, "waves": 0.5, "eligible_warps": 0.31, "issue_percent": 18.0, "tensor_percent": 0.0, "fma_percent": 9.0,
    "dram_read_bytes": 67_108_864, "dram_written_bytes": 33_554_432, "load_sectors": 320, "load_requests": 10,
    "local_loads": 640, "local_stores": 0, "bank_conflicts": 50, "shared_wavefronts": 100,
    "stalls": {"long scoreboard": 21.4, "barrier": 3.1, "wait": 1.7},
    "kernels": [{"name": "softmax_kernel", "microseconds": 31.0, "share": 0.75}, {"name": "combine", "share": 0.25}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "label", "shown", "hidden"),
    [
        ({}, "memory", ("DRAM", "caches", "32-byte sectors a request", "local memory (spills)"), ("pipes busy", "programs")),
        ({"compute_percent": 70.0}, "compute", ("pipes busy", "resources", "shared memory accesses that are bank conflicts"),
         ("DRAM", "caches", "programs")),
        ({"compute_percent": 9.0, "memory_percent": 12.0}, "latency", ("programs", "occupancy", "resources"),
         ("DRAM", "caches")),
    ],
)  # fmt: skip
def test_of_a_profile_only_what_matters_to_the_label_is_shown(
    change: dict[str, Any], label: str, shown: tuple[str, ...], hidden: tuple[str, ...]
) -> None:
    found = diagnose(verdict([("memory", 0.9)], {"profile": PROFILE | change}))
    names = {m.name for m in found.metrics}
    assert (found.label, found.origin) == (label, "profile")
    assert {*shown, "warps waiting at each issue, for"} <= names
    assert not {*hidden} & names
    assert len(found.metrics) <= 14


@pytest.mark.parametrize("compute", [10.0, 30.0, 31.0, None])
@pytest.mark.parametrize("memory", [10.0, 30.0, 31.0, 90.0, None])
def test_memory_is_told_the_same_label(compute: float | None, memory: float | None) -> None:
    given = {"compute_percent": compute, "memory_percent": memory}
    profile = {name: value for name, value in given.items() if value is not None}
    assert diagnose(verdict([], {"profile": profile})).label == (bottleneck(profile) or "unknown")


def test_a_profile_in_words() -> None:
    found = {m.name: m.value for m in diagnose(verdict([("memory", 0.9)], {"profile": PROFILE})).metrics}
    assert found["DRAM"] == "88% of its peak, 67.1 MB read, 33.6 MB written, 2443 GB/s"
    assert found["caches"] == "L2 51% of its peak, 33% hits"
    assert found["32-byte sectors a request"].startswith("loads 32.0 (4 for neighbouring 4-byte values")
    assert found["occupancy"] == "41% achieved of 50% possible"
    assert found["local memory (spills)"] == "640 loads and 0 stores by warps"
    assert found["warps waiting at each issue, for"] == "long scoreboard 21.4, barrier 3.1, wait 1.7"
    assert found["launches"] == "2 in 41.2 µs: softmax_kernel 75%, combine 25%; besides, library kernels 3.0 µs"


def test_a_forged_or_failed_profile_breaks_nothing() -> None:
    junk = {
        "registers": "many",
        "stalls": [1, 2],
        "kernels": "x",
        "memory_percent": float("nan"),
        "compute_percent": None,
        "waves": True,
    }
    for profile in ({"problem": "no permission"}, junk, [1], "text"):
        found = diagnose(verdict([("memory", 0.9)], {"profile": profile}))
        assert (found.label, found.origin) == ("memory", "roofline")


def test_compute_bound_by_the_filter_says_when_memory_is_busier() -> None:
    assert diagnose(verdict([], {"profile": {"compute_percent": 35.0, "memory_percent": 90.0}})).memory_too
    assert not diagnose(verdict([], {"profile": {"compute_percent": 90.0, "memory_percent": 35.0}})).memory_too


def test_without_a_verdict_nothing_is_known() -> None:
    assert diagnose(None).label == "unknown"
    assert diagnose(None).metrics == ()


def test_gpu_launches_show_what_bears_on_the_label() -> None:
    launch = {
        "name": "row_kernel",
        "registers": 168,
        "spill_bytes": 64,
        "shared_bytes": 2048,
        "num_warps": 8,
        "instructions": {"LDG": 8, "LDG.128": 8, "HGMMA": 3, "BAR": 2},
    }
    evidence = {"compiled": {"launches": [launch]}}
    memory = {m.name: m.value for m in diagnose(verdict([("memory", 0.8)], evidence)).metrics}
    latency = {m.name: m.value for m in diagnose(verdict([("memory", 0.1)], evidence)).metrics}
    assert memory["memory utilisation"] == "80%"
    assert memory["kernel row_kernel"] == "168 registers a thread, 64 bytes spilled a thread, 8 LDG, 8 LDG.128"
    assert latency["kernel row_kernel"].endswith("2048 bytes of shared memory, 8 warps, 2 BAR")


NATIVE = """import torch.nn as nn
from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void rows(const float* __restrict__ x, float* __restrict__ y, int64_t n, int64_t m) {
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < m; ++j) y[i * m + j] = 2.0f * x[i * m + j];
  }
  float s = 0.0f;
  for (int64_t j = 0; j < m; ++j) s += std::exp(x[j]) * s;
  y[0] = s;
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        return x
"""


def test_host_loops_that_stayed_scalar_are_quoted_from_what_the_backend_really_says(tmp_path: Path) -> None:
    if missing_compiler():
        pytest.skip(missing_compiler())
    kernel, backend = Kernel(NATIVE, "cpp"), CppBackend()
    evidence = {"build": dict(backend.diagnose(kernel, backend.build(kernel, tmp_path)))}
    found = diagnose(verdict([("memory", 0.1)], evidence), NATIVE)
    metrics = {m.name: m.value for m in found.metrics}
    assert metrics["loops that the compiler vectorised"].startswith("1, widest ")
    scalar = metrics["innermost loops not vectorised (no loss where they hold vector types already)"]
    assert scalar == "`for (int64_t j = 0; j < m; ++j) s += std::exp(x[j]) * s;` (line 7)", (
        "not the outer loop around a vector one"
    )
    if shutil.which("objdump"):
        assert "calls of expf" in metrics["instructions in the whole library"]


def test_of_several_cases_the_worst_is_named() -> None:
    metrics = {m.name: m.value for m in diagnose(verdict([("memory", 0.9), ("memory", 0.4)])).metrics}
    assert metrics["furthest from its roofline"] == "case1 float32, at 40% (100.0 µs where 40.0 would do)"
