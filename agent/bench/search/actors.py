"""The synthetic model and the synthetic judge: the only parts of a trial that are not the real thing."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from kernelwright.agent.bench.search.world import Landscape, Truth
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Job
from kernelwright.memory.records import Context
from kernelwright.tasks.records import (
    Answer,
    Assurance,
    Attempt,
    CaseTiming,
    IdeaStage,
    Interval,
    Kernel,
    Stage,
    Status,
    Task,
    Timing,
    Verdict,
)

BACKEND = "cpp"
_LINE = re.compile(r'^(RIGHT|USES|BROKEN) = "([^"]*)"', re.MULTILINE)
_FAULTS = (
    (Status.BUILD_FAILED, Stage.BUILD, "the compiler complains of"),
    (Status.RUNTIME_ERROR, Stage.SMOKE, "it stopped at"),
    (Status.INCORRECT, Stage.CORRECT, "wrong values by"),
)


@dataclass(frozen=True)
class Draft:
    """What a kernel's text says of it, to the synthetic model and judge alike."""

    right: frozenset[str] = frozenset()
    """Obstacles that it gets right."""
    uses: frozenset[str] = frozenset()
    """Techniques."""
    broken: str = ""
    """A technique that came out wrong."""

    @classmethod
    def read(cls, source: str) -> Draft:
        """From a kernel's source; nothing from any other text."""
        said = {key: frozenset(value.split()) for key, value in _LINE.findall(source)}
        return cls(said.get("RIGHT", frozenset()), said.get("USES", frozenset()), " ".join(said.get("BROKEN", ())))

    def source(self, variant: int) -> str:
        """As a kernel; ``variant`` is a number that makes it new, and in memory a near-duplicate of its like."""
        lines = [f'RIGHT = "{" ".join(sorted(self.right))}"', f'USES = "{" ".join(sorted(self.uses))}"']
        return "\n".join([*lines, f'BROKEN = "{self.broken}"', f"VARIANT = {variant}", "class ModelNew: ...", ""])


@dataclass
class Lessons:
    """What a context holds for who understands it."""

    shown: set[str] = field(default_factory=set)
    explained: set[str] = field(default_factory=set)
    warned: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    """Techniques of kernels in the context, and those that seeds mislead to."""
    misled: bool = False


class Author:
    """The synthetic model: drafts and refines as well as it can, and better with the right context.

    All chance comes from (landscape, task, number of the idea, ``salt``): with equal salts two arms that show it the same
    get the same. ``omniscient``: it knows every seed that explains something and every kernel that passed, shown or not,
    and nothing misleads it: no retrieval can do better.
    """

    name = "synthetic"

    def __init__(self, land: Landscape, salt: str = "", omniscient: bool = False) -> None:
        self._land = land
        self._salt = salt
        self._knows = Lessons()
        self._omniscient = omniscient
        if omniscient:
            self._knows.explained |= {seed.explains for seed in land.lessons.values()} - {""}

    def write(self, assignment: Assignment) -> Answer:
        idea, truth = assignment.idea, self._land.of(assignment.task.name)
        chance = random.Random(f"author {self._land.seed} {idea.task} {idea.number} {self._salt}")
        lessons = self.lessons(assignment.context)
        start = assignment.context.start
        if idea.stage is IdeaStage.DRAFT or start is None or start.answer.kernel is None:
            draft = self._draft(truth, lessons, chance)
            strategy = "a plain draft"
        else:
            draft, tried = self._refined(Draft.read(start.answer.kernel.source), truth, lessons, chance)
            strategy = f"{tried.replace('_', ' ')} on top of {' '.join(sorted(draft.uses - {tried})) or 'a plain kernel'}"
        source = draft.source(idea.number)
        return Answer(source, Kernel(source, assignment.backend), strategy=strategy, model=self.name)

    def lessons(self, context: Context) -> Lessons:
        """What the recalled items and the task's other fast variants teach. Its own failures are in every arm's prompt."""
        found, world = Lessons(), self._land.world
        if world.null:
            return found
        if self._omniscient:
            return self._knows
        for item in context.items:
            e = item.experience
            seed = self._land.lessons.get(e.lesson.partition("\n")[0])
            if seed is not None:
                found.explained |= {seed.explains} - {""}
                found.uses |= {seed.misleads} - {""}
                found.misled |= bool(seed.misleads)
            elif e.code:
                self._study(e.code, found)
            elif e.kind == "failure":
                found.warned |= {o for o in self._land.obstacles if o in e.lesson}
        for relative in context.relatives:
            if relative.feasible and relative.answer.kernel is not None:
                self._study(relative.answer.kernel.source, found)
        return found

    def told(self, attempt: Attempt) -> None:
        if attempt.feasible and attempt.answer.kernel is not None:
            self._study(attempt.answer.kernel.source, self._knows)

    def close(self) -> None:
        return None

    def _study(self, code: str, found: Lessons) -> None:
        kernel = Draft.read(code)
        found.shown |= kernel.right
        found.uses |= kernel.uses

    def _draft(self, truth: Truth, lessons: Lessons, chance: random.Random) -> Draft:
        """A plain kernel: each obstacle by itself."""
        right = {o for o in truth.obstacles if chance.random() < self._odds(o, lessons)}
        return Draft(frozenset(right))

    def _odds(self, obstacle: str, lessons: Lessons) -> float:
        world = self._land.world
        odds = [world.able if obstacle in self._land.known else world.unaided]
        odds += [world.shown] * (obstacle in lessons.shown)
        odds += [world.explained] * (obstacle in lessons.explained)
        odds += [world.warned] * (obstacle in lessons.warned)
        return max(odds) * (world.misled if lessons.misled else 1.0)

    def _refined(self, start: Draft, truth: Truth, lessons: Lessons, chance: random.Random) -> tuple[Draft, str]:
        """The start point with one technique more, and which."""
        world = self._land.world
        follows, picked, luck = chance.random() < world.follow, chance.random(), chance.random()
        new = sorted(lessons.uses - start.uses) if follows else []
        pool = new or sorted(set(self._land.ways) - start.uses)
        tried = pool[int(picked * len(pool))]
        applies = truth.applies(tried, start.uses)
        works = luck < ((world.practised if new else world.invented) if applies else 1.0 - world.broken)
        if not works:
            return Draft(start.right, start.uses, tried), tried
        return Draft(start.right, start.uses | {tried}), tried


