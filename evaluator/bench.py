"""``python -m kernelwright.evaluator.bench``: how fast the judge is on the device at hand, and where its time goes.

It judges honest kernels of its own on one warm judge and prints a table of figures, each beside its target where there is
one. The machine should be otherwise idle. Needs what the evaluator needs: torch, numpy and the language's own compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernelwright.evaluator import bench_measures as measures
from kernelwright.evaluator.bench_kernels import heavy, small
from kernelwright.evaluator.bench_measures import Bench, Counts
from kernelwright.evaluator.bench_repeat import repeat
from kernelwright.evaluator.device import default_device
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import InputError, KernelwrightError

_QUICK = Settings(baselines=("eager",), timing_seconds=0.2, min_blocks=3)
_PARTS = ("starts", "rejections", "untimed", "cascade", "honesty")
_REPEAT = "repeat"
"""Measured only when named: it takes a minute or more."""


def run(options: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """The figures; ``load``: the machine's load average of a minute before and after, which should be about 0 and 1.

    Raises:
        KernelwrightError: no such backend or device here, or the judge does not let an honest kernel pass.
    """
    settings = _QUICK if options.quick else Settings()
    load = [os.getloadavg()[0]]
    light = small(options.backend)
    with Judge(options.backend, options.device, cache, settings) as judge:
        if judge.simulated:
            raise InputError(f"{options.backend} is only simulated on {judge.device}: nothing to time", "use --backend cpp")
        counts = Counts(options.kernels, options.starts, min(3, -(-options.starts // 2)), min(5, options.kernels))
        bench = Bench(judge, counts, settings)
        parts = {
            "starts": lambda: measures.starts(bench, light),
            "rejections": lambda: measures.rejections(bench, light),
            "untimed": lambda: measures.untimed(bench, light),
            "cascade": lambda: measures.cascade(bench, light),
            "honesty": lambda: measures.honesty(bench, heavy(options.backend, options.quick)),
        }
        found = {name: parts[name]() for name in options.only or _PARTS if name in parts}
        environment = judge.environment()
    if _REPEAT in (options.only or ()):
        plain = replace(settings, sanitize="off", baselines=("eager", "compile"))  # max-autotune would take most of the time
        found[_REPEAT] = repeat(
            options.backend, options.device, cache, plain, heavy(options.backend, options.quick), options.processes
        )
    load.append(os.getloadavg()[0])
    return {"environment": environment, "load": load, "quick": bool(options.quick), **found}


def table(found: dict[str, Any]) -> list[str]:
    """The figures as lines of text."""
    lines = [_line(*row) for row in _rows(found)]
    for name in ("untimed", "cascade", "honesty"):
        if name in found:
            stages = found[name]["stages"]
            whole = sum(stages.values())
            lines += ["", f"{name}: {whole:.2f} s a kernel"]
            lines += [f"  {stage:10} {spent:8.3f} s {spent / whole:6.1%}" for stage, spent in stages.items()]
    return lines


def _line(what: str, figure: str, target: str) -> str:
    return f"{what:58} {figure:>24}  {target}".rstrip()


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, figure, target)."""
    rows: list[tuple[str, str, str]] = []
    if part := found.get("starts"):
        rows.append(("isolated start of a runner", _spread(part["start_ms"], "ms"), "<= 25 ms"))
        rows.append(("  until its kernel is loaded", _spread(part["loaded_ms"], "ms"), ""))
        rows.append(("  its end", _spread(part["end_ms"], "ms"), ""))
        rows.append(("a fresh interpreter that imports torch", _spread(part["fresh_interpreter_ms"], "ms"), ""))
        rows.append(("  over an isolated start", f"{part['fresh_over_start']:.0f}x", ""))
    if part := found.get("rejections"):
        for name, entry in part.items():
            rows.append((f"reject an {name} kernel ({', '.join(entry['status'])})", _spread(entry["seconds"], "s"), "< 0.5 s"))
    if part := found.get("untimed"):
        where = " a core" if part["cores"] else ""
        for name, rate in part["to_correct_per_second"].items():
            rows.append((f"screen to correct, {name} kernels, a second{where}", f"{rate:.2f}", ">= 2"))
        fresh = f"{part['fresh_interpreter_per_second']:.2f}"
        rows.append((f"  a naive check in a fresh interpreter, a second{where}", fresh, ""))
    if part := found.get("cascade"):
        rows.append(("every stage, a small kernel, baselines cached", _spread(part["seconds"], "s"), "<= 6 s"))
        rows.append(("  the first kernel of the task", f"{part['first_seconds']:.2f} s", ""))
        rows += _busy(part)
    if part := found.get(_REPEAT):
        many, pooled = len(part["single"]), len(part["single"]) // len(part["pooled"])
        rows.append((f"speedups of {many} judgings, largest less least", f"{part['single_spread']:.1%}", ""))
        rows.append((f"  pooled over {pooled} processes each", f"{part['pooled_spread']:.1%}", "<= 5 % on a CPU"))
        if "latency_spread" in part:
            rows.append((f"latencies of {many} judgings", f"{part['latency_spread']:.1%}", "<= 2 %"))
    if part := found.get("honesty"):
        rows.append((f"cost of honesty, a call of {part['call_ms']:.1f} ms", f"{part['ratio']:.2f}x", "<= 5x"))
        rows.append(("  cascade, naive check-and-time", f"{part['cascade_seconds']:.2f} s, {part['naive_seconds']:.2f} s", ""))
        apart = f"{part['apart']['build_and_sanitize']:.2f} s, {part['apart']['first_of_task']:.2f} s"
        rows.append(("  apart: build and sanitizers, first of its task", apart, ""))
        rows += _busy(part)
    return rows


