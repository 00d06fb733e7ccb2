"""Memory: what to recall for an idea, and what to learn from its attempt (design §6)."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory import archive, catalog, experiences, lessons, portable, recall, seeds, values
from kernelwright.memory.catalog import Entry, Filter
from kernelwright.memory.chroma_folder import Folder
from kernelwright.memory.chroma_server import Server
from kernelwright.memory.finder import Finder
from kernelwright.memory.index import Index
from kernelwright.memory.portable import Moved
from kernelwright.memory.recall import Candidate, Settings
from kernelwright.memory.records import Context, Experience, Recalled, Stats, Step
from kernelwright.memory.schema import ANY, item_values, steps
from kernelwright.memory.static import ranked
from kernelwright.memory.store import Store
from kernelwright.memory.values import StoredValues, Values
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Attempt, Idea, IdeaStage, Task

__all__ = ["Context", "Experience", "Memory", "Recalled", "Settings", "Stats", "Values", "open_memory"]


def open_memory(
    home: Path,
    url: str | None = None,
    settings: Settings | None = None,
    exclude: Collection[str] = (),
    index: str | None = None,
) -> Memory:
    """The memory of a workspace: ``store.db`` (or the store at ``url``), ``artifacts/`` and ``chroma/`` under ``home``.

    ``index`` is the URL of a Chroma server in place of ``chroma/``, for several processes at once.

    Raises:
        WorkspaceError: it cannot be opened or written, or has a newer schema.
        InputError: ``index`` is no URL.
    """
    place = Server(index) if index else Folder(home / "chroma")
    store = Store(url or f"sqlite:///{home / 'store.db'}", home / "artifacts")
    return Memory(store, Index(place), settings or Settings(), exclude)


class Memory:
    """Experiences with their values, over a store and an index. The index is opened when it is first needed.

    ``exclude`` names tasks (in full or by the end of their name) whose experiences are left out of recall, for transfer
    tests. Not for several threads: the process that runs the loop owns it.

    Over a folder one process at a time learns (:meth:`hold`); others may look, and see what was there when they began. Over a
    Chroma server and a database that several processes reach, all of them learn.
    """

    def __init__(self, store: Store, index: Index, settings: Settings | None = None, exclude: Collection[str] = ()) -> None:
        self.store = store
        self.settings = settings or Settings()
        self._finder = Finder(store, index, exclude)
        self._budgets: dict[str, int] = {}
        self._apis: dict[str, dict[str, tuple[Experience, set[str]]]] = {}
        self._held: int | None = None
        """Learned experiences that may be recalled, as far as this process knows."""

    def hold(self) -> None:
        """Be the process that learns, until :meth:`close`.

        Raises:
            WorkspaceError: another process is; its number is in the message.
        """
        self._finder.index.hold()

    def close(self) -> None:
        """Close index and store. May be repeated."""
        self._finder.close()
        self.store.close()

    def notes(self) -> tuple[str, ...]:
        """What had to be repaired since the last call, a line each."""
        said = tuple(self._finder.index.notes)
        self._finder.index.notes.clear()
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
        near = self._finder.near(text, experiences.usable(backend), wanted, shown)
        with self.store.read() as tx:
            worth = values.lookup(tx, idea.stage.value, backend, task.family, [n.id for n, _ in near])
        pool = [Candidate(n.id, n.similarity, worth.get(n.id, 0.0), limit) for n, limit in near]
        chosen = recall.choose(
            pool,
            self.settings.places,
            recall.between(self.settings.epsilon, share),
            lessons.bottleneck(start.verdict) if start else "",
            random.Random(f"recall {idea.seed}"),
            self.settings.matched,
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

        What was not timed comes last, by the compiler's estimate where it has one. Speedups of different devices do not
        compare: give ``device`` to see only its own.
        """
        only = run if recall.excluded(task.name, self._finder.exclude) else None
        return ranked(self.store.variants(task.task_id, backend, device, only))

    def values(self) -> Values:
        """What policies choose start points by."""
        return StoredValues(self.store)

    # Learning

    def learn(self, step: Step, task: Task, backend: str, device: str, said: str = "") -> None:
        """Take in a finished step: experiences, values, normaliser and the learned flag in one transaction.

        ``said`` is what a model makes of it; the facts of the lesson are the judge's all the same. Learning a step again
        changes nothing.

        Raises:
            HarnessError: the step is not in the store as it is given: not asked, still in flight, or judged otherwise.
            WorkspaceError: another process learns.
        """
        self.hold()
        attempt = step.attempt
        if attempt is None:
            raise HarnessError(f"idea {step.idea.id} has no verdict yet", "commit answer and verdict first")
        made = lessons.from_attempt(attempt, step.context.start, task, backend, device, said)

        def commit(tx: Connection) -> experiences.Changed:
            row = tx.execute(_STEP, {"of_id": attempt.id}).one_or_none()
            if row is None or row.status != attempt.status:
                held = "nothing" if row is None else repr(row.status)
                raise HarnessError(
                    f"the store holds {held} for idea {attempt.id}, not {attempt.status!r}",
                    "commit answer and verdict first",
                )
            if row.learned:
                return experiences.Changed()
            target = values.earned(tx, attempt, task, backend, device)
            if target is not None:
                moved = step.context.valued
                recalled = {r.experience.id for r in step.context.items} | {e.id for e in step.context.knowledge}
                moved = tuple(dict.fromkeys([*moved, *archive.forwarded(tx, recalled)]))
                change = values.Change(attempt.idea.stage.value, backend, task.family, moved, target)
                values.update(tx, change, self.settings.alpha)
            artifacts = self.store.artifacts
            changed = experiences.insert(tx, made, lessons.content(attempt), f"run:{attempt.idea.run}", artifacts)
            tx.execute(steps.update().where(steps.c.id == attempt.id).values(learned=True, backend=backend, device=device))
            return self._with_room(tx, changed)

        self._follow(self.store.write(commit))

    def _with_room(self, tx: Connection, changed: experiences.Changed) -> experiences.Changed:
        """What is worth least is archived where memory holds more than its capacity, a twentieth at a time."""
        capacity, grown = self.settings.capacity, len(changed.added) - len(changed.gone)
        if self._held is not None and self._held + grown <= capacity:
            return changed
        gone = archive.evict(tx, capacity - capacity // 20) if archive.held(tx) > capacity else ()
        return experiences.Changed(changed.added, (*changed.gone, *gone))

    def _follow(self, changed: experiences.Changed) -> None:
        """Once it is committed: count what is held, and tell the index."""
        if self._held is not None:
            self._held += len(changed.added) - len(changed.gone)
        if self._held is None or self._held < 0:
            with self.store.read() as tx:
                self._held = archive.held(tx)
        self._finder.follow(changed)

    # For people

    def search(self, text: str, backend: str | None = None, n: int = 10, only: Filter | None = None) -> tuple[Recalled, ...]:
        """The ``n`` experiences nearest to a text, of one backend (and those that any can use) or of all, that ``only`` keeps.

        Their value is the one away from any backend and family, at the stage where it is larger in size.
        """
        self._open()
        if backend is None:
            with self.store.read() as tx:
                scopes = tuple(experiences.scopes(tx))
        else:
            scopes = (*experiences.usable(backend), *experiences.api_scopes(backend))
        near = [item for item, _ in self._finder.near(text, scopes, n, only=only)]
        with self.store.read() as tx:
            found = experiences.load(tx, [item.id for item in near], self.store.artifacts)
            by_stage = [values.lookup(tx, stage.value, ANY, ANY, list(found)) for stage in IdeaStage]
        worth = {i: max((v.get(i, 0.0) for v in by_stage), key=abs) for i in found}
        return tuple(Recalled(found[x.id], x.similarity, worth[x.id]) for x in near if x.id in found)

    def listing(self, only: Filter, limit: int | None = None) -> tuple[tuple[Entry, ...], int]:
        """The experiences that a filter keeps, newest first, at most ``limit``; and how many there are."""
        self._planted()
        with self.store.read() as tx:
            return tuple(catalog.entries(tx, only, self.store.artifacts, limit)), catalog.count(tx, only)

    def entry(self, id_: str) -> Entry:
        """One experience in full, archived or not, by its id or a beginning that only it has.

        Raises:
            UnknownName: there is none; InputError: several begin so.
        """
        self._planted()
        with self.store.read() as tx:
            return catalog.entry(tx, id_, self.store.artifacts)

    def restore(self, ids: Sequence[str]) -> None:
        """Let archived experiences be recalled again; all of them, or none.

        Raises:
            UnknownName, InputError: one is not there, not archived, or a seed that its file replaced.
            WorkspaceError: another process learns.
        """
        self.hold()
        self._open()
        self.store.write(lambda tx: archive.restore(tx, ids))
        self._held = None
        with self.store.read() as tx:
            back = tuple(experiences.load(tx, ids, self.store.artifacts).values())
        self._follow(experiences.Changed(back))

    def export(self, path: Path, only: Filter) -> Moved:
        """Write what was learned, and values, to one file (:mod:`~kernelwright.memory.portable`); an old file is replaced.

        Raises:
            WorkspaceError: it cannot be written.
        """
        return portable.export(self.store, path, only)

    def take_in(self, path: Path) -> Moved:
        """Merge another memory's file into this one, all of it or nothing; the second time changes nothing.

        Raises:
            InputError: it is not such a file, damaged, of a newer format, or holds what it must not: the store is untouched.
            WorkspaceError: another process learns.
        """
        self.hold()
        self._open()
        moved, changed = portable.take_in(self.store, path, self._with_room)
        self._held = None
        self._follow(changed)
        return moved

    def rebuild(self) -> int:
        """Make the index anew from the store; how many experiences it holds.

        Raises:
            WorkspaceError: another process learns.
        """
        self.hold()
        self._open()
        return self._finder.index.rebuild()

    def stats(self) -> Stats:
        """What memory holds."""
        self._open()
        with self.store.read() as tx:
            kinds, backends = experiences.counts(tx, "kind"), experiences.counts(tx, "backend")
            old = catalog.archived(tx)
            own = item_values.c.backend != ANY
            of_values, visits = tx.execute(
                sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(item_values.c.visits), 0)).where(own)
            ).one()
        runs, attempts = self.store.count()
        return Stats(sum(kinds.values()), kinds, backends, of_values, visits, self._finder.index.count(), runs, attempts, old)

    # How it is done

    def _open(self) -> None:
        """Knowledge from files, then the index. A process that only looks while another one learns changes neither."""
        if not self._finder.ready:
            self._finder.open(exact=self._planted())

    def _planted(self) -> bool:
        """Bring the store level with the knowledge files, unless another process learns; whether anything changed."""
        if self._finder.ready or not self._finder.index.claim():
            return False
        known = seeds.read(self.settings.seeds) if self.settings.seeds else ()
        return self.store.write(lambda tx: seeds.plant(tx, known, self.store.artifacts))

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
