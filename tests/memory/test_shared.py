"""One memory for several processes: PostgreSQL and a Chroma server, both started here by the commands of docs/memory.md.

Run by name: ``scripts/test tests/memory/test_shared.py -m requires_postgres``.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import servers
import sqlalchemy as sa
from synthetic import fill

from kernelwright.memory import outline
from kernelwright.memory.catalog import Filter
from kernelwright.memory.memory import Memory, Settings, open_memory
from kernelwright.memory.schema import ANY, experiences, item_values, steps
from kernelwright.memory.schema import rewards as statistics
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import WorkspaceError

# Chroma's client shares its connections within a process, and leaves them to the garbage collector.
pytestmark = [pytest.mark.requires_postgres, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

PROCESSES, STEPS = 4, 40
OUTAGE = 60.0
"""Seconds without a database."""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database of our own."""
    if missing := servers.why_no_postgres():
        pytest.skip(missing)
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: pip install 'kernelwright[postgres]'")
    folder = tmp_path_factory.mktemp("postgres")
    for path in (folder, *folder.parents):
        if path.name.startswith("pytest-"):
            path.chmod(0o755)  # another user owns the database where we are root
    with servers.postgres(folder) as server:
        yield server.url


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Chroma server of our own."""
    with servers.chroma(tmp_path_factory.mktemp("chroma")) as server:
        yield server.url


def opened(home: Path, store: str, index: str) -> Memory:
    return open_memory(home, store, Settings(seeds=None), (), index)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where code lies: a folder that all processes reach."""
    return tmp_path_factory.mktemp("shared") / "home"


@pytest.fixture
def memory(postgres: str, chroma: str, home: Path) -> Iterator[Memory]:
    """The first of those that share it."""
    made = opened(home, postgres, chroma)
    yield made
    made.close()


def _work(folder: str, home: str, urls: tuple[str, str], number: int, said: Connection) -> None:
    """One process: its own run, whose every context holds the one shared item, and one of its own at the end."""
    sys.path.insert(0, folder)
    import scenes  # type: ignore[import-not-found]

    memory = opened(Path(home), *urls)
    memory.hold()
    run, task = f"p{number}", scenes.task(f"core/reduce/softmax_{number}")
    memory.store.create_run(scenes.run(run, task))
    context = memory.recall(scenes.idea(task, 1, run_id=run), task, "cpp")
    said.send([r.experience.id for r in context.items])
    said.recv()  # all begin together
    start = scenes.work(memory, task, scenes.idea(task, 1, run_id=run), scenes.answer("a"), scenes.verdict(task, 1.0), context)
    for n in range(2, STEPS + 1):
        what = scenes.idea(task, n, start.idea.id, run)
        judged = scenes.verdict(task, 1.0 + (n * (number + 1)) % 7 / 7)
        scenes.work(memory, task, what, scenes.answer(f"B = {n}", "tiles"), judged, context)
    said.send("done")
    memory.close()


def test_four_processes_share_one_memory_and_lose_no_update(
    memory: Memory, postgres: str, chroma: str, home: Path, scenes: Any
) -> None:
    first = memory
    first.hold()
    task = scenes.task()
    first.store.create_run(scenes.run("r0", task))
    shared = scenes.work(first, task, scenes.idea(task, 1, run_id="r0"), scenes.answer("x"), scenes.verdict(task, 2.0)).idea.id
    first.search("softmax")  # writes what is pending
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["kernelwright.memory.memory", "chromadb", "mmh3", "psycopg"])
    pipes, children = [], []
    for number in range(PROCESSES):
        ours, theirs = context.Pipe()
        args = (str(Path(__file__).parent), str(home), (postgres, chroma), number, theirs)
        children.append(context.Process(target=_work, args=args))
        children[-1].start()
        theirs.close()
        pipes.append(ours)
    assert [pipe.recv() for pipe in pipes] == [[shared]] * PROCESSES, "each sees what the first one learned"
    for pipe in pipes:
        pipe.send("go")
    assert [pipe.recv() for pipe in pipes] == ["done"] * PROCESSES
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    with first.store.read() as tx:
        v = item_values.c
        found = tx.execute(sa.select(v.stage, v.visits).where(v.item == shared, v.backend == ANY))
        visits = {row.stage: row.visits for row in found}
        seen = tx.execute(sa.select(statistics.c.seen).where(statistics.c.backend == "cpp")).scalar_one()
        learned = tx.execute(sa.select(sa.func.count()).select_from(steps).where(steps.c.learned)).scalar_one()
        counted = tx.execute(sa.select(sa.func.sum(experiences.c.seen)).where(experiences.c.kind == "trace")).scalar_one()
    assert visits == {"draft": PROCESSES, "refine": PROCESSES * (STEPS - 1)}, "every update of Q is there"
    assert seen == PROCESSES * (STEPS - 1)
    assert learned == PROCESSES * STEPS + 1
    assert counted >= learned, "each attempt is counted in what stands for it"
    assert first.stats().indexed == first.stats().experiences, "and one index holds what all of them learned"
    assert first.rebuild() == first.stats().experiences


