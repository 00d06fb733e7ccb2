"""The pages as text. Reads the store and nothing else: no address of a page is ever a path of a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlencode

import jinja2

from kernelwright.agent.leaderboard import untrusted
from kernelwright.agent.recording import devices_of, distinct
from kernelwright.agent.report import text
from kernelwright.agent.report.render import environment
from kernelwright.agent.report.view import AttemptView, spending
from kernelwright.agent.serve.compared import compare
from kernelwright.agent.serve.views import Course, TaskLine, Window, task_lines
from kernelwright.agent.workspace import Workspace
from kernelwright.memory import catalog, outline
from kernelwright.memory.outline import Whole
from kernelwright.memory.records import KINDS, RunRecord, TaskOutcome
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import InputError, UnknownName

_HERE = Path(__file__).parent
_ELSEWHERE = ("argv", "order", "refused")
LONGEST = 200_000
"""Characters of one text on a page; the whole is a link away."""
Query = Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """What is sent."""

    body: str
    kind: str = "text/html"
    status: int = 200
    live: bool = False
    """It is of a run at work, and may load the script that brings it up to date."""

    @cached_property
    def data(self) -> bytes:
        """The body as it is sent."""
        return self.body.encode("utf-8", "surrogatepass")

    @cached_property
    def tag(self) -> str:
        """Its ETag: another one for every other body."""
        return f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'


class Pages:
    """Every page of a workspace. May be asked from several threads.

    Raises:
        WorkspaceError: the store cannot be opened or read.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._store: Store = workspace.open_store()
        self._templates = _templates()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def page(self, path: tuple[str, ...], query: Query) -> Page:
        """The page at an address, given in decoded parts.

        Raises:
            UnknownName: there is none; InputError: the query makes no sense.
        """
        match path:
            case ():
                return self._runs(query)
            case ("style.css",):
                return Page(self._style, "text/css")
            case ("live.js",):
                return Page(self._script, "text/javascript")
            case ("runs", run):
                return self._run(run)
            case ("runs", run, "tasks", place):
                return self._task(run, place, query)
            case ("attempts", id_):
                return self._attempt(id_)
            case ("attempts", id_, ("prompt" | "answer" | "kernel") as what):
                return self._raw(id_, what)
            case ("memory",):
                return self._memory(query)
            case ("memory", id_):
                return self._item(id_)
        raise UnknownName("there is no such page", "begin at the list of runs")

    def problem(self, status: int, message: str, remedy: str) -> Page:
        """A page that says what is wrong."""
        return replace(self._html("problem.html.j2", status=status, message=message, remedy=remedy), status=status)

    @cached_property
    def _style(self) -> str:
        return self._templates.get_template("serve.css.j2").render()

    @cached_property
    def _script(self) -> str:
        return (_HERE / "live.js").read_text(encoding="utf-8")

    def _runs(self, query: Query) -> Page:
        with self._store.read() as tx:
            window = Window.at(_page(query), outline.run_count(tx))
            lines = outline.run_lines(tx, window.size, window.offset)
        return self._html("runs.html.j2", runs=lines, window=window, home=str(self._workspace.home))

    def _run(self, id_: str) -> Page:
        run, outcomes = self._store.run(id_), self._store.outcomes(id_)
        lines = self._lines(run, outcomes)
        return self._html(
            "run.html.j2",
            live=run.status == "running",
            run=run,
            lines=lines,
            unloaded=[o for name, o in outcomes.items() if name not in {t.name for t in run.tasks}],
            devices=distinct(devices_of(id_, self._workspace).values()),
            spending=spending(self._store.ledger(id_)),
            config=text.pairs({k: v for k, v in run.config.items() if k not in _ELSEWHERE}),
            command=text.command_line(["kernelwright", *run.config.get("argv", ())]),
        )

    def _task(self, id_: str, place: str, query: Query) -> Page:
        run = self._store.run(id_)
        if not place.isdecimal() or not 1 <= int(place) <= len(run.tasks):
            raise UnknownName(f"run {id_} has no task {place}", f"it has {len(run.tasks)}, counted from 1")
        outcomes = self._store.outcomes(id_)
        line = self._lines(run, outcomes)[int(place) - 1]
        outcome = outcomes.get(line.task.name)
        with self._store.read() as tx:
            attempts = list(outline.attempts(tx, id_, line.task.name))
            window = Window.at(_page(query), len(attempts))
            seen = slice(window.offset, window.last)
            attempts[seen] = outline.told(tx, attempts[seen])
        course = Course.of(attempts, line.tally.best)
        ids = {node.number: node.id for node in course.nodes}
        return self._html(
            "task_page.html.j2",
            live=run.status == "running",
            run=run,
            line=line,
            course=course,
            window=window,
            shown=course.nodes[seen],
            winner=outcome.verdict.timing if outcome and outcome.verdict else None,
            link=lambda number: f"/attempts/{quote(ids[number], safe='')}",
        )

    def _attempt(self, id_: str) -> Page:
        step = self._whole(id_)
        parent = self._whole(step.idea.parent) if step.idea.parent else None
        run = self._store.run(step.idea.run)
        place = next((n for n, task in enumerate(run.tasks, 1) if task.name == step.idea.task), 1)
        before, after = (_source(parent) if parent else ""), _source(step)
        return self._html(
            "attempt.html.j2",
            run=run,
            place=place,
            view=_view(step, parent),
            step=step,
            parent=parent,
            difference=compare(before, after) if before and after else None,
            longest=LONGEST,
        )

    def _raw(self, id_: str, what: str) -> Page:
        step = self._whole(id_)
        answer = step.answer
        texts = {"prompt": answer.prompt, "answer": answer.text, "kernel": _source(step)} if answer else {}
        if not texts.get(what):
            raise UnknownName(f"attempt {id_} has no {what}", "its page shows what it has")
        return Page(texts[what], "text/plain")

    def _memory(self, query: Query) -> Page:
        asked = {name: query.get(name, "").strip() or None for name in ("kind", "backend", "family", "task")}
        only = catalog.Filter(**asked, archived=query.get("archived") == "1")
        with self._store.read() as tx:
            window = Window.at(_page(query), catalog.count(tx, only))
            entries = tuple(catalog.entries(tx, only, self._store.artifacts, window.size, window.offset))
        kept = {name: value for name, value in query.items() if name != "page" and value}
        return self._html("memory.html.j2", entries=entries, window=window, only=only, kinds=KINDS, kept=urlencode(kept))

    def _item(self, id_: str) -> Page:
        with self._store.read() as tx:
            entry = catalog.entry(tx, id_, self._store.artifacts)
            named = dict.fromkeys((entry.experience.id, *entry.experience.parents))
            held = outline.held(tx, tuple(named))
        return self._html("item.html.j2", entry=entry, attempts=[id_ for id_ in named if id_ in held])

    def _lines(self, run: RunRecord, outcomes: Mapping[str, TaskOutcome]) -> tuple[TaskLine, ...]:
        with self._store.read() as tx:
            tallies = outline.tallies(tx, run.id, {name: outcome.best for name, outcome in outcomes.items()})
        return task_lines(run.tasks, tallies, outcomes, run.status)

    def _whole(self, id_: str) -> Whole:
        with self._store.read() as tx:
            return outline.whole(tx, id_, self._store.artifacts)

    def _html(self, template: str, *, live: bool = False, **values: object) -> Page:
        return Page(untrusted.visible(self._templates.get_template(template).render(live=live, **values)), live=live)


