"""Bundles: kernels that wait for a verdict, carried to a machine that can judge them, and the verdicts carried back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import kernelwright
from kernelwright.agent.files import write_text
from kernelwright.agent.outcome import refused, so_far
from kernelwright.agent.recording import note_device
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.bundle import KNOWN_DEVICE
from kernelwright.evaluator.worker import Manifest, put, read_manifest, sha256
from kernelwright.memory.records import RunRecord, Step
from kernelwright.memory.store import Store
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError, WorkspaceError
from kernelwright.tasks.records import Task, Verdict

_RUN_SH = """#!/bin/sh
# Judges every job of this bundle that has no result yet; may be interrupted and repeated.
# Needs Python 3.10 or newer with torch, numpy and pyyaml, and the language's own compiler. No network.
set -e
cd "$(dirname "$0")"
PYTHONPATH="$PWD" exec "${PYTHON:-python3}" -m kernelwright.evaluator.worker . "$@"
"""


@dataclass(frozen=True)
class Created:
    """A bundle that was made, or filled up."""

    path: str
    run: str
    jobs: int
    """All jobs in it."""
    new: int
    """Of these added now."""


@dataclass(frozen=True)
class Problem:
    """A job that gave no verdict."""

    attempt: str
    problem: str


@dataclass(frozen=True)
class Merged:
    """What a merge did."""

    run: str
    merged: int
    already: int
    """Verdicts that the store had already."""
    missing: int
    """Jobs without a result yet."""
    refused: tuple[str, ...]
    """Tasks that could not be judged there."""
    problems: tuple[Problem, ...]


def create(run_id: str, out: Path, workspace: Workspace) -> Created:
    """Gather the attempts of a run that are answered and not judged; fills up an earlier bundle of the same run.

    Raises:
        InputError: nothing waits for a verdict, or ``out`` holds something else.
    """
    store = workspace.open_store()
    try:
        run = store.run(run_id)
        jobs = {step.idea.id: text for step, text in _waiting(run, store)}
    finally:
        store.close()
    config = RunConfig.of(run.config)
    before = _earlier(run_id, out)
    if not jobs and before is None:
        raise InputError(f"no attempt of run {run_id} waits for a verdict", "only --engine bundle runs leave any")
    device = config.device if (config.device or "").partition(":")[0] in ("cpu", "cuda") else None
    manifest = before or Manifest(run_id, config.backend, device, config.judging(), {})
    new = {job: text for job, text in jobs.items() if job not in manifest.jobs}
    for job, text in new.items():
        write_text(out / "jobs" / f"{job}.json", text)
    _copy_package(out)
    manifest = replace(manifest, jobs={**manifest.jobs, **{job: sha256(text) for job, text in new.items()}})
    put(out / "manifest.json", to_json(manifest))
    return Created(str(out), run_id, len(manifest.jobs), len(new))


def merge(bundle: Path, workspace: Workspace) -> Merged:
    """Record a judged bundle's verdicts in the store, each once however often it is merged.

    Raises:
        InputError: no bundle, one judged by other rules than its run's, or a run that the store does not hold.
    """
    manifest = read_manifest(bundle)
    store = workspace.open_store()
    try:
        run = store.run(manifest.run)
        _same_rules(manifest, run)
        with workspace.hold(run.id):
            _note_device(bundle, run, workspace)
            return _merge(bundle, manifest, run, store)
    finally:
        store.close()


def _merge(bundle: Path, manifest: Manifest, run: RunRecord, store: Store) -> Merged:
    tasks = {task.name: task for task in run.tasks}
    already = missing = 0
    taken: list[str] = []
    refusals: dict[str, str] = {}
    problems: list[Problem] = []
    for job, sha in manifest.jobs.items():
        step = store.step(job)
        if step is None or step.idea.run != run.id or sha256(_job_text(step, tasks[step.idea.task])) != sha:
            problems.append(Problem(job, "the store holds no such attempt, or another kernel or task under its id"))
        elif step.verdict is not None:
            already += 1
        elif (bundle / "results" / f"{job}.json").is_file():
            problem = _take(bundle / "results" / f"{job}.json", sha, step, store)
            taken += [] if problem else [step.idea.task]
            problems += [Problem(job, problem)] if problem else []
        elif (failure := _failure(bundle / "failures" / f"{job}.json")) is not None:
            problems.append(Problem(job, failure[1]))
            if failure[0] == "task":
                refusals[step.idea.task] = failure[1]
        else:
            missing += 1
    for name, why in refusals.items():
        store.set_outcome(run.id, name, refused(name, why))
    for name, outcome in store.outcomes(run.id).items():
        if outcome.status == "refused" and name in taken and name not in refusals:  # what failed before has been judged now
            store.set_outcome(run.id, name, so_far(tasks[name], (), "its verdicts have come", waiting=True))
            store.set_run_status(run.id, "waiting")
    return Merged(run.id, len(taken), already, missing, tuple(refusals), tuple(problems))


def _same_rules(manifest: Manifest, run: RunRecord) -> None:
    """The store is the truth: a manifest whose tolerance or backend was changed on its way judged something else."""
    config = RunConfig.of(run.config)
    for name, found, wanted in (
        ("backend", manifest.backend, config.backend),
        ("settings", to_json(manifest.settings), to_json(config.judging())),
    ):
        if found != wanted:
            raise InputError(
                f"the bundle's manifest has {name} {found}, run {run.id} has {wanted}",
                "create the bundle again in a new folder and judge that; nothing of this one was merged",
            )


def _take(path: Path, sha: str, step: Step, store: Store) -> str:
    """Record one result; returns what is wrong with it, or nothing."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        verdict = from_json(Verdict, data["verdict"])
    except (ValueError, KeyError, TypeError, InputError) as error:
        return f"the result cannot be read: {error}"
    kernel = step.answer.kernel if step.answer else None
    if data.get("job") != sha or kernel is None or verdict.kernel_id != kernel.kernel_id:
        return f"the result is for another job: kernel {verdict.kernel_id}"
    if verdict.task != step.idea.task:
        return f"the result is for another task: {verdict.task}"
    store.judge(step.idea.id, verdict)
    return ""


