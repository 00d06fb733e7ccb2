"""Which operators did the work of a call: the dispatcher and the profiler, not the text of the source."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops[func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


def dispatched(call: Callable[[], Any]) -> Counter[str]:
    """ATen operators that ``call`` dispatches on this thread, below autograd: ``{"aten::addmm": 1, …}``."""
    recorder = _Recorder()
    with recorder:
        call()
    return recorder.ops


def observe(call: Callable[[], Any], cuda: bool) -> dict[str, Any]:
    """Operators seen by the dispatcher in one call and by the profiler in another, with their share of time.

    Returns ``ops`` (name -> count), ``times`` (name -> own µs; device µs on a GPU) and ``total_us``.
    """
    ops = dispatched(call)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.profiler.profile(activities=activities) as profile:
            call()
            if cuda:
                torch.cuda.synchronize()
    times: dict[str, float] = {}
    kernels: dict[str, float] = {}
    for event in profile.key_averages():
        own = float(event.self_device_time_total if cuda else event.self_cpu_time_total)
        if event.key.startswith("aten::"):
            ops[event.key] = max(ops[event.key], int(event.count))
            times[event.key] = times.get(event.key, 0.0) + own
        elif cuda and own > 0:
            kernels[event.key] = own
    total = sum(kernels.values()) if cuda else sum(e.self_cpu_time_total for e in profile.key_averages())
    return {"ops": dict(ops), "times": times, "kernels": kernels, "total_us": float(total)}
