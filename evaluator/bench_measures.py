"""How fast the judge is: what is measured, on one warm judge, and against what. Seconds unless a name says otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from kernelwright.evaluator.bench_kernels import Work
from kernelwright.evaluator.figures import CANDIDATE, samples_key
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.trial import Trial
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import ShapeCase, Stage, Status, Use, Verdict

_CHECKS, _CALLS = 10, 100
"""Of a naive check-and-time."""
_FEW_CHECKS = 5
"""Of a naive check of correctness alone."""
_TO_CORRECT = (Stage.SCREEN, Stage.BUILD, "open", Stage.SMOKE, Stage.CORRECT)
_APART = (Stage.BUILD, Stage.SANITIZE)
"""Stages that the cost of honesty does not count."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """How often things are repeated."""

    kernels: int = 5
    """Kernels judged, after a first one that opens the task and makes its baselines ready."""
    starts: int = 30
    """Runners started."""
    fresh: int = 3
    """Interpreters started that import torch."""
    rejected: int = 5
    """Kernels of each kind that are rejected."""


@dataclass(frozen=True)
class Bench:
    """What the measurements work with."""

    judge: Judge
    counts: Counts
    settings: Settings = field(default_factory=Settings)


def starts(bench: Bench, work: Work) -> Figures:
    """Fork request to the first frame of an isolated runner, until its kernel is loaded, and its end; a fresh interpreter."""
    judge, kernel = bench.judge, work.kernel(0)
    built = judge.backend.build(kernel, judge.cache / "native")
    environment = {"KERNELWRIGHT_LIBRARIES": json.dumps(dict(built.libraries))}
    server = judge.server(dict(judge.backend.run_entry(judge.kind)))
    server.wait_ready()
    started, loaded, ended = [], [], []
    for _ in range(bench.counts.starts + 1):
        began = time.perf_counter()
        trial = Trial(server, kernel, judge.device, judge.settings, environment)
        started.append(time.perf_counter() - began)
        try:
            trial.load()
            loaded.append(time.perf_counter() - began)
        finally:
            closing = time.perf_counter()
            trial.close()
            ended.append(time.perf_counter() - closing)
    fresh = [_seconds([sys.executable, "-c", "import torch"]) for _ in range(bench.counts.fresh)]  # its files are read already
    start = _spread(started[1:], 1e3)
    return {
        "start_ms": start,
        "loaded_ms": _spread(loaded[1:], 1e3),
        "end_ms": _spread(ended[1:], 1e3),
        "fresh_interpreter_ms": _spread(fresh, 1e3),
        "fresh_over_start": round(median(fresh) * 1e3 / start["median"], 1),
    }


def rejections(bench: Bench, work: Work) -> Figures:
    """A kernel that does not parse, and one that does not compile."""
    found: Figures = {}
    for name, make in (("unparsable", work.unparsable), ("uncompilable", work.uncompilable)):
        verdicts = [bench.judge.judge(make(i), work.task) for i in range(bench.counts.rejected)]
        found[name] = {
            "seconds": _spread([v.seconds for v in verdicts]),
            "status": sorted({v.status.value for v in verdicts}),
            "stage": sorted({v.stage.value for v in verdicts}),
        }
    return found


def untimed(bench: Bench, work: Work) -> Figures:
    """Small kernels from screen to correct, held to one core on a CPU, against fresh interpreters with a naive check.

    ``built``: the kernels' libraries are in the cache, as they are for the naive check.
    """
    settings = replace(bench.settings, timing=False, sanitize="off")
    device = bench.judge.device
    with one_core(bench.judge.kind), Judge(work.backend, device, bench.judge.cache, settings) as judge:
        judge.judge(work.kernel(1000), work.task)
        kernels = [work.kernel(1001 + i) for i in range(bench.counts.kernels)]
        new = [_passed(judge.judge(kernel, work.task)) for kernel in kernels]
        built = [_passed(judge.judge(kernel, work.task)) for kernel in kernels]
        native = judge.cache / "native"
        libraries = [dict(judge.backend.build(kernel, native).libraries) for kernel in kernels]
        case = work.task.cases_for(judge.kind, Use.CORRECTNESS)[0]
        began = time.perf_counter()
        for kernel, paths in zip(kernels, libraries, strict=True):
            _naive(judge, work, kernel.source, paths, case, checks=_FEW_CHECKS, calls=0, repeats=1)
        naive = (time.perf_counter() - began) / len(kernels)
    judged = {"new": new, "built": built}
    seconds = {name: _mean_to_correct(verdicts) for name, verdicts in judged.items()}
    return {
        "cores": 1 if bench.judge.kind == "cpu" else None,
        "to_correct_per_second": {name: round(1 / spent, 2) for name, spent in seconds.items()},
        "all_untimed_stages_per_second": {
            name: round(len(verdicts) / sum(v.seconds for v in verdicts), 2) for name, verdicts in judged.items()
        },
        "fresh_interpreter_per_second": round(1 / naive, 2),
        "over_fresh_interpreter": round(naive / seconds["built"], 1),
        "stages": by_stage(new),
    }


def cascade(bench: Bench, work: Work) -> Figures:
    """Every stage, kernel after kernel of one task; where the time goes, and how busy the device is while timing."""
    first = _passed(bench.judge.judge(work.kernel(2000), work.task))
    verdicts = [_passed(bench.judge.judge(work.kernel(2001 + i), work.task)) for i in range(bench.counts.kernels)]
    return {
        "seconds": _spread([v.seconds for v in verdicts]),
        "first_seconds": first.seconds,
        "stages": by_stage(verdicts),
        "busy": {name: _rounded(median([_busy(v)[name] for v in verdicts])) for name in ("calls", "calls_and_flushes")},
    }


def honesty(bench: Bench, work: Work) -> Figures:
    """The cascade on a kernel with long calls, over a naive check-and-time of it in a warm process.

    Builds and sanitizers, and what the first kernel of a task pays once (oracle, baselines), are reported apart.
    """
    first = _passed(bench.judge.judge(work.kernel(3000), work.task))
    kernels = [work.kernel(3001 + i) for i in range(max(1, bench.counts.kernels // 2))]
    verdicts = [_passed(bench.judge.judge(kernel, work.task)) for kernel in kernels]
    libraries = dict(bench.judge.backend.build(kernels[0], bench.judge.cache / "native").libraries)
    case = work.task.cases_for(bench.judge.kind, Use.TIMING)[0]
    runs = _naive(bench.judge, work, kernels[0].source, libraries, case, checks=_CHECKS, calls=_CALLS, repeats=4)[1:]
    late = runs[0]["build"] if bench.judge.kind == "cuda" else 0.0  # by Triton at the first call: in no stage of its own
    apart = [late + sum(_stages(v).get(_name(stage), 0.0) for stage in _APART) for v in verdicts]
    spent = median([v.seconds - a for v, a in zip(verdicts, apart, strict=True)])
    naive = median([run["checks"] + run["calls"] for run in runs])
    once = max(0.0, first.seconds - spent - median(apart))
    return {
        "case": dict(case.sizes),
        "call_ms": _rounded(median([v.timing.latency_us.median / 1e3 for v in verdicts if v.timing is not None])),
        "naive_call_ms": _rounded(median([run["call_ms"] for run in runs])),
        "cascade_seconds": _rounded(spent),
        "naive_seconds": _rounded(naive),
        "naive": {key: _rounded(median([run[key] for run in runs])) for key in ("checks", "calls")},
        "ratio": round(spent / naive, 2),
        "apart": {"build_and_sanitize": _rounded(median(apart)), "first_of_task": _rounded(once)},
        "stages": by_stage(verdicts),
        "busy": {name: _rounded(median([_busy(v)[name] for v in verdicts])) for name in ("calls", "calls_and_flushes")},
    }


def by_stage(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Mean seconds by stage, with ``rest`` for what no stage has (the runner's end); they add up to the mean of ``seconds``."""
    names = list(dict.fromkeys(name for v in verdicts for name in _stages(v)))
    means = {name: sum(_stages(v).get(name, 0.0) for v in verdicts) / len(verdicts) for name in names}
    rest = sum(v.seconds for v in verdicts) / len(verdicts) - sum(means.values())
    return {name: _rounded(spent) for name, spent in {**means, "rest": rest}.items()}


