"""Collection: what a result rests on stays, what nothing refers to goes, and a run at work loses nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from processes import spawn, the_run, told, until
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent import recording
from kernelwright.agent.bundle import create
from kernelwright.agent.cli.app import run as command
from kernelwright.agent.run import Result, report, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.waste import Collected, collect
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.artifacts import Artifacts, hash_of
from kernelwright.memory.catalog import Filter
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Task

LONG_AGO = time.time() - 90 * 86400


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


def started(place: Workspace, task: Task, **changes: object) -> Result:
    settings = {"model": MODEL, "engine": ENGINE, "policy": "greedy", "budget": 4} | changes
    config = RunConfig(argv=(), order=(task.name,), backend="cpp", **settings)  # type: ignore[arg-type]
    return start(config, [task], place, Silence())


def age(folder: Path) -> None:
    """Everything under ``folder`` was last put or used three months ago."""
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (LONG_AGO, LONG_AGO))


def artifacts(place: Workspace) -> Artifacts:
    return Artifacts(place.home / "artifacts")


def swept(done: Collected) -> tuple[int, int]:
    return done.artifacts.files, done.artifacts.bytes


def test_after_a_collection_every_run_still_reports_replays_and_is_judged_again(place: Workspace, task: Task) -> None:
    script(place.home, "rubbish", kernel("incorrect"), kernel("passed 1.2"), kernel("passed 1.5", 2))
    first = started(place, task)
    waiting = started(place, task, engine="bundle", device="cpu")
    lost = artifacts(place).put("nobody refers to this")
    age(place.home / "artifacts")
    before = (report(first.run.id, place), recording.record(first.run.id, place))
    done = collect(place)
    assert swept(done) == (1, len("nobody refers to this"))
    assert artifacts(place).find(lost) is None
    assert done.artifacts.kept == len(list((place.home / "artifacts").glob("??/*"))) > 8
    assert (report(first.run.id, place), recording.record(first.run.id, place)) == before
    answers = [(s.answer.text, s.answer.kernel) for s in first.steps if s.answer]
    assert len(answers) == 4
    for changes in ({"engine": "local"}, {"rejudge": True}):
        again = started(place, task, model=f"replay:{first.run.id}", policy="recorded", **changes)
        assert [(s.answer.text, s.answer.kernel) for s in again.steps if s.answer] == answers
        assert [s.verdict and s.verdict.status for s in again.steps] == [s.verdict and s.verdict.status for s in first.steps]
    assert create(waiting.run.id, place.home / "job", place).jobs == 1
    memory = place.open_memory()
    try:
        traces, count = memory.listing(Filter(kind="trace"))
        assert count > 0
        assert all(entry.experience.code for entry in traces)
    finally:
        memory.close()
    assert swept(collect(place)) == (0, 0)


def test_what_only_a_file_of_a_run_names_stays(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2"))
    run = started(place, task, budget=1).run.id
    named, sent = (artifacts(place).put(text) for text in ("named by evidence", "named by a prompt that waits"))
    (place.run(run) / "evidence.json").write_text(f'{{"artifact": "{named}"}}')
    (place.exchange / "x").mkdir(parents=True)
    (place.exchange / "x" / "prompt.md").write_text(f"see {sent}.")
    age(place.home / "artifacts")
    assert swept(collect(place)) == (0, 0)
    (place.run(run) / "evidence.json").unlink()
    assert collect(place).artifacts.files == 1
    assert artifacts(place).find(named) is None
    assert artifacts(place).find(sent) is not None


def test_what_was_put_lately_stays_and_so_does_what_is_put_again_meanwhile(place: Workspace) -> None:
    kept = artifacts(place)
    old, again, fresh = (kept.put(text) for text in ("old", "again", "fresh"))
    for sha in (old, again):
        os.utime(kept.path(sha), (LONG_AGO, LONG_AGO))
    hour_ago = time.time() - 3600
    assert kept.put("again") == again  # between the reading of references and the sweep
    done = kept.sweep(set(), hour_ago)
    assert (done.files, done.young) == (1, 2)
    assert [kept.find(sha) is not None for sha in (old, again, fresh)] == [False, True, True]


def test_a_dry_run_counts_the_same_and_deletes_nothing(place: Workspace) -> None:
    lost = artifacts(place).put("x" * 5000)
    part = artifacts(place).path(lost).with_name(".new-part")
    part.write_text("half of a fi")
    stranger = artifacts(place).path(lost).with_name("README")
    stranger.write_text("not ours")
    age(place.home / "artifacts")
    asked = collect(place, dry_run=True)
    assert swept(asked) == (2, 5012)
    assert part.exists()
    assert artifacts(place).find(lost) is not None
    assert swept(collect(place)) == swept(asked)
    assert stranger.exists()
    assert not part.exists()


def test_a_store_that_does_not_know_the_runs_is_refused(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("passed 1.2"))
    run = started(place, task, budget=1).run.id
    age(place.home / "artifacts")
    (place.home / "store.db").rename(tmp_path / "moved.db")
    for suffix in ("-wal", "-shm"):
        (place.home / f"store.db{suffix}").unlink(missing_ok=True)
    with pytest.raises(InputError, match=run):
        collect(place)
    elsewhere = Workspace(place.home, f"sqlite:///{tmp_path / 'moved.db'}")
    assert swept(collect(elsewhere)) == (0, 0)


def test_both_the_stores_of_a_workspace_are_asked(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("passed 1.2"))
    started(place, task, budget=1)
    other = Workspace(place.home, f"sqlite:///{tmp_path / 'team.db'}")
    age(place.home / "artifacts")
    assert swept(collect(other)) == (0, 0)


def test_builds_that_nobody_used_go_together_with_what_belongs_to_them(place: Workspace) -> None:
    for name in ("native/stale.so", "native/stale.json", "native/used.so", "native/used.json", "triton/stale/a.cubin"):
        path = place.cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("12345")
    (place.cache / "device.json").write_text("{}")
    age(place.cache)
    os.utime(place.cache / "native/used.json")
    done = collect(place).cache
    assert (done.entries, done.bytes, done.kept) == (2, 15, 1)
    left = sorted(p.relative_to(place.cache).as_posix() for p in place.cache.rglob("*") if p.is_file())
    assert left == ["device.json", "native/used.json", "native/used.so"]


def test_beside_a_run_at_work(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, "~0.3 " + kernel("passed 1.2"), *(f"~0.3 {kernel('passed 1.3', n)}" for n in range(2, 6)))
    arguments = ("optimize", reference(tmp_path), "--model", MODEL, "--engine", ENGINE, "--backend", "cpp", "--budget", "5")
    process = spawn(place.home, *arguments)
    until(lambda: (place.home / "asked").is_file(), process)
    stale = place.cache / "native" / "old.so"
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_text("x")
    age(place.cache)
    store = place.open_store()
    while process.poll() is None:
        for path in map(artifacts(place).path, store.referred()):
            if path.is_file():  # however old it is
                os.utime(path, (LONG_AGO, LONG_AGO))
        done = collect(place)
        assert done.artifacts.files == 0
        if the_run(place.home).status == "running":
            assert done.cache.in_use
            assert stale.exists()
    store.close()
    assert told(process)["tasks"][0]["attempts"] == 5
    assert len(report(the_run(place.home).id, place).steps) == 5


def test_the_command(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    lost = hash_of("y" * 2048)
    artifacts(place).put("y" * 2048)
    age(place.home / "artifacts")
    assert command(["gc", "--dry-run", "--home", str(place.home)]) == 0
    assert "2.0 KiB would be freed" in capsys.readouterr().out
    assert command(["gc", "--grace", "1", "--home", str(place.home)]) == 2
    assert "--grace is 1" in capsys.readouterr().err
    assert command(["gc", "--home", str(place.home)]) == 0
    assert "2.0 KiB freed" in capsys.readouterr().out
    assert artifacts(place).find(lost) is None
