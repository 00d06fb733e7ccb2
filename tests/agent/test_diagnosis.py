"""One label by CUDAMaster's filter, and only the metrics that bear on it."""

from __future__ import annotations

from typing import Any

import pytest

from kernelwright.agent.diagnosis import LABELS, diagnose
from kernelwright.tasks.records import Assurance, CaseTiming, Interval, Stage, Status, Timing, Verdict


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


def test_host_loops_that_stayed_scalar_are_named() -> None:
    report = {"vectorised": {"12": 64, "20": 32}, "scalar": [12, 31]}
    metrics = {m.name: m.value for m in diagnose(verdict([("memory", 0.4)], {"build": {"native": [report]}})).metrics}
    assert metrics["loops vectorised in the native source"] == "2, widest 64 bytes"
    assert metrics["loops left scalar"] == "lines 31 of the native source"


def test_of_several_cases_the_worst_is_named() -> None:
    metrics = {m.name: m.value for m in diagnose(verdict([("memory", 0.9), ("memory", 0.4)])).metrics}
    assert metrics["furthest from its roofline"] == "case1 float32, at 40%"
