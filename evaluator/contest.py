"""One timing case: candidate against the baseline ladder, interleaved, and the timed outputs verified afterwards."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kernelwright.evaluator.cross_examination import AGAIN, MEMORY, burst, cross_examine
from kernelwright.evaluator.figures import CANDIDATE, case_timing, samples_key
from kernelwright.evaluator.honesty import classify
from kernelwright.evaluator.sampling import Sampler
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.sides import BaselineSide, CandidateSide
from kernelwright.evaluator.stopwatch import (
    Reading,
    Samples,
    Side,
    interleave,
    interval,
    measure,
    measure_again,
    measure_spacer,
    narrow,
)
from kernelwright.evaluator.trial import Outside, Rejected, Trial
from kernelwright.evaluator.turns import exclusive, shared
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import CaseTiming, Stage, Status

_TARGET_US = {"cpu": 6000.0, "cuda": 2000.0}
"""Work in a short run: long enough that the clock's and the pipe's jitter are small beside it."""
_MAX_CALLS = {"cpu": 256, "cuda": 16}
_POOL_BYTES = {"cpu": 1 << 29, "cuda": 24 << 30}
_CACHE_BYTES = {"cpu": 8 << 20, "cuda": 0}
"""A pool exceeds three times the private caches; on a GPU the flush does that."""
_HEAD_MARGIN = 1.5
_LAUNCH_US = 15.0
"""Host time of the flush and the two events of a call."""
_AFTERWARDS = {"cpu": 0.5, "cuda": 0.2}
"""Seconds of the cap that are kept for what follows the blocks: runs on equal contents, samples of what is executed."""
_LEAST, _FEW, _GRACE = 3, 8, 1.5
"""Blocks without which there is no figure; blocks that are measured though the cap is over, for so many seconds at most: the
median of three blocks on a CPU is off by a tenth."""
_CONFIRMED, _CONFIRMING = 16, 6.0
"""Blocks that an accusation of bursts rests on, or twice those that first showed it, if they can be had within so many seconds
beyond the cap: of the six readings of three blocks a busy machine spoils two thirds now and then."""
_TRIES, _PATIENCE = 3, 0.5
"""Times that a reading is taken while its threads wait for cores, within this share of the cap."""
_DRIFT = 0.03
"""Of eager's median between the first third of the blocks and the last: the clocks are not what they were."""
_ROUNDS_AGAIN = 3
"""Rounds of :data:`AGAIN` runs on new contents that an accusation of keeping results rests on; one round acquits."""
_SAMPLES = 60
_SAMPLED_SECONDS = 1.0
_LIBRARY_SHARE, _ROUNDS = 0.35, 2
"""Of a kernel's executed code that may be library code beyond what is free; rounds of samples that an accusation rests on."""
_VERIFIED = 0.3
"""Share of the candidate's visits after which a tenth of the outputs is compared in full, or as many as :data:`_SOME`."""
_SOME = 4
"""Outputs compared after such a visit, though not more than a third. Of kernels that are wrong in a quarter of their calls,
five visits with one each would miss a fourth; with four each, one in 300."""
_COMPARED, _COMPARING = 24, {"cpu": 2.0, "cuda": 0.5}
"""Outputs of timed calls that are compared at least; what the visits leave wanting is made up by further ones, whose readings
nobody uses, for so many seconds at most. A short contest of slow calls would else rest on three or four of them."""
_CLOCKED = frozenset({"time", "space"})


def time_case(trial: Trial, session: Session, opened: OpenCase, settings: Settings, evidence: dict[str, Any]) -> CaseTiming:
    """Time one case in one dtype.

    Raises:
        Rejected: the kernel fails, or a timed output is wrong.
    """
    kind = session.device.split(":")[0]
    try:
        with shared(session.device) as waited:  # compiling takes longer than timing, and others may do it at the same time
            contest = _Contest(trial, session, opened, settings, kind)
        with exclusive(session.device) as longer:
            evidence["device_wait_seconds"] = round(evidence.get("device_wait_seconds", 0.0) + waited + longer, 4)
            samples = contest.run()
            cross_examine(samples, contest.calls, contest.again())
            if kind == "cpu":
                evidence.setdefault("executed", {})[opened.key] = contest.executed()
            trial.detach_pool(opened)
            session.drop_pool(opened)
    except Outside as outside:
        raise Rejected(Status.INCORRECT, Stage.TIME, f"raises OutsideEnvelope on a timing shape: {outside}") from None
    finally:
        session.drop_pool(opened)  # what a candidate wrote there must not meet the next one
    found = contest.result(samples)
    evidence.setdefault("samples_us", {})[samples_key(opened.case.name, opened.dtype)] = samples.times
    session.journal.timed(opened.key, contest.calls, contest.head, *contest.readings(samples))
    evidence.setdefault("timed_work", {})[samples_key(opened.case.name, opened.dtype)] = contest.work()
    events = {k: interval([v]).median for k, v in samples.events().items() if v}
    if events:
        evidence.setdefault("device_events_us", {})[opened.key] = events
    return found


