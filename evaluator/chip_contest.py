"""Timing on a chip that one process at a time can hold: the kernel and the reference take turns, process by process.

A process gives a chip back by ending, so each turn begins with a fresh one that opens the chip, compiles and is warmed outside
the clock. Turns go in ABBA order: a block is the reference's turn, two visits to the kernel, the reference's turn again. In a
turn all is as on other devices: the clock is the judge's, outside the process, by differences (``stopwatch``); contents are new
before each reading; inputs lie on the chip before the clock starts (on a TPU see ``backends/pallas_resident``), and a run is
over when all its outputs are there. Nothing is flushed: a TPU keeps no cache between calls, an NPU's is warm for both. The
outputs of timed calls, drawn at random, are compared with the oracle afterwards.

Not protected against: a chip whose clock changes between turns; a call shorter than its dispatch by the host, which is then
what is timed, of both sides alike; code that rewrites the runner's own memory.
"""

from __future__ import annotations

import contextlib
import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kernelwright.evaluator.chip import Chip, busy
from kernelwright.evaluator.effort import Effort
from kernelwright.evaluator.figures import CANDIDATE, case_timing, samples_key
from kernelwright.evaluator.runner.processes import ChildGone, ForkServer
from kernelwright.evaluator.runner.sandbox import Plan
from kernelwright.evaluator.session import OpenCase, Pool, Session
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.sides import BaselineSide, CandidateSide
from kernelwright.evaluator.stopwatch import Reading, Samples, Side, interleave, interval, measure, narrow
from kernelwright.evaluator.trial import OPEN_SECONDS, Outside, Rejected, Trial
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import HarnessError, TaskError
from kernelwright.tasks.records import CaseTiming, Stage, Status

T = TypeVar("T")
_TARGET_US = 10_000.0
"""Work in a short run."""
_LONGEST_US = 1e6
_FIRST, _MOST_CALLS = 4, 128
_ON_CHIP_BYTES = 2 << 30
"""Of inputs and outputs of one run."""
_READINGS = 3
"""In a visit: a process is there, and the median of them is the visit's."""
_LEAST, _MOST_BLOCKS = 3, 8
"""Blocks of turns; each takes two starts of a process."""
_FEW = 8
_VERIFIED = 0.3
_LARGE_BYTES = 1 << 24
_DRIFT = 0.03
_TRIES, _PAUSE_SECONDS = 6, 2.0
"""A chip may be busy for a moment after its process has ended, and while a command looks whether it is there."""


class NotTimed(Exception):
    """The kernel is right and cannot be timed here; says why."""


@dataclass(frozen=True)
class Turns:
    """How the two sides come to their processes."""

    chip: Chip
    runner: Callable[[], Trial]
    """A fresh runner with the kernel loaded; whatever ran before has ended."""
    server: Callable[[], ForkServer]
    """Of the reference's processes on the chip. It opens the chip when it starts: asked for while the chip is nobody's."""
    confined: Callable[[ForkServer], Plan | None]
    """The layers around a stranger's reference."""


class Yardstick:
    """One turn of the reference on the chip: a process of its own, that :class:`BaselineSide` asks."""

    def __init__(self, turns: Turns, session: Session, opened: OpenCase, pool: Pool, settings: Settings) -> None:
        self._chip = turns.chip
        server = turns.server()
        plan = turns.confined(server)
        self._scratch = Path(tempfile.mkdtemp(prefix="kernelwright-yardstick-"))
        how: dict[str, Any] = {} if plan is None else {"sandbox": plan}
        self._child = server.spawn("yardstick", self._scratch, {"task": to_json(session.task)}, **how)
        try:
            self.failed = self._make_ready(opened, pool, settings)
        except BaseException:
            self.close()
            raise

    def _make_ready(self, opened: OpenCase, pool: Pool, settings: Settings) -> dict[str, str]:
        try:
            self.ask("open", OPEN_SECONDS)
        except TaskError as error:
            why = f"the {self._chip.title} cannot be used by the reference: {error.message}"
            raise HarnessError(why, f"see {self._chip.docs}") from None
        facts = opened.facts
        at = [entry["name"] for entry in facts["arenas"]].index("parameters")
        self.ask("attach", fds=opened.fds[at : at + 1], name="parameters", arena=facts["arenas"][at]["arena"])
        self.take(pool)
        made = {name: facts[name] for name in ("init", "init_specs", "parameters", "training")}
        self.ask("build", sizes=dict(opened.case.sizes), seed=opened.seed, dtype=opened.dtype, **made)
        given = {"inputs": facts["inputs"], "names": self._chip.baselines}
        failed: dict[str, str] = self.ask("baselines", settings.compile_seconds, **given)[0]["failed"]
        return failed

    def take(self, pool: Pool) -> None:
        """Its inputs are this pool's from here on."""
        self.ask("attach", fds=pool.fds, name="pool", arena=pool.facts["arena"], specs=pool.facts["specs"])

    def ask(
        self, op: str, /, seconds: float = 180.0, fds: Sequence[int] = (), **message: Any
    ) -> tuple[dict[str, Any], list[int]]:
        """One request.

        Raises:
            TaskError: the reference, what runs it or the chip refuses.
            HarnessError: the process is gone.
        """
        try:
            reply, received = self._child.ask(op, seconds, fds, **message)
        except ChildGone as gone:
            tail = gone.gone.log.splitlines()[-1:] or [""]
            title = self._chip.title
            raise HarnessError(f"the reference's process on the {title} failed ({gone.gone}) {tail[0]}".rstrip()) from None
        if "refused" in reply:
            raise TaskError(f"the reference on the {self._chip.title}: {reply['refused']}")
        return reply, received

    def effort(self) -> None:
        """The chip's library has threads of its own."""

    def close(self) -> None:
        with contextlib.suppress(HarnessError):  # the fork-server is gone, and its children with it
            self._child.kill("over")
        shutil.rmtree(self._scratch, ignore_errors=True)


