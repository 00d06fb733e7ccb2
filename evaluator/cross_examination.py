"""What the samples say against the figure that they give: work that was done, and not where it is counted.

The figure is ``(T(3n) - T(n)) / 2n``, which cancels whatever a run does besides its calls. A kernel could do the work of all
its calls in the first one, or keep the last inputs and compute only what changed. Each leaves a trace in its own samples,
seen against the baseline's, which met the same machine.

Thresholds (docs/adr/0005): a run's rest may exceed the baseline's by half of the calls' own time; inputs that are new as a whole
may cost 1.5 times inputs that are new in places. Both must be exceeded by the lower end of a bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kernelwright.evaluator.figures import CANDIDATE
from kernelwright.evaluator.stopwatch import Reading, Samples
from kernelwright.evaluator.trial import Rejected
from kernelwright.tasks.records import Stage, Status

_REST = 0.5
_REST_US = 1000.0
"""And this much at least: the pipe's own jitter, and a scheduler's."""
_ANEW = 1.5
_RESAMPLES = 1000
_LEAST = 3
"""Readings of each kind without which nothing is concluded."""


def cross_examine(samples: Samples, calls: int) -> None:
    """Raise what the samples give away; ``calls``: of a short run.

    Raises:
        Rejected: a candidate whose time is not where it is counted.
    """
    readings = samples.readings[CANDIDATE]
    baseline = samples.readings["eager"]
    if len(readings) < _LEAST:
        return
    rest, usual = _medians([r.rest_us for r in readings]), _medians([r.rest_us for r in baseline])
    call = float(np.median([r.us for r in readings]))
    if _low(rest - usual) > max(_REST * calls * max(call, 0.0), _REST_US):
        rest, usual = float(np.median(rest)), float(np.median(usual))
        reason = (
            f"a run of {calls} calls takes {rest:.0f} µs besides what its calls take each ({usual:.0f} µs for eager): "
            "work for later calls is done in earlier ones"
        )
        raise Rejected(Status.CHEATING, Stage.TIME, reason, {"rule": "burst"})
    slower, expected = _price_of_new(readings), _price_of_new(baseline)
    if slower is not None and expected is not None and _low(slower / np.maximum(expected, 1.0)) > _ANEW:
        slower, expected = float(np.median(slower)), float(np.median(expected))
        reason = f"inputs that are new as a whole take {slower:.1f} times those that are new in 64 places ({expected:.1f} for eager)"
        raise Rejected(Status.CHEATING, Stage.TIME, f"{reason}: results are kept between calls", {"rule": "incremental"})


def _price_of_new(readings: Sequence[Reading]) -> Any:
    """Time of a call on inputs that are new as a whole, over one on inputs that are new in places: resampled; None: too few."""
    anew = [r.us for r in readings if r.anew]
    places = [r.us for r in readings if not r.anew]
    if min(len(anew), len(places)) < _LEAST or float(np.median(places)) <= 0:
        return None
    return _medians(anew) / np.maximum(_medians(places), 1e-3)


def _medians(values: Sequence[float]) -> Any:
    """Medians of bootstrap samples."""
    rng = np.random.default_rng(0)
    return np.median(rng.choice(np.asarray(values), size=(_RESAMPLES, len(values))), axis=1)


def _low(values: Any) -> float:
    return float(np.percentile(values, 2.5))
