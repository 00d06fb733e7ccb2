"""Warm start: kernels of earlier runs, and the user's own, as this run's first candidates, each judged anew before it counts.

They are committed as ideas with their answers before the search begins: the loop finds them in flight, as it finds what a
killed process left, and judges them like any others. So every policy sees them as drafts, a replay repeats them, and a
resumed run has those that it began with. No figure of the earlier run is taken over.
"""

from __future__ import annotations

from kernelwright.agent.answer import novelty
from kernelwright.agent.given import GivenKernel
from kernelwright.agent.loop import Parts
from kernelwright.agent.policies.policy import Search
from kernelwright.agent.settings import RunConfig
from kernelwright.memory.records import Context
from kernelwright.memory.starts import starting_points
from kernelwright.tasks.records import Answer, Attempt, IdeaStage, Kernel, Task, untargeted

STARTS = 3
"""Kernels at most; of a small budget half."""
GIVEN = "given"
MODEL = "warm-start"
"""Who wrote them, in this run's books: nobody was asked, and they cost nothing."""


def warm(config: RunConfig, run: str, task: Task, parts: Parts) -> int:
    """Commit the starting points of a task that nothing was asked for yet; how many there are.

    Their context is empty: what memory would have recalled had no part in them, and earns nothing by them.
    """
    if parts.store.steps(run, task.name):
        return 0
    answers = [_handed_over(config.given, config.backend)] if config.given and config.given.candidate(config.backend) else []
    if config.warm_start:
        answers += [_copied(attempt, task) for attempt in _chosen(config, run, task, parts)]
    search = Search(run, task.name, task.family, config.backend, seed=config.seed)
    for number, answer in enumerate(answers[: config.budget], 1):
        idea = search.idea(number, IdeaStage.DRAFT)
        parts.store.ask(idea, Context())
        parts.store.answer(idea.id, answer)
    return len(answers[: config.budget])


def _chosen(config: RunConfig, run: str, task: Task, parts: Parts) -> list[Attempt]:
    device, most = parts.engine.device().name, min(STARTS, config.budget // 2)
    chosen: dict[str, Attempt] = {}
    for attempt in starting_points(parts.store, task, config.backend, device, run, config.memory_exclude):
        if len(chosen) >= most:
            break
        if attempt.answer.kernel is not None:
            chosen.setdefault(novelty.fingerprint(attempt.answer.kernel), attempt)
    return list(chosen.values())


def _handed_over(given: GivenKernel, backend: str) -> Answer:
    """The answer with the user's own kernel."""
    return Answer(given.source, Kernel(given.source, backend), strategy=f"given: {given.name}", model=GIVEN)


def _copied(attempt: Attempt, task: Task) -> Answer:
    """The answer with the earlier attempt's kernel.

    Of the same task it keeps the strategy line, by which the playbook knows the point of its parameter space. Of another
    task it does not: the same point is another kernel here, and has not been tried.
    """
    kernel = attempt.answer.kernel
    assert kernel is not None, "only kernels are chosen"
    if untargeted(attempt.idea.task) == untargeted(task.name):
        strategy = f"copied from attempt {attempt.id}: {attempt.answer.strategy}"
    else:
        strategy = f"copied from attempt {attempt.id} on {attempt.idea.task}"
    return Answer(kernel.source, kernel, strategy=strategy, model=MODEL)
