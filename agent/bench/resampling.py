"""Means with bootstrap intervals over tasks, and the exact tests that go with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from kernelwright.tasks.records import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 2000
LEVELS = (0.025, 0.975)


def mean(values: Sequence[float]) -> Interval | None:
    """The arithmetic mean, with its 95 % percentile-bootstrap interval over ``values`` (one a task); None of none.

    The interval says how the figure might differ on other tasks of the kind, not how well each was measured. Where all
    values are equal it has no width: it then says nothing about other tasks. (Efron 1979.)
    """
    if not values:
        return None
    import numpy as np

    data = np.asarray(values, dtype=np.float64)
    if np.all(data == data[0]):  # as every resample would be
        return Interval(float(data[0]), float(data[0]), float(data[0]))
    middle = float(data.mean())
    low, high = (float(bound) for bound in np.quantile(data[_drawn(data.size)].mean(axis=1), LEVELS))
    return Interval(middle, min(low, middle), max(high, middle))


def geometric_mean(values: Sequence[float]) -> Interval | None:
    """As :func:`mean`, of positive ratios: the mean of their logarithms, exponentiated."""
    found = mean([math.log(value) for value in values])
    return Interval(math.exp(found.median), math.exp(found.low), math.exp(found.high)) if found else None


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test: of discordant pairs, how likely a split at least this uneven is by chance.

    McNemar, Psychometrika 12 (1947), in its exact form: binomial with probability one half.
    """
    pairs = only_a + only_b
    tail = sum(math.comb(pairs, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / (1 << pairs))


@lru_cache(maxsize=8)
def _drawn(size: int) -> NDArray[np.int64]:
    """Which of ``size`` values each resample takes: the same for all figures over as many tasks."""
    import numpy as np

    return np.random.default_rng(0).integers(0, size, (RESAMPLES, size))