def _failure(path: Path) -> tuple[str, str] | None:
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return str(data.get("kind")), str(data.get("message"))


def _waiting(run: RunRecord, store: Store) -> Iterator[tuple[Step, str]]:
    tasks = {task.name: task for task in run.tasks}
    for step in store.steps(run.id):
        if step.answer is not None and step.answer.kernel is not None and step.verdict is None:
            yield step, _job_text(step, tasks[step.idea.task])


def _job_text(step: Step, task: Task) -> str:
    """A job file's text: the same for the same kernel and task, whenever it is written."""
    kernel = step.answer.kernel if step.answer else None
    return json.dumps({"id": step.idea.id, "kernel": to_json(kernel), "task": to_json(task)}, indent=1, sort_keys=True) + "\n"


def _earlier(run_id: str, out: Path) -> Manifest | None:
    if (out / "manifest.json").is_file():
        manifest = read_manifest(out)
        if manifest.run != run_id:
            raise InputError(f"{out} is a bundle of run {manifest.run}, not of {run_id}", "give another folder")
        return manifest
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there and is not a bundle", "give a new or empty folder")
    return None


def _note_device(bundle: Path, run: RunRecord, workspace: Workspace) -> None:
    """What the bundle was judged on, for the run's report and the next prompts."""
    path = bundle / "device.json"
    if path.is_file():
        device = from_json(DeviceInfo, json.loads(path.read_text(encoding="utf-8")))
        note_device(run.id, workspace, device)
        write_text(workspace.cache / KNOWN_DEVICE, json.dumps(to_json(device), indent=1))


def _copy_package(out: Path) -> None:
    """The parts of this package that judging needs: no search, no memory, no library of tasks."""
    source = Path(kernelwright.__file__).parent
    target = out / "kernelwright"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "library", "suites", "carve")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in ("__init__.py", "py.typed"):
            shutil.copyfile(source / name, target / name)
        for name in ("tasks", "evaluator"):
            shutil.copytree(source / name, target / name, ignore=ignored, dirs_exist_ok=True)
        script = out / "run.sh"
        script.write_text(_RUN_SH, encoding="utf-8")
        script.chmod(0o755)
    except OSError as error:
        raise WorkspaceError(f"the bundle {out} cannot be written: {error}", "give a folder you may write") from error