@contextmanager
def one_core(kind: str) -> Iterator[None]:
    """Hold this process and all that it starts to one core, where the cores are the device."""
    cores = os.sched_getaffinity(0)
    if kind == "cpu":
        os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _mean_to_correct(verdicts: Sequence[Verdict]) -> float:
    """Mean seconds from screen to correct; the runner's end is counted, too."""
    later = [sum(s for name, s in _stages(v).items() if name not in map(_name, _TO_CORRECT)) for v in verdicts]
    return sum(v.seconds - spent for v, spent in zip(verdicts, later, strict=True)) / len(verdicts)


def _busy(verdict: Verdict) -> dict[str, float]:
    """Share of the timing stage that the device spends in calls, and in calls and flushes: calls made times what one takes."""
    assert verdict.timing is not None
    calls = flushes = 0.0
    for case in verdict.timing.cases:
        work = verdict.evidence["timed_work"][samples_key(case.case, case.dtype)]
        took = {CANDIDATE: case.latency_us.median, **{name: found.median for name, found in case.baselines.items()}}
        calls += sum(n * took[name] for name, n in work["calls"].items() if name in took)
        flushes += work["flushes"] * work["flush_us"]
    stage = _stages(verdict)[Stage.TIME.value] * 1e6
    return {"calls": calls / stage, "calls_and_flushes": (calls + flushes) / stage}


