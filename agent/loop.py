"""The main loop: ask the policy, recall from memory, write a kernel, evaluate it, learn from it, tell the policy.

Every step is committed to the store before the next one starts, so that a killed run goes on from its last commit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from kernelwright.agent.answer import novelty
from kernelwright.agent.desk import Desk
from kernelwright.agent.given import GivenKernel
from kernelwright.agent.llm.ledger import Ledger
from kernelwright.agent.policies.policy import Policy
from kernelwright.agent.watch import Watch
from kernelwright.agent.writers.writer import Assignment, Learner, Writer, never
from kernelwright.evaluator.engines.engine import Engine, Job
from kernelwright.memory.memory import Memory
from kernelwright.memory.records import Step
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import BudgetSpent, Exhausted, HarnessError, KernelwrightError, Pending
from kernelwright.tasks.records import Attempt, Kernel, Task, Verdict

PAUSE_S = 0.1


@dataclass(frozen=True)
class Parts:
    """What the loop is put together from."""

    store: Store
    memory: Memory
    writer: Writer
    engine: Engine
    backend: str
    jobs: int = 1
    recorded: bool = False
    """The engine repeats recorded verdicts: it is asked about every kernel, duplicates too."""
    ledger: Ledger | None = None
    """What the run may spend; None: no limit."""
    given: GivenKernel | None = None
    """The user's kernel to start from."""
    exhausted: dict[str, str] = field(default_factory=dict)
    """Task -> what its writer said when it had nothing more."""

    def assignment(self, step: Step, task: Task) -> Assignment:
        """What a writer is told of a step."""
        return Assignment(step.idea, task, self.backend, self.engine.device(), step.context, self.given)

    def over(self, task: Task) -> str:
        """Why nothing more is to be asked for ``task``, or nothing."""
        return self.exhausted.get(task.name) or (self.ledger and self.ledger.left(task.name)) or ""


def search(
    task: Task,
    policy: Policy,
    unfinished: Iterable[Step],
    parts: Parts,
    watch: Watch,
    paused: Callable[[], bool] = never,
) -> tuple[Step, ...]:
    """Search one task until its policy or its writer has nothing more, or its budget is spent; returns the steps that wait
    for somebody else.

    ``unfinished`` are committed steps of an earlier process: each goes on at its last stage. Ideas are judged in the
    order in which they were asked, however many writers are at work, so that a run depends on no race between them. While
    ``paused`` says so, what is in flight is finished and nothing new is asked.
    """
    desk = Desk(parts.writer, parts.jobs)
    flight = deque(_begin(step, task, desk, parts) for step in unfinished)
    waiting: list[Step] = []
    try:
        while True:
            while not (watch.stopping() or paused() or parts.over(task)) and (idea := policy.ask()) is not None:
                step = Step(idea, parts.memory.recall(idea, task, parts.backend), None, None, False)
                parts.store.ask(idea, step.context)
                flight.append(_begin(step, task, desk, parts))
            if not flight and paused():
                watch.doing(None, "paused")
                time.sleep(PAUSE_S)
                continue
            if not flight or watch.stopping():
                _keep_answers(flight, desk, parts)
                return tuple(waiting)
            step = flight.popleft()
            try:
                step = _write(step, desk, parts, watch)
                step = _evaluate(step, task, parts, watch)
            except Pending:
                waiting.append(step)
                watch.doing(step.idea, "waiting")
                continue
            except (BudgetSpent, Exhausted) as error:
                _give_up(step, error, task, parts)
                continue
            attempt = _learn(step, task, parts)
            policy.tell(step.idea, attempt)
            parts.writer.told(attempt)
            watch.done(attempt)
    except KernelwrightError:
        _keep_answers(flight, desk, parts)
        raise


def _begin(step: Step, task: Task, desk: Desk, parts: Parts) -> Step:
    if step.answer is None:
        desk.take(parts.assignment(step, task))
    return step


def _write(step: Step, desk: Desk, parts: Parts, watch: Watch) -> Step:
    if step.answer is not None:
        return step
    watch.doing(step.idea, "writing")
    answer = desk.answer(step.idea)
    parts.store.answer(step.idea.id, answer)
    return replace(step, answer=answer)


def _evaluate(step: Step, task: Task, parts: Parts, watch: Watch) -> Step:
    if step.verdict is not None or step.answer is None or step.answer.kernel is None:
        return step
    watch.doing(step.idea, "judging")
    verdict = _known(step.answer.kernel, step, parts) or parts.engine.evaluate(Job(step.idea.id, step.answer.kernel, task))
    parts.store.judge(step.idea.id, verdict)
    return replace(step, verdict=verdict)


def _known(kernel: Kernel, step: Step, parts: Parts) -> Verdict | None:
    """The verdict on an earlier attempt's kernel where that is the same as ``kernel``; it is not judged twice."""
    if parts.recorded:
        return None
    earlier = novelty.duplicate(kernel, parts.store.attempts(step.idea.run, step.idea.task))
    return None if earlier is None else novelty.again(kernel, earlier)


def _learn(step: Step, task: Task, parts: Parts) -> Attempt:
    if step.attempt is None:
        raise HarnessError(f"idea {step.idea.id} is neither answered nor judged, and came to be learned")
    said = _said(parts.assignment(step, task), step.attempt, parts)
    parts.memory.learn(step, task, parts.backend, parts.engine.device().name, said)
    return step.attempt


def _said(assignment: Assignment, attempt: Attempt, parts: Parts) -> str:
    """The writer's own lesson from a judged attempt; empty where it has none, or none that can be paid for."""
    if attempt.verdict is None or attempt.duplicate_of is not None or not isinstance(parts.writer, Learner):
        return ""
    try:
        return parts.writer.lesson(assignment, attempt)
    except BudgetSpent:
        return ""


def _give_up(step: Step, error: BudgetSpent | Exhausted, task: Task, parts: Parts) -> None:
    """No answer is to be had, or to be paid for: the idea is taken back and none is asked; what is in flight is finished."""
    if isinstance(error, BudgetSpent) and parts.ledger is None:
        raise HarnessError(f"idea {step.idea.id}: {error.message}, and the run has no ledger") from error
    parts.store.withdraw(step.idea.id)
    if isinstance(error, Exhausted):
        parts.exhausted[task.name] = error.message
    elif parts.ledger is not None:
        parts.ledger.end(error.message)


def _keep_answers(flight: Iterable[Step], desk: Desk, parts: Parts) -> None:
    """Answers that are being written when the loop is left are paid for: wait for them and commit them."""
    for step in flight:
        if step.answer is None and desk.begun(step.idea):
            with suppress(KernelwrightError):
                parts.store.answer(step.idea.id, desk.answer(step.idea))
