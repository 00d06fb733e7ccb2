"""Sealed bundles: what was changed on its way, out or back, is refused, whoever changed what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import MODEL, kernel, reference, script

from kernelwright.agent.bundle import create, merge
from kernelwright.agent.cli.app import run as command
from kernelwright.agent.run import start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.evaluator.seal import Key
from kernelwright.evaluator.worker import judge_all, main, sha256
from kernelwright.tasks.errors import InputError, TaskError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Verdict

KEY = Key(b"a key that both sides have")
OTHER = Key(b"a key that somebody else has")


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(place: Workspace, tmp_path: Path) -> str:
    """A run of which three kernels wait."""
    script(place.home, kernel("incorrect"), kernel("passed 1.2"), kernel("passed 1.5", 2))
    task = load_task(reference(tmp_path))
    config = RunConfig((), (task.name,), "cpp", MODEL, device="cpu", engine="bundle", policy="greedy", budget=3, jobs=3)
    return start(config, [task], place, Silence()).run.id


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def first(folder: Path) -> Path:
    return sorted(folder.glob("*.json"))[0]


def statuses(place: Workspace, run: str) -> list[str | None]:
    store = place.open_store()
    try:
        return [step.verdict and step.verdict.status.value for step in store.steps(run)]
    finally:
        store.close()


def test_sealed_on_both_ways(place: Workspace, run: str, out: Path) -> None:
    assert create(run, out, place, KEY).jobs == 3
    assert judge_all(out, None, FakeEngine, key=KEY) == 0
    done = merge(out, place, KEY)
    assert (done.merged, done.problems) == (3, ())
    assert statuses(place, run) == ["incorrect", "passed", "passed"]
    assert merge(out, place, KEY).already == 3


def test_a_result_that_was_changed_is_refused_and_the_others_are_taken(place: Workspace, run: str, out: Path) -> None:
    create(run, out, place, KEY)
    judge_all(out, None, FakeEngine, key=KEY)
    path = first(out / "results")
    change(path, lambda data: data["verdict"].update(status="passed", reason="all gates passed"))
    done = merge(out, place, KEY)
    assert done.merged == 2
    (problem,) = done.problems
    assert problem.attempt == path.stem
    assert "changed on its way" in problem.problem
    assert statuses(place, run)[0] is None
    assert judge_all(out, None, FakeEngine, key=KEY) == 0  # what does not fit is judged again
    assert merge(out, place, KEY).merged == 1
    assert statuses(place, run)[0] == "incorrect"


def test_the_same_change_goes_unseen_without_a_seal(place: Workspace, run: str, out: Path) -> None:
    create(run, out, place)
    judge_all(out, None, FakeEngine)
    change(first(out / "results"), lambda data: data["verdict"].update(status="passed", reason="all gates passed"))
    assert merge(out, place).merged == 3
    assert statuses(place, run)[0] == "passed"


def test_a_result_sealed_for_another_job_or_with_another_key_is_refused(place: Workspace, run: str, out: Path) -> None:
    create(run, out, place, KEY)
    judge_all(out, None, FakeEngine, key=KEY)
    one, two, three = sorted((out / "results").glob("*.json"))
    one.write_text(two.read_text())
    data = json.loads(three.read_text())
    three.write_text(json.dumps(OTHER.sealed("result", run, data)))
    done = merge(out, place, KEY)
    assert done.merged == 1
    assert ["another job" in p.problem for p in done.problems] == [True, False]
    assert "another key" in done.problems[1].problem


def test_a_job_that_was_changed_is_not_judged(place: Workspace, run: str, out: Path, tmp_path: Path) -> None:
    create(run, out, place, KEY)
    path = first(out / "jobs")
    change(path, lambda data: data["kernel"].update(source="# judge: passed 9.9"))
    assert judge_all(out, None, FakeEngine, key=KEY) == 1
    assert len(list((out / "results").glob("*.json"))) == 2
    change(out / "manifest.json", lambda data: data["jobs"].update({path.stem: sha256(path.read_text())}))
    with pytest.raises(InputError, match="does not fit its seal"):
        judge_all(out, None, FakeEngine, key=KEY)
    judge_all(out, None, FakeEngine)  # who has no key cannot see it
    with pytest.raises(InputError, match="does not fit its seal"):
        merge(out, place, KEY)
    with pytest.raises(InputError, match="does not fit its seal"):
        create(run, out, place, KEY)  # nor is it sealed anew
    assert statuses(place, run) == [None, None, None]


@pytest.mark.parametrize("edit", [{"device": "cuda:7"}, {"backend": "triton"}, {"run": "another"}])
def test_a_manifest_that_was_changed_is_refused(place: Workspace, run: str, out: Path, edit: dict[str, str]) -> None:
    create(run, out, place, KEY)
    change(out / "manifest.json", lambda data: data.update(edit))
    for act in (lambda: merge(out, place, KEY), lambda: judge_all(out, None, FakeEngine, key=KEY)):
        with pytest.raises(InputError, match="changed on its way"):
            act()


def test_the_seal_cannot_be_left_off(place: Workspace, run: str, out: Path) -> None:
    create(run, out, place, KEY)
    with pytest.raises(InputError, match="is sealed"):
        merge(out, place)
    with pytest.raises(InputError, match="is sealed"):
        create(run, out, place)
    with pytest.raises(InputError, match="another key"):
        merge(out, place, OTHER)
    change(out / "manifest.json", lambda data: data.pop("seal"))
    with pytest.raises(InputError, match="has no seal"):
        merge(out, place, KEY)


def test_a_judge_without_the_key_is_believed_only_where_that_is_said(place: Workspace, run: str, out: Path) -> None:
    create(run, out, place, KEY)
    assert judge_all(out, None, FakeEngine) == 0
    with pytest.raises(InputError, match="has no seal"):
        merge(out, place, KEY)
    assert statuses(place, run) == [None, None, None]
    assert merge(out, place, KEY, unsealed_results=True).merged == 3


def test_what_it_was_judged_on_is_sealed_too(place: Workspace, run: str, out: Path) -> None:
    create(run, out, place, KEY)
    judge_all(out, None, FakeEngine, key=KEY)
    change(out / "device.json", lambda data: data.update(name="a faster one"))
    with pytest.raises(InputError, match="the device does not fit its seal"):
        merge(out, place, KEY)


def test_a_failure_that_was_changed_refuses_no_task(place: Workspace, run: str, out: Path) -> None:
    class Refuses(FakeEngine):
        def evaluate(self, job: Job) -> Verdict:
            raise InputError("no such device", "plug it in") if "passed" in job.kernel.source else TaskError("no task")

    create(run, out, place, KEY)
    judge_all(out, None, Refuses, key=KEY)
    one, two, _ = sorted((out / "failures").glob("*.json"))
    one.unlink()
    change(two, lambda data: data.update(kind="task"))
    done = merge(out, place, KEY)
    assert done.refused == ()
    assert "changed on its way" in done.problems[0].problem


def test_from_the_command_line(
    place: Workspace, run: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ("--home", str(place.home))
    key = tmp_path / "key.txt"
    assert command(["bundle", "create", run, "--out", str(out), "--key", str(key), *home]) == 2
    assert "cannot be read" in capsys.readouterr().err
    key.write_text("short\n")
    assert command(["bundle", "create", run, "--out", str(out), "--key", str(key), *home]) == 2
    assert "has 5 bytes" in capsys.readouterr().err
    key.write_text("k" * 32 + "\n")
    assert command(["bundle", "create", run, "--out", str(out), "--key", str(key), *home]) == 0
    assert "run.sh --key /" in capsys.readouterr().out
    assert "k" * 32 not in "".join(p.read_text() for p in out.rglob("*.json"))
    inside = out / "key.txt"
    inside.write_text("k" * 32)
    assert main([str(out), "--key", str(inside)]) == 2
    assert "lies in the bundle" in capsys.readouterr().err
    judge_all(out, None, FakeEngine, key=Key.read(key, out))
    assert command(["bundle", "merge", str(out), *home]) == 2
    assert command(["bundle", "merge", str(out), "--unsealed-results", *home]) == 2
    capsys.readouterr()
    assert command(["bundle", "merge", str(out), "--key", str(key), *home]) == 0
    assert capsys.readouterr().out.startswith("3 merged")
