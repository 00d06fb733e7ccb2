"""What the samples say against the figure that they give: work that was done, and not where it is counted.

The figure is ``(T(3n) - T(n)) / 2n``, which cancels whatever a run does besides its calls. A kernel could do the work of all
its calls in the first one, or keep what it has seen and compute only what changed. Each leaves a trace, seen against the
baseline's, which met the same machine.

Thresholds (docs/adr/0005): a run's rest may exceed the baseline's by half of the calls' own time; new inputs may
cost 1.4 times inputs that were seen just before. Both must be exceeded by the lower end of a bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kernelwright.evaluator.figures import CANDIDATE
from kernelwright.evaluator.stopwatch import Samples
from kernelwright.evaluator.trial import Rejected
from kernelwright.tasks.records import Stage, Status

_REST = 0.5
_REST_US = 1000.0
"""And this much at least: the pipe's own jitter, and a scheduler's."""
MEMORY = 1.4
"""New inputs over those seen just before, relative to the baseline's."""
_RESAMPLES = 1000
_LEAST = 3
"""Readings of each kind without which nothing is concluded."""


def cross_examine(samples: Samples, calls: int, again: Mapping[str, Sequence[float]]) -> None:
    """Raise what the samples give away.

    ``calls``: of a short run; ``again``: by side, runs on new contents over runs on the same ones.

    Raises:
        Rejected: a candidate whose time is not where it is counted.
    """
    readings = samples.readings[CANDIDATE]
    baseline = samples.readings["eager"]
    if len(readings) < _LEAST:
        return
    rest, usual = _medians([r.rest_us for r in readings]), _medians([r.rest_us for r in baseline])
    call = float(np.median([r.us for r in readings]))
    # a baseline's rest below nothing is a noisy minute, no figure to hold a kernel to
    if _low(rest - np.maximum(usual, 0.0)) > max(_REST * calls * max(call, 0.0), _REST_US):
        rest, usual = float(np.median(rest)), float(np.median(usual))
        reason = (
            f"a run of {calls} calls takes {rest:.0f} µs besides what its calls take each ({usual:.0f} µs for eager): "
            "work for later calls is done in earlier ones"
        )
        raise Rejected(Status.CHEATING, Stage.TIME, reason, {"rule": "burst"})
    if CANDIDATE in again and _low(_medians(again[CANDIDATE]) / np.maximum(_medians(again["eager"]), 1.0)) > MEMORY:
        ratio, usual_ratio = float(np.median(again[CANDIDATE])), float(np.median(again["eager"]))
        reason = f"new inputs take {ratio:.1f} times those seen just before ({usual_ratio:.1f} for eager)"
        raise Rejected(Status.CHEATING, Stage.TIME, f"{reason}: results are kept between calls", {"rule": "memory"})


def _medians(values: Sequence[float]) -> Any:
    """Medians of bootstrap samples."""
    rng = np.random.default_rng(0)
    return np.median(rng.choice(np.asarray(values), size=(_RESAMPLES, len(values))), axis=1)


def _low(values: Any) -> float:
    return float(np.percentile(values, 2.5))