def _busy(part: dict[str, Any]) -> list[tuple[str, str, str]]:
    shares = part["busy"]
    figure = f"{shares['calls']:.0%}, {shares['calls_and_flushes']:.0%}"
    return [("  device busy while timing: calls, calls and flushes", figure, ">= 50%")]


def _spread(found: dict[str, float], unit: str) -> str:
    return f"{found['median']:.3g} (p90 {found['p90']:.3g}) {unit}"


def main(argv: Sequence[str]) -> int:
    """Exit code 0: measured; 2: wrong input; 3: the harness failed, or an honest kernel did not pass."""
    parser = argparse.ArgumentParser(prog="scripts/bench_evaluator", description=__doc__)
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: what is there")
    parser.add_argument("--backend", help="cpp or triton; default: the device's own")
    parser.add_argument("--kernels", type=_count, default=5, metavar="N", help="kernels judged for each figure (default 5)")
    parser.add_argument("--starts", type=_count, default=30, metavar="N", help="runners started (default 30)")
    parser.add_argument("--processes", type=_count, default=3, metavar="N", help="of repeat: judgings pooled (default 3)")
    parts = (*_PARTS, _REPEAT)
    parser.add_argument("--only", action="append", choices=parts, help="measure only this; may be given several times")
    parser.add_argument("--quick", action="store_true", help="small shapes, eager alone: not to be quoted")
    parser.add_argument("--cache", type=Path, help="folder for builds and compiled baselines; default: a new one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(argv)
    options.device = options.device or default_device()
    options.backend = options.backend or ("cpp" if options.device == "cpu" else "triton")
    try:
        with tempfile.TemporaryDirectory(prefix="kernelwright-bench-") as folder:
            found = run(options, options.cache or Path(folder))
    except KernelwrightError as error:
        sys.stderr.write(f"error: {error.message}\n" + (f"remedy: {error.remedy}\n" if error.remedy else ""))
        return error.exit_code
    sys.stdout.write("\n".join(table(found)) + "\n")
    if options.json:
        command = shlex.join(["scripts/bench_evaluator", *argv])
        options.json.write_text(json.dumps({"command": command, **found}, indent=1) + "\n", encoding="utf-8")
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no count: at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
