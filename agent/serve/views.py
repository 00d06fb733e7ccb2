"""What the pages show of a run, worked out from outlines: a window of attempts, and thinned points of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kernelwright.memory.outline import SOLVED, Outline, Tally
from kernelwright.memory.records import TaskOutcome
from kernelwright.tasks.records import Interval, Task

WINDOW = 100
"""Attempts a page."""
MOST_POINTS = 400
"""Attempts in a chart beside those that set a new best."""


@dataclass(frozen=True)
class Node:
    """An attempt in a chart, a graph or a row."""

    outline: Outline
    parent: int | None
    won: bool

    @property
    def id(self) -> str:
        return self.outline.id

    @property
    def number(self) -> int:
        return self.outline.number

    @property
    def stage(self) -> str:
        return self.outline.stage

    @property
    def status(self) -> str:
        return self.outline.status

    @property
    def reason(self) -> str:
        return self.outline.reason

    @property
    def strategy(self) -> str:
        return self.outline.strategy

    @property
    def latency(self) -> Interval | None:
        return self.outline.latency

    @property
    def speedup(self) -> float | None:
        return self.outline.speedup


@dataclass(frozen=True)
class TaskLine:
    """One task of a run in one line."""

    place: int
    """From 1, in the run's order: its address."""
    task: Task
    status: str
    reason: str
    tally: Tally

    @property
    def solved(self) -> bool:
        return self.status in SOLVED


@dataclass(frozen=True)
class Course:
    """The search of one task, attempt by attempt."""

    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, attempts: Sequence[Outline], best: Outline | None) -> Course:
        """The course of all attempts on a task, of which one is the best."""
        numbers = {outline.id: outline.number for outline in attempts}
        won = best.id if best else None
        return cls(tuple(Node(o, numbers.get(o.parent_id or ""), o.id == won) for o in attempts))

    @property
    def best(self) -> Node | None:
        return next((node for node in self.nodes if node.won), None)

    def lineage(self) -> tuple[Node, ...]:
        """How the best came about: from its first draft to it."""
        by_number = {node.number: node for node in self.nodes}
        chain: list[Node] = []
        at = self.best
        while at is not None and at not in chain:
            chain.append(at)
            at = by_number.get(at.parent) if at.parent is not None else None
        return tuple(reversed(chain))

    def points(self) -> tuple[Node, ...]:
        """For the chart of latencies: every attempt that set a new best, and of the others as many as can be told apart."""
        kept: dict[int, Node] = {}
        least = float("inf")
        for node in self.nodes:
            if node.latency is not None and node.latency.median < least:
                least = node.latency.median
                kept[node.number] = node
        others = [node for node in self.nodes if node.number not in kept]
        kept |= {node.number: node for node in others[:: max(1, -(-len(others) // MOST_POINTS))]}
        if self.best is not None:
            kept[self.best.number] = self.best
        return tuple(kept[number] for number in sorted(kept))


@dataclass(frozen=True)
class Window:
    """A page of a long list."""

    page: int
    """From 1."""
    of: int
    total: int
    size: int = WINDOW

    @classmethod
    def at(cls, page: int, total: int, size: int = WINDOW) -> Window:
        """Page ``page``, or the nearest that there is."""
        of = max(1, -(-total // size))
        return cls(min(max(1, page), of), of, total, size)

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size

    @property
    def first(self) -> int:
        """Number of its first row, from 1."""
        return min(self.offset + 1, self.total)

    @property
    def last(self) -> int:
        return min(self.offset + self.size, self.total)


def task_lines(
    tasks: Sequence[Task], tallies: Mapping[str, Tally], outcomes: Mapping[str, TaskOutcome], status: str
) -> tuple[TaskLine, ...]:
    """One line a task, in the run's order; ``status`` stands in where a task has no outcome yet."""
    lines = []
    for place, task in enumerate(tasks, 1):
        outcome = outcomes.get(task.name)
        state, reason = (outcome.status, outcome.reason) if outcome else (status, "no outcome yet")
        lines.append(TaskLine(place, task, state, reason, tallies.get(task.name, Tally({}, None))))
    return tuple(lines)
