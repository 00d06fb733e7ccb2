"""Memory: what to recall for an idea, and what to learn from its attempt (design §6)."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory import experiences, lessons, recall, seeds, values
from kernelwright.memory.index import Index, Near
from kernelwright.memory.recall import Candidate, Settings
from kernelwright.memory.records import Context, Experience, Recalled, Stats, Step
from kernelwright.memory.schema import ANY, item_values, steps
from kernelwright.memory.store import Store
from kernelwright.memory.values import StoredValues, Values
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Attempt, Idea, IdeaStage, Status, Task

__all__ = ["Context", "Experience", "Memory", "Recalled", "Settings", "Stats", "Values", "open_memory"]


def open_memory(
    home: Path, url: str | None = None, settings: Settings | None = None, exclude: Collection[str] = ()
) -> Memory:
    """The memory of a workspace: ``store.db`` (or the store at ``url``), ``artifacts/`` and ``chroma/`` under ``home``.

    Raises:
        WorkspaceError: it cannot be opened or written, or has a newer schema.
    """
    store = Store(url or f"sqlite:///{home / 'store.db'}", home / "artifacts")
    return Memory(store, Index(home / "chroma"), settings or Settings(), exclude)


class Memory:
    """Experiences with their values, over a store and an index. The index is opened when it is first needed.

    ``exclude`` names tasks (in full or by the end of their name) whose experiences are left out of recall, for transfer
    tests. Not for several threads: the process that runs the loop owns it.
    """

    def __init__(
        self, store: Store, index: Index, settings: Settings | None = None, exclude: Collection[str] = ()
    ) -> None:
        self.store = store
        self.settings = settings or Settings()
        self._index = index
        self._exclude = tuple(exclude)
        self._ready = False
        self._budgets: dict[str, int] = {}
        self._apis: dict[str, dict[str, tuple[Experience, set[str]]]] = {}

    def close(self) -> None:
        """Close index and store. May be repeated."""
        self._index.close()
        self._ready = False
        self.store.close()

    def notes(self) -> tuple[str, ...]:
        """What had to be repaired since the last call, a line each."""
        said = tuple(self._index.notes)
        self._index.notes.clear()
        return said

    # Recall

    def recall(self, idea: Idea, task: Task, backend: str) -> Context:
        """The context of an idea: N items by value from a pool by similarity, API knowledge, start point, relatives.

        Every random choice comes from the idea's seed.

        Raises:
            HarnessError: the idea refines an attempt that the store does not hold.
        """
        self._open()
        history = self.store.attempts(idea.run, task.name)
        start = self._start(idea, history)
        related: tuple[Attempt, ...] = ()
        if start is not None:
            related = recall.relatives(start, history, self.variants(task, backend, idea.run), self.settings)
        shown = {lessons.content(a) for a in (*history, *related, *([start] if start else []))}
        text = recall.query_text(idea, task, backend, start, history)
        share = recall.progress(idea.number, self._budget(idea.run))
        wanted = round(recall.between(self.settings.pool, share) * self.settings.places)
        near = self._current(text, experiences.usable(backend), wanted, shown)
        with self.store.read() as tx:
            worth = values.lookup(tx, idea.stage.value, backend, task.family, [n.id for n, _ in near])
        pool = [Candidate(n.id, n.similarity, worth.get(n.id, 0.0), limit) for n, limit in near]
        chosen = recall.choose(
            pool,
            self.settings.places,
            recall.between(self.settings.epsilon, share),
            lessons.bottleneck(start.verdict) if start else "",
            random.Random(f"recall {idea.seed}"),
        )
        with self.store.read() as tx:
            loaded = experiences.load(tx, [c.id for c in chosen], self.store.artifacts)
        items = tuple(Recalled(loaded[c.id], c.similarity, c.q) for c in chosen)
        codes = [item.experience.code for item in items]
        if start is not None and start.answer.kernel is not None:
            codes.append(start.answer.kernel.source)
        knowledge = recall.about(codes, self._api_items(backend), self.settings.knowledge)
        return Context(items, tuple(knowledge), start, related, history)

    def variants(self, task: Task, backend: str, run: str, device: str | None = None) -> tuple[Attempt, ...]:
        """P(x): feasible attempts on the task in this run and, unless it is excluded, in all others; fastest first.

        Speedups of different devices do not compare: give ``device`` to see only its own.
        """
        only = run if recall.excluded(task.name, self._exclude) else None
        return self.store.variants(task.task_id, backend, device, only)

    def values(self) -> Values:
        """What policies choose start points by."""
        return StoredValues(self.store)

    # Learning

    def learn(self, step: Step, task: Task, backend: str, device: str) -> None:
        """Take in a finished step: experiences, values, normaliser and the learned flag in one transaction.

        Learning a step again changes nothing.

        Raises:
            HarnessError: the step is not in the store as it is given: not asked, still in flight, or judged otherwise.
        """
        attempt = step.attempt
        if attempt is None:
            raise HarnessError(f"idea {step.idea.id} has no verdict yet", "commit answer and verdict first")
        made = lessons.from_attempt(attempt, step.context.start, task, backend, device)

        def commit(tx: Connection) -> tuple[Experience, ...]:
            row = tx.execute(_STEP, {"of_id": attempt.id}).one_or_none()
            if row is None or row.status != attempt.status:
                held = "nothing" if row is None else repr(row.status)
                raise HarnessError(
                    f"the store holds {held} for idea {attempt.id}, not {attempt.status!r}",
                    "commit answer and verdict first",
                )
            if row.learned:
                return ()
            target = self._reward(tx, attempt, task, backend, device)
            if target is not None:
                change = values.Change(attempt.idea.stage.value, backend, task.family, step.context.valued, target)
                values.update(tx, change, self.settings.alpha)
            artifacts = self.store.artifacts
            added = experiences.insert(tx, made, lessons.content(attempt), f"run:{attempt.idea.run}", artifacts)
            tx.execute(
                steps.update().where(steps.c.id == attempt.id).values(learned=True, backend=backend, device=device)
            )
            return added

        added = self.store.write(commit)
        if self._ready:  # else it catches up when it is opened
            for new in added:
                self._index.add(experiences.scope(new.kind, new.backend), {new.id: new.text})

    def _reward(self, tx: Connection, attempt: Attempt, task: Task, backend: str, device: str) -> float | None:
        """The reward of an attempt; b is the best that this search had before: its own attempts and the start point.

        A start point may come from an earlier run; what that run reached beyond it was no choice of this one. A duplicate
        earns nothing that its original earned: a draft's success is not counted again (None), a refinement's reward is at
        most 0 and no observation for the normaliser.
        """
        idea, again = attempt.idea, attempt.duplicate_of is not None
        if again and attempt.feasible and idea.stage is IdeaStage.DRAFT:
            return None
        where = {"of_task": task.task_id, "of_backend": backend, "of_device": device}
        best = tx.execute(_BEST, {**where, "of_run": idea.run, "of_start": idea.parent or ""}).scalar_one()
        raw = values.reward(attempt.idea.stage, attempt.feasible, attempt.speedup, best)
        if idea.stage is IdeaStage.DRAFT:
            return raw
        return min(0.0, values.compared(tx, backend, raw)) if again else values.normalised(tx, backend, raw)

    # For people

    def search(self, text: str, backend: str | None = None, n: int = 10) -> tuple[Recalled, ...]:
        """The ``n`` experiences nearest to a text, of one backend (and those that any can use) or of all.

        Their value is the one away from any backend and family, at the stage where it is larger in size.
        """
        self._open()
        if backend is None:
            with self.store.read() as tx:
                scopes = tuple(experiences.scopes(tx))
        else:
            scopes = (*experiences.usable(backend), *experiences.api_scopes(backend))
        near = [item for item, _ in self._current(text, scopes, n, ())]
        with self.store.read() as tx:
            found = experiences.load(tx, [item.id for item in near], self.store.artifacts)
            by_stage = [values.lookup(tx, stage.value, ANY, ANY, list(found)) for stage in IdeaStage]
        worth = {i: max((v.get(i, 0.0) for v in by_stage), key=abs) for i in found}
        return tuple(Recalled(found[x.id], x.similarity, worth[x.id]) for x in near if x.id in found)

    def rebuild(self) -> int:
        """Make the index anew from the store; how many experiences it holds."""
        self._open()
        return self._index.rebuild()

    def stats(self) -> Stats:
        """What memory holds."""
        self._open()
        with self.store.read() as tx:
            kinds, backends = experiences.counts(tx, "kind"), experiences.counts(tx, "backend")
            own = item_values.c.backend != ANY
            of_values, visits = tx.execute(
                sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(item_values.c.visits), 0)).where(own)
            ).one()
        runs, attempts = self.store.count()
        return Stats(sum(kinds.values()), kinds, backends, of_values, visits, self._index.count(), runs, attempts)

    # How it is done

    def _open(self) -> None:
        if self._ready:
            return
        known = seeds.read(self.settings.seeds) if self.settings.seeds else ()
        self.store.write(lambda tx: seeds.plant(tx, known, self.store.artifacts))
        self._index.sync(_Source(self.store))
        self._ready = True

    def _budget(self, run: str) -> int:
        """Attempts a task that the run was given, where it says so."""
        if run not in self._budgets:
            said = self.store.config(run).get("budget")
            self._budgets[run] = said if isinstance(said, int) and said > 0 else self.settings.budget
        return self._budgets[run]

    def _start(self, idea: Idea, history: Sequence[Attempt]) -> Attempt | None:
        if idea.parent is None:
            return None
        start = next((a for a in history if a.id == idea.parent), None) or self.store.attempt(idea.parent)
        if start is None:
            raise HarnessError(f"idea {idea.id} refines {idea.parent!r}, which is not in the store", "resume the run")
        return start

    def _current(
        self, text: str, scopes: Sequence[str], wanted: int, shown: Collection[str]
    ) -> list[tuple[Near, str]]:
        """The nearest that may be recalled, with their bottlenecks: current, each kernel once, of no excluded task.

        ``shown`` are contents that stand in the context already.
        """
        n = 2 * (wanted + len(shown)) + 8  # a kernel has a trace and a lesson
        while True:
            near = self._index.query(text, scopes, n)
            with self.store.read() as tx:
                outlines = experiences.outlines(tx, [item.id for item in near])
            pool: list[tuple[Near, str]] = []
            seen = set(shown)
            for item in near:
                outline = outlines.get(item.id)
                if outline is None or outline["content"] in seen or recall.excluded(outline["task"], self._exclude):
                    continue
                seen.add(outline["content"])
                pool.append((item, outline["bottleneck"]))
            if len(pool) >= wanted or len(near) < n:
                return pool[:wanted]
            n *= 4

    def _api_items(self, backend: str) -> Mapping[str, tuple[Experience, set[str]]]:
        if backend not in self._apis:
            with self.store.read() as tx:
                own = [
                    e
                    for scope in experiences.api_scopes(backend)
                    for e in experiences.of_scope(tx, scope, self.store.artifacts)
                ]
            self._apis[backend] = {e.id: (e, recall.api_names(e.lesson)) for e in own}
        return self._apis[backend]


# Built once: building a statement costs more than SQLite takes to run it.
_STEP = sa.select(steps.c.learned, steps.c.status).where(steps.c.id == sa.bindparam("of_id")).with_for_update()
_BEST = sa.select(sa.func.max(steps.c.speedup)).where(
    steps.c.task_id == sa.bindparam("of_task"),
    steps.c.backend == sa.bindparam("of_backend"),
    steps.c.device == sa.bindparam("of_device"),
    steps.c.learned,
    steps.c.status == Status.PASSED.value,
    (steps.c.run == sa.bindparam("of_run")) | (steps.c.id == sa.bindparam("of_start")),
)


class _Source:
    """The store's experiences, as the index sees them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.identity = store.identity

    def counts(self) -> Mapping[str, int]:
        with self._store.read() as tx:
            return experiences.scopes(tx)

    def ids(self, scope: str) -> set[str]:
        with self._store.read() as tx:
            return experiences.ids_of_scope(tx, scope)

    def texts(self, ids: Collection[str]) -> Mapping[str, str]:
        with self._store.read() as tx:
            return experiences.texts(tx, ids)
