"""Calls in a row, made alike on both sides of a comparison: the candidate's process and the reference's.

The judge's clock runs outside, around the request; this module only makes the calls. On a GPU a run begins with a head
start, flushes that keep the device busy until the host has launched every call: without it a hiccup of the host leaves the
device idle, which would be timed (±15 µs a call were seen).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

FLUSH_BYTES = 256 << 20
"""More than twice the L2 of any device in the table."""


_SPIN_SECONDS = 0.02


def spin_after(op: str, device: str) -> float:
    """Seconds to poll for the next request: on a GPU, between the requests of a measurement."""
    return _SPIN_SECONDS if device != "cpu" and op in ("prepare", "time", "space") else 0.0


class Flusher:
    """What runs on the device before each timed call: it evicts L2.

    On the CPU there is nothing to do: a pool of inputs larger than the private caches does it.

    Two buffers take turns. With one, a flush that follows a flush finds its own end still in L2 and writes that much less
    to memory than a flush that follows a kernel: 12 µs on an H200, which a kernel of 68 µs would have been charged.
    """

    def __init__(self, device: str) -> None:
        count = 0 if device == "cpu" else FLUSH_BYTES // 4
        self._buffers = [torch.empty(count, dtype=torch.float32, device=device) for _ in range(2)]

    def __call__(self, repeats: int) -> None:
        for _ in range(repeats):
            self._buffers[0].zero_()
            self._buffers.reverse()


def wake(flush: Flusher, cuda: bool) -> None:
    """Make this process the one whose context is on the device: switching to it would be timed otherwise."""
    if cuda:
        flush(1)
        torch.cuda.synchronize()


@dataclass
class Calls:
    """What a run of calls left behind."""

    outputs: list[Any]
    host_us: float
    """Host time a call, launches only on a GPU, a TPU and an NPU."""
    events: list[tuple[Any, Any]]

    def event_us(self) -> float | None:
        """The device's own account of a call, median; asked for outside the judge's clock, since it is slow."""
        times = sorted(start.elapsed_time(end) * 1e3 for start, end in self.events)
        return times[len(times) // 2] if times else None


def run_calls(
    call: Callable[..., Any],
    inputs: Sequence[Sequence[Any]],
    flush: Flusher,
    head: int,
    cuda: bool,
    wait: Callable[[Sequence[Any]], None] | None = None,
) -> Calls:
    """Call once per entry of ``inputs``, keeping the outputs in order; all work is done when this returns.

    ``head``: flushes of head start; on a GPU each call follows another flush. ``wait``: returns when the outputs that it is
    given are there, where calls come back before (on a TPU and an NPU).
    """
    outputs = []
    events = []
    gc.disable()
    flush(head)
    began = time.perf_counter()
    for arguments in inputs:
        if cuda:
            flush(1)
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            outputs.append(call(*arguments))
            end.record()
            events.append((start, end))
        else:
            outputs.append(call(*arguments))
    host_us = (time.perf_counter() - began) * 1e6 / max(len(inputs), 1)
    if cuda:
        torch.cuda.synchronize()
    if wait is not None:
        wait(outputs)
    gc.enable()
    return Calls(outputs, host_us, events)


def run_spacers(count: int, flush: Flusher, head: int, cuda: bool) -> None:
    """What :func:`run_calls` does besides calling, so that it can be subtracted."""
    flush(head)
    for _ in range(count):
        if cuda:
            flush(1)
            for _ in range(2):
                torch.cuda.Event(enable_timing=True).record()
    if cuda:
        torch.cuda.synchronize()
