"""Bundles: out, judged elsewhere, back once, whatever is interrupted or repeated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import MODEL, kernel, reference, script

from kernelwright.agent.bundle import create, merge
from kernelwright.agent.run import Result, resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.evaluator.worker import judge_all, main
from kernelwright.tasks.errors import InputError, TaskError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Task, Verdict


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


def run(place: Workspace, *tasks: Task, **changes: object) -> Result:
    config = RunConfig(
        argv=(),
        order=tuple(t.name for t in tasks),
        backend="cpp",
        device="cpu",
        model=MODEL,
        engine="bundle",
        policy="greedy",
        budget=3,
    )
    return start(replace(config, **changes), tasks, place, Silence())  # type: ignore[arg-type]


def judged(folder: Path) -> int:
    return judge_all(folder, None, FakeEngine)


def test_the_loop_runs_over_bundles(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("incorrect"), kernel("passed 1.2"), kernel("passed 1.5", 2))
    result = run(place, task)
    assert (result.run.status, result.outcomes[0].status) == ("waiting", "waiting")
    for number in (1, 2, 3):
        made = create(result.run.id, tmp_path / "out", place)
        assert (made.jobs, made.new) == (number, 1)
        assert judged(tmp_path / "out") == 0
        assert merge(tmp_path / "out", place).merged == 1
        result = resume(result.run.id, place, Silence())
    assert result.run.status == "finished"
    (outcome,) = result.outcomes
    assert (outcome.status, outcome.attempts) == ("improved", 3)
    assert "one process" in outcome.reason
    assert place.best(result.run.id, task).is_dir()
    assert len((place.home / "asked").read_text().split()) == 3


def test_merging_again_changes_nothing(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("passed 1.2"))
    result = run(place, task, budget=1)
    create(result.run.id, tmp_path / "out", place)
    judged(tmp_path / "out")
    assert merge(tmp_path / "out", place).merged == 1
    assert merge(tmp_path / "out", place).already == 1
    finished = resume(result.run.id, place, Silence())
    again = merge(tmp_path / "out", place)
    assert (again.merged, again.already, again.problems) == (0, 1, ())
    assert resume(result.run.id, place, Silence()).outcomes == finished.outcomes


def test_the_worker_goes_on_where_it_was(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("passed 1.2"), kernel("passed 1.3", 2), kernel("passed 1.4", 3))
    create(run(place, task, jobs=3).run.id, tmp_path / "out", place)
    seen: list[str] = []

    class Dies(FakeEngine):
        def evaluate(self, job: Job) -> Verdict:
            if len(seen) == 1:
                raise KeyboardInterrupt
            seen.append(job.id)
            return super().evaluate(job)

    with pytest.raises(KeyboardInterrupt):
        judge_all(tmp_path / "out", None, Dies)
    partly = merge(tmp_path / "out", place)
    assert (partly.merged, partly.missing) == (1, 2)
    engines: list[FakeEngine] = []

    def counted(*arguments: object) -> FakeEngine:
        engines.append(FakeEngine())
        return engines[-1]

    judge_all(tmp_path / "out", None, counted)
    assert len(engines[0].judged) == 2
    assert seen[0] not in engines[0].judged
    assert engines[0].closed
    judge_all(tmp_path / "out", None, counted)
    assert len(engines) == 1  # nothing left: no engine is started
    assert merge(tmp_path / "out", place).merged == 2


def test_several_judges_share_the_tasks_and_each_closes_what_it_opened(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("passed 1.2"), kernel("broken", 2), kernel("passed 1.4", 3))
    create(run(place, task, replace(task, name="other", path="other.py"), jobs=3).run.id, tmp_path / "out", place)
    engines: list[FakeEngine] = []

    def counted(*arguments: object) -> FakeEngine:
        engines.append(FakeEngine())
        return engines[-1]

    assert judge_all(tmp_path / "out", None, counted, jobs=8) == 2, "one of each task's three is broken"
    assert len(list((tmp_path / "out" / "results").glob("*.json"))) == 4
    assert all(engine.closed for engine in engines)
    assert merge(tmp_path / "out", place).merged == 4
    with pytest.raises(SystemExit):
        main([str(tmp_path / "out"), "--jobs", "0"])


def test_several_devices_share_the_tasks(place: Workspace, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernelwright.evaluator.device.default_device", lambda: "cuda")
    script(place.home, kernel("passed 1.2"))
    others = [replace(task, name=name, path=f"{name}.py") for name in "abc"]
    create(run(place, task, *others, budget=1).run.id, tmp_path / "out", place)
    here, seen = threading.Barrier(4, timeout=10), []

    class OnDevice(FakeEngine):
        def __init__(self, backend: str, device: str, cache: Path, settings: object) -> None:
            super().__init__()
            self._name = device

        def evaluate(self, job: Job) -> Verdict:
            here.wait()  # all four at once: two on each
            seen.append(self._name)
            return super().evaluate(job)

    assert judge_all(tmp_path / "out", "cuda:0, cuda:1", OnDevice, jobs=2) == 0
    assert sorted(seen) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    for wrong in ("cuda:0,cuda:0", "cuda,cuda:1", "cuda:0,", "cpu,cuda:0"):
        with pytest.raises(InputError):
            judge_all(tmp_path / "out", wrong, OnDevice)


def test_out_of_memory_beside_others_is_judged_again_alone(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("passed 1.2"))
    create(run(place, task, replace(task, name="other", path="other.py"), budget=1).run.id, tmp_path / "out", place)
    seen: list[str] = []

    class Crowded(FakeEngine):
        def evaluate(self, job: Job) -> Verdict:
            seen.append(job.id)
            crowded = replace(job.kernel, source=job.kernel.source.replace("passed 1.2", "out_of_memory"))
            return super().evaluate(job if seen.count(job.id) > 1 else replace(job, kernel=crowded))

    assert judge_all(tmp_path / "out", None, Crowded, jobs=2) == 0
    found = [json.loads(path.read_text())["verdict"]["status"] for path in (tmp_path / "out" / "results").glob("*.json")]
    assert (len(seen), found) == (4, ["passed", "passed"])


def test_a_job_that_fails_costs_no_other_and_is_tried_again(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("broken"), kernel("passed 1.3", 2))
    result = run(place, task, jobs=2, budget=2)
    create(result.run.id, tmp_path / "out", place)
    assert judged(tmp_path / "out") == 1
    done = merge(tmp_path / "out", place)
    assert done.merged == 1
    assert "broken" in done.problems[0].problem

    class Repaired(FakeEngine):
        def evaluate(self, job: Job) -> Verdict:
            other = replace(job.kernel, source=job.kernel.source.replace("broken", "timeout"))
            return super().evaluate(replace(job, kernel=other))

    assert judge_all(tmp_path / "out", None, Repaired) == 0
    assert not list((tmp_path / "out" / "failures").glob("*.json"))
    # The repaired engine judged another source, so another kernel's verdict came back: it must not be taken.
    after = merge(tmp_path / "out", place)
    assert after.merged == 0
    assert "another job" in after.problems[0].problem


def test_a_task_refused_there_is_refused_here(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("passed 2"))
    result = run(place, task, budget=1)
    create(result.run.id, tmp_path / "out", place)

    class Refuses(FakeEngine):
        def evaluate(self, job: Job) -> Verdict:
            raise TaskError("its forward is random")

    assert judge_all(tmp_path / "out", None, Refuses) == 1
    assert merge(tmp_path / "out", place).refused == (task.name,)
    then = resume(result.run.id, place, Silence())
    assert (then.run.status, then.outcomes[0].status) == ("finished", "refused")
    assert then.outcomes[0].reason == "its forward is random"

    judged(tmp_path / "out")  # what was in its way there is mended
    assert merge(tmp_path / "out", place).merged == 1
    again = resume(result.run.id, place, Silence())
    assert (again.run.status, again.outcomes[0].status) == ("finished", "improved")


@pytest.mark.parametrize("what", ["kernel", "garbage", "hash", "task"])
def test_results_that_were_tampered_with_are_not_taken(place: Workspace, task: Task, tmp_path: Path, what: str) -> None:
    script(place.home, kernel("incorrect"))
    create(run(place, task, budget=1).run.id, tmp_path / "out", place)
    judged(tmp_path / "out")
    (path,) = (tmp_path / "out" / "results").glob("*.json")
    data = json.loads(path.read_text())
    if what == "kernel":
        data["verdict"]["kernel_id"] = "0" * 20
    elif what == "hash":
        data["job"] = "0" * 64
    elif what == "task":
        data["verdict"]["task"] = "another"
    path.write_text("{" if what == "garbage" else json.dumps(data))
    done = merge(tmp_path / "out", place)
    assert done.merged == 0
    assert len(done.problems) == 1


def test_a_job_that_was_changed_is_neither_judged_nor_merged(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("incorrect"))
    create(run(place, task, budget=1).run.id, tmp_path / "out", place)
    (job,) = (tmp_path / "out" / "jobs").glob("*.json")
    job.write_text(job.read_text().replace("incorrect", "passed 9"))
    assert judged(tmp_path / "out") == 1
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    from kernelwright.evaluator.worker import sha256

    manifest["jobs"] = {name: sha256(job.read_text()) for name in manifest["jobs"]}
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    assert judged(tmp_path / "out") == 0
    done = merge(tmp_path / "out", place)
    assert done.merged == 0
    assert "another kernel" in done.problems[0].problem


def test_what_is_no_bundle_is_refused(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, kernel("passed 2"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    result = run(place, task, budget=1)
    with pytest.raises(InputError, match="is not a bundle"):
        create(result.run.id, tmp_path / "full", place)
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        merge(tmp_path / "full", place)
    assert main([str(tmp_path / "full")]) == 2
    create(result.run.id, tmp_path / "out", place)
    other = run(place, task, budget=1)
    with pytest.raises(InputError, match="is a bundle of run"):
        create(other.run.id, tmp_path / "out", place)
    judged(tmp_path / "out")
    merge(tmp_path / "out", place)
    with pytest.raises(InputError, match="no attempt of run"):
        create(result.run.id, tmp_path / "late", place)


def test_what_the_worker_measured_is_known_to_the_next_prompts(place: Workspace, task: Task, tmp_path: Path) -> None:
    from kernelwright.agent.recording import device_of
    from kernelwright.evaluator.engines.bundle import BundleEngine

    script(place.home, kernel("passed 2"))
    result = run(place, task, budget=1)
    assert BundleEngine("cpp", "cpu", place.cache).device().name != "fake device"
    create(result.run.id, tmp_path / "out", place)
    judged(tmp_path / "out")
    merge(tmp_path / "out", place)
    assert BundleEngine("cpp", "cpu", place.cache).device().name == "fake device"
    assert BundleEngine("triton", "NVIDIA H100 80GB HBM3", place.cache).device().kind == "cuda"
    device = device_of(result.run.id, place)
    assert device is not None
    assert device.name == "fake device"


def test_the_bundle_judges_with_nothing_of_ours_installed(place: Workspace, task: Task, tmp_path: Path) -> None:
    """The real worker and the real judge, from the bundle's own copy, moved elsewhere, on a kernel that does not parse."""
    script(place.home, "```python\n# judge: never\nclass ModelNew(:\n```\n")
    result = run(place, task, budget=1)
    create(result.run.id, tmp_path / "out", place)
    shutil.move(tmp_path / "out", tmp_path / "there")
    script_ = tmp_path / "there" / "run.sh"
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PYTHONNOUSERSITE": "1"}
    probe = "import kernelwright.evaluator.worker as w; print(w.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", probe],
        env={**environment, "PYTHONPATH": str(tmp_path / "there")},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert where.stdout.startswith(str(tmp_path / "there"))
    done = subprocess.run([str(script_)], env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "build_failed" in done.stdout
    merged = merge(tmp_path / "there", place)
    assert merged.merged == 1
    step = resume(result.run.id, place, Silence()).steps[0]
    assert step.attempt is not None
    assert step.attempt.status == "build_failed"


def test_two_hundred_jobs_are_bundled_in_five_seconds(place: Workspace, task: Task, tmp_path: Path) -> None:
    script(place.home, *(kernel("passed 1.2", number) for number in range(200)))
    result = run(place, task, jobs=200, budget=200)
    began = time.perf_counter()
    made = create(result.run.id, tmp_path / "out", place)
    taken = time.perf_counter() - began
    assert (made.jobs, made.new) == (200, 200)
    assert taken <= 5


@pytest.mark.parametrize(("name", "value"), [("rtol", 0.5), ("backend", "triton")])
def test_a_manifest_with_other_rules_than_the_runs_is_refused(
    place: Workspace, task: Task, tmp_path: Path, name: str, value: object
) -> None:
    script(place.home, kernel("passed 1.2"))
    create(run(place, task, budget=1).run.id, tmp_path / "out", place)
    path = tmp_path / "out" / "manifest.json"
    whole = path.read_text()
    data = json.loads(whole)
    (data["settings"] if name == "rtol" else data)[name] = value
    path.write_text(json.dumps(data))
    judged(tmp_path / "out")
    with pytest.raises(InputError, match="manifest has"):
        merge(tmp_path / "out", place)
    path.write_text(whole)
    done = merge(tmp_path / "out", place)
    assert done.already == 0, "the refused merge recorded nothing"