def test_several_that_come_upon_an_empty_database_make_one_store(postgres: str, tmp_path: Path) -> None:
    admin = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with admin.connect() as tx:
        tx.execute(sa.text("CREATE DATABASE empty"))
    admin.dispose()
    url, together = postgres.rpartition("/")[0] + "/empty", threading.Barrier(8)

    def identity(_: int) -> str:
        together.wait()
        store = Store(url, tmp_path / "artifacts")
        try:
            return store.identity
        finally:
            store.close()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(identity, range(8)))) == 1


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that another user may enter, whatever other test runs do to pytest's own meanwhile."""
    with tempfile.TemporaryDirectory(prefix="kernelwright-postgres-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_database_that_is_down_for_a_while_costs_a_run_nothing_and_is_said(
    reachable: Path, postgres: str, chroma: str, scenes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = reachable
    with servers.postgres(folder) as server:
        memory = opened(folder / "home", server.url, chroma)
        task = scenes.task("core/down/task")
        memory.store.create_run(scenes.run("down", task))
        scenes.work(memory, task, scenes.idea(task, 1, run_id="down"), scenes.answer("a"), scenes.verdict(task, 1.0))
        server.stop()
        again = threading.Timer(OUTAGE, server.start)
        again.start()
        began = time.monotonic()
        scenes.work(memory, task, scenes.idea(task, 2, run_id="down"), scenes.answer("b"), scenes.verdict(task, 2.0))
        assert time.monotonic() - began >= OUTAGE - 1
        again.join()
        assert [step.learned for step in memory.store.steps("down")] == [True, True]
        waited, back = (record.getMessage() for record in caplog.records if "the store postgresql" in record.getMessage())
        assert "does not answer: waiting for it" in waited
        assert "answers again" in back
        memory.close()


def test_a_database_that_stays_away_is_one_error(
    reachable: Path, postgres: str, chroma: str, scenes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = reachable
    monkeypatch.setattr("kernelwright.memory.schema.PATIENCE", 1.0)
    with servers.postgres(folder) as server:
        store = Store(server.url, folder / "artifacts")
        server.stop()
        with pytest.raises(WorkspaceError, match="the store postgresql.* failed"):
            store.create_run(scenes.run("gone", scenes.task()))
        store.close()


def test_bytes_that_postgresql_does_not_take_do_not_stop_learning(
    postgres: str, chroma: str, tmp_path: Path, scenes: Any
) -> None:
    memory = opened(tmp_path / "home", postgres, chroma)
    task = scenes.task("core/odd/task")
    memory.store.create_run(scenes.run("odd", task))
    judged = scenes.verdict(
        task,
        status=scenes.Status.BUILD_FAILED,
        stage=scenes.Stage.BUILD,
        reason="a \x00 \udc80",
        evidence={"log": "\x00\udc80"},
    )
    done = scenes.work(memory, task, scenes.idea(task, 1, run_id="odd"), scenes.answer("x"), judged)
    assert done.learned
    assert memory.listing(Filter(task="core/odd/task"))[1] == 1


def test_export_and_import_work_over_servers(memory: Memory, tmp_path: Path, scenes: Any) -> None:
    memory.export(tmp_path / "m.jsonl", Filter())
    assert memory.take_in(tmp_path / "m.jsonl").added == 0
    other = scenes.open_here(tmp_path / "elsewhere")
    assert other.take_in(tmp_path / "m.jsonl").added == other.stats().experiences > 0
    other.close()


def test_code_that_lies_on_another_machine_is_left_out_of_an_export_and_said(
    memory: Memory, postgres: str, chroma: str, tmp_path: Path
) -> None:
    away = opened(tmp_path / "another machine", postgres, chroma)
    moved = away.export(tmp_path / "m.jsonl", Filter(kind="trace"))
    away.close()
    assert (moved.experiences, moved.elsewhere) == (0, memory.listing(Filter(kind="trace"))[1])


def test_outlines_and_references_are_those_of_sqlite(postgres: str, tmp_path: Path) -> None:
    stores = [Store(url, tmp_path / "artifacts") for url in (postgres, f"sqlite:///{tmp_path / 'store.db'}")]
    seen = []
    for store in stores:
        fill(store, "outlined", ["core/norm/a", "core/norm/b"], 25)
        with store.read() as tx:
            found = outline.attempts(tx, "outlined", "core/norm/b")
            told = (outline.told(tx, found), outline.rejected(tx, "outlined", 4), outline.run_lines(tx, 1))
            tallies = {name: (dict(t.counts), t.best) for name, t in outline.tallies(tx, "outlined", {}).items()}
            seen.append((told, tallies, outline.whole(tx, found[3].id, store.artifacts)))
        store.set_budget("outlined", 40)
        assert store.config("outlined")["budget"] == 40
    assert seen[0] == seen[1]
    assert seen[0][0][0][3].reason
    of_run = [{sha for sha in store.referred() if store.artifacts.path(sha).is_file()} for store in stores]
    assert of_run[1] <= of_run[0]
    assert len(of_run[1]) > 40
    for store in stores:
        store.close()
