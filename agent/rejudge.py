"""A replayed run judged again: do the statuses agree with the recorded ones?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernelwright.agent.recording import Recording
from kernelwright.memory.records import Step
from kernelwright.tasks.records import Task


@dataclass(frozen=True)
class Difference:
    """One attempt on which the two judgings disagree."""

    attempt: str
    recorded: str
    now: str


@dataclass(frozen=True)
class Rejudged:
    """How many attempts were judged again, and those with another status than the recorded one."""

    compared: int
    differences: tuple[Difference, ...]


def compare(recording: Recording, tasks: Sequence[Task], steps: Sequence[Step]) -> Rejudged:
    """Compare the learned ``steps`` of a replay with what was recorded for the same task and number."""
    compared, differences = 0, []
    for task in tasks:
        for step in steps:
            recorded = recording.step(task, step.idea.number) if step.idea.task == task.name else None
            if recorded is None or step.attempt is None:
                continue
            compared += 1
            was = recorded.verdict.status.value if recorded.verdict else "unreadable"
            if was != step.attempt.status:
                differences.append(Difference(step.idea.id, was, step.attempt.status))
    return Rejudged(compared, tuple(differences))
