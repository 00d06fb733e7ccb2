"""The whole of it: capture, rank, optimise, patch, verify end to end, drop what does not pay, write ``tuned/``."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kernelwright.agent.files import write_text
from kernelwright.agent.run import start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.tune import verify
from kernelwright.agent.tune.optimise import Loop, Search, load_kernel, odds, optimise
from kernelwright.agent.tune.package import write_package
from kernelwright.agent.tune.patch import Kernel, Patched, patch
from kernelwright.agent.tune.rank import Candidate, candidates, profile, seconds
from kernelwright.agent.tune.state import State
from kernelwright.agent.tune.target import Call, Target
from kernelwright.agent.tune.usable import captured, usable
from kernelwright.agent.watch import Watch
from kernelwright.agent.workspace import Workspace


@dataclass(frozen=True)
class Options:
    """How a model is tuned, beside the loop's own configuration."""

    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:N``."""
    training: bool = False
    total: int = 60
    """Attempts over all tasks."""
    threshold: float = 0.01
    """Stop when no group is expected to save this share of a pass."""
    rounds: int = 30
    """Interleaved rounds of the end-to-end timing."""
    compiled: bool = True
    """Also time ``torch.compile`` of the original."""
    out: Path = Path("tuned")


@dataclass
class Tuned:
    """What came of it; ``model`` is the user's own, patched where that pays and else untouched."""

    model: nn.Module
    patched: Patched
    report: dict[str, Any] = field(default_factory=dict)
    """What ``report.json`` holds: times in milliseconds, speedups with 95 % intervals, numerics, groups, tasks, notes."""
    interrupted: bool = False

    def undo(self) -> None:
        """Take every kernel out: the model is what it was, in the train or eval state that it has now."""
        self.patched.undo()


def tune(target: Target, config: RunConfig, options: Options, workspace: Workspace, watch: Watch, loop: Loop = start) -> Tuned:
    """Tune ``target`` in place. Where no kernel stays in, or anything fails, the model is as it was.

    Raises:
        InputError: the model cannot be captured, is not deterministic, or does not run on its own inputs; before anything is
            spent.
    """
    model, state = target.model, State.of(target.model)
    model.train(options.training)
    try:
        tuned = _tuned(target, config, options, workspace, watch, loop)
    except BaseException:  # an interrupt, too, leaves the model as it was
        state.restore()
        raise
    state.restore_buffers()
    if not tuned.report["kernels"]:
        state.restore()
    return tuned


def _tuned(target: Target, config: RunConfig, options: Options, workspace: Workspace, watch: Watch, loop: Loop) -> Tuned:
    model, device, training = target.model, options.device, options.training
    usable(target, training)
    sites, notes = captured(target)
    with torch.set_grad_enabled(training):
        pass_ms = 1e3 * sum(seconds(lambda a=a, k=k: model(*a, **k), device) for a, k in target.calls)  # type: ignore[misc]
    ranked = candidates(sites, device)
    odds(ranked, workspace)
    report: dict[str, Any] = {
        "model": target.name,
        "device": torch.cuda.get_device_name(device) if device != "cpu" else "cpu",
        "mode": "training" if training else "inference",
        "pass_ms": pass_ms,
        "notes": [*target.notes, *notes],
        "profile": profile(model, target.calls, device, training)[:30],
        "groups": [_row(c, pass_ms) for c in sorted(ranked, key=lambda c: -c.expected_ms)],
    }
    search = optimise(ranked, config, workspace, watch, options.total, options.threshold * pass_ms, loop)
    report |= {"runs": search.runs, "tasks": search.tasks}
    patched = patch(model, sites, _kernels(search, workspace), training)
    try:
        _prove(patched, target, search, options, report)
        write_package(options.out, patched, target, search, report)
    except BaseException:
        patched.undo()
        raise
    return Tuned(model, patched, report, watch.stopping())


def _row(candidate: Candidate, pass_ms: float) -> dict[str, Any]:
    group = candidate.group
    return {
        "group": group.name,
        "key": group.key,
        "count": candidate.count,
        "modules": sorted(set(candidate.paths))[:8],
        "inputs": [f"{s.dtype}{list(s.shape)}" for s in group.inputs],
        "ops": list(group.ops),
        "eager_us": candidate.eager_us,
        "floor_us": candidate.floor_us,
        "share": candidate.count * candidate.eager_us / 1e3 / pass_ms,
        "odds": candidate.odds,
        "expected_ms": candidate.expected_ms,
    }


