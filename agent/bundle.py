"""Bundles: kernels that wait for a verdict, carried to a machine that can judge them, and the verdicts carried back."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kernelwright
from kernelwright.agent.files import write_text
from kernelwright.agent.outcome import refused, so_far
from kernelwright.agent.recording import note_device
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.bundle import known_device
from kernelwright.evaluator.seal import FIELD, Key
from kernelwright.evaluator.worker import Manifest, put, read_manifest, sha256
from kernelwright.memory.records import RunRecord, Step
from kernelwright.memory.store import Store
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError, TaskError, WorkspaceError
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


def create(run_id: str, out: Path, workspace: Workspace, key: Key | None = None) -> Created:
    """Gather the attempts of a run that are answered and not judged; fills up an earlier bundle of the same run.

    With ``key`` the manifest is sealed, and with it every job, by its hash.

    Raises:
        InputError: nothing waits for a verdict, ``out`` holds something else, or an earlier bundle that does not fit its seal.
    """
    store = workspace.open_store()
    try:
        run = store.run(run_id)
        jobs = {step.idea.id: text for step, text in _waiting(run, store)}
    finally:
        store.close()
    config = RunConfig.of(run.config)
    before = _earlier(run_id, out, key)
    if not jobs and before is None:
        raise InputError(f"no attempt of run {run_id} waits for a verdict", "only --engine bundle runs leave any")
    device = config.device if (config.device or "").partition(":")[0] in ("cpu", "cuda") else None
    manifest = before or Manifest(run_id, config.backend, device, config.judging(), {})
    new = {job: text for job, text in jobs.items() if job not in manifest.jobs}
    for job, text in new.items():
        write_text(out / "jobs" / f"{job}.json", text)
    _copy_package(out)
    manifest = replace(manifest, jobs={**manifest.jobs, **{job: sha256(text) for job, text in new.items()}})
    data = to_json(manifest)
    put(out / "manifest.json", key.sealed("manifest", run_id, data) if key else data)
    return Created(str(out), run_id, len(manifest.jobs), len(new))


def merge(bundle: Path, workspace: Workspace, key: Key | None = None, *, unsealed_results: bool = False) -> Merged:
    """Record a judged bundle's verdicts in the store, each once however often it is merged.

    With ``key`` the manifest and every result must fit their seals; ``unsealed_results``: a result with no seal at all is
    taken, since the machine that judged had no key.

    Raises:
        InputError: no bundle, one that was changed or is sealed and there is no key, one judged by other rules than its run's,
            or a run that the store does not hold.
    """
    manifest = read_manifest(bundle, key)
    letters = _Letters(bundle, manifest.run, key, unsealed_results)
    store = workspace.open_store()
    try:
        run = store.run(manifest.run)
        _same_rules(manifest, run)
        with workspace.hold(run.id):
            _note_device(letters, run, workspace)
            return _merge(letters, manifest, run, store)
    finally:
        store.close()


@dataclass(frozen=True)
class _Letters:
    """What came back in a bundle, each file checked against its seal where there is a key."""

    bundle: Path
    run: str
    key: Key | None
    unsealed: bool

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """What a file says, without its seal; None where there is no file.

        Raises:
            InputError: it cannot be read, or does not fit its seal.
        """
        path = self.bundle / name
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"the {kind} cannot be read: {error}") from error
        if not isinstance(data, dict):
            raise InputError(f"the {kind} cannot be read: {name} holds no object")
        if self.key is not None and FIELD not in data and not self.unsealed:
            raise InputError(f"the {kind} has no seal: judge with run.sh --key FILE, or merge with --unsealed-results")
        if self.key is not None and FIELD in data and not self.key.fits(kind, self.run, data):
            raise InputError(f"the {kind} does not fit its seal: it was changed on its way, or sealed with another key")
        return {name: value for name, value in data.items() if name != FIELD}


def _merge(letters: _Letters, manifest: Manifest, run: RunRecord, store: Store) -> Merged:
    tasks = {task.name: task for task in run.tasks}
    came: Counter[str] = Counter()
    taken: list[str] = []
    refusals: dict[str, str] = {}
    problems: list[Problem] = []
    for job, sha in manifest.jobs.items():
        step = store.step(job)
        if step is None or step.idea.run != run.id or sha256(_job_text(step, tasks[step.idea.task])) != sha:
            problems.append(Problem(job, "the store holds no such attempt, or another kernel or task under its id"))
            continue
        try:
            came[found := _one(letters, sha, step, store)] += 1
            taken += [step.idea.task] if found == "merged" else []
        except InputError as error:
            problems.append(Problem(job, error.message))
            if isinstance(error, TaskError):
                refusals[step.idea.task] = error.message
    for name, why in refusals.items():
        store.set_outcome(run.id, name, refused(name, why))
    for name, outcome in store.outcomes(run.id).items():
        if outcome.status == "refused" and name in taken and name not in refusals:  # what failed before has been judged now
            store.set_outcome(run.id, name, so_far(tasks[name], (), "its verdicts have come", waiting=True))
            store.set_run_status(run.id, "waiting")
    return Merged(run.id, came["merged"], came["already"], came["missing"], tuple(refusals), tuple(problems))


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


def _one(letters: _Letters, sha: str, step: Step, store: Store) -> str:
    """Record what came of one job: ``merged``, ``already`` where its verdict is known, ``missing`` where nothing came.

    Raises:
        TaskError: its task could not be judged there; InputError: the job could not, or what came is not to be believed.
    """
    if step.verdict is not None:
        return "already"
    if (result := letters.read("result", f"results/{step.idea.id}.json")) is not None:
        _take(result, sha, step, store)
        return "merged"
    if (failure := letters.read("failure", f"failures/{step.idea.id}.json")) is None:
        return "missing"
    if failure.get("job", sha) != sha:
        raise InputError("the failure is for another job")
    message = str(failure.get("message"))
    raise TaskError(message) if failure.get("kind") == "task" else InputError(message)


def _take(data: Mapping[str, Any], sha: str, step: Step, store: Store) -> None:
    """Record one result.

    Raises:
        InputError: it is none, or one of another job.
    """
    try:
        verdict = from_json(Verdict, data["verdict"])
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise InputError(f"the result cannot be read: {error}") from error
    kernel = step.answer.kernel if step.answer else None
    if data.get("job") != sha or kernel is None or verdict.kernel_id != kernel.kernel_id:
        raise InputError(f"the result is for another job: kernel {verdict.kernel_id}")
    if verdict.task != step.idea.task:
        raise InputError(f"the result is for another task: {verdict.task}")
    store.judge(step.idea.id, verdict)


def _waiting(run: RunRecord, store: Store) -> Iterator[tuple[Step, str]]:
    tasks = {task.name: task for task in run.tasks}
    for step in store.steps(run.id):
        if step.answer is not None and step.answer.kernel is not None and step.verdict is None:
            yield step, _job_text(step, tasks[step.idea.task])


def _job_text(step: Step, task: Task) -> str:
    """A job file's text: the same for the same kernel and task, whenever it is written."""
    kernel = step.answer.kernel if step.answer else None
    return json.dumps({"id": step.idea.id, "kernel": to_json(kernel), "task": to_json(task)}, indent=1, sort_keys=True) + "\n"


def _earlier(run_id: str, out: Path, key: Key | None) -> Manifest | None:
    if (out / "manifest.json").is_file():
        manifest = read_manifest(out, key)
        if manifest.run != run_id:
            raise InputError(f"{out} is a bundle of run {manifest.run}, not of {run_id}", "give another folder")
        return manifest
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there and is not a bundle", "give a new or empty folder")
    return None


def _note_device(letters: _Letters, run: RunRecord, workspace: Workspace) -> None:
    """What the bundle was judged on, for the run's report and the next prompts."""
    targets = RunConfig.of(run.config).targets
    for target in targets if len(targets) > 1 else ("",):
        if (said := letters.read("device", f"device@{target}.json" if target else "device.json")) is not None:
            device = from_json(DeviceInfo, said)
            note_device(run.id, workspace, device, target)
            write_text(workspace.cache / known_device(target), json.dumps(to_json(device), indent=1))


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
