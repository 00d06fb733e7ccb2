"""Timing by interleaved blocks, with the judge's clock outside the process that makes the calls.

A measurement of one side is ``(T(3n) - T(n)) / 2n``: what a request costs besides its calls cancels. On a GPU each call
follows an L2 flush, whose own time, measured alike, is subtracted, and a run starts with enough flushes for the host to
launch every call before the first begins. Sides are
visited in ABBA order with new input contents before every visit; a block gives one ratio per baseline, and the median
over blocks has a bootstrap interval.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernelwright.evaluator.effort import Effort
from kernelwright.tasks.records import Interval

_RESAMPLES = 2000
_DIGITS = 3
"""Of a time in µs: it is kept to a nanosecond, and figures come from what is kept, so that they can be computed again."""
_DISTURBED = 0.15
"""Of a reading's time that threads waited for cores (docs/adr/0005)."""
_SETTLE_SECONDS = 0.002
"""Pause before a side is timed, in which the other side's idle threads stop spinning."""


class Side(Protocol):
    """One competitor in its own process."""

    name: str

    def prepare(self, slots: Sequence[int]) -> None:
        """Make the arguments for these slots ready."""

    def run(self, head: int) -> float:
        """Make the prepared calls after ``head`` flushes of head start; host µs a call, when all work is done."""

    def account(self) -> float | None:
        """The device's own µs a call of the last run, where it keeps such an account."""

    def effort(self) -> Effort | None:
        """What the process has had of the cores so far, read from outside; None where that says nothing of the work."""

    def space(self, count: int, head: int) -> None:
        """Do what ``run`` does besides calling, ``count`` times."""


@dataclass(frozen=True)
class Reading:
    """One measurement of one side."""

    us: float
    """µs a call, spacer included."""
    rest_us: float
    """What a run takes besides its calls, by the same line: ``T(n) - n t``. Work done for later calls ends up here."""
    event_us: float | None
    """The device's own account."""
    short_us: float = 0.0
    """What the run of n calls took, by the judge's clock."""
    long_us: float = 0.0
    """What the run of 3n calls took."""
    host_us: float = 0.0
    """µs a call of the latter by the clock of the process that made them: host time, launches only on a GPU."""
    spent_us: float | None = None
    """CPU time that a run takes besides its calls, by the same line. Waiting for a core is not in it."""
    withheld: float = 0.0
    """Share of the runs' time in which threads of the process stood ready and had no core, though it did not use all."""

    @property
    def disturbed(self) -> bool:
        """Whether threads waited for a core so long, for other processes' sake or the scheduler's, that the reading says little
        of the kernel: meanwhile its other threads spin, which is CPU time."""
        return self.withheld > _DISTURBED

    @property
    def unexplained_us(self) -> float:
        """The rest, as far as the process worked in it: a scheduler's delay is no work."""
        return self.rest_us if self.spent_us is None else min(self.rest_us, self.spent_us)


@dataclass
class Samples:
    """What was measured: µs a call by side, block by block."""

    times: dict[str, list[float]]
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    """Every reading by side, spoilt blocks included."""
    spacers: dict[str, list[float]] = field(default_factory=dict)
    """µs of a spacer by side, one a block."""
    spoilt: int = 0
    """Blocks thrown away because noise exceeded the measurement."""

    def disturbed(self) -> tuple[int, int]:
        """(disturbed readings, all readings), of all sides."""
        found = [r.disturbed for readings in self.readings.values() for r in readings]
        return sum(found), len(found)

    def events(self) -> dict[str, list[float]]:
        """The device's own account, µs, by side, for cross-examination."""
        return {name: [r.event_us for r in found if r.event_us is not None] for name, found in self.readings.items()}


def measure(
    side: Side, n: int, copies: int, head: int, rng: random.Random, renew: Callable[[], None] = lambda: None
) -> Reading:
    """One measurement of ``side``.

    The two runs use different slots of ``0 … copies-1`` as far as the pool allows. ``renew`` gives every slot new contents. It
    is called when the arguments are ready, just before the clock, so that nothing can be made of the contents ahead; with a
    head start before (on a GPU another process's work in between would be timed).
    """
    order = rng.sample(range(copies), copies)
    short = [order[i % copies] for i in range(n)]
    long = [order[(n + i) % copies] for i in range(3 * n)]
    elapsed, worked = {}, {}
    event, host, withheld = None, 0.0, 0.0
    if head:
        renew()
    for slots in rng.sample([short, long], 2):
        side.prepare(slots)
        if not head:
            renew()
            time.sleep(_SETTLE_SECONDS)
        before = side.effort()
        began = time.perf_counter()
        own = side.run(head)
        elapsed[len(slots)] = round((time.perf_counter() - began) * 1e6, _DIGITS)
        after = side.effort()
        if before is not None and after is not None:
            worked[len(slots)] = after.spent_us - before.spent_us
            withheld += after.withheld_us(before, elapsed[len(slots)])
        if slots is long:
            event, host = side.account(), own
    call = call_us(elapsed[n], elapsed[3 * n], n)
    spent = worked[n] - n * call_us(worked[n], worked[3 * n], n) if len(worked) == 2 else None
    share = withheld / max(elapsed[n] + elapsed[3 * n], 1.0)
    return Reading(call, elapsed[n] - n * call, event, elapsed[n], elapsed[3 * n], host, spent, share)


def call_us(short_us: float, long_us: float, n: int) -> float:
    """µs a call, from what a run of ``n`` calls and one of ``3 n`` took."""
    return (long_us - short_us) / (2 * n)


