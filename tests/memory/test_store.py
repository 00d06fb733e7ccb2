"""The store: what is committed comes back whole, and what cannot be opened says so."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from kernelwright.memory import schema
from kernelwright.memory.records import Context, Experience, Recalled, RunRecord, TaskOutcome
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import HarnessError, UnknownName, WorkspaceError
from kernelwright.tasks.records import Status


def test_run_comes_back_whole(store, scenes):
    record = scenes.run("r1", scenes.task(), scenes.task("core/math/exp", "activation"), seed=3, argv=["optimize"])
    store.create_run(record)
    assert store.run("r1") == record


def test_runs_are_newest_first_and_carry_their_status(store, scenes):
    store.create_run(scenes.run("old", created="2025-01-01T00:00:00+00:00"))
    store.create_run(scenes.run("new", created="2025-02-01T00:00:00+00:00"))
    store.set_run_status("old", "finished")
    assert [(r.id, r.status) for r in store.runs()] == [("new", "running"), ("old", "finished")]


def test_unknown_run_names_the_ones_there_are(store, scenes):
    store.create_run(scenes.run("r1"))
    for call in (lambda: store.run("r9"), lambda: store.set_run_status("r9", "finished")):
        with pytest.raises(UnknownName, match=r"'r9'.*r1"):
            call()


def test_a_status_that_does_not_exist_is_refused(store, scenes):
    store.create_run(scenes.run("r1"))
    with pytest.raises(ValueError, match="done"):
        store.set_run_status("r1", "done")
    with pytest.raises(ValueError, match="done"):
        RunRecord("r2", {}, "done", "", ())


def test_same_run_twice_is_refused(store, scenes):
    store.create_run(scenes.run("r1"))
    with pytest.raises(HarnessError):
        store.create_run(scenes.run("r1"))


def test_step_comes_back_whole(store, scenes):
    task = scenes.task()
    store.create_run(scenes.run("r1", task))
    what = scenes.idea(task)
    store.ask(what, Context())
    (asked,) = store.steps("r1")
    assert (asked.idea, asked.answer, asked.verdict, asked.attempt) == (what, None, None, None)
    given = scenes.answer("x = 'ü\\udc80'\r\n\n", strategy="")
    store.answer(what.id, given)
    assert store.steps("r1")[0].attempt is None
    judged = scenes.verdict(task, 1.5, evidence={"max_error": 1e-6, "where": [1, 2]})
    store.judge(what.id, judged)
    (done,) = store.steps("r1", task.name)
    assert (done.idea, done.answer, done.verdict, done.learned) == (what, given, judged, False)
    assert done.attempt == store.attempt(what.id)
    assert store.attempts("r1", task.name) == (done.attempt,)


def test_texts_lie_in_artifacts_byte_for_byte(store, scenes, tmp_path):
    task = scenes.task()
    store.create_run(scenes.run("r1", task))
    store.ask(scenes.idea(task), Context())
    given = dataclasses.replace(scenes.answer(), text="raw\r\n\ud800 answer")
    store.answer(scenes.idea(task).id, given)
    assert store.steps("r1")[0].answer == given
    assert "write a kernel" not in _dump(tmp_path / "home" / "store.db")


def test_context_comes_back_with_its_records(memory, scenes):
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    first = scenes.work(memory, task, scenes.idea(task, 1), scenes.answer("a"), scenes.verdict(task, 1.2))
    second = scenes.work(memory, task, scenes.idea(task, 2, first.idea.id), scenes.answer("b"), scenes.verdict(task, 2))
    context = memory.recall(scenes.idea(task, 3, first.idea.id), task, "cpp")
    assert context.start == first.attempt
    assert context.history == (first.attempt, second.attempt)
    assert context.relatives == (second.attempt,)
    item = Experience("e", "practice", "", "cpp", "", "", "t", "text", "", "lesson", "", "", None, ())
    from kernelwright.memory import experiences

    with memory.store.begin() as tx:
        experiences.insert(tx, [item], "c", "test", memory.store.artifacts)
    context = dataclasses.replace(context, items=(Recalled(item, 0.5, 0.25),), knowledge=(item,))
    memory.store.ask(scenes.idea(task, 3, first.idea.id), context)
    assert memory.store.steps("r1")[2].context == context


def test_steps_are_in_the_runs_task_order_then_by_number(store, scenes):
    b, a = scenes.task("x/y/b"), scenes.task("x/y/a")
    store.create_run(scenes.run("r1", b, a))
    for what in (scenes.idea(a, 2), scenes.idea(b, 2), scenes.idea(a, 1), scenes.idea(b, 1)):
        store.ask(what, Context())
    assert [(s.idea.task, s.idea.number) for s in store.steps("r1")] == [
        ("x/y/b", 1),
        ("x/y/b", 2),
        ("x/y/a", 1),
        ("x/y/a", 2),
    ]


def test_asking_again_before_the_answer_replaces_after_it_is_refused(store, scenes):
    task = scenes.task()
    store.create_run(scenes.run("r1", task))
    what = scenes.idea(task)
    store.ask(what, Context())
    store.ask(dataclasses.replace(what, seed=99), Context())
    assert store.steps("r1")[0].idea.seed == 99
    store.answer(what.id, scenes.answer())
    with pytest.raises(HarnessError, match="after its answer"):
        store.ask(what, Context())


def test_order_of_a_step_is_kept(store, scenes):
    task = scenes.task()
    store.create_run(scenes.run("r1", task))
    with pytest.raises(HarnessError, match="never asked"):
        store.answer("r1-000000-001", scenes.answer())
    with pytest.raises(HarnessError, match="no task"):
        store.ask(scenes.idea(scenes.task("other/task/x")), Context())
    store.ask(scenes.idea(task), Context())
    with pytest.raises(HarnessError, match="no answer"):
        store.judge(scenes.idea(task).id, scenes.verdict(task))
    store.answer(scenes.idea(task).id, scenes.answer())
    store.judge(scenes.idea(task).id, scenes.verdict(task))
    with pytest.raises(HarnessError, match="judged"):
        store.answer(scenes.idea(task).id, scenes.answer("other"))


def test_a_verdict_merged_twice_is_harmless_a_changed_one_is_refused(memory, scenes):
    task = scenes.task()
    memory.store.create_run(scenes.run("r1", task))
    judged = scenes.verdict(task, 1.2)
    step = scenes.work(memory, task, scenes.idea(task), scenes.answer(), judged, Context())
    memory.store.judge(step.idea.id, judged)
    with pytest.raises(HarnessError, match="learned"):
        memory.store.judge(step.idea.id, scenes.verdict(task, status=Status.INCORRECT))


def test_outcomes_come_back_and_replace(store, scenes):
    task = scenes.task()
    store.create_run(scenes.run("r1", task))
    assert store.outcomes("r1") == {}
    unsolved = TaskOutcome(task.name, "unsolved", 3, None, None, None, "nothing passed")
    store.set_outcome("r1", task.name, unsolved)
    won = TaskOutcome(task.name, "improved", 4, "r1-1", scenes.verdict(task, 2.0), 0.5, "")
    store.set_outcome("r1", task.name, won)
    refused = TaskOutcome("no/such.py", "refused", 0, None, None, 0.0, "is not there")
    store.set_outcome("r1", "no/such.py", refused)
    assert store.outcomes("r1") == {task.name: won, "no/such.py": refused}
    assert store.run("r1").tasks == (task,)
    with pytest.raises(UnknownName):
        store.set_outcome("r9", task.name, won)


def test_spent_adds_up_and_an_unknown_price_stays_unknown(store, scenes):
    task = scenes.task()
    store.create_run(scenes.run("r1", task))
    for number in (1, 2):
        store.ask(scenes.idea(task, number), Context())
        store.answer(scenes.idea(task, number).id, scenes.answer())
    spent = store.spent("r1")
    assert (spent.calls, spent.tokens_in, spent.tokens_out, spent.cost_usd, spent.seconds) == (2, 20, 10, 0.5, 3.0)
    store.ask(scenes.idea(task, 3), Context())
    store.answer(scenes.idea(task, 3).id, scenes.unreadable())
    assert store.spent("r1").cost_usd is None


def test_all_is_there_after_closing_and_opening(tmp_path, scenes):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = Store(url)
    store.create_run(scenes.run("r1"))
    identity = store.identity
    store.close()
    again = Store(url)
    assert again.run("r1").id == "r1"
    assert again.identity == identity
    again.close()


def test_sqlite_is_in_wal_mode_and_waits_for_locks(store):
    with store.read() as tx:
        assert tx.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert tx.exec_driver_sql("PRAGMA busy_timeout").scalar() >= 10_000
        assert tx.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def test_a_failing_transaction_leaves_nothing(store, scenes):
    with pytest.raises(RuntimeError, match="midway"), store.begin() as tx:  # noqa: PT012
        tx.execute(schema.runs.insert().values(id="half", config={}, status="running", created=""))
        raise RuntimeError("midway")
    assert store.runs() == ()


def test_writing_is_tried_again_where_another_process_was_first(store, scenes):
    store.create_run(scenes.run("taken"))
    names = iter(["taken", "free"])

    def work(tx):
        name = next(names)
        tx.execute(schema.runs.insert().values(id=name, config={}, status="running", created=""))
        return name

    assert store.write(work) == "free"
    with pytest.raises(HarnessError, match="refused a row"):
        store.write(lambda tx: tx.execute(schema.runs.insert().values(id="free", config={}, status="x", created="")))


def test_newer_schema_is_refused_with_a_remedy(tmp_path):
    path = tmp_path / "store.db"
    Store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE kernelwright SET value = ? WHERE key = 'schema'", (str(schema.VERSION + 1),))
    db.close()
    with pytest.raises(WorkspaceError, match=f"schema {schema.VERSION + 1}") as caught:
        Store(f"sqlite:///{path}")
    assert "upgrade" in caught.value.remedy


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path):
    path = tmp_path / "store.db"
    path.write_text("these are my notes, not a database\n" * 100)
    with pytest.raises(WorkspaceError, match="not a database"):
        Store(f"sqlite:///{path}")
    assert path.read_text().startswith("these are my notes")


def test_another_programs_database_is_refused(tmp_path):
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE runs (distance REAL)")
    db.close()
    with pytest.raises(WorkspaceError, match="not ours"):
        Store(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError) as caught:
        Store(f"sqlite:///{tmp_path / 'file' / 'home' / 'store.db'}")
    assert "--home" in caught.value.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WorkspaceError):
        Store(f"sqlite:///{tmp_path / 'store.db'}")


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://host/x", "sqlite+nosuchdriver:///x.db", "sqlite://"])
def test_a_url_that_cannot_be_used_is_refused(url):
    with pytest.raises(WorkspaceError):
        Store(url)


def test_the_schema_suits_postgresql_too():
    from sqlalchemy.dialects import postgresql

    for table in (schema.meta, schema.runs, schema.steps, schema.experiences, schema.item_values, schema.rewards):
        assert "CREATE TABLE" in str(sa.schema.CreateTable(table).compile(dialect=postgresql.dialect()))


def _dump(path: Path) -> str:
    with sqlite3.connect(path) as db:
        text = "\n".join(db.iterdump())
    db.close()
    return text


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("kernelwright.memory.memory", ("chromadb", "mmh3", "torch", "numpy")),
        ("kernelwright.memory.records", ("sqlalchemy", "chromadb", "mmh3", "torch", "numpy")),
    ],
)
def test_importing_is_light(module, heavy):
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
