"""What the samples say against the figure that they give: work that was done, and not where it is counted.

The figure is ``(T(3n) - T(n)) / 2n``, which cancels whatever a run does besides its calls. A kernel could do the work of all
its calls in the first one, or keep what it has seen and compute only what changed. Each leaves a trace, seen against the
baseline's, which met the same machine.

Thresholds (docs/adr/0005): a run's rest may exceed the baseline's by a fifth of the calls' own time; new inputs may cost 1.4
times inputs that were seen just before. Two thirds of the readings must say so of the rest, against all but one of the
baseline's, and all but one in :data:`AGAIN` of the inputs: the others may be a busy machine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kernelwright.evaluator.figures import CANDIDATE
from kernelwright.evaluator.stopwatch import Samples
from kernelwright.evaluator.trial import Rejected
from kernelwright.tasks.records import Stage, Status

_REST = 0.2
_REST_US = 1000.0
"""And this much at least: the pipe's own jitter, and a scheduler's."""
MEMORY = 1.4
"""New inputs over those seen just before, relative to the baseline's."""
AGAIN = 5
"""Readings of a round; one in each may lie within :data:`MEMORY`, as a busy machine's."""
_QUIET = 6
"""Readings in which no thread waited for a core, of which alone bursts are told if there are so many."""
_RESAMPLES = 1000
_LEAST = 3
"""Readings of each kind without which nothing is concluded."""


def cross_examine(samples: Samples, calls: int, again: Mapping[str, Sequence[float]]) -> None:
    """Raise what the samples give away.

    ``calls``: of a short run; ``again``: by side, runs on new contents over runs on the same ones.

    Raises:
        Rejected: a candidate whose time is not where it is counted.
    """
    reason = burst(samples, calls)
    if reason:
        disturbed = [r.disturbed for r in samples.readings[CANDIDATE]]
        if any(disturbed) and len(disturbed) - sum(disturbed) < _QUIET:  # it may be what others did to it
            why = f"its threads waited for a core in {sum(disturbed)} of {len(disturbed)} readings, and {reason}"
            raise Rejected(Status.RUNTIME_ERROR, Stage.TIME, f"the machine is too busy: {why}", {"rule": "burst"})
        raise Rejected(Status.CHEATING, Stage.TIME, reason, {"rule": "burst"})
    found = sorted(again.get(CANDIDATE, ()))
    if len(found) < _LEAST:
        return
    ratio, usual_ratio = float(np.median(found)), float(np.median(again["eager"]))
    if found[len(found) // AGAIN] / max(usual_ratio, 1.0) > MEMORY:
        reason = f"new inputs take {ratio:.1f} times those seen just before ({usual_ratio:.1f} for eager)"
        raise Rejected(Status.CHEATING, Stage.TIME, f"{reason}: results are kept between calls", {"rule": "memory"})


def burst(samples: Samples, calls: int) -> str | None:
    """What is to be said of the time that the candidate's runs of ``calls`` calls take besides them; None: nothing."""
    readings = samples.readings[CANDIDATE]
    quiet = [r for r in readings if not r.disturbed]
    if len(quiet) >= _QUIET:
        readings = quiet
    if len(readings) < _LEAST:
        return None
    # a baseline's rest below nothing is a noisy minute, no figure to hold a kernel to
    rest, usual = [r.unexplained_us for r in readings], max(sorted(r.rest_us for r in samples.readings["eager"])[-2], 0.0)
    call = float(np.median([r.us for r in readings]))
    if _low(rest) - usual <= max(_REST * calls * max(call, 0.0), _REST_US):
        return None
    spent = f"a run of {calls} calls takes {np.median(rest):.0f} µs besides what its calls take each"
    return f"{spent} ({usual:.0f} µs for eager): work for later calls is done in earlier ones"


def _low(values: Sequence[float]) -> float:
    """The lower end of the median's bootstrap interval, or what two thirds of the values reach where that is more.

    Of few values one or two that are far off would decide alone.
    """
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(np.asarray(values), size=(_RESAMPLES, len(values))), axis=1)
    return max(float(np.percentile(medians, 2.5)), sorted(values)[len(values) // 3])
