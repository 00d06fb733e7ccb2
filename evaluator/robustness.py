"""Stage ``robust``: what a kernel keeps between calls, and what it takes for granted about its inputs.

Decides on wrong values where the task's own shapes and layouts are concerned: a result kept by pointer, buffer or shape, an
output that a later call overwrites, inputs at other addresses. What a kernel may refuse, it may refuse: inputs that are not
contiguous, or not aligned as torch allocates, narrow its reported envelope when it raises on them, and so do wrong values on
strided inputs (exported kernels call the original there). Wrong values on contiguous but unaligned ones are wrong.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kernelwright.evaluator.accidents import context_broken
from kernelwright.evaluator.journal import secret_seed
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.trial import Outside, Rejected, Trial
from kernelwright.tasks.records import Stage, Status

EQUAL_CALLS = 20
"""Least number of calls on equal contents before they change in place; up to as many again are added, in secret."""
_SIMULATED_CALLS = 3
_NUDGES = 2
_KEPT = 6
_KEPT_BYTES = 2 << 30
"""Of outputs that a runner is asked to hold at once, or two calls' own: what it holds others lack."""
_REPEATS = 3


@dataclass
class Robustness:
    """What was found; ``narrowed`` goes into the verdict's envelope."""

    evidence: dict[str, Any] = field(default_factory=dict)
    narrowed: list[str] = field(default_factory=list)


def examine(trial: Trial, session: Session, cases: Sequence[OpenCase], deterministic: bool, simulated: bool) -> Robustness:
    """Examine a kernel on cases inside its envelope that it was found right on.

    Raises:
        Rejected: wrong values, or calls that disagree where the task wants them bitwise equal.
    """
    trial.stage = Stage.ROBUST
    found = Robustness()
    smallest, largest = min(cases, key=lambda c: c.numel), max(cases, key=lambda c: c.numel)
    _after_equal_calls(trial, session, smallest, _SIMULATED_CALLS if simulated else EQUAL_CALLS)
    if largest.key != smallest.key:
        _after_equal_calls(trial, session, largest, _SIMULATED_CALLS)
    _kept_outputs(trial, session, smallest)
    for opened in [*cases[:2], *cases[:1]]:  # interleaved shapes
        trial.try_draw(session, opened)
    found.evidence["bitwise"] = _bitwise(trial, session, smallest)
    if deterministic and not found.evidence["bitwise"]:
        raise Rejected(Status.INCORRECT, Stage.ROBUST, f"{_REPEATS} equal calls disagree bitwise; the task wants them equal")
    if largest.facts["outputs"][0]["device"] == "cuda":
        _joined(trial, session, largest)
    if not smallest.facts["mutated"]:
        for variant in ("fresh", "unaligned", "strided"):
            found.evidence[variant] = _variant(trial, session, smallest, variant, found.narrowed)
    return found


def _after_equal_calls(trial: Trial, session: Session, opened: OpenCase, calls: int) -> None:
    """Contents and parameters change under the same pointers after many equal calls: all, then a few elements of them."""
    for n in range(min(calls + random.SystemRandom().randrange(calls), max(2, _KEPT_BYTES // max(opened.nbytes, 1)))):
        trial.keep(opened, n)  # kept, so that a buffer that comes round again is seen
    trial.try_draw(session, opened, vary=True)
    for _ in range(_NUDGES):
        trial.try_draw(session, opened, spikes="nudge")


def _kept_outputs(trial: Trial, session: Session, opened: OpenCase) -> None:
    """The outputs of calls must survive the calls that follow, unless the reference returns its inputs' own memory."""
    trial.try_draw(session, opened)
    if any(opened.facts["aliased"]):
        return
    kept = min(_KEPT, opened.facts["remembered"])
    for n in range(1, kept):
        if session.draw(opened)["dropped"]:
            return
        trial.keep(opened, n)
    for n in range(kept):
        trial.compare_kept(session, opened, n, back=kept - 1 - n)


def _bitwise(trial: Trial, session: Session, opened: OpenCase) -> bool:
    """Whether equal calls agree bit for bit."""
    hashes = set()
    seed = secret_seed()
    for _ in range(_REPEATS):
        if opened.facts["mutated"]:  # the last call has changed them
            session.draw(opened, seed=seed)
        trial.keep(opened, 0)
        trial.export(opened, 0)
        hashes.add(session.ask("fingerprint", key=opened.key)[0]["hash"])
    return len(hashes) == 1


def _joined(trial: Trial, session: Session, opened: OpenCase) -> None:
    """On a GPU: work of other streams is joined to the current one when ``forward`` returns, even when it takes its time."""
    try:
        trial.try_draw(session, opened, variant="delayed")
    except Rejected as failure:
        if failure.status is not Status.INCORRECT:
            raise
        reason = f"work of other streams is not joined when forward returns: {failure.reason}"
        raise Rejected(Status.CHEATING, Stage.HONEST, reason, {"rule": "unjoined", **failure.evidence}) from None


def _variant(trial: Trial, session: Session, opened: OpenCase, variant: str, narrowed: list[str]) -> str:
    """One draw whose inputs lie elsewhere in memory; returns ``passed`` or how it narrows the envelope."""
    try:
        trial.try_draw(session, opened, variant=variant)
        return "passed"
    except Outside as outside:
        how = f"raises OutsideEnvelope: {outside}"
    except Rejected as failure:
        raised = failure.status is Status.RUNTIME_ERROR and trial.runner.alive and not context_broken(failure.reason)
        wrong = failure.status is Status.INCORRECT and variant == "strided"
        if variant == "fresh" or not (raised or wrong):
            raise
        how = failure.reason
    narrowed.append({"unaligned": "aligned inputs only", "strided": "contiguous inputs only"}.get(variant, variant))
    return how[:200]
