"""``kill -9`` under load: nothing acknowledged is lost, and store and index are whole when they are opened again."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kernelwright.memory.schema import experiences, item_values, rewards, steps

SETTINGS = {"capacity": 40}
"""Small, so that merging and eviction are among the moments."""


def _work(folder: str, home: str, said: Connection) -> None:
    """One process of a run: goes on where the store ends, and says every number that it learned and committed."""
    sys.path.insert(0, folder)
    import scenes  # type: ignore[import-not-found]

    memory = scenes.open_here(Path(home), **SETTINGS)
    memory.hold()
    tasks = (scenes.task(), scenes.task("core/reduce/log_softmax"))
    if not memory.store.runs():
        memory.store.create_run(scenes.run("r1", *tasks))
    done = memory.store.steps("r1")
    for step in done:
        if not step.learned and step.attempt is not None:
            memory.learn(step, _task(tasks, step.idea.task), "cpp", scenes.DEVICE)
    number = max([0, *(s.idea.number for s in done if s.attempt is not None)])
    memory.search("softmax")  # opens the index
    said.send(number)
    while True:
        number += 1
        task = tasks[number % 2]
        _step(scenes, memory, task, number)
        said.send(number)


def _step(scenes: Any, memory: Any, task: Any, number: int) -> None:
    """A draft, a failure, a near-duplicate with another block size or something new, as the number says."""
    start = next((a for a in memory.store.attempts("r1", task.name) if a.feasible), None)
    parent = start.id if start is not None and number % 3 else None
    code = f"BLOCK = {number}" if number % 4 == 0 else f"kernel {chr(97 + number % 26)}{chr(97 + number // 26 % 26)}"
    failed = number % 5 == 4
    judged = scenes.verdict(task, status=scenes.Status.INCORRECT, stage=scenes.Stage.CORRECT, reason=f"off by {number}")
    passed = scenes.verdict(task, 1.0 + number % 7)
    strategy = f"way {chr(97 + number % 11)}"
    scenes.work(memory, task, scenes.idea(task, number, parent), scenes.answer(code, strategy), judged if failed else passed)


def _task(tasks: tuple[Any, ...], name: str) -> Any:
    return next(t for t in tasks if t.name == name)


def _check(home: Path, folder: Path, acknowledged: int, scenes: Any) -> None:
    """What is on disk, as it was left and once it is opened again."""
    with closing(sqlite3.connect(home / "store.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    memory = scenes.open_here(home, **SETTINGS)
    memory.hold()
    done = sorted(memory.store.steps("r1"), key=lambda s: s.idea.number)
    learned = [s for s in done if s.learned]
    assert [s.idea.number for s in learned[:acknowledged]] == list(range(1, acknowledged + 1))
    assert len(done) - len(learned) <= 1, "at most the step in flight is open"
    _assert_as_if_never_killed(memory, learned, folder, scenes)
    memory.search("softmax")  # opens the index
    for scope in memory._finder.index._required_source().counts():
        held = set(memory._finder.index._collection(scope).get(include=[])["ids"])
        assert held == memory._finder.index._required_source().ids(scope), scope
    memory.close()


def _assert_as_if_never_killed(memory: Any, learned: list[Any], folder: Path, scenes: Any) -> None:
    """The same steps, learned one after the other by one process, give the same experiences, values and statistics."""
    clean = scenes.open_here(folder, **SETTINGS)
    clean.store.create_run(memory.store.run("r1"))
    tasks = memory.store.run("r1").tasks
    for step in learned:
        clean.store.ask(step.idea, step.context)
        clean.store.answer(step.idea.id, step.answer)
        clean.store.judge(step.idea.id, step.verdict)
        clean.learn(step, _task(tasks, step.idea.task), "cpp", scenes.DEVICE)
    assert _state(clean) == _state(memory)
    clean.close()


def _state(memory: Any) -> dict[str, Any]:
    c = experiences.c
    held = sa.select(*(column for column in c if column.name != "created")).order_by(c.id)
    worth = sa.select(item_values).order_by(*item_values.primary_key)
    with memory.store.read() as tx:
        assert not tx.execute(sa.select(steps.c.id).where(steps.c.learned, steps.c.answer.is_(None))).all()
        return {
            "experiences": [tuple(row) for row in tx.execute(held)],
            "values": [tuple(row) for row in tx.execute(worth)],
            "rewards": [tuple(row) for row in tx.execute(sa.select(rewards))],
        }


def _kill_and_check(tmp_path: Path, scenes: Any, moments: int, every: int) -> None:
    draw, context = random.Random(9), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kernelwright.memory.memory", "chromadb", "mmh3"])
    home, acknowledged = tmp_path / "home", 0
    for moment in range(moments):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(str(Path(__file__).parent), str(home), theirs))
        child.start()
        theirs.close()
        opening = moment % 5 == 3
        for _ in range(0 if opening else draw.randrange(2, 8)):
            acknowledged = max(acknowledged, ours.recv())
        time.sleep(draw.uniform(0.0, 0.5 if opening else 0.04))  # somewhere inside a step, or while it opens
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        try:
            while True:  # what it said before it died
                acknowledged = max(acknowledged, ours.recv())
        except EOFError:
            child.join()
        assert child.exitcode == -signal.SIGKILL, "it failed by itself"
        if moment % every == every - 1:
            _check(home, tmp_path / f"clean-{moment}", acknowledged, scenes)
    assert acknowledged > moments, "it was killed at work, not at the start"


def test_killed_at_five_moments(tmp_path: Path, scenes: Any) -> None:
    _kill_and_check(tmp_path, scenes, moments=5, every=5)


@pytest.mark.slow
def test_killed_at_fifty_moments(tmp_path: Path, scenes: Any) -> None:
    _kill_and_check(tmp_path, scenes, moments=50, every=1)