_LARGE_BYTES = 1 << 24
"""Bytes of a pool whose filling takes longer than the calls timed on it: more blocks are worth more than more draws."""


class _Contest:
    """Made with its baselines ready and the clocks not yet started: :meth:`run` wants the device to itself."""

    def __init__(self, trial: Trial, session: Session, opened: OpenCase, settings: Settings, kind: str) -> None:
        self._trial, self._session, self._opened = trial, session, opened
        self._settings = settings
        self._rng = random.SystemRandom()
        self._kind = kind
        self._notes: list[str] = []
        names = settings.baselines or (("eager", "compile") if kind == "cpu" else ("eager", "compile", "max-autotune"))
        self._head = 4 if kind == "cuda" else 0
        if kind == "cuda":
            session.poll(_CLOCKED)
            trial.runner.spin_on = _CLOCKED
        self._n = 1
        self._compared = 0
        self._taken_again = 0
        self._enter(4)
        failed, _ = session.ask("baselines", settings.compile_seconds, key=opened.key, names=list(names))
        self._notes += [f"no {name} baseline: {why}" for name, why in failed["failed"].items()]
        ready = [n for n in names if n not in failed["failed"]]
        if "eager" not in ready:
            raise TaskError(f"{session.task.name}: eager cannot be timed: {failed['failed']['eager']}")
        self._baselines = [BaselineSide(session, opened, name) for name in ready]

    def _enter(self, copies: int) -> None:
        self._pool = self._session.pool(self._opened, copies)
        self._trial.attach_pool(self._opened, self._pool)
        self._candidate = CandidateSide(self._trial, self._opened, self._pool)

    def _calibrate(self) -> None:
        """Warm both sides, then choose calls a run, slots and the length of the head start."""
        fastest, host = math.inf, 0.0
        everyone: list[Side] = [*self._baselines, self._candidate]
        for side in everyone:
            side.prepare([i % self._pool.copies for i in range(4)])
            for _ in range(3):
                launching = side.run(self._head)
            host = max(host, launching)
            fastest = min(fastest, max(side.account() or launching, 0.1))
        flush_us = self._flush_us() if self._head else 0.0
        self._spacer_us = flush_us
        fastest += flush_us
        calls = math.ceil(_TARGET_US[self._kind] / fastest)
        room = _POOL_BYTES[self._kind] // max(4 * self._opened.nbytes, 1)
        self._n = max(1, min(calls, _MAX_CALLS[self._kind], room))
        if self._head:
            self._head = math.ceil(_HEAD_MARGIN * 3 * self._n * (host + _LAUNCH_US) / flush_us)
        wanted = max(4 * self._n, min(_CACHE_BYTES[self._kind] // max(self._opened.nbytes, 1), 256))
        if wanted > self._pool.copies:
            self._trial.detach_pool(self._opened)
            self._enter(wanted)

    def _flush_us(self) -> float:
        measure_spacer(self._baselines[0], self._head)
        return max(measure_spacer(self._baselines[0], self._head), 1.0)

    def run(self) -> Samples:
        began = time.monotonic()
        deadline = began + self._settings.timing_seconds - _AFTERWARDS[self._kind]
        patient = began + _PATIENCE * self._settings.timing_seconds
        self._calibrate()
        blocks = confirmed = 0

        def visit(side: Side) -> Reading:
            found = self._reading(side, patient)
            if side is self._candidate and (blocks == 0 or self._rng.random() < _VERIFIED):
                self._verify()
            return found

        def enough(samples: Samples) -> bool:
            nonlocal blocks, confirmed, patient
            blocks += 1
            late = time.monotonic() - deadline
            if not self._measured(samples, blocks, late):
                return False
            if not burst(samples, self._n):
                return True
            confirmed = confirmed or max(_CONFIRMED, 2 * blocks)
            patient = deadline + _CONFIRMING
            return blocks >= confirmed or late > _CONFIRMING

        sides: list[Side] = [*self._baselines, self._candidate]

        def spacer(side: Side) -> float:
            return measure_spacer(side, self._head) if self._head else 0.0

        samples = interleave(sides, visit, spacer, enough, max(2 * self._settings.max_blocks, _CONFIRMED))
        if len(samples.times[CANDIDATE]) < _LEAST:
            raise Rejected(Status.RUNTIME_ERROR, Stage.TIME, "the machine is too noisy: fewer than 3 blocks could be measured")
        deadline = time.monotonic() + _COMPARING[self._kind]
        while self._compared < _COMPARED and time.monotonic() < deadline:
            self._reading(self._candidate)
            self._verify()
        return samples

    def _reading(self, side: Side, patient: float = 0.0) -> Reading:
        """A reading of ``side``, taken again until ``patient`` (monotonic seconds) while its threads wait for cores."""
        for _ in range(_TRIES - 1):
            found = measure(side, self._n, self._pool.copies, self._head, self._rng, self._renew)
            if not found.disturbed or time.monotonic() > patient:
                return found
            self._taken_again += 1
        return measure(side, self._n, self._pool.copies, self._head, self._rng, self._renew)

    def _measured(self, samples: Samples, blocks: int, late: float) -> bool:
        """Whether there are blocks enough for the figure: by the stop rule, or by the clock, ``late`` seconds past the cap."""
        measured = len(samples.times[CANDIDATE])
        if (late > 0 and measured >= _FEW) or (late > _GRACE and measured >= _LEAST):
            return True
        if blocks >= self._settings.max_blocks and measured >= _LEAST:
            return True
        return narrow(samples, CANDIDATE, self._settings.half_width, self._settings.min_blocks)

    def _renew(self) -> None:
        """New contents in every slot: in secret as a whole, every other time (large inputs every eighth); else in 64 places."""
        large = self._pool.copies * self._opened.nbytes > _LARGE_BYTES
        self._session.ask("shuffle", key=self._opened.key, anew=self._rng.random() < (0.125 if large else 0.5))

    def again(self) -> dict[str, list[float]]:
        """By side, how much longer a run takes on new contents than on contents just seen; empty once no accusation can follow.

        A baseline's median counts as one at least: readings of the candidate within :data:`MEMORY`, more than one a round,
        acquit it, and no more need be taken.
        """
        if self._opened.facts["mutated"]:
            return {}
        slots = self._rng.sample(range(self._pool.copies), min(3 * self._n, self._pool.copies))

        def anew() -> None:
            self._session.ask("shuffle", key=self._opened.key, anew=True)

        def once_more() -> None:
            self._session.ask("rewrite", key=self._opened.key)

        found: dict[str, list[float]] = {}
        for side, rounds in ((self._candidate, _ROUNDS_AGAIN), (self._baselines[0], 1)):
            readings = found.setdefault(side.name, [])
            while len(readings) < rounds * AGAIN:
                readings.append(measure_again(side, slots, self._head, anew, once_more))
                allowed = math.ceil(len(readings) / AGAIN)
                if side is self._candidate and sum(r <= MEMORY for r in readings) > allowed:
                    self._intact()
                    return {}
        self._intact()
        return found

    def executed(self) -> dict[str, Any]:
        """Whose code the candidate executes in timed calls, by samples from outside, against what is free in an observed call.

        A busy machine may show a short call's dispatching more than its work: what a round of samples shows is decided on two,
        counted together, so that a kernel gains nothing by letting libraries work now and then.

        Raises:
            Rejected: libraries do the work, and the task does not let them.
        """
        sampler = Sampler(self._trial.runner.worker)
        for rounds in range(1, _ROUNDS + 1):  # nothing is asked in between: no kernel can tell that it is looked at again
            self._sample(sampler, rounds * _SAMPLES)
            share = sampler.library_share()
            if share is None or share < _LIBRARY_SHARE or self._trial.library:
                break
        found: dict[str, Any] = {"samples": dict(sampler.counts)}
        if sampler.problem:
            found["problem"] = sampler.problem
        if share is None or share < _LIBRARY_SHARE or self._trial.library:
            return found
        seen = self._trial.ask("trace", key=self._opened.key, device=False, **self._trial.pool_inputs(self._opened, self._pool))
        free = sum(us for op, us in seen["times"].items() if classify(op) == "free") / max(seen["total_us"], 1e-3)
        if share > min(free, 1.0) + _LIBRARY_SHARE:
            reason = f"{share:.0%} of what it executes is library code ({free:.0%} of an observed call is copies and the like)"
            raise Rejected(Status.CHEATING, Stage.HONEST, reason, {"rule": "executed", **found})
        return found

    def _sample(self, sampler: Sampler, most: int) -> None:
        """Timed calls under the sampler until it has ``most`` samples, or for as long as a round may take."""
        deadline = time.monotonic() + _SAMPLED_SECONDS
        while sampler.counts.total() < most and not sampler.problem and time.monotonic() < deadline:
            self._candidate.prepare(self._rng.sample(range(self._pool.copies), min(3 * self._n, self._pool.copies)))
            with sampler.during():
                self._candidate.run(0)

    def work(self) -> dict[str, Any]:
        """How much was asked of the device, by side since the last pool: calls, flushes, and µs a flush."""
        sides: list[BaselineSide | CandidateSide] = [*self._baselines, self._candidate]
        flushed = sum(side.work.flushes for side in sides) if self._head else 0
        return {"calls": {s.name: s.work.calls for s in sides}, "flushes": flushed, "flush_us": round(self._spacer_us, 2)}

    @property
    def calls(self) -> int:
        """Calls of a short run; a long one has three times as many."""
        return self._n

    @property
    def head(self) -> int:
        """Flushes of head start of a run."""
        return self._head

    def readings(self, samples: Samples) -> tuple[str, dict[str, dict[str, Any]]]:
        """(whose clock the second one is, side -> its raw readings and spacers), as the journal has them."""
        gpu = self._kind == "cuda"
        sides = {
            name: {
                "readings": [[r.short_us, r.long_us, _to_ns(r.event_us if gpu else r.host_us)] for r in found],
                "spacers_us": samples.spacers[name],
            }
            for name, found in samples.readings.items()
        }
        return "events" if gpu else "process", sides

    def _verify(self) -> None:
        """Some of the timed calls of a run, drawn at random: their outputs compared in full after the clock stopped."""
        count = len(self._candidate.slots)
        for index in self._rng.sample(range(count), max(1, min(_SOME, count // 3), count // 10)):
            self._trial.verify_timed(self._session, self._opened, index, self._candidate.slots[index])
            self._compared += 1

    def _intact(self) -> None:
        """No slot may have been written to, drawn or not: the other sides are timed on them."""
        if not self._session.ask("intact", key=self._opened.key)[0]["intact"]:
            label = f"{self._opened.case.name} {self._opened.dtype}"
            raise Rejected(Status.INCORRECT, Stage.TIME, f"{label}: changes inputs in place, of this call or of others")

    @staticmethod
    def _drift(times: Sequence[float]) -> float:
        """By how much the last third of the times differs from the first, medians."""
        third = max(len(times) // 3, 1)
        first, last = interval([times[:third]]).median, interval([times[-third:]]).median
        return last / first - 1.0

    def result(self, samples: Samples) -> CaseTiming:
        if samples.spoilt:
            self._notes.append(f"{samples.spoilt} blocks thrown away: noise above the measurement")
        disturbed, of = samples.disturbed()
        if self._taken_again or disturbed:
            again = f", {self._taken_again} more were taken again" if self._taken_again else ""
            self._notes.append(f"threads waited for a core in {disturbed} of {of} readings{again}")
        drift = self._drift(samples.times["eager"])
        if self._kind == "cuda" and abs(drift) > _DRIFT:
            self._notes.append(f"clocks drifted: eager took {drift:+.0%} in the last third of the blocks")
        found = case_timing(self._opened.case.name, self._opened.dtype, [samples.times])
        return replace(found, notes=tuple(self._notes))


def _to_ns(us: float | None) -> float | None:
    return None if us is None else round(us, 3)
