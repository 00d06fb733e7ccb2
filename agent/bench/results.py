"""A bench's results: one JSON object a task and sample, derived from the store and written anew whenever one more is there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import exp, fsum, log
from typing import Any

from kernelwright import __version__
from kernelwright.agent import recording
from kernelwright.agent.bench import evidence
from kernelwright.agent.bench.plan import FORMAT, Part, Plan
from kernelwright.agent.bench.upstream import Beside
from kernelwright.agent.files import write_text
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import TaskOutcome
from kernelwright.memory.store import Store
from kernelwright.tasks.records import Attempt, Idea, IdeaStage, Stage, Status, Task, Timing

SOLVED = ("improved", "solved")
FINAL = (*SOLVED, "unsolved", "refused")
_BEFORE_RUNNING = (Stage.SCREEN, Stage.BUILD)

Record = Mapping[str, Any]


class Results:
    """The records of a bench, in the order of its samples and tasks. Nothing in them that the store does not say."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self._plan = plan
        self._workspace = workspace
        self._known: dict[tuple[str, str], Record] = {}
        self._beside = Beside(plan, workspace)
        self.path = workspace.run(plan.id) / "results.jsonl"

    def read(self) -> None:
        """Take in every task that has ended and was not taken in before."""
        store = self._workspace.open_store()
        try:
            for part in self._plan.parts():
                tasks = {task.name: task for task in part.tasks}
                for name, outcome in store.outcomes(part.run).items():  # none where it was not begun
                    if outcome.status in FINAL and (part.run, name) not in self._known:
                        self._known[part.run, name] = self._record(part, name, tasks.get(name), outcome, store)
        finally:
            store.close()

    def records(self) -> tuple[Record, ...]:
        """What was taken in."""
        order = [(part, name) for part in self._plan.parts() for name in self._names(part)]
        known = [(self._known[part.run, name], part, name) for part, name in order if (part.run, name) in self._known]
        return tuple({**record, "upstream": self._beside.of(part, name)} for record, part, name in known)

    def wanted(self) -> int:
        """How many records the bench will have when it is finished."""
        return sum(len(self._names(part)) for part in self._plan.parts())

    def write(self) -> None:
        """Read, and write the file: whole, or as it was."""
        self.read()
        lines = [header(self._plan), *self.records()]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))

    def _names(self, part: Part) -> tuple[str, ...]:
        refused = () if self._plan.submissions else tuple(self._plan.left_out)
        return (*(task.name for task in part.tasks), *refused)

    def _record(self, part: Part, name: str, task: Task | None, outcome: TaskOutcome, store: Store) -> Record:
        plan, attempts, spent = self._plan, store.attempts(part.run, name), store.spent(part.run, name)
        device = recording.device_of(part.run, self._workspace)
        verdict, solved = outcome.verdict, outcome.status in SOLVED
        timing = verdict.timing if verdict else None
        words = name.split("/")
        found = {
            "bench": plan.id,
            "suite": plan.suite,
            "task": name,
            "level": words[1] if len(words) > 2 else "",
            "category": task.category if task else "",
            "sample": part.sample,
            "seed": plan.config.seed + part.sample - 1,
            "run": part.run,
            "model": plan.model,
            "policy": plan.config.policy,
            "backend": part.backend,
            "device": device.name if device else None,
            "versions": {"kernelwright": __version__, **(device.versions if device else {})},
            "commit": plan.commit,
            "attempts": outcome.attempts,
            "status": outcome.status,
            "verdicts": dict(Counter(attempt.status for attempt in attempts)),
            "compiled": any(_compiled(attempt) for attempt in attempts),
            "correct": solved,
            "first_correct": next((a.idea.number for a in attempts if a.feasible), None) if solved else None,
            "kernel_id": verdict.kernel_id if verdict and solved else None,
            **_measured(timing if solved else None),
            "library_share": verdict.library_share if verdict and solved else None,
            "cost_usd": outcome.cost_usd,
            "tokens": spent.tokens_in + spent.tokens_out,
            "judge_seconds": fsum(self._judged(part.run, name, attempts)),
            "reason": outcome.reason,
            "evidence": evidence.write(plan, part, task, outcome, attempts, self._workspace) if solved and task else None,
        }
        path = next((s.path for s in plan.submissions if (s.task, s.sample) == (name, part.sample)), None)
        return found if path is None else {**found, "solution": path}

    def _judged(self, run: str, task: str, attempts: Sequence[Attempt]) -> Iterator[float]:
        """Seconds of every judging, the audits' too; a duplicate was not judged."""
        for attempt in attempts:
            if attempt.verdict is not None and attempt.duplicate_of is None:
                yield attempt.verdict.seconds
        of_task = Idea(run, task, 1, IdeaStage.DRAFT).id.rpartition("-")[0]
        for path in (self._workspace.run(run) / "audit").glob(f"{of_task}-*.json"):
            yield float(json.loads(path.read_text(encoding="utf-8")).get("seconds", 0.0))