def _templates() -> jinja2.Environment:
    made = environment(_HERE)
    made.filters.update(part=lambda value: quote(value, safe=""), line=untrusted.line, shorten=text.shorten, when=_when)
    return made


def _when(created: str) -> str:
    return created[:19].replace("T", " ")


def _page(query: Query) -> int:
    said = query.get("page", "1")
    if not said.isdecimal() or len(said) > 9:
        raise InputError(f"page is {said!r}", "give a whole number from 1")
    return int(said)


def _source(step: Whole) -> str:
    return step.answer.kernel.source if step.answer and step.answer.kernel else ""


def _view(step: Whole, parent: Whole | None) -> AttemptView:
    """The attempt as the report's own templates show one."""
    answer, verdict = step.answer, step.verdict
    waits = "the verdict is still to come" if answer else "the answer is still to come"
    unread = answer is not None and answer.kernel is None
    status = verdict.status.value if verdict else "unreadable" if unread else "waiting"
    rejected = parent is not None and not (parent.verdict and parent.verdict.passed)
    return AttemptView(
        number=step.idea.number,
        id=step.idea.id,
        stage="repair" if rejected else step.idea.stage.value,
        parent=parent.idea.number if parent else None,
        status=status,
        decided=verdict.stage.value if verdict else "",
        reason=verdict.reason if verdict else answer.problem if answer and unread else waits,
        strategy=answer.strategy if answer else "",
        source=_source(step),
        verdict=verdict,
        won=False,
        prompt=answer.prompt if answer else "",
    )
