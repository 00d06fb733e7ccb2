"""The store: runs, ideas, answers, verdicts and experiences. It is the truth; the vector index can be rebuilt from it.

Every call that changes something is one committed transaction: ``kill -9`` at any moment loses at most the step in
flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory import calls, experiences, rows
from kernelwright.memory import runs as run_rows
from kernelwright.memory.artifacts import HASH, Artifacts
from kernelwright.memory.records import RUN_STATUSES, Call, Context, Line, RunRecord, Spent, Step, TaskOutcome
from kernelwright.memory.schema import meta, open_engine, reached, run_tasks, runs, shown, steps, texts, translated
from kernelwright.memory.spending import total
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import HarnessError, UnknownName, WorkspaceError
from kernelwright.tasks.records import Answer, Attempt, Idea, Status, Verdict

T = TypeVar("T")

__all__ = ["RunRecord", "Spent", "Step", "Store", "TaskOutcome"]


class Store:
    """One workspace's database and its artifacts.

    ``url`` is any SQLAlchemy URL. Artifacts lie beside an SQLite file unless a folder is given.

    Raises:
        WorkspaceError: the database cannot be opened or written, is something else, or has a newer schema.
    """

    def __init__(self, url: str, artifacts: Path | None = None) -> None:
        self._engine = open_engine(url)
        self._writer = self._engine.execution_options(writes=True)
        database = self._engine.url.database
        if artifacts is None:
            if self._engine.dialect.name != "sqlite" or database in (None, "", ":memory:"):
                self._engine.dispose()
                raise WorkspaceError(f"the store {shown(url)} has no folder for artifacts", "give one beside the URL")
            artifacts = Path(str(database)).parent / "artifacts"
        self.artifacts = Artifacts(artifacts)
        self._settled: dict[str, Attempt] = {}
        """Attempts that were learned from: they change no more, and every recall reads them."""
        with self.read() as tx:
            self.identity: str = tx.execute(sa.select(meta.c.value).where(meta.c.key == "store")).scalar_one()

    def close(self) -> None:
        """Close every connection. May be repeated."""
        self._engine.dispose()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction that writes: all of it is committed, or none."""
        with translated(self._engine.url), reached(self._writer) as tx, tx.begin():
            yield tx

    def write(self, work: Callable[[Connection], T]) -> T:
        """``work`` in one transaction, again where another process was first or in the way (not on SQLite: it queues)."""
        for left in (2, 1, 0):
            try:
                with self.begin() as tx:
                    return work(tx)
            except (HarnessError, WorkspaceError) as error:
                if not left or not _passing(error.__cause__):
                    raise
        raise AssertionError("the last round returns or raises")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view."""
        with translated(self._engine.url), reached(self._engine) as tx, tx.begin():
            yield tx

    # Runs

    def create_run(self, run: RunRecord) -> None:
        """Commit the run's row, before anything else of it happens."""
        with self.begin() as tx:
            run_rows.insert(tx, run)

    def set_run_status(self, run_id: str, status: str) -> None:
        """``running``, ``finished``, ``interrupted`` or ``waiting``."""
        if status not in RUN_STATUSES:
            raise ValueError(f"run status {status!r} is none of {', '.join(RUN_STATUSES)}")
        with self.begin() as tx:
            if run_rows.change(tx, run_id, status=status):
                return
        raise self._unknown_run(run_id)

    def run(self, run_id: str) -> RunRecord:
        """The run with this id.

        Raises:
            UnknownName: there is none; the message names the newest.
        """
        with self.read() as tx:
            found = run_rows.load(tx, run_id)
        if not found:
            raise self._unknown_run(run_id)
        return found[0]

    def runs(self) -> tuple[RunRecord, ...]:
        """Every run, newest first."""
        with self.read() as tx:
            return run_rows.load(tx)

    def config(self, run_id: str) -> Mapping[str, Any]:
        """What a run was asked for; empty for a run that is not there."""
        with self.read() as tx:
            return run_rows.column(tx, run_id, "config") or {}

    def set_budget(self, run_id: str, budget: int) -> None:
        """Change how many attempts a task a run may make."""
        with self.begin() as tx:
            if run_rows.set_budget(tx, run_id, budget):
                return
        raise self._unknown_run(run_id)

    def set_limits(self, run_id: str, limits: Mapping[str, float]) -> None:
        """Change what a run may spend, of what is named: ``usd``, ``tokens``, ``seconds``, ``task_usd``."""
        with self.begin() as tx:
            if run_rows.set_limits(tx, run_id, limits):
                return
        raise self._unknown_run(run_id)

    def set_outcome(self, run_id: str, task_name: str, outcome: TaskOutcome) -> None:
        """How a task of the run ended; replaces what was there. A task that did not even load can have one too."""
        with self.begin() as tx:
            if run_rows.set_outcome(tx, run_id, task_name, outcome):
                return
        raise self._unknown_run(run_id)

    def outcomes(self, run_id: str) -> Mapping[str, TaskOutcome]:
        """Task name -> outcome, for the tasks that have one, in the run's order."""
        with self.read() as tx:
            return run_rows.outcomes(tx, run_id)

    def add_seconds(self, run_id: str, seconds: float) -> None:
        """Add to the wall time that processes have worked on the run."""
        with self.begin() as tx:
            run_rows.add_seconds(tx, run_id, seconds)

    def seconds(self, run_id: str) -> float:
        """Wall time that processes have worked on the run; 0 for a run that is not there."""
        with self.read() as tx:
            return run_rows.column(tx, run_id, "seconds") or 0.0

    # The ledger

    def record_call(self, run_id: str, task_name: str, call: Call) -> Call:
        """Commit a call to a model; one without an id gets the next of its idea. Returned as it is kept."""
        return self.write(lambda tx: calls.insert(tx, run_id, task_name, call, self.artifacts))

    def calls(self, run_id: str) -> tuple[Call, ...]:
        """The run's calls in full, tasks in the run's order, each in order of asking."""
        with self.read() as tx:
            return calls.of_run(tx, run_id, self.artifacts)

    def same_call(self, idea_id: str, role: str, model: str, request: str) -> Call | None:
        """The earliest answered call of this idea, role and model with the same request, if there is one."""
        with self.read() as tx:
            return calls.answered(tx, (idea_id, role, model, request), self.artifacts)

    def ledger(self, run_id: str) -> tuple[Line, ...]:
        """What the run spent by task, model and role; adds up to :meth:`spent`."""
        with self.read() as tx:
            return calls.lines(tx, run_id)

    def spent(self, run_id: str, task_name: str | None = None) -> Spent:
        """What the run, or one task of it, spent: its calls, and the answers of writers that make none."""
        return total(line.spent for line in self.ledger(run_id) if task_name in (None, line.task))

    # Steps

    def ask(self, idea: Idea, context: Context) -> None:
        """Commit an idea and the context it is given. Asking again replaces the context, until there is an answer.

        Raises:
            HarnessError: the idea has an answer, or its run does not hold its task.
        """
        where = (run_tasks.c.run == idea.run) & (run_tasks.c.task == idea.task)
        with self.begin() as tx:
            task_id = tx.execute(sa.select(run_tasks.c.task_id).where(where)).scalar_one_or_none()
            if task_id is None:
                raise HarnessError(f"run {idea.run!r} has no task {idea.task!r}", "create the run with its tasks first")
            there = tx.execute(sa.select(steps.c.answer).where(steps.c.id == idea.id)).one_or_none()
            values = {"idea": to_json(idea), "context": rows.context_json(context), "stage": idea.stage.value}
            if there is None:
                keys = {"id": idea.id, "run": idea.run, "task": idea.task, "task_id": task_id, "number": idea.number}
                tx.execute(steps.insert().values(learned=False, **keys, **values))
            elif there.answer is None:
                tx.execute(steps.update().where(steps.c.id == idea.id).values(**values))
            else:
                raise HarnessError(f"idea {idea.id} was asked again after its answer", "resume the run from its steps")

    def answer(self, idea_id: str, answer: Answer) -> None:
        """Commit what a writer gave. A later answer replaces it, until there is a verdict."""
        data = rows.answer_json(answer, self.artifacts)
        values: dict[str, Any] = {"answer": data, "model": answer.model, "seconds": answer.seconds}
        values.update(tokens_in=answer.tokens_in, tokens_out=answer.tokens_out, cost_usd=answer.cost_usd)
        values["backend"] = answer.kernel.backend if answer.kernel else None
        values["status"] = None if answer.kernel else "unreadable"
        if not self._set(idea_id, values, steps.c.verdict.is_(None)):
            raise self._out_of_order(idea_id, "was judged: its answer stands")

    def withdraw(self, idea_id: str) -> None:
        """Take back an idea that will have no answer. Its calls stay in the ledger.

        Raises:
            HarnessError: the idea has an answer.
        """
        with self.begin() as tx:
            if tx.execute(sa.delete(steps).where(steps.c.id == idea_id, steps.c.answer.is_(None))).rowcount == 1:
                return
        raise self._out_of_order(idea_id, "was answered: it stands")

    def judge(self, idea_id: str, verdict: Verdict) -> None:
        """Commit a verdict. A later one replaces it, until memory has learned from it."""
        data = to_json(verdict)
        values = {"verdict": data, "status": verdict.status.value, "speedup": verdict.speedup}
        if not self._set(idea_id, values, steps.c.answer.is_not(None)):
            with self.read() as tx:
                held = sa.select(steps.c.verdict).where(steps.c.id == idea_id)
                if tx.execute(held).scalar_one_or_none() == data:
                    return  # merged twice from one bundle
            raise self._out_of_order(idea_id, "has no answer, or was learned from")

    def step(self, idea_id: str) -> Step | None:
        """One step, or None where the store does not hold it."""
        found = self._steps(steps.c.id == idea_id)
        return found[0] if found else None

    def steps(self, run_id: str, task_name: str | None = None) -> tuple[Step, ...]:
        """The run's steps in full, tasks in the run's order, each in order of number."""
        where = steps.c.run == run_id
        return self._steps(where if task_name is None else where & (steps.c.task == task_name))

    def attempt(self, idea_id: str) -> Attempt | None:
        """The finished attempt with this id; None where there is none."""
        return self._attempts(steps.c.id == idea_id).get(idea_id)

    def attempts(self, run_id: str, task_name: str) -> tuple[Attempt, ...]:
        """The finished attempts on one task of a run, in order of number: the steps without their contexts."""
        return tuple(self._attempts((steps.c.run == run_id) & (steps.c.task == task_name)).values())

    def variants(
        self, task_id: str, backend: str, device: str | None = None, run_id: str | None = None, limit: int = 50
    ) -> tuple[Attempt, ...]:
        """Feasible attempts that were learned from, on one task over all runs or in one, fastest first, untimed last.

        A run whose artifacts are on another machine is left out.
        """
        where = (steps.c.task_id == task_id) & (steps.c.backend == backend) & steps.c.learned
        where &= steps.c.status == Status.PASSED.value
        if device is not None:
            where &= steps.c.device == device
        if run_id is not None:
            where &= steps.c.run == run_id
        order = (sa.func.coalesce(steps.c.speedup, 0.0).desc(), steps.c.id)
        return tuple(self._attempts(where, *order, limit=limit, elsewhere_ok=True).values())

    def referred(self) -> set[str]:
        """Hashes of the artifacts that anything in the store names: runs, steps, calls, experiences, whatever else has rows.

        Read off the rows' text and not their meaning, so that a table or a field that comes later is never forgotten.
        """
        with self.read() as tx:
            return {found for text in texts(tx) for found in HASH.findall(text)}

    def count(self) -> tuple[int, int]:
        """How many runs, and how many attempts with an answer."""
        with self.read() as tx:
            of_runs = tx.execute(sa.select(sa.func.count()).select_from(runs)).scalar_one()
            answered = sa.select(sa.func.count()).select_from(steps).where(steps.c.answer.is_not(None))
            return of_runs, tx.execute(answered).scalar_one()

    # How it is done

    def _set(self, idea_id: str, values: Mapping[str, Any], allowed: sa.ColumnElement[bool]) -> bool:
        where = (steps.c.id == idea_id) & sa.not_(steps.c.learned) & allowed
        with self.begin() as tx:
            return tx.execute(steps.update().where(where).values(**values)).rowcount == 1

    def _out_of_order(self, idea_id: str, problem: str) -> HarnessError:
        asked = self.step(idea_id) is not None
        return HarnessError(f"idea {idea_id} {problem if asked else 'was never asked'}", "resume the run from its steps")

    def _unknown_run(self, run_id: str) -> UnknownName:
        with self.read() as tx:
            newest = run_rows.newest(tx)
        return UnknownName(f"unknown run {run_id!r}", f"newest runs: {', '.join(newest) or 'none'}")

    def _steps(self, where: sa.ColumnElement[bool]) -> tuple[Step, ...]:
        query = sa.select(*_ATTEMPT, steps.c.context, steps.c.learned).join(
            run_tasks, (run_tasks.c.run == steps.c.run) & (run_tasks.c.task == steps.c.task)
        )
        with self.read() as tx:
            found = tx.execute(query.where(where).order_by(run_tasks.c.position, steps.c.number)).mappings().all()
            named: set[str] = set().union(*(rows.linked_experiences(row["context"]) for row in found))
            known = experiences.load(tx, named, self.artifacts)
        parts = {row["id"]: rows.parts(row, self.artifacts) for row in found}
        attempts = {i: a for i, of in parts.items() if (a := rows.finished(of)) is not None}
        linked: set[str] = set().union(*(rows.linked_attempts(row["context"]) for row in found))
        if linked - set(parts):
            attempts.update(self._attempts(steps.c.id.in_(linked - set(parts)), elsewhere_ok=True))
        return tuple(
            Step(idea, rows.context(row["context"], known, attempts), answer, verdict, row["learned"])
            for row in found
            for idea, answer, verdict in [parts[row["id"]]]
        )

    def _attempts(
        self,
        where: sa.ColumnElement[bool],
        *order: sa.ColumnElement[Any],
        limit: int | None = None,
        elsewhere_ok: bool = False,
    ) -> dict[str, Attempt]:
        """id -> finished attempt, by number unless ordered otherwise."""
        query = sa.select(steps.c.id, steps.c.learned).where(where).order_by(*(order or (steps.c.number,)))
        with self.read() as tx:
            wanted = tx.execute(query.limit(limit)).all()
            fresh = [row.id for row in wanted if row.id not in self._settled]
            found = tx.execute(sa.select(*_ATTEMPT).where(steps.c.id.in_(fresh))).mappings().all() if fresh else []
        here = [row for row in found if not elsewhere_ok or rows.present(row, self.artifacts)]
        read = {row["id"]: a for row in here if (a := rows.attempt(row, self.artifacts)) is not None}
        known = {row.id: self._settled.get(row.id) or read.get(row.id) for row in wanted}
        if len(self._settled) > _MOST_SETTLED:
            self._settled.clear()
        self._settled.update({row.id: read[row.id] for row in wanted if row.learned and row.id in read})
        return {i: attempt for i, attempt in known.items() if attempt is not None}


def _passing(cause: BaseException | None) -> bool:
    """Whether a transaction failed of another one: the same row added first, or each waiting for the other."""
    if isinstance(cause, sa.exc.IntegrityError):
        return True
    return isinstance(cause, sa.exc.DBAPIError) and getattr(cause.orig, "sqlstate", None) in ("40001", "40P01")


_MOST_SETTLED = 2000
_ATTEMPT = (steps.c.id, steps.c.idea, steps.c.answer, steps.c.verdict)
