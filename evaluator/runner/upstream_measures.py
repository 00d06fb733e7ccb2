"""What suites compare and how they time, by the parameters of a :class:`~kernelwright.tasks.suites.upstream.Rule`.

Functions of torch and clocks are looked up when they are called, in the process of the kernel: one that a kernel has
replaced is used, as it is upstream.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from kernelwright.evaluator.runner.arena import dtype_name
from kernelwright.tasks.suites.upstream import Clock, Rule


def differs(expected: Any, got: Any, rule: Rule) -> str:
    """Why ``got`` is wrong by ``rule``; empty when it is right."""
    if isinstance(expected, torch.Tensor):
        return _tensor_differs(expected, got, rule)
    if rule.single:
        return "the output is not one tensor, which upstream's comparison cannot take"
    if isinstance(expected, dict) and isinstance(got, dict):
        if expected.keys() != got.keys():
            return "other keys"
        return differs([*expected.values()], [got[key] for key in expected], rule)
    if isinstance(expected, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            return f"{len(expected)} outputs expected"
        return next((problem for e, g in zip(expected, got, strict=True) if (problem := differs(e, g, rule))), "")
    return "" if expected == got else "another value that is no tensor"


def _tensor_differs(expected: torch.Tensor, got: Any, rule: Rule) -> str:
    if expected.shape != got.shape:
        return f"shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    if rule.same_dtype and expected.dtype != got.dtype:
        return f"dtype {dtype_name(got.dtype)}, expected {dtype_name(expected.dtype)}"
    if rule.finite and not bool(torch.isfinite(got).all()):
        return "NaN or Inf in the output"
    limit = rule.tolerance.get(dtype_name(expected.dtype)) or rule.tolerance[""]
    if expected.dtype == torch.bool or (limit.atol == 0 and limit.rtol == 0):
        return "" if torch.equal(expected, got) else "not equal"
    if rule.not_zero and bool(expected.any()) and not bool(got.any()):
        return "all zeros"
    if not rule.either and rule.share == 1.0 and rule.cap is None:
        close = torch.allclose(expected, got, atol=limit.atol, rtol=limit.rtol, equal_nan=rule.nan_equal)
        return "" if close else f"beyond atol {limit.atol:g}, rtol {limit.rtol:g}"
    e, g = expected.to(torch.float32), got.to(torch.float32)
    error = (e - g).abs()
    beyond = error > limit.atol + limit.rtol * e.abs()
    if rule.either:
        beyond = (error > limit.atol) & (error / (e.abs() + rule.floor) > limit.rtol)
    beyond |= ~torch.isfinite(error)
    wrong = float(beyond.sum()) / max(beyond.numel(), 1)
    if 1.0 - wrong < rule.share:
        return f"{wrong:.2%} of the elements beyond atol {limit.atol:g}, rtol {limit.rtol:g}"
    return "an error beyond the cap" if rule.cap is not None and error.numel() and float(error.max()) > rule.cap else ""


def timed(model: Any, inputs: Sequence[Any], clock: Clock, device: str, seconds: float) -> float:
    """µs a call by ``clock``; fewer repeats where ``seconds`` are over, at least one."""
    cuda = device != "cpu"
    until = time.monotonic() + seconds
    times: list[float] = []
    for _ in range(clock.warmups):
        model(*inputs)
        if cuda:
            torch.cuda.synchronize()
    for n in range(clock.discarded + clock.repeats):
        if clock.flush_bytes:
            torch.empty(clock.flush_bytes // 8, dtype=torch.int64, device=device).fill_(42)
        took = _event_us(model, inputs) if cuda else _host_us(model, inputs)
        times += [took] if n >= clock.discarded else []
        if times and time.monotonic() > until:
            break
    return statistics.fmean(times) if clock.statistic == "mean" else statistics.median(times)


def _event_us(model: Any, inputs: Sequence[Any]) -> float:
    torch.cuda.synchronize()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    model(*inputs)
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) * 1e3


def _host_us(model: Any, inputs: Sequence[Any]) -> float:
    began = time.perf_counter()
    model(*inputs)
    return (time.perf_counter() - began) * 1e6