def _kernels(search: Search, workspace: Workspace) -> dict[str, Kernel]:
    kernels = {}
    for key, won in search.won.items():
        path = workspace.home / "tuned" / f"{key}_kernel.py"
        write_text(path, won.source)
        kernels[key] = load_kernel(path)
    return kernels


def _prove(patched: Patched, target: Target, search: Search, options: Options, report: dict[str, Any]) -> None:
    """Numerics, then time; kernels that do not pay end to end are taken out, and what stays is measured again."""
    dropped: dict[str, str] = {}
    report |= {"dropped": dropped, "contribution_ms": {}, "numerics": None, "latency_ms": None, "speedup": None}
    while patched.used():
        found = verify.numerics(patched, target.calls, options.training)
        if found["note"] and report["numerics"] is None:
            report["notes"].append(found["note"])
        report["numerics"] = found
        if not found["passed"]:
            off = f"the model's outputs are off by {found['ratio']:.2g} times what is allowed"
            dropped |= dict.fromkeys(patched.used(), off)
            break
        losing = _leave_one_out(patched, target, options, report)
        if losing is None:
            break
        dropped[losing] = "does not pay end to end"
        patched.enable([key for key in patched.used() if key != losing])
    if patched.used() and not report["numerics"]["passed"]:
        patched.enable(())
    if patched.used():
        _time(patched, target, options, report)
        if report["speedup"]["eager"]["low"] <= 1:
            dropped |= dict.fromkeys(patched.used(), "the patched model is not measurably faster than the original")
            patched.enable(())
    report["kernels"] = {key: search.won[key].candidate.group.name for key in patched.used()}
    if not report["kernels"]:
        patched.undo()


def _leave_one_out(patched: Patched, target: Target, options: Options, report: dict[str, Any]) -> str | None:
    """What each kernel contributes; the one that costs most, if any does."""
    keys = patched.used()
    variants = {"": keys, **{key: [k for k in keys if k != key] for key in keys}}

    def variant(enabled: list[str]) -> Callable[[Call], Any]:
        def call(given: Call) -> None:
            verify.run(patched.model, given, options.training)

        call.prepare = lambda: patched.enable(enabled)  # type: ignore[attr-defined]
        return call

    taken = verify.latency({n: variant(e) for n, e in variants.items()}, target.calls, options.device, options.rounds)
    patched.enable(keys)
    whole = statistics.median(taken[""])
    gains = {key: statistics.median(taken[key]) - whole for key in keys}
    report["contribution_ms"] = gains
    worst = min(gains, key=lambda k: gains[k])
    return worst if gains[worst] <= 0 else None


def _time(patched: Patched, target: Target, options: Options, report: dict[str, Any]) -> None:
    keys, model = patched.used(), patched.model

    def run(given: Call) -> None:
        verify.run(model, given, options.training)

    def eager(given: Call) -> None:
        run(given)

    def tuned(given: Call) -> None:
        run(given)

    eager.prepare = lambda: patched.enable(())  # type: ignore[attr-defined]
    tuned.prepare = lambda: patched.enable(keys)  # type: ignore[attr-defined]
    variants: dict[str, Callable[[Call], Any]] = {"eager": eager, "tuned": tuned}
    if options.compiled:
        variants |= _compiled(patched, target, options, report)
    taken = verify.latency(variants, target.calls, options.device, options.rounds)
    patched.enable(keys)
    report["latency_ms"] = {name: statistics.median(times) for name, times in taken.items()}
    report["speedup"] = {name: verify.speedup(taken[name], taken["tuned"]) for name in taken if name != "tuned"}
    if "tuned+compile" in taken:
        report["speedup_compiled"] = verify.speedup(taken["compile"], taken["tuned+compile"])


def _compiled(
    patched: Patched, target: Target, options: Options, report: dict[str, Any]
) -> Mapping[str, Callable[[Call], Any]]:
    """``torch.compile`` of the original, and of the patched model; a note where it fails."""
    keys = patched.used()
    made: dict[str, Callable[[Call], Any]] = {}
    plain = patched.original()
    for name, model, enabled in (("compile", plain, ()), ("tuned+compile", patched.model, keys)):
        try:
            compiled = torch.compile(model)
            patched.enable(enabled or keys)
            for call in target.calls:
                verify.run(compiled, call, options.training)  # type: ignore[arg-type]

            def go(given: Call, compiled: Any = compiled) -> None:
                verify.run(compiled, given, options.training)

            go.prepare = lambda: patched.enable(keys)  # type: ignore[attr-defined]
            made[name] = go
        except Exception as error:  # noqa: BLE001  the compiler may fail in any way, and that is a finding
            report["notes"].append(f"torch.compile ({name}) fails: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
    return made