def header(plan: Plan) -> Record:
    """The first line of the file: what the bench was asked for."""
    config = plan.config
    found: dict[str, Any] = {"format": FORMAT, "kind": "bench", "bench": plan.id, "created": plan.created}
    found |= {"suite": plan.suite, "levels": list(plan.levels), "scale": plan.scale, "tasks": len(plan.tasks)}
    found |= {"left_out": dict(plan.left_out), "notes": list(plan.notes), "samples": plan.samples}
    found |= {"attempts": config.budget, "model": plan.model, "policy": config.policy, "seed": config.seed}
    found |= {"max_usd": config.limits.usd, "max_tokens": config.limits.tokens, "max_seconds": config.limits.seconds}
    found["task_usd"] = config.limits.task_usd
    found |= {"rtol": config.rtol, "baselines": list(config.baselines or ()) or None, "timing_seconds": config.timing_seconds}
    if plan.rules or plan.no_rule:
        stated = sorted({rule.stated for rule in plan.rules.values()})
        omits = sorted({omitted for rule in plan.rules.values() for omitted in rule.omits})
        found["upstream"] = {"stated": stated, "not_computed": omits, "without_rule": dict(plan.no_rule)}
    found |= {"backends": sorted({part.backend for part in plan.parts()}), "commit": plan.commit}
    if plan.author:
        judged = {s.task for s in plan.submissions}
        found |= {"solutions": len(plan.submissions), "not_judged": dict(plan.unknown)}
        found["without_solution"] = [task.name for task in plan.tasks if task.name not in judged]
    return found


def _compiled(attempt: Attempt) -> bool:
    """Whether the kernel was built: it was judged beyond that, and not refused for its text."""
    verdict = attempt.verdict
    return verdict is not None and verdict.status is not Status.BUILD_FAILED and verdict.stage not in _BEFORE_RUNNING


def _measured(timing: Timing | None) -> dict[str, Any]:
    """The figures of the winner's audited verdict; all null without a timing."""
    if timing is None:
        return dict.fromkeys(("speedup", "latency_us", "roofline_us", "roofline_fraction"))
    least = [case.roofline_us for case in timing.cases if case.roofline_us]
    speedup = {name: timing.speedup.get(name) for name in ("eager", "compile", "best")}
    return {
        "speedup": {name: [s.median, s.low, s.high] if s else None for name, s in speedup.items()},
        "latency_us": [timing.latency_us.median, timing.latency_us.low, timing.latency_us.high],
        "roofline_us": _mean(least) if len(least) == len(timing.cases) else None,
        "roofline_fraction": timing.roofline_fraction,
    }


def _mean(values: Sequence[float]) -> float | None:
    """The geometric mean, as the headline figures are."""
    return exp(fsum(map(log, values)) / len(values)) if values else None