class Assessor:
    """The synthetic judge: says what the landscape's truth says of a kernel, with a real judge's words and noise."""

    def __init__(self, land: Landscape, salt: str = "") -> None:
        self._land = land
        self._salt = salt

    def admit(self, task: Task) -> None:
        self._land.of(task.name)

    def evaluate(self, job: Job) -> Verdict:
        truth, kernel = self._land.of(job.task.name), Draft.read(job.kernel.source)
        chance = random.Random(f"judge {self._land.seed} {job.task.name} {job.kernel.kernel_id} {self._salt}")
        wrong = [o for o in truth.obstacles if o not in kernel.right] or [kernel.broken] * bool(kernel.broken)
        if wrong:
            status, stage, words = _FAULTS[sum(map(ord, wrong[0])) % len(_FAULTS)]
            return verdict(job, status, stage, f"{words} {wrong[0]}")
        foreign = sorted(kernel.uses - set(truth.techniques))
        loss = sum(self._land.world.loss * random.Random(f"{truth.task.name} {f}").random() for f in foreign)
        gains = sum(truth.techniques[u].gain for u in kernel.uses & set(truth.techniques))
        true = truth.plain + gains - loss
        measured = true + chance.gauss(0.0, self._land.world.noise)
        half = 1.96 * self._land.world.noise
        interval = Interval(math.exp(measured), math.exp(measured - half), math.exp(measured + half))
        return verdict(job, Status.PASSED, Stage.TIME, f"{interval.median:.2f}x eager", interval)

    def device(self) -> DeviceInfo:
        return DeviceInfo("cpu", "synthetic device")

    def close(self) -> None:
        return None


def verdict(job: Job, status: Status, stage: Stage, reason: str, speedup: Interval | None = None) -> Verdict:
    """A verdict with as much in it as search and memory look at."""
    timing = None
    if speedup is not None:
        eager = Interval(100.0, 100.0, 100.0)
        latency = Interval(100.0 / speedup.median, 100.0 / speedup.high, 100.0 / speedup.low)
        against = {"eager": speedup, "best": speedup}
        case = CaseTiming("one", "float32", latency, {"eager": eager}, against)
        timing = Timing(latency, {"eager": eager}, against, "eager", None, (case,))
    return Verdict(status, stage, reason, job.kernel.kernel_id, job.task.name, Assurance.DEVICE, timing=timing)


def best_speedup(attempts: Iterable[Attempt]) -> float | None:
    """The fastest that passed, by its measured median; None where nothing did."""
    return max((a.speedup for a in attempts if a.feasible and a.speedup is not None), default=None)


__all__ = ["BACKEND", "Assessor", "Author", "Draft", "Lessons", "best_speedup", "verdict"]
