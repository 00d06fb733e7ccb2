"""``python -m kernelwright.evaluator.worker BUNDLE``: judge a bundle's jobs on this machine; needs no network and no store.

A job whose result is there is not judged again, so that the command may be interrupted and repeated. A result appears
whole or not at all. A job that cannot be judged is noted under ``failures/`` and tried again by the next call.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright.evaluator.engines.engine import Engine, Job
from kernelwright.evaluator.engines.local import LocalEngine
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError, KernelwrightError, TaskError
from kernelwright.tasks.records import Kernel, Task

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds."""

    run: str
    backend: str
    device: str | None
    """Asked for on the command line of the run, if it is one that a machine can be asked for."""
    settings: Settings
    jobs: Mapping[str, str]
    """Job id -> SHA-256 of ``jobs/<id>.json``."""
    format: int = FORMAT


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of ``bundle``.

    Raises:
        InputError: it is no bundle, or one of another version.
    """
    path = bundle / "manifest.json"
    remedy = "give a folder that `kernelwright bundle create` made"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", remedy) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}", remedy) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{path} is not a bundle of format {FORMAT}", remedy)
    return from_json(Manifest, data)


def sha256(text: str) -> str:
    """Hash of a job file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def put(path: Path, data: Any) -> None:
    """Write JSON to ``path`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def judge_all(bundle: Path, device: str | None, make: Callable[..., Engine] = LocalEngine) -> int:
    """Judge every job without a result, on an engine that ``make`` makes; returns how many could not be judged.

    Raises:
        InputError: no bundle, or a backend or device that is not here.
    """
    manifest = read_manifest(bundle)
    left = [job for job in manifest.jobs if not (bundle / "results" / f"{job}.json").is_file()]
    _say(f"{len(manifest.jobs)} jobs, {len(left)} to judge")
    failed = 0
    engine: Engine | None = None
    try:
        for number, job_id in enumerate(left, start=1):
            engine = engine or make(manifest.backend, device or manifest.device, bundle / "cache", manifest.settings)
            failure = bundle / "failures" / f"{job_id}.json"
            try:
                status = _judge_one(bundle, job_id, manifest.jobs[job_id], engine)
                failure.unlink(missing_ok=True)
            except KernelwrightError as error:
                failed, status = failed + 1, f"failed: {error.message}"
                kind = "task" if isinstance(error, TaskError) else "harness"
                put(failure, {"kind": kind, "message": error.message, "remedy": error.remedy})
                engine.close()
                engine = None  # what failed may have left a child in any state
            _say(f"{number}/{len(left)} {job_id}: {status}")
        if engine is not None:
            put(bundle / "device.json", to_json(engine.device()))
    finally:
        if engine is not None:
            engine.close()
    return failed


def _judge_one(bundle: Path, job_id: str, sha: str, engine: Engine) -> str:
    path = bundle / "jobs" / f"{job_id}.json"
    if not path.is_file():
        raise InputError(f"{path} is not there", "copy the whole bundle")
    text = path.read_text(encoding="utf-8")
    if sha256(text) != sha:
        raise InputError(f"job {job_id} is not what the manifest says", "create the bundle again")
    data = json.loads(text)
    job = Job(job_id, from_json(Kernel, data["kernel"]), from_json(Task, data["task"]))
    verdict = engine.evaluate(job)
    put(bundle / "results" / f"{job_id}.json", {"job": sha, "verdict": to_json(verdict)})
    return f"{verdict.status.value}: {verdict.reason}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str]) -> int:
    """Exit code 0: every job has a result; 1: some could not be judged; 2: wrong input; 3: the harness failed."""
    parser = argparse.ArgumentParser(prog="python -m kernelwright.evaluator.worker", description=__doc__)
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--device", help="cpu, cuda or cuda:N; default: what is there")
    options = parser.parse_args(argv)
    try:
        return 1 if judge_all(options.bundle, options.device) else 0
    except KernelwrightError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.remedy:
            sys.stderr.write(f"remedy: {error.remedy}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
