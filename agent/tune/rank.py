"""Where the time goes, and what is worth a kernel: expected milliseconds saved end to end (Amdahl, roofline headroom)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from kernelwright.agent.tune.target import Call
from kernelwright.tasks.carve.capture import Group, Site, slots

_LARGEST = 1 << 29
"""Bytes that a copy reads at most; larger groups are counted as several."""


@dataclass
class Candidate:
    """One kind of group, how often it occurs in a pass over all regimes, and what it costs."""

    group: Group
    captured: tuple[torch.Tensor, ...]
    """The real inputs of its first occurrence."""
    original: nn.Module
    paths: list[str] = field(default_factory=list)
    """Modules that its operators belong to, one an occurrence."""
    eager_us: float = 0.0
    floor_us: float = 0.0
    """Time in which the device copies as many bytes as inputs and outputs have; from caches, where they fit there."""
    best_us: float | None = None
    """A kernel's, in the judge's timing."""
    odds: float = 0.5
    """Share of earlier tasks of this family that a kernel sped up, by the store, else 0.5; every turn halves it."""

    @property
    def count(self) -> int:
        return len(self.paths)

    @property
    def expected_ms(self) -> float:
        """What a pass may still save by this group."""
        now = self.eager_us if self.best_us is None else self.best_us
        return self.odds * self.count * max(now - self.floor_us, 0.0) / 1e3


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], Any], device: str, budget: float = 0.3) -> float:
    """Best seconds of ``call`` after two warm-ups, of at least five calls within about ``budget`` seconds.

    For ranking, where one side must not look dear because something disturbed it; results are timed in turns.
    """
    best, began = float("inf"), time.perf_counter()
    for i in range(200):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        if i >= 2:
            best = min(best, time.perf_counter() - start)
        if i >= 6 and time.perf_counter() - began > budget:
            break
    return best


def floor(nbytes: int, device: str) -> float:
    """Microseconds of a copy that reads and writes ``nbytes`` in all, as a bound for what moves as many.

    What the memory alone gives would be no bound for tensors that stay in a cache.
    """
    half = max(1, min(nbytes // 2, _LARGEST))
    source = torch.zeros(half, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 1e6 * seconds(lambda: target.copy_(source), device, 0.1) * max(1.0, nbytes / 2 / half)


def candidates(sites: Sequence[Site], device: str) -> list[Candidate]:
    """Every kind of group with its captured inputs and its measured time, dearest first."""
    found: dict[str, Candidate] = {}
    with torch.no_grad():
        for site in sites:
            seen = _captured(site)
            for name, group, original in slots(site):
                if name in seen:
                    entry = found.setdefault(group.key, Candidate(group, seen[name], original))
                    entry.paths.append(_where(site, original))
        for entry in found.values():
            entry.eager_us = 1e6 * seconds(lambda e=entry: e.original(*e.captured), device)  # type: ignore[misc]
            outputs = torch.utils._pytree.tree_leaves(entry.original(*entry.captured))
            nbytes = sum(t.numel() * t.element_size() for t in [*entry.captured, *outputs])
            entry.floor_us = floor(nbytes, device)
    return sorted(found.values(), key=lambda c: -c.expected_ms)


def _captured(site: Site) -> dict[str, tuple[torch.Tensor, ...]]:
    seen: dict[str, tuple[torch.Tensor, ...]] = {}
    hooks = []
    for name, _, original in slots(site):

        def note(_: nn.Module, args: tuple[torch.Tensor, ...], name: str = name) -> None:
            seen[name] = tuple(a.detach().clone(memory_format=torch.preserve_format) for a in args)

        hooks.append(original.register_forward_pre_hook(note))
    try:
        site.graph(*site.args, **site.kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _where(site: Site, part: Any) -> str:
    """The module that most of a group's operators come from, by export's module stack."""
    paths = []
    for node in part.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {}
        if stack:
            paths.append(str(list(stack.values())[-1][0]))
    inner = max(set(paths), key=paths.count) if paths else ""
    return ".".join(p for p in (site.path, inner.removeprefix("L['self'].").removeprefix("L__self___")) if p)


def profile(model: nn.Module, calls: Sequence[Call], device: str, training: bool) -> list[dict[str, Any]]:
    """The operators of one pass with their shapes, by own device time (each microsecond counted once), dearest first."""
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device != "cpu" else [])
    with torch.set_grad_enabled(training):
        for args, kwargs in calls:
            model(*args, **kwargs)
        with torch.profiler.profile(activities=activities, record_shapes=True) as recorded:
            for args, kwargs in calls:
                model(*args, **kwargs)
            synchronize(device)
    rows = []
    for event in recorded.key_averages(group_by_input_shape=True):
        own = event.self_cpu_time_total if device == "cpu" else event.self_device_time_total
        if own > 0 and event.key.startswith("aten::"):
            rows.append({"op": event.key, "shapes": str(event.input_shapes), "calls": event.count, "own_us": float(own)})
    return sorted(rows, key=lambda row: -row["own_us"])