def _naive(
    judge: Judge, work: Work, kernel: str, libraries: Mapping[str, str], case: ShapeCase, **how: int
) -> list[dict[str, float]]:
    """A naive check of a kernel in a fresh interpreter: what :mod:`~kernelwright.evaluator.bench_naive` answers."""
    request = {"kernel": kernel, "reference": work.task.source, "sizes": dict(case.sizes), "device": judge.device, **how}
    # The judge's own settings of heap and threads: page faults of fresh outputs would make naive calls slower than judged ones.
    environment = {**judge.server({}).environment, "KERNELWRIGHT_LIBRARIES": json.dumps(dict(libraries))}
    command = [sys.executable, "-m", "kernelwright.evaluator.bench_naive"]
    done = subprocess.run(command, input=json.dumps(request), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"the naive check failed: {(done.stderr.strip().splitlines() or [''])[-1]}")
    found: list[dict[str, float]] = json.loads(done.stdout)
    return found


def _passed(verdict: Verdict) -> Verdict:
    if verdict.status is not Status.PASSED:
        raise HarnessError(f"an honest kernel of the benchmark did not pass: {verdict.stage.value}: {verdict.reason}")
    return replace(verdict, seconds=verdict.seconds - _waited(verdict))


def _stages(verdict: Verdict) -> dict[str, float]:
    """Seconds by stage, without the wait for a device that another judge was timing on."""
    found: dict[str, float] = dict(verdict.evidence["stage_seconds"])
    if Stage.TIME.value in found:
        found[Stage.TIME.value] -= _waited(verdict)
    return found


def _waited(verdict: Verdict) -> float:
    return float(verdict.evidence.get("device_wait_seconds", 0.0))


def _name(stage: Stage | str) -> str:
    return stage.value if isinstance(stage, Stage) else stage


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def _spread(values: Sequence[float], unit: float = 1.0) -> dict[str, float]:
    """Median and 90th percentile (nearest rank)."""
    ordered = sorted(values)
    high = ordered[-(-9 * len(ordered) // 10) - 1]
    return {"median": _rounded(median(ordered) * unit), "p90": _rounded(high * unit), "n": len(ordered)}


def _rounded(value: float) -> float:
    return round(value, 3)
