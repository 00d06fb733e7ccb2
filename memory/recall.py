"""What to put before a writer: a pool by similarity, then the best by value (EvoKernel, arXiv 2603.10846)."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernelwright.memory import lessons, seeds
from kernelwright.memory.records import Experience
from kernelwright.tasks.records import Attempt, Idea, Task, untargeted

_NAME = re.compile(r"[A-Za-z_]\w*(?:(?:\.|::)[A-Za-z_]\w*)*(?=(\s*[(<\[])?)")
_SPAN = re.compile(r"```.*?```|`([^`\n]+)`", re.DOTALL)
_SLASH = re.compile("/")
_KEYWORDS = frozenset(
    ("if", "for", "while", "switch", "return", "sizeof", "static_cast", "range", "len", "int", "float", "print")
)


@dataclass(frozen=True)
class Settings:
    """How memory recalls and learns; the defaults are the design's."""

    places: int = 5
    """N: items in a context."""
    pool: tuple[float, float] = (2.0, 15.0)
    """λ at the first and at the last idea: the N are chosen among λN."""
    epsilon: tuple[float, float] = (0.2, 0.05)
    """Share of places filled at random, likewise annealed."""
    alpha: float = 0.3
    """Step of a value towards a reward."""
    budget: int = 30
    """Ideas a task, over which λ and ε are annealed, for runs whose configuration gives no ``budget``."""
    knowledge: int = 3
    """API items beside the N places."""
    matched: int = 2
    """Of the N, examples for the start point's bottleneck at least, where the pool has them."""
    children: int = 3
    """Earlier refinements of the start point that are shown."""
    complements: int = 2
    """Other fast variants of the task that are shown."""
    capacity: int = 100_000
    """Learned experiences that recall may choose from; beyond that, those worth least are archived."""
    seeds: Path | None = field(default_factory=seeds.folder)
    """Backend knowledge to start from: the package's own; None for none."""


def progress(number: int, budget: int) -> float:
    """How far a search is at its idea ``number``: 0 at the first, 1 at the last of its budget."""
    return min(1.0, max(0.0, (number - 1) / max(1, budget - 1)))


def between(ends: tuple[float, float], share: float) -> float:
    """Linear from the first end to the second."""
    return ends[0] + (ends[1] - ends[0]) * share


@dataclass(frozen=True)
class Candidate:
    """A member of the pool."""

    id: str
    similarity: float
    q: float
    bottleneck: str


def query_text(idea: Idea, task: Task, backend: str, start: Attempt | None, history: Sequence[Attempt]) -> str:
    """What to look for: the task, the stage, what limits the start point, and what went wrong last."""
    limit = lessons.bottleneck(start.verdict) if start else ""
    failed = start if start is not None and not start.feasible else history[-1] if history else None
    last = lessons.trouble(failed) if failed is not None else ""
    parts = (lessons.describe(task), backend, idea.stage.value, limit and f"{limit} bound", last)
    return " ".join(p for p in parts if p)


def choose(
    pool: Sequence[Candidate], places: int, epsilon: float, bottleneck: str, draw: random.Random, matched: int = 0
) -> list[Candidate]:
    """``places`` of the pool, best value first: each place by Q, or with probability ``epsilon`` at random.

    Among equals, those for the same bottleneck come first, then the nearer ones: what was never tried has Q₀ = 0 and
    goes before all that did harm. Of what is chosen, at least ``matched`` are for the same bottleneck as far as the pool has
    such: the best of them take the places of the least.
    """

    def fits(c: Candidate) -> bool:
        return bool(bottleneck) and c.bottleneck == bottleneck

    def merit(c: Candidate) -> tuple[float, bool, float]:
        return (c.q, fits(c), c.similarity)

    left = sorted(pool, key=merit, reverse=True)
    chosen: list[Candidate] = []
    while left and len(chosen) < places:
        chosen.append(left.pop(draw.randrange(len(left)) if draw.random() < epsilon else 0))
    chosen.sort(key=merit, reverse=True)
    spare, wanted = [c for c in left if fits(c)], min(matched, places) - sum(map(fits, chosen))
    for best in spare[: max(0, wanted)]:
        chosen.remove(next(c for c in reversed(chosen) if not fits(c)))
        chosen.append(best)
    return sorted(chosen, key=merit, reverse=True)


def relatives(
    start: Attempt, history: Sequence[Attempt], variants: Iterable[Attempt], settings: Settings
) -> tuple[Attempt, ...]:
    """The start point's latest children, then the fastest feasible others that go about it differently.

    ``variants`` are feasible attempts of the task, fastest first. Different is another bottleneck, or another strategy.
    """
    children = [a for a in history if a.idea.parent == start.id and a.duplicate_of is None][-settings.children :]
    shown = {start.id, *(a.id for a in children)}
    kernels = {lessons.content(a) for a in (start, *children)}
    others = []
    for variant in variants:
        new = variant.id not in shown and variant.duplicate_of is None and lessons.content(variant) not in kernels
        if new and _differs(variant, start):
            kernels.add(lessons.content(variant))
            others.append(variant)
    here = lessons.bottleneck(start.verdict)
    others.sort(key=lambda a: lessons.bottleneck(a.verdict) == here)  # stable: fastest first within each
    return (*children, *others[: settings.complements])


def api_names(text: str) -> set[str]:
    """Names in a text's code spans: ``tl.dot``, ``std::fma``, ``_mm512_loadu_ps``. Fences are examples, not topics."""
    return {name for m in _SPAN.finditer(text) if m.group(1) for name in _named(m.group(1))}


def about(codes: Iterable[str], known: Mapping[str, tuple[Experience, set[str]]], most: int) -> list[Experience]:
    """The API items whose names the code uses, rarest names first. ``known``: id -> (item, its names)."""
    used = {name for code in codes for name in _named(code)}
    commonness: dict[str, int] = {}
    for _, names in known.values():
        for name in names:
            commonness[name] = commonness.get(name, 0) + 1
    scores = {i: sum(1.0 / commonness[n] for n in names & used) for i, (_, names) in known.items()}
    ranked = sorted((i for i, score in scores.items() if score > 0), key=lambda i: (-scores[i], i))
    return [known[i][0] for i in ranked[:most]]


def excluded(task: str, names: Collection[str]) -> bool:
    """Whether a task is one of ``names``, given in full or by the end of its name: ``rms_norm``, ``norm/rms_norm``.

    A name without a target is the task on any: ``rms_norm`` leaves out ``norm/rms_norm@cpp``, too.
    """
    known = {task, untargeted(task)}
    ends = {one[m.end() :] for one in known for m in _SLASH.finditer(one)}
    return not (known | ends).isdisjoint(names)


def _named(code: str) -> set[str]:
    """Names that look like somebody's API: qualified, called, or with an underscore inside."""
    found = set()
    for m in _NAME.finditer(code):
        name = m.group()
        likely = m.group(1) or "." in name or "::" in name or "_" in name.strip("_")
        if likely and len(name) > 2 and name not in _KEYWORDS:
            found.add(name)
    return found


def _differs(a: Attempt, b: Attempt) -> bool:
    strategies = a.answer.strategy != b.answer.strategy
    return strategies or lessons.bottleneck(a.verdict) != lessons.bottleneck(b.verdict)
