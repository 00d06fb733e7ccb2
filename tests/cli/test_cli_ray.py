"""Which Ray cluster a command line joins, and another process after it. No Ray is needed: the engine only notes the address."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import MODEL, kernel, reference, script
from tiny_suite import SUITE, clone

from kernelwright.agent.cli.app import run
from kernelwright.agent.parts import ENGINES
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.engines.ray import ADDRESS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(ENGINES, "ray", "scripted:Clustered")
    monkeypatch.setenv("KERNELWRIGHT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command line is a process of its own, which knows of no cluster."""
    for name in ADDRESS:
        monkeypatch.setenv(name, "")  # so that what a command line sets is taken back


def begin(home: Path, tmp_path: Path, *more: str) -> str:
    """The id of a run that waits for an answer."""
    script(home, "!pending")
    arguments = ["optimize", reference(tmp_path), "--model", MODEL, "--backend", "cpp", "--budget", "1", "--engine", "ray"]
    run([*arguments, *more])
    store = Workspace.at(home, None).open_store()
    (row,) = store.runs()
    store.close()
    script(home, kernel("passed 1.5"))
    return row.id


def joined(home: Path) -> list[str]:
    return (home / "joined").read_text().split()


def test_resume_joins_the_cluster_that_the_run_was_begun_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = begin(home, tmp_path, "--ray-address", "head:6379")
    monkeypatch.setenv(ADDRESS[0], "")
    assert run(["resume", id_]) == 0
    assert joined(home) == ["head:6379", "head:6379"]


def test_resume_may_be_told_another(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = begin(home, tmp_path, "--ray-address", "head:6379")
    monkeypatch.setenv(ADDRESS[0], "")
    assert run(["resume", id_, "--ray-address", "other:6379"]) == 0
    assert joined(home) == ["head:6379", "other:6379"]


def test_the_environment_goes_before_what_is_recorded(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS[1], "first:6379")
    id_ = begin(home, tmp_path)
    monkeypatch.setenv(ADDRESS[0], "")
    monkeypatch.setenv(ADDRESS[1], "second:6379")
    assert run(["resume", id_]) == 0
    assert joined(home) == ["first:6379", "second:6379"]


def test_a_run_that_began_its_own_cluster_does_so_again(home: Path, tmp_path: Path) -> None:
    id_ = begin(home, tmp_path)
    assert run(["resume", id_]) == 0
    assert joined(home) == ["None", "None"]


def bench(home: Path, tmp_path: Path, *more: str) -> str:
    """The id of a bench that waits for an answer."""
    script(home, "!pending")
    path = str(clone(tmp_path / "clone", "level1/1_add"))
    what = ["bench", "--suite", SUITE, "--path", path, "--model", MODEL, "--backend", "cpp", "--attempts", "1"]
    run([*what, "--engine", "ray", *more])
    script(home, kernel("passed 1.5"))
    return next(folder.name for folder in (home / "runs").iterdir() if (folder / "bench.json").is_file())


def test_a_bench_joins_the_cluster_it_names_and_so_does_its_resume(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = bench(home, tmp_path, "--ray-address", "head:6379")
    monkeypatch.setenv(ADDRESS[0], "")
    assert run(["resume", id_]) == 0
    assert joined(home) == ["head:6379", "head:6379"]


def test_a_bench_may_be_resumed_on_another(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id_ = bench(home, tmp_path, "--ray-address", "head:6379")
    monkeypatch.setenv(ADDRESS[0], "")
    assert run(["resume", id_, "--ray-address", "other:6379"]) == 0
    assert joined(home) == ["head:6379", "other:6379"]


def test_a_bench_goes_by_the_environment_where_it_names_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS[1], "first:6379")
    id_ = bench(home, tmp_path)
    monkeypatch.setenv(ADDRESS[0], "")
    monkeypatch.setenv(ADDRESS[1], "")
    assert run(["resume", id_]) == 0
    assert joined(home) == ["first:6379", "first:6379"]