class _Competitor:
    """A side by name; whichever process is its own has the chip when it is asked."""

    def __init__(self, name: str, now: Callable[[str], Side]) -> None:
        self.name = name
        self._now = now

    def prepare(self, slots: Sequence[int]) -> None:
        self._now(self.name).prepare(slots)

    def run(self, head: int) -> float:
        return self._now(self.name).run(head)

    def account(self) -> float | None:
        return self._now(self.name).account()

    def effort(self) -> Effort | None:
        return self._now(self.name).effort()

    def space(self, count: int, head: int) -> None:
        self._now(self.name).space(count, head)


class ChipContest:
    """One timing case in one dtype. ``trial``: the runner that holds the chip now, its case built."""

    def __init__(self, trial: Trial, turns: Turns, session: Session, opened: OpenCase, settings: Settings) -> None:
        self._trial: Trial | None = trial
        self._yard: Yardstick | None = None
        self._turns, self._session, self._opened, self._settings = turns, session, opened, settings
        self._rng = random.SystemRandom()
        self._notes: list[str] = []
        self._pool = session.pool(opened, 4 * _FIRST)
        self._candidate = self._seat(trial)
        self._unseen = True
        self._us = [self._measured(self._candidate)]
        self._n = _FIRST

    def _seat(self, trial: Trial) -> CandidateSide:
        """The kernel in this process, its launches captured and warm."""
        trial.attach_pool(self._opened, self._pool)
        if problem := trial.reside(self._opened, self._pool):
            raise NotTimed(problem)
        side = CandidateSide(trial, self._opened, self._pool)
        _warm(side, self._pool)
        return side

    def _measured(self, side: Side) -> float:
        return max(measure(side, _FIRST, self._pool.copies, 0, self._rng).us, 1.0)

    def _calibrate(self) -> None:
        """Calls of a short run: enough work of the fastest for the clock, no more than the chip's memory takes, and no run of
        the slowest that takes for ever. The slots to go with them."""
        room = _ON_CHIP_BYTES // max(3 * self._opened.nbytes, 1)
        patience = int(_LONGEST_US / (3 * max(self._us)))
        self._n = max(1, min(math.ceil(_TARGET_US / min(self._us)), _MOST_CALLS, room, patience))
        if 4 * self._n <= self._pool.copies:
            return
        if self._trial is not None:
            self._trial.detach_pool(self._opened)
        self._pool = self._session.pool(self._opened, 4 * self._n)
        if self._trial is not None:
            self._candidate = self._seat(self._trial)
        if self._yard is not None:
            self._yard.take(self._pool)

    def _now(self, name: str) -> Side:
        """The side of that name, its process holding the chip."""
        if name == CANDIDATE:
            if self._trial is None:
                self._leave()
                self._trial = patiently(self._turns.runner)
                self._trial.build(self._opened)
                self._candidate = self._seat(self._trial)
                self._unseen = True
            return self._candidate
        if self._yard is None:
            self._leave()
            self._yard = patiently(
                lambda: Yardstick(self._turns, self._session, self._opened, self._pool, self._settings)
            )
        return BaselineSide(self._yard, self._opened, name)

    def _leave(self) -> None:
        """Whoever holds the chip gives it back."""
        if self._trial is not None:
            self._trial.close()
            self._trial = None
        if self._yard is not None:
            self._yard.close()
            self._yard = None

    def _baselines(self) -> list[str]:
        """Those that work; the notes say why others do not."""
        chip = self._turns.chip
        if why := chip.unmeasured():
            self._notes.append(f"no baseline: {why}")
            return []
        try:
            self._now(chip.baselines[0])
            assert self._yard is not None
            failed = self._yard.failed
        except (TaskError, HarnessError) as error:
            self._notes.append(f"no baseline: {error.message}")
            return []
        self._notes += [f"no {name} baseline: {why}" for name, why in failed.items()]
        ready = [name for name in chip.baselines if name not in failed]
        self._us += [self._measured(self._now(name)) for name in ready]
        return ready

    def run(self, evidence: dict[str, Any]) -> CaseTiming:
        """The readings, and what comes of them.

        Raises:
            Rejected: a timed output is wrong, or the kernel fails.
        """
        names = self._baselines()
        self._calibrate()
        sides: list[Side] = [_Competitor(name, self._now) for name in (*names, CANDIDATE)]
        deadline = time.monotonic() + self._settings.timing_seconds

        def enough(samples: Samples) -> bool:
            blocks = len(samples.times[CANDIDATE])
            if names:
                return blocks >= _LEAST and narrow(samples, CANDIDATE, self._settings.half_width, _LEAST)
            return blocks >= self._settings.min_blocks or (time.monotonic() > deadline and blocks >= _FEW)

        few = max(_MOST_BLOCKS, self._settings.min_blocks // 2)
        most = min(few if names else self._settings.max_blocks, self._settings.max_blocks)
        samples = interleave(sides, self._visit, lambda side: 0.0, enough, most)
        if len(samples.times[CANDIDATE]) < _LEAST:
            raise Rejected(Status.RUNTIME_ERROR, Stage.TIME, "the machine is too noisy: fewer than 3 blocks could be measured")
        if not self._session.ask("intact", key=self._opened.key)[0]["intact"]:
            raise Rejected(Status.INCORRECT, Stage.TIME, f"{self._opened.case.name}: changes the memory of its inputs")
        self._write_down(samples, evidence)
        return self._result(samples)

    def _visit(self, side: Side) -> Reading:
        found = sorted((self._reading(side) for _ in range(_READINGS)), key=lambda reading: reading.us)
        return found[_READINGS // 2]

    def _reading(self, side: Side) -> Reading:
        large = self._pool.copies * self._opened.nbytes > _LARGE_BYTES
        self._session.ask("shuffle", key=self._opened.key, anew=self._rng.random() < (0.125 if large else 0.5))
        found = measure(side, self._n, self._pool.copies, 0, self._rng)
        if side.name == CANDIDATE and (self._unseen or self._rng.random() < _VERIFIED):
            self._verify()
        return found

    def _verify(self) -> None:
        """A tenth of the calls of the last run, drawn at random, compared in full; of each process at least once."""
        assert self._trial is not None
        self._unseen = False
        slots = self._candidate.slots
        for index in self._rng.sample(range(len(slots)), max(1, len(slots) // 10)):
            self._trial.verify_timed(self._session, self._opened, index, slots[index])

    def _write_down(self, samples: Samples, evidence: dict[str, Any]) -> None:
        key = samples_key(self._opened.case.name, self._opened.dtype)
        evidence.setdefault("samples_us", {})[key] = samples.times
        readings: dict[str, dict[str, Sequence[Any]]] = {
            name: {
                "readings": [[r.short_us, r.long_us, round(r.host_us, 3)] for r in found],
                "spacers_us": samples.spacers[name],
            }
            for name, found in samples.readings.items()
        }
        self._session.journal.timed(self._opened.key, self._n, 0, "process", readings)

    def _result(self, samples: Samples) -> CaseTiming:
        if samples.spoilt:
            self._notes.append(f"{samples.spoilt} blocks thrown away: noise above the measurement")
        eager = samples.times.get("eager")
        if eager:
            third = max(len(eager) // 3, 1)
            drift = interval([eager[-third:]]).median / interval([eager[:third]]).median - 1.0
            if abs(drift) > _DRIFT:
                self._notes.append(f"clocks drifted: eager took {drift:+.0%} in the last third of the blocks")
        self._notes.append(f"{self._turns.chip.timed}; each side in processes of its own, in turns")
        found = case_timing(self._opened.case.name, self._opened.dtype, [samples.times])
        return replace(found, notes=tuple(self._notes))

    def over(self) -> bool:
        """The reference's process ends, the runner lets go of its inputs. Whether it holds the chip still."""
        if self._yard is not None:
            self._leave()
        if self._trial is None or not self._trial.runner.alive:
            return False
        with contextlib.suppress(Rejected, Outside):
            self._trial.detach_pool(self._opened)
        return True


def _warm(side: Side, pool: Pool) -> None:
    side.prepare([i % pool.copies for i in range(_FIRST)])
    for _ in range(3):
        side.run(0)


def patiently(start: Callable[[], T]) -> T:
    """What ``start`` gives, tried again while another process has the chip.

    Raises:
        HarnessError: it does not become free, or fails otherwise.
    """
    for _ in range(_TRIES - 1):
        try:
            return start()
        except HarnessError as error:
            if not busy(error.message):
                raise
        time.sleep(_PAUSE_SECONDS)
    return start()
