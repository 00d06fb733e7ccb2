"""The seat of whoever answers prompts from outside, person or coding agent: what waits, what was asked, what came of it.

``kernelwright exchange`` and the MCP server both sit here, so that neither takes an answer that the other would refuse.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kernelwright.agent.exchange.sheets import Sheet, put_down, sheets
from kernelwright.agent.outcome import so_far
from kernelwright.agent.prompt import feedback
from kernelwright.agent.targets import split
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import Call, RunRecord, Step
from kernelwright.memory.store import Store
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.records import Idea, Interval, Task, Verdict

_VARIANTS = 500
"""Of a task's feasible attempts, fastest first, among which each device's best is looked for."""


@dataclass(frozen=True)
class Seen:
    """One idea, as far as it has come."""

    idea: Idea
    state: str
    """``waiting`` for an answer, ``answered``, ``unreadable`` or ``judged``."""
    prompt: str
    """The exact text; empty where none was sent, as to the playbook."""
    answer: str = ""
    problem: str = ""
    """Why no kernel could be read from the answer."""
    model: str = ""
    calls: tuple[Call, ...] = ()
    """What language models were asked for it, in order."""
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Best:
    """The best attempt of a run, or of all runs, on one task."""

    run: str
    task: str
    idea: str
    model: str
    backend: str
    device: str
    audited: bool
    """Judged again in fresh processes, as a run's winner is when its search has ended."""
    verdict: Verdict
    source: str


