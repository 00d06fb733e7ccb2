"""Which operators did the work of a call, as the profiler saw them and not as the source's text has it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch._C._autograd import DeviceType


def observe(call: Callable[[], Any], cuda: bool) -> dict[str, Any]:
    """Operators of one call and what they took.

    Only the outermost operators count: ``aten::linear`` is one, whatever it is made of.

    Returns ``ops`` (``aten::addmm`` -> count), ``times`` (-> µs with all it called; device µs on a GPU), ``kernels``
    (device kernel -> µs; empty on the CPU), ``total_us`` of the whole call and ``flops`` (matrix products, convolutions,
    sums and products, by the profiler's formulas; 0 on a GPU).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _profiler(cuda) as profile, torch.autograd.profiler.record_function(_WHOLE):
            call()
            if cuda:
                torch.cuda.synchronize()
    events = profile.events() if cuda else profile.function_events
    ops: Counter[str] = Counter()
    times: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    total = 0.0
    for event in events:
        if cuda and event.device_type != DeviceType.CPU:
            kernels[event.name] += event.self_device_time_total
        elif event.name == _WHOLE:
            total = float(event.cpu_time_total)
        elif "::" in event.name and not _inside_operator(event):
            ops[event.name] += 1
            times[event.name] += event.device_time_total if cuda else event.cpu_time_total
    kernels.pop(_WHOLE, None)
    total = float(sum(kernels.values())) if cuda else total
    flops = 0 if cuda else sum(int(event.flops or 0) for event in events)
    return {"flops": flops, "ops": dict(ops), "times": dict(times), "kernels": dict(kernels), "total_us": total}


_WHOLE = "kernelwright.call"


def _inside_operator(event: Any) -> bool:
    parent = event.cpu_parent
    while parent is not None:
        if "::" in parent.name:
            return True
        parent = parent.cpu_parent
    return False


def _profiler(cuda: bool) -> Any:
    """Without a GPU the light profiler will do: starting the other one takes three seconds in a fresh process."""
    if not cuda:
        return torch.autograd.profiler.profile(use_kineto=False, with_flops=True)
    return torch.profiler.profile(activities=list(torch.profiler.supported_activities()))
