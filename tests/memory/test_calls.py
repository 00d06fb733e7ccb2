"""The table of calls: what is recorded comes back whole and adds up; a store of the time before it goes on."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from pathlib import Path

import pytest

from kernelwright.memory import schema
from kernelwright.memory.records import Call, Context, Line, Spent
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import HarnessError

SCHEMA_1 = """
CREATE TABLE kernelwright ("key" VARCHAR(40) NOT NULL, value TEXT NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE runs (id VARCHAR(120) NOT NULL, config JSON NOT NULL, status VARCHAR(20) NOT NULL,
    created VARCHAR(40) NOT NULL, PRIMARY KEY (id));
CREATE TABLE experiences (id VARCHAR(200) NOT NULL, kind VARCHAR(10) NOT NULL, stage VARCHAR(10) NOT NULL,
    backend VARCHAR(200) NOT NULL, device VARCHAR(200) NOT NULL, family VARCHAR(200) NOT NULL, task VARCHAR(1000) NOT NULL,
    status VARCHAR(20) NOT NULL, bottleneck VARCHAR(20) NOT NULL, speedup FLOAT, parents JSON NOT NULL,
    scope VARCHAR(220) NOT NULL, origin VARCHAR(300) NOT NULL, content VARCHAR(20) NOT NULL, retired BOOLEAN NOT NULL,
    code VARCHAR(64) NOT NULL, lesson TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (id));
CREATE INDEX experiences_by_scope ON experiences (scope, retired);
CREATE INDEX experiences_by_origin ON experiences (origin);
CREATE INDEX experiences_by_content ON experiences (content);
CREATE TABLE item_values (item VARCHAR(200) NOT NULL, stage VARCHAR(10) NOT NULL, backend VARCHAR(200) NOT NULL,
    family VARCHAR(200) NOT NULL, q FLOAT NOT NULL, visits INTEGER NOT NULL, PRIMARY KEY (item, stage, backend, family));
CREATE TABLE rewards (backend VARCHAR(200) NOT NULL, seen INTEGER NOT NULL, mean FLOAT NOT NULL, m2 FLOAT NOT NULL,
    PRIMARY KEY (backend));
CREATE TABLE run_tasks (run VARCHAR(120) NOT NULL, task VARCHAR(1000) NOT NULL, position INTEGER NOT NULL,
    task_id VARCHAR(20) NOT NULL, outcome JSON, record JSON, PRIMARY KEY (run, task), FOREIGN KEY(run) REFERENCES runs (id));
CREATE TABLE steps (id VARCHAR(160) NOT NULL, run VARCHAR(120) NOT NULL, task VARCHAR(1000) NOT NULL,
    task_id VARCHAR(20) NOT NULL, number INTEGER NOT NULL, stage VARCHAR(10) NOT NULL, backend VARCHAR(200),
    device VARCHAR(200), model VARCHAR(300), tokens_in INTEGER, tokens_out INTEGER, cost_usd FLOAT, seconds FLOAT,
    status VARCHAR(20), speedup FLOAT, learned BOOLEAN NOT NULL, idea JSON NOT NULL, context JSON NOT NULL, answer JSON,
    verdict JSON, PRIMARY KEY (id), FOREIGN KEY(run) REFERENCES runs (id));
CREATE INDEX steps_of_run ON steps (run, task, number);
CREATE INDEX attempts_of_task ON steps (task_id, backend, status);
INSERT INTO kernelwright VALUES ('schema', '1'), ('store', 'an identity');
"""
SINCE = {"runs": ("seconds",), "experiences": ("seen", "gist", "archived", "successor", "created")}
"""Columns that later schemas added."""
CARRIED = ("runs", "run_tasks", "steps", "experiences", "item_values", "rewards")


def call(scenes, number=1, **changes):
    what = scenes.idea(scenes.task(), number)
    told = {"tokens_in": 100, "tokens_out": 20, "cost_usd": 0.5, "seconds": 2.0, "created": "2025-01-01T00:00:00+00:00"}
    return Call("", what.id, **{"role": "code", "model": "p/m", "request": '{"a": 1}', "text": "answer", **told, **changes})


@pytest.fixture
def asked(store, scenes):
    """A run whose first idea is asked."""
    store.create_run(scenes.run("r1", scenes.task(), scenes.task("x/y/b")))
    store.ask(scenes.idea(scenes.task()), Context())
    return store


def test_a_call_comes_back_whole_and_its_texts_lie_in_artifacts(asked, scenes, tmp_path):
    task = scenes.task().name
    texts = {"request": '{"say": "ü"}', "text": "raw\r\n\ud800", "problem": "cut off"}
    first = call(scenes, **texts, tokens_cached=7, tokens_reasoning=3, estimated=True, tries=2)
    kept = asked.record_call("r1", task, first)
    assert kept == dataclasses.replace(first, id=f"{first.idea}/1")
    assert asked.calls("r1") == (kept,)
    with sqlite3.connect(tmp_path / "home" / "store.db") as db:
        dump = "\n".join(db.iterdump())
    db.close()
    assert "say" not in dump
    assert "raw" not in dump


def test_calls_are_numbered_by_idea_and_come_in_that_order(asked, scenes):
    task, other = scenes.task(), scenes.task("x/y/b")
    lone = dataclasses.replace(call(scenes), idea="")
    late = dataclasses.replace(call(scenes), idea=scenes.idea(other).id)
    asked.record_call("r1", other.name, late)
    for _ in range(11):
        asked.record_call("r1", task.name, call(scenes))
    asked.record_call("r1", "", lone)
    first = call(scenes).idea
    assert [c.id for c in asked.calls("r1")] == ["r1/1", *(f"{first}/{n}" for n in range(1, 12)), f"{late.idea}/1"]


def test_calls_recorded_from_many_threads_all_have_their_own_number(asked, scenes):
    def add():
        for _ in range(5):
            asked.record_call("r1", scenes.task().name, call(scenes))

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({c.id for c in asked.calls("r1")}) == 30
    assert asked.spent("r1").calls == 30


def test_the_ledger_adds_up_by_task_model_and_role(asked, scenes):
    task, other = scenes.task(), scenes.task("x/y/b")
    asked.record_call("r1", task.name, call(scenes, role="plan", cost_usd=0.25))
    asked.record_call("r1", task.name, call(scenes))
    asked.record_call("r1", task.name, call(scenes, text="", problem="no answer"))
    asked.record_call("r1", other.name, dataclasses.replace(call(scenes, model="p/n"), idea=scenes.idea(other).id))
    lines = asked.ledger("r1")
    assert lines == (
        Line(task.name, "p/m", "code", Spent(2, 200, 40, 1.0, 4.0)),
        Line(task.name, "p/m", "plan", Spent(1, 100, 20, 0.25, 2.0)),
        Line(other.name, "p/n", "code", Spent(1, 100, 20, 0.5, 2.0)),
    )
    assert asked.spent("r1") == Spent(4, 400, 80, 1.75, 8.0)
    assert asked.spent("r1", task.name) == Spent(3, 300, 60, 1.25, 6.0)
    assert asked.spent("r9") == Spent(0, 0, 0, 0, 0)


def test_an_answer_made_of_calls_is_not_counted_again(asked, scenes):
    what = scenes.idea(scenes.task())
    asked.record_call("r1", what.task, call(scenes))
    asked.answer(what.id, scenes.answer())
    assert asked.spent("r1") == Spent(1, 100, 20, 0.5, 2.0)
    second = scenes.idea(scenes.task(), 2)
    asked.ask(second, Context())
    asked.answer(second.id, scenes.answer())  # of a writer that makes no call here
    assert asked.spent("r1") == Spent(2, 110, 25, 0.75, 3.5)
    assert [(line.role, line.model) for line in asked.ledger("r1")] == [("code", "p/m"), ("answer", "test/model")]


def test_one_unknown_price_makes_its_line_and_the_total_unknown(asked, scenes):
    asked.record_call("r1", scenes.task().name, call(scenes))
    asked.record_call("r1", scenes.task().name, call(scenes, cost_usd=None))
    asked.record_call("r1", scenes.task().name, call(scenes, role="plan"))
    assert [line.spent.cost_usd for line in asked.ledger("r1")] == [None, 0.5]
    assert asked.spent("r1").cost_usd is None


def test_answers_of_a_replay_spent_nothing(store, scenes):
    task = scenes.task()
    store.create_run(scenes.run("r1", task, model="replay:r0"))
    store.ask(scenes.idea(task), Context())
    store.answer(scenes.idea(task).id, dataclasses.replace(scenes.answer(), cost_usd=0.0, seconds=0.0))
    assert store.spent("r1") == Spent(0, 0, 0, 0.0, 0.0)


def test_the_same_request_of_the_same_idea_is_found_again(asked, scenes):
    task = scenes.task().name
    asked.record_call("r1", task, call(scenes, text="", problem="the stream broke off"))
    asked.record_call("r1", task, call(scenes, text="cut", problem="cut off at its token limit"))
    asked.record_call("r1", task, call(scenes, text="other"))
    of = call(scenes).idea
    found = asked.same_call(of, "code", "p/m", '{"a": 1}')
    assert found is not None
    assert (found.text, found.id) == ("cut", f"{of}/2")  # the first that was an answer at all
    for other in (("x", "code", "p/m", '{"a": 1}'), (of, "plan", "p/m", '{"a": 1}'), (of, "code", "p/n", '{"a": 1}')):
        assert asked.same_call(*other) is None
    assert asked.same_call(of, "code", "p/m", '{"a": 2}') is None


def test_an_idea_can_be_taken_back_until_it_is_answered(asked, scenes):
    what = scenes.idea(scenes.task())
    asked.record_call("r1", what.task, call(scenes, role="plan"))
    asked.withdraw(what.id)
    assert asked.steps("r1") == ()
    assert asked.spent("r1").calls == 1  # the plan was paid for
    with pytest.raises(HarnessError, match="never asked"):
        asked.withdraw(what.id)
    asked.ask(what, Context())
    asked.answer(what.id, scenes.answer())
    with pytest.raises(HarnessError, match="it stands"):
        asked.withdraw(what.id)


def test_time_adds_up_over_processes(tmp_path, scenes):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    for seconds, total in ((1.5, 1.5), (2.0, 3.5)):
        store = Store(url)
        if not store.runs():
            store.create_run(scenes.run("r1"))
        store.add_seconds("r1", seconds)
        assert store.seconds("r1") == pytest.approx(total)
        store.close()


@pytest.fixture
def old(tmp_path: Path, scenes) -> Path:
    """A store as schema 1 had it, with a finished step, an experience and values in it."""
    made = scenes.open_here(tmp_path / "old")
    made.store.create_run(scenes.run("r1", scenes.task()))
    scenes.work(made, scenes.task(), scenes.idea(scenes.task()), scenes.answer(), scenes.verdict(scenes.task(), 1.5))
    made.close()
    path = tmp_path / "old" / "store.db"
    rows: dict[str, list[tuple[object, ...]]] = {}
    columns: dict[str, str] = {}
    with sqlite3.connect(path) as db:
        for table in CARRIED:
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in SINCE.get(table, ())]
            columns[table] = ", ".join(names)
            rows[table] = db.execute(f"SELECT {columns[table]} FROM {table}").fetchall()
    db.close()
    for file in path.parent.glob("store.db*"):
        file.unlink()
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA_1)
        for table, held in rows.items():
            marks = ", ".join("?" * len(columns[table].split(",")))
            db.executemany(f"INSERT INTO {table} ({columns[table]}) VALUES ({marks})", held)
    db.close()
    return path


def test_a_store_of_schema_1_opens_and_keeps_what_it_holds(old, scenes):
    for _ in range(2):  # the second time there is nothing to do
        store = Store(f"sqlite:///{old}")
        assert store.identity == "an identity"
        (step,) = store.steps("r1")
        assert step.learned
        assert step.answer == scenes.answer()
        assert step.attempt is not None
        assert step.attempt.speedup == pytest.approx(1.5)
        assert store.calls("r1") == ()
        assert store.seconds("r1") == 0.0
        assert store.spent("r1") == Spent(1, 10, 5, 0.25, 1.5)
        store.close()
    store = Store(f"sqlite:///{old}")
    store.record_call("r1", scenes.task().name, call(scenes))
    store.add_seconds("r1", 2.0)
    assert (store.seconds("r1"), len(store.calls("r1"))) == (2.0, 1)
    store.close()


def test_a_migrated_store_has_the_tables_of_a_new_one(old, tmp_path):
    def shape(path: Path) -> dict[str, list[tuple[str, str, int]]]:
        with sqlite3.connect(path) as db:
            tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
            found = {t: [(r[1], r[2], r[3]) for r in db.execute(f"PRAGMA table_info({t})")] for t in tables}
            found["indexes"] = sorted(db.execute("SELECT name, tbl_name, 0 FROM sqlite_master WHERE sql LIKE 'CREATE INDEX%'"))
            version = db.execute("SELECT value FROM kernelwright WHERE key = 'schema'").fetchone()
        db.close()
        assert version == (str(schema.VERSION),)
        return found

    Store(f"sqlite:///{old}").close()
    Store(f"sqlite:///{tmp_path / 'new.db'}").close()
    assert shape(old) == shape(tmp_path / "new.db")


def test_a_migration_that_fails_midway_leaves_schema_1(old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema.meta, "update", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Store(f"sqlite:///{old}")
    with sqlite3.connect(old) as db:
        assert db.execute("SELECT value FROM kernelwright WHERE key = 'schema'").fetchone() == ("1",)
        assert db.execute("SELECT name FROM sqlite_master WHERE name = 'calls'").fetchone() is None
    db.close()
    Store(f"sqlite:///{old}").close()
