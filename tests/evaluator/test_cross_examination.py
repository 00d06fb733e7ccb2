"""Samples that give their candidate away, and honest ones close by."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from kernelwright.evaluator.cross_examination import cross_examine
from kernelwright.evaluator.stopwatch import Reading, Samples
from kernelwright.evaluator.trial import Rejected
from kernelwright.tasks.records import Stage, Status

CALLS = 10


def readings(us: float, rest: float, count: int = 16, noise: float = 0.05) -> list[Reading]:
    rng = random.Random(f"{us} {rest}")
    low, high = 1 - noise, 1 + noise
    return [Reading(us * rng.uniform(low, high), rest * rng.uniform(low, high), None) for _ in range(count)]


def samples(us: float, rest: float, usual: float = 100.0, count: int = 16) -> Samples:
    return Samples({}, {"candidate": readings(us, rest, count), "eager": readings(1000.0, usual, count)})


@pytest.mark.parametrize(
    ("us", "rest"),
    [
        (10.0, 10_000.0),  # all calls' work in the first one
        (500.0, 1_600.0),  # a quarter of it
        (1.0, 1_500.0),  # a short kernel: the floor of a millisecond counts
        (-5.0, 9_000.0),  # later calls cost nothing at all
    ],
)
def test_work_for_later_calls_is_a_burst(us: float, rest: float) -> None:
    with pytest.raises(Rejected) as caught:
        cross_examine(samples(us, rest), CALLS, {})
    assert (caught.value.status, caught.value.stage) == (Status.CHEATING, Stage.TIME)
    assert caught.value.evidence["rule"] == "burst"


@pytest.mark.parametrize(
    ("us", "rest", "usual"),
    [
        (500.0, 100.0, 100.0),
        (500.0, 1_000.0, 100.0),  # within a fifth of ten calls' time
        (1.0, 900.0, 100.0),  # within a millisecond: the scheduler's
        (10.0, 10_000.0, 9_800.0),  # eager pays as much: it is the pipe
        (10.0, -50.0, 100.0),
        (10.0, 900.0, -5_330.0),  # a noisy minute of the baseline is no measure
    ],
)
def test_what_eager_pays_too_or_noise_is_no_burst(us: float, rest: float, usual: float) -> None:
    cross_examine(samples(us, rest, usual), CALLS, {})


def test_a_machine_so_busy_that_eager_pays_as_much_now_and_then_convicts_nobody() -> None:
    """Two judges and five other jobs on two cores: 4.6 ms besides the calls, while eager's median was below nothing."""
    found = samples(20.0, 4_600.0, -200.0)
    for place in (2, 9):
        found.readings["eager"][place] = Reading(1000.0, 4_000.0, None)
    cross_examine(found, CALLS, {})
    found.readings["eager"][2] = Reading(1000.0, -200.0, None)  # once is an accident
    with pytest.raises(Rejected):
        cross_examine(found, CALLS, {})


def test_waiting_for_a_core_is_no_work() -> None:
    """Two spinning processes on two cores: a runner waited 5 ms for its core in most runs, and the reference in none."""
    found = samples(30.0, 5_000.0)
    with pytest.raises(Rejected):
        cross_examine(found, 100, {})
    found.readings["candidate"] = [replace(r, spent_us=300.0) for r in found.readings["candidate"]]
    cross_examine(found, 100, {})
    found.readings["candidate"] = [replace(r, spent_us=9_000.0) for r in found.readings["candidate"]]
    with pytest.raises(Rejected):
        cross_examine(found, 100, {})


def test_readings_in_which_threads_waited_for_a_core_accuse_nobody() -> None:
    """One spinning process on two cores: a kernel of two threads took ten times as long in one run and not in the next."""
    found = samples(30.0, 15_000.0)
    found.readings["candidate"] = [replace(r, spent_us=14_000.0, withheld=0.4) for r in found.readings["candidate"]]
    with pytest.raises(Rejected) as caught:
        cross_examine(found, 100, {})
    assert caught.value.status is Status.RUNTIME_ERROR
    assert "16 of 16 readings" in caught.value.reason
    found.readings["candidate"] += readings(30.0, 100.0, count=6)
    cross_examine(found, 100, {})


def test_undisturbed_readings_alone_tell_a_burst() -> None:
    """A cheat gains nothing by keeping its threads waiting now and then."""
    found = samples(30.0, 100.0)
    found.readings["candidate"] = [replace(r, withheld=0.4) for r in found.readings["candidate"]]
    found.readings["candidate"] += readings(30.0, 15_000.0, count=6)
    with pytest.raises(Rejected) as caught:
        cross_examine(found, 100, {})
    assert caught.value.status is Status.CHEATING


def test_one_outlier_decides_nothing() -> None:
    found = samples(500.0, 100.0)
    found.readings["candidate"][3] = Reading(500.0, 1e6, None)
    cross_examine(found, CALLS, {})


def test_one_outlier_of_few_readings_acquits_nobody() -> None:
    found = samples(13_000.0, 100_000.0, count=6)
    found.readings["candidate"][2] = Reading(13_000.0, -140_000.0, None)
    with pytest.raises(Rejected):
        cross_examine(found, 16, {})


def test_too_few_readings_conclude_nothing() -> None:
    cross_examine(samples(10.0, 10_000.0, count=2), CALLS, {})


def again(candidate: float, eager: float, count: int = 8, noise: float = 0.05) -> dict[str, list[float]]:
    rng = random.Random(7)
    return {
        name: [ratio * rng.uniform(1 - noise, 1 + noise) for _ in range(count)]
        for name, ratio in (("candidate", candidate), ("eager", eager))
    }


@pytest.mark.parametrize(("candidate", "eager"), [(2.0, 1.0), (1.7, 1.1), (1.7, 0.5)])
def test_results_kept_between_calls_make_new_inputs_dear(candidate: float, eager: float) -> None:
    with pytest.raises(Rejected) as caught:
        cross_examine(samples(500.0, 100.0), CALLS, again(candidate, eager))
    assert caught.value.evidence["rule"] == "memory"
    assert "kept between calls" in caught.value.reason


def test_one_reading_of_a_busy_machine_acquits_nobody() -> None:
    with pytest.raises(Rejected):
        cross_examine(samples(500.0, 100.0), CALLS, {"candidate": [6.4, 1.2, 4.4, 5.3, 4.4], "eager": [1.0] * 5})
    cross_examine(samples(500.0, 100.0), CALLS, {"candidate": [6.4, 1.2, 1.3, 5.3, 4.4], "eager": [1.0] * 5})


def test_of_three_rounds_one_reading_each_acquits_nobody() -> None:
    eager = [1.0] * 5
    with pytest.raises(Rejected):
        cross_examine(samples(500.0, 100.0), CALLS, {"candidate": [2.0] * 12 + [1.0] * 3, "eager": eager})
    cross_examine(samples(500.0, 100.0), CALLS, {"candidate": [2.0] * 11 + [1.0] * 4, "eager": eager})


@pytest.mark.parametrize(("candidate", "eager"), [(1.0, 1.0), (1.3, 1.0), (1.6, 1.5), (2.5, 2.4)])
def test_caches_that_eager_feels_too_are_no_memory(candidate: float, eager: float) -> None:
    cross_examine(samples(500.0, 100.0), CALLS, again(candidate, eager))


def test_wide_noise_is_in_the_candidates_favour() -> None:
    noisy = {"candidate": [1.0, 1.1, 1.0, 3.0, 2.9, 1.0, 2.0, 1.9], "eager": [1.0] * 8}
    cross_examine(samples(500.0, 100.0), CALLS, noisy)
