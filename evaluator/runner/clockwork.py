"""Calls in a row, made alike on both sides of a comparison: the candidate's process and the reference's.

The judge's clock runs outside, around the request; this module only makes the calls.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

FLUSH_BYTES = 256 << 20
"""More than twice the L2 of any device in the table."""


_SPIN_SECONDS = 0.02


def spin_after(op: str, device: str) -> float:
    """Seconds to poll for the next request: on a GPU, between the requests of a measurement."""
    return _SPIN_SECONDS if device != "cpu" and op in ("prepare", "time", "space") else 0.0


class Flusher:
    """What runs on the device before each timed call: it evicts L2 and is longer than the host needs to launch.

    On the CPU there is nothing to do: a pool of inputs larger than the private caches does it.
    """

    def __init__(self, device: str) -> None:
        self._buffer = torch.empty(0)
        if device != "cpu":
            self._buffer = torch.empty(FLUSH_BYTES // 4, dtype=torch.float32, device=device)

    def __call__(self, repeats: int) -> None:
        for _ in range(repeats):
            self._buffer.zero_()


def run_calls(
    call: Callable[..., Any], inputs: Sequence[Sequence[Any]], flush: Flusher, repeats: int, cuda: bool
) -> tuple[list[Any], dict[str, Any]]:
    """Call once per entry of ``inputs``; all work is done when this returns.

    Returns the outputs in order and the device's own account: median event time in µs (GPU) and host µs a call.
    """
    outputs = []
    events = []
    gc.disable()
    began = time.perf_counter()
    for arguments in inputs:
        flush(repeats)
        if cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            outputs.append(call(*arguments))
            end.record()
            events.append((start, end))
        else:
            outputs.append(call(*arguments))
    gc.enable()
    host_us = (time.perf_counter() - began) * 1e6 / max(len(inputs), 1)
    account: dict[str, Any] = {"host_us": host_us}
    if cuda:
        torch.cuda.synchronize()
        times = sorted(start.elapsed_time(end) * 1e3 for start, end in events)
        account["event_us"] = times[len(times) // 2] if times else None
    return outputs, account


def run_spacers(count: int, flush: Flusher, repeats: int, cuda: bool) -> None:
    """What :func:`run_calls` does besides calling, so that it can be subtracted."""
    for _ in range(count):
        flush(repeats)
        if cuda:
            for _ in range(2):
                torch.cuda.Event(enable_timing=True).record()
    if cuda:
        torch.cuda.synchronize()