def block_sample(calls_us: Sequence[float], spacers_us: Sequence[float]) -> float:
    """A block's sample of one side: the mean of its readings, less the median of the side's spacers up to this block."""
    return sum(calls_us) / len(calls_us) - float(np.median(spacers_us))


def measure_again(
    side: Side, slots: Sequence[int], head: int, renew: Callable[[], None], repeat: Callable[[], None]
) -> float:
    """What the same run takes on new contents, over what it takes once more on those it has just seen.

    ``renew`` gives the slots new contents, ``repeat`` writes those they have once more: both runs find the same caches, and a
    machine on which another process has just worked. Where CPU time is counted it must say as much: a scheduler's delay is no
    work.
    """
    elapsed, worked = [], []
    for step in (renew, repeat):
        if head:
            step()
        side.prepare(slots)
        if not head:
            step()
            time.sleep(_SETTLE_SECONDS)
        before = side.effort()
        began = time.perf_counter()
        side.run(head)
        elapsed.append(time.perf_counter() - began)
        after = side.effort()
        if before is not None and after is not None:
            worked.append(after.spent_us - before.spent_us)
    ratio = elapsed[0] / elapsed[1]
    return min(ratio, worked[0] / max(worked[1], 1.0)) if len(worked) == 2 else ratio


def measure_spacer(side: Side, head: int, few: int = 8, many: int = 72) -> float:
    """µs of one spacer of ``side``, by the same differences.

    The first, unclocked, makes the side's process the one on the device: switching to it cost the short run, and so made the
    spacer look 5 µs shorter than it is.
    """
    side.space(1, 1)
    spent = []
    for count in (few, many):
        began = time.perf_counter()
        side.space(count, head)
        spent.append(time.perf_counter() - began)
    return (spent[1] - spent[0]) / (many - few) * 1e6


def interleave(
    sides: Sequence[Side],
    visit: Callable[[Side], Reading],
    spacer: Callable[[Side], float],
    enough: Callable[[Samples], bool],
    max_blocks: int,
) -> Samples:
    """Blocks in ABBA order (forward, then backward) until ``enough``.

    ``visit`` reads a side, ``spacer`` its spacer alone; the median of the latter over all blocks so far is subtracted, since
    it varies less than one measurement of it.
    """
    samples = Samples({s.name: [] for s in sides}, {s.name: [] for s in sides})
    spacers = samples.spacers
    spacers.update((s.name, []) for s in sides)
    for _ in range(max_blocks):
        block: dict[str, list[float]] = {s.name: [] for s in sides}
        for side in [*sides, *reversed(sides)]:
            reading = visit(side)
            block[side.name].append(reading.us)
            samples.readings[side.name].append(reading)
        for side in sides:
            spacers[side.name].append(round(spacer(side), _DIGITS))
        means = {name: block_sample(both, spacers[name]) for name, both in block.items()}
        if round(min(means.values()), _DIGITS) <= 0:
            samples.spoilt += 1
        else:
            for name, mean in means.items():
                samples.times[name].append(round(mean, _DIGITS))
        if enough(samples):
            break
    return samples


def interval(groups: Sequence[Sequence[float]], seed: int = 0) -> Interval:
    """Median of all values with its 95 % percentile-bootstrap interval.

    ``groups`` are processes; with several, the bootstrap draws groups first and then values within each.
    """
    data = [np.asarray(g, dtype=np.float64) for g in groups]
    median = float(np.median(np.concatenate(data)))
    rng = np.random.default_rng(seed)
    if len(data) == 1:
        medians = _medians(data, _RESAMPLES, rng)
    else:  # processes are drawn first; which ones in what order makes no difference to a median
        drawn = np.sort(rng.integers(len(data), size=(_RESAMPLES, len(data))), axis=1)
        drawn, times = np.unique(drawn, axis=0, return_counts=True)
        medians = np.concatenate([_medians([data[g] for g in row], n, rng) for row, n in zip(drawn, times, strict=True)])
    low, high = np.percentile(medians, [2.5, 97.5])
    return Interval(median, min(float(low), median), max(float(high), median))


def _medians(groups: Sequence[NDArray[np.float64]], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Medians of ``count`` resamples of all ``groups`` together, each group resampled for itself."""
    return np.asarray(np.median(np.concatenate([rng.choice(g, size=(count, g.size)) for g in groups], axis=1), axis=1))


def ratios(samples: Samples, baseline: str, candidate: str) -> list[float]:
    """Speedup over ``baseline`` block by block."""
    return [b / c for b, c in zip(samples.times[baseline], samples.times[candidate], strict=True)]


def geometric_mean(intervals: Sequence[Interval]) -> Interval:
    """Of independent intervals: medians multiply, and log half-widths add in quadrature."""
    logs = [math.log(i.median) for i in intervals]
    down = math.sqrt(sum(math.log(i.median / i.low) ** 2 for i in intervals)) / len(intervals)
    up = math.sqrt(sum(math.log(i.high / i.median) ** 2 for i in intervals)) / len(intervals)
    centre = sum(logs) / len(logs)
    return Interval(math.exp(centre), math.exp(centre - down), math.exp(centre + up))


def narrow(samples: Samples, candidate: str, half_width: float, min_blocks: int) -> bool:
    """Whether every speedup's interval is narrower than ``half_width`` of its median."""
    if len(samples.times[candidate]) < min_blocks:
        return False
    for name in samples.times:
        if name != candidate:
            found = interval([ratios(samples, name, candidate)])
            if found.high - found.low > 2 * half_width * found.median:
                return False
    return True