class Seat:
    """One workspace, from outside. Holds nothing open, so that several threads and processes may share it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def waiting(self, run: str | None = None) -> tuple[Sheet, ...]:
        """The prompts without an answer, oldest first."""
        return tuple(sheet for sheet in sheets(self._workspace.exchange, run) if not sheet.answered)

    def seen(self, idea: str) -> Seen:
        """The idea with this id, of any run and any writer.

        Raises:
            UnknownName: neither the store nor the exchange folder knows it.
        """
        sent = {sheet.id: sheet for sheet in sheets(self._workspace.exchange)}
        with self._store() as store:
            step = store.step(idea)
            if step is None and idea not in sent:
                raise self._unknown(idea, [*sent])
            if step is None or step.answer is None:
                return _in_flight(sent.get(idea), step, _calls(store, step))
            answer, verdict = step.answer, step.verdict
            state = "judged" if verdict is not None else "answered" if answer.kernel is not None else "unreadable"
            calls = _calls(store, step)
            return Seen(step.idea, state, answer.prompt, answer.text, answer.problem, answer.model, calls, verdict)

    def submit(self, idea: str, answer: bytes, *, replace: bool = False, source: str = "the answer") -> Sheet:
        """Put down an answer; the run reads it when it goes on. ``source`` says in messages where it came from.

        Raises:
            InputError: no such idea, nothing that can be an answer, or answered before; one that the run has read
                already is not replaced either.
        """
        with self._store() as store:
            step = store.step(idea)
        if step is not None and step.answer is not None:
            raise InputError(
                f"idea {idea} is answered already, and its run has read the answer",
                f"see what came of it with `kernelwright exchange show {idea}`, and answer the next prompt",
            )
        return put_down(self._workspace.exchange, idea, answer, replace=replace, source=source)

    def best_of_run(self, run: str) -> tuple[Best, ...]:
        """The best of each task of a run that has one: as its audit left it, or so far.

        Raises:
            UnknownName: no such run.
        """
        with self._store() as store:
            return tuple(best for task in store.run(run).tasks if (best := _best(store, run, task)) is not None)

    def best_on(self, task: Task, backend: str | None = None) -> tuple[Best, ...]:
        """The fastest attempt on a task over all runs, one for each backend and device: others do not compare."""
        found: dict[tuple[str, str], Best] = {}
        with self._store() as store:
            own = [run for run in store.runs() if task.task_id in [of.task_id for of in run.tasks]]
            used = {target for run in own for target in split(str(run.config.get("backend")))}
            for name in sorted(used if backend is None else used & {backend}):
                for attempt in store.variants(task.task_id, name, limit=_VARIANTS):
                    verdict, kernel, model = attempt.verdict, attempt.answer.kernel, attempt.answer.model
                    if verdict is not None and kernel is not None:
                        where = (name, _device(verdict), False)
                        one = Best(attempt.idea.run, task.name, attempt.id, model, *where, verdict, kernel.source)
                        found.setdefault(where[:2], one)
        return tuple(found.values())

    def continuing(self, task: Task, finished: Collection[str] = (), **wanted: Any) -> RunRecord | None:
        """The newest exchange run of this task alone that judges here and is not finished, or is one of ``finished``.

        ``wanted``: options that it must have been started with.
        """
        with self._store() as store:
            for run in store.runs():
                alone = [of.task_id for of in run.tasks] == [task.task_id]
                ours = run.config.get("model") == "exchange" and run.config.get("engine") == "local"
                same = all(run.config.get(name) == value for name, value in wanted.items())
                if alone and ours and same and (run.status != "finished" or run.id in finished):
                    return run
        return None

    def run(self, run: str) -> RunRecord:
        """The run with this id.

        Raises:
            UnknownName: there is none; the message names the newest.
        """
        with self._store() as store:
            return store.run(run)

    def runs(self, n: int) -> tuple[RunRecord, ...]:
        """The newest runs."""
        with self._store() as store:
            return store.runs()[:n]

    def attempts(self, run: str, task: str) -> int:
        """How many attempts of a run on a task are finished."""
        with self._store() as store:
            return len(store.attempts(run, task))

    @contextmanager
    def _store(self) -> Iterator[Store]:
        store = self._workspace.open_store()
        try:
            yield store
        finally:
            store.close()

    def _unknown(self, idea: str, sent: list[str]) -> UnknownName:
        near = difflib.get_close_matches(idea, sent, n=3) or [sheet.id for sheet in self.waiting()]
        remedy = f"waiting or near: {', '.join(near) or 'none'}; a run's report lists the ids of its attempts"
        return UnknownName(f"unknown idea {idea!r}", remedy)


def brief(verdict: Verdict, task: Task) -> dict[str, Any]:
    """A verdict in short, as far as whoever writes kernels may know it: nothing of held-out shapes but the status."""
    untold = feedback.hidden(verdict)
    timing = verdict.timing
    reason = "failed on a shape that is not listed: it must be right for every shape that the reference accepts"
    return {
        "status": verdict.status.value,
        "stage": verdict.stage.value,
        "reason": reason if untold else feedback.scrub(verdict.reason, task),
        "kernel_id": verdict.kernel_id,
        "assurance": verdict.assurance.value,
        "latency_us": None if timing is None else to_json(rounded(timing.latency_us)),
        "speedup": {} if timing is None else {name: to_json(rounded(value)) for name, value in timing.speedup.items()},
        "best_baseline": "" if timing is None else timing.best_baseline,
        "roofline_fraction": None if timing is None else _four(timing.roofline_fraction),
        "envelope": feedback.scrub(verdict.envelope, task),
        "evidence": "" if untold or verdict.passed else feedback.scrub(feedback.evidence(verdict), task),
        "seconds": verdict.seconds,
    }


def rounded(value: Interval) -> Interval:
    """To four digits: no measurement here holds more."""
    return Interval(float(f"{value.median:.4g}"), float(f"{value.low:.4g}"), float(f"{value.high:.4g}"))


def _four(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _in_flight(sheet: Sheet | None, step: Step | None, calls: tuple[Call, ...]) -> Seen:
    """An idea without an answer in the store: what its folder and the calls that were made for it tell."""
    if step is not None:
        idea = step.idea
    else:
        meta = sheet.meta() if sheet is not None else {}
        if "idea" not in meta:
            raise InputError(f"{sheet.folder if sheet else 'the folder'} has no meta.json of ours", "have its run make it anew")
        idea = from_json(Idea, meta["idea"])
    if sheet is None:
        return Seen(idea, "waiting", "", calls=calls)
    text = sheet.answer.read_bytes().decode("utf-8", errors="replace") if sheet.answered else ""
    return Seen(idea, "answered" if text else "waiting", sheet.prompt.read_bytes().decode("utf-8"), text, calls=calls)


def _calls(store: Store, step: Step | None) -> tuple[Call, ...]:
    return () if step is None else tuple(call for call in store.calls(step.idea.run) if call.idea == step.idea.id)


def _best(store: Store, run: str, task: Task) -> Best | None:
    outcome = store.outcomes(run).get(task.name)
    audited = outcome is not None and outcome.status in ("improved", "solved")
    if outcome is None or not audited:
        outcome = so_far(task, store.attempts(run, task.name), "")
    attempt = store.attempt(outcome.best) if outcome.best else None
    if attempt is None or outcome.verdict is None or attempt.answer.kernel is None:
        return None
    verdict, kernel = outcome.verdict, attempt.answer.kernel
    where = (kernel.backend, _device(verdict), audited)
    return Best(run, task.name, attempt.id, attempt.answer.model, *where, verdict, kernel.source)


def _device(verdict: Verdict) -> str:
    return str(verdict.environment.get("device", ""))
