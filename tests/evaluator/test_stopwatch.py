"""Timing arithmetic on synthetic clocks: overheads cancel, intervals hold, the stop rule stops."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from kernelwright.evaluator.effort import Effort
from kernelwright.evaluator.stopwatch import (
    Reading,
    Samples,
    geometric_mean,
    interleave,
    interval,
    measure,
    measure_again,
    measure_spacer,
    narrow,
    ratios,
)
from kernelwright.tasks.records import Interval


class Clock:
    """Time that passes only where somebody sleeps."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


CLOCK = Clock()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernelwright.evaluator.stopwatch.time", CLOCK)


class Sleeper:
    """A side whose calls take ``per_call`` seconds and whose requests cost ``overhead`` besides."""

    def __init__(self, name: str, per_call: float, overhead: float) -> None:
        self.name = name
        self._per_call, self._overhead = per_call, overhead
        self.slots: list[int] = []
        self.seen: list[list[int]] = []

    def prepare(self, slots: Sequence[int]) -> None:
        self.slots = list(slots)
        self.seen.append(self.slots)

    def run(self, head: int) -> float:
        CLOCK.sleep(self._overhead + self._per_call * len(self.slots))
        return 0.0

    def account(self) -> float | None:
        return None

    def effort(self) -> Effort | None:
        return None

    def space(self, count: int, head: int) -> None:
        CLOCK.sleep(0.001 * (count + head))


def test_fixed_overhead_cancels_and_contents_never_repeat() -> None:
    side = Sleeper("a", 0.004, 0.02)
    renewed: list[int] = []
    reading = measure(side, 2, 8, 0, random.Random(1), lambda: renewed.append(len(side.seen)))
    assert reading.us == pytest.approx(4000)
    assert reading.rest_us == pytest.approx(20000)
    assert renewed == [1, 2]  # after each prepare, before its run
    used = [slot for slots in side.seen for slot in slots]
    assert len(used) == len(set(used)) == 8


class Counted(Sleeper):
    """Its process works ``worked`` µs in a run whatever the number of calls, and 100 µs a call; the rest it waits."""

    worked = 700.0
    total = 0.0

    def run(self, head: int) -> float:
        self.total += self.worked + 100.0 * len(self.slots)
        return super().run(head)

    def effort(self) -> Effort | None:
        return Effort(self.total, 0.0, 2)


def test_a_rest_counts_as_far_as_the_process_worked_in_it() -> None:
    reading = measure(Counted("a", 0.0005, 0.02), 4, 16, 0, random.Random(1))
    assert reading.spent_us == pytest.approx(700)
    assert reading.rest_us == pytest.approx(20_000)
    assert reading.unexplained_us == reading.spent_us
    assert measure(Sleeper("a", 0.0005, 0.02), 4, 16, 0, random.Random(1)).spent_us is None


def test_spacer_is_subtracted() -> None:
    side = Sleeper("a", 0.0, 0.0)
    assert measure_spacer(side, 2, 1, 21) == pytest.approx(1000)
    samples = interleave([side], lambda s: Reading(50.0, 0.0, None), lambda s: 20.0, lambda s: True, 1)
    assert samples.times["a"] == [30.0]


def test_blocks_visit_sides_forward_and_back_and_drop_impossible_ones() -> None:
    visits: list[str] = []
    figures = iter([1.0, 2.0, 2.0, 1.0, -5.0, 2.0, 2.0, 1.0, 1.0, 4.0, 4.0, 1.0])
    sides = [Sleeper("base", 0, 0), Sleeper("candidate", 0, 0)]

    def visit(side: object) -> Reading:
        visits.append(side.name)  # type: ignore[attr-defined]
        return Reading(next(figures), 0.0, None)

    samples = interleave(sides, visit, lambda s: 0.0, lambda s: False, 3)
    assert visits[:4] == ["base", "candidate", "candidate", "base"]
    assert samples.spoilt == 1
    assert ratios(samples, "base", "candidate") == [0.5, 0.25]


def test_interval_covers_the_median_of_a_known_distribution() -> None:
    rng = random.Random(3)
    hits = 0
    for trial in range(60):
        found = interval([[rng.gauss(10, 1) for _ in range(30)]], seed=trial)
        hits += found.low <= 10 <= found.high
    assert hits >= 50


def test_processes_that_disagree_widen_the_interval() -> None:
    same = interval([[1.0, 1.01, 0.99] * 5, [1.0, 1.01, 0.99] * 5, [1.0, 1.01, 0.99] * 5])
    apart = interval([[1.0, 1.01, 0.99] * 5, [1.3, 1.31, 1.29] * 5, [0.7, 0.71, 0.69] * 5])
    assert apart.high - apart.low > 10 * (same.high - same.low)


def test_geometric_mean_of_ratios() -> None:
    found = geometric_mean([Interval(2.0, 1.9, 2.1), Interval(0.5, 0.45, 0.55)])
    assert found.median == pytest.approx(1.0)
    assert found.low < 1 < found.high
    assert geometric_mean([Interval(2.0, 1.9, 2.1)]).low == pytest.approx(1.9)


def test_stop_rule_waits_for_narrow_intervals() -> None:
    steady = Samples({"eager": [2.0] * 12, "candidate": [1.0] * 12})
    assert narrow(steady, "candidate", 0.01, 12)
    assert not narrow(steady, "candidate", 0.01, 13)
    noisy = Samples({"eager": [1.0, 3.0] * 6, "candidate": [1.0] * 12})
    assert not narrow(noisy, "candidate", 0.01, 12)


class Rememberer(Sleeper):
    """Its runs take ``per_call`` a slot whose contents are new, and next to nothing for those it has seen."""

    def __init__(self, per_call: float, delay: float = 0.0) -> None:
        super().__init__("candidate", per_call, 0.001)
        self._new = False
        self._delay = delay
        self._worked = 0.0

    def renew(self) -> None:
        self._new = True

    def run(self, head: int) -> float:
        busy = self._overhead + self._per_call * len(self.slots) * self._new
        CLOCK.sleep(busy + self._delay * self._new)
        self._worked += busy
        self._new = False
        return 0.0

    def effort(self) -> Effort | None:
        return Effort(self._worked * 1e6, 0.0, 2)


def test_what_is_kept_between_calls_shows_on_new_contents() -> None:
    side = Rememberer(0.005)
    assert measure_again(side, [0, 1], 0, side.renew, lambda: None) > 5.0


def test_a_delay_after_new_contents_is_no_work() -> None:
    """A scheduler that lets the runner wait, whenever another process has worked before."""
    side = Rememberer(0.0, delay=0.02)
    assert measure_again(side, [0, 1], 0, side.renew, lambda: None) < 1.1


def test_seen_contents_are_written_once_more_before_they_are_run_again() -> None:
    side = Sleeper("a", 0.001, 0.001)
    steps: list[str] = []
    measure_again(side, [0, 1], 0, lambda: steps.append("new"), lambda: steps.append("same"))
    assert steps == ["new", "same"]
    assert side.seen == [[0, 1], [0, 1]]
