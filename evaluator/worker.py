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
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright.evaluator.device import parse_device
from kernelwright.evaluator.engines.engine import Engine, Job
from kernelwright.evaluator.engines.local import LocalEngine
from kernelwright.evaluator.seal import FIELD, Key, check_manifest
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import InputError, KernelwrightError, TaskError
from kernelwright.tasks.records import Kernel, Status, Task, Verdict

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds."""

    run: str
    backend: str
    """Of all its kernels; several with commas between them."""
    device: str | None
    """Asked for on the command line of the run, if it is one that a machine can be asked for."""
    settings: Settings
    jobs: Mapping[str, str]
    """Job id -> SHA-256 of ``jobs/<id>.json``."""
    format: int = FORMAT


def read_manifest(bundle: Path, key: Key | None = None, *, sealed_too: bool = False) -> Manifest:
    """The manifest of ``bundle``, checked against its seal. ``sealed_too``: without a key a sealed one is taken as it is.

    Raises:
        InputError: it is no bundle, one of another version, or not as it was sealed (:func:`~.seal.check_manifest`).
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
    if key is not None or not sealed_too:
        check_manifest(data, key, bundle)
    return from_json(Manifest, {name: value for name, value in data.items() if name != FIELD})


def sha256(text: str) -> str:
    """Hash of a job file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def put(path: Path, data: Any) -> None:
    """Write JSON to ``path`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def judge_all(
    bundle: Path, device: str | None, make: Callable[..., Engine] = LocalEngine, jobs: int = 1, key: Key | None = None
) -> int:
    """Judge every job without a result, on engines that ``make`` makes; returns how many could not be judged.

    ``device``: one, or several of this machine with commas between them, which share the tasks. ``jobs``: kernels in
    judgement at once on each, those of one task one after the other. Never more than one is being timed on a device, and
    then the others do nothing there (:mod:`kernelwright.evaluator.turns`). With ``key`` the manifest must fit its seal,
    results are sealed, and one that does not fit its own is not there.

    Raises:
        InputError: no bundle, one that was changed, or a backend or device that is not here.
    """
    manifest = read_manifest(bundle, key, sealed_too=True)
    left = [job for job in manifest.jobs if not _judged(bundle, job, manifest, key)]
    _say(f"{len(manifest.jobs)} jobs, {len(left)} to judge")
    waiting = _by_task(bundle, left)

    devices = _devices(device) if device else (manifest.device,)

    def engines(backend: str, device: str | None) -> Engine:
        return make(backend, device, bundle / "cache", manifest.settings)

    shift = _Shift(bundle, manifest, engines, len(left), key)
    shift.work(waiting, [each for _ in range(jobs) for each in devices][: len(waiting)], len(devices))
    if shift.again:
        _say(f"{len(shift.again)} again, alone on a device: what they lacked may have been their neighbours' doing")
        waiting = _by_task(bundle, shift.again)
        shift.work(waiting, devices[: len(waiting)], len(devices))
    return shift.failed


def _devices(text: str) -> tuple[str, ...]:
    names = tuple(parse_device(name.strip()) for name in text.split(","))
    if len(set(names)) < len(names) or (len(names) > 1 and not all(":" in name for name in names)):
        raise InputError(f"--device {text} does not name different devices", "give each once: cuda:0,cuda:1")
    return names


def _judged(bundle: Path, job: str, manifest: Manifest, key: Key | None) -> bool:
    path = bundle / "results" / f"{job}.json"
    if key is None or not path.is_file():
        return path.is_file()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and key.fits("result", manifest.run, data)


def _by_task(bundle: Path, jobs: Sequence[str]) -> list[list[str]]:
    """Jobs of a task together, so that its reference stays warm; the task with the most comes last."""
    groups: dict[str, list[str]] = {}
    for job in jobs:
        try:
            task = str(json.loads((bundle / "jobs" / f"{job}.json").read_text(encoding="utf-8"))["task"]["name"])
        except (OSError, ValueError, LookupError, TypeError):  # said when its turn comes
            task = f"job {job}"
        groups.setdefault(task, []).append(job)
    return sorted(groups.values(), key=len)


class _Shift:
    """What the judges at work on one bundle share."""

    def __init__(
        self, bundle: Path, manifest: Manifest, make: Callable[[str, str | None], Engine], left: int, key: Key | None = None
    ) -> None:
        self._bundle, self._manifest, self._make, self._left, self._key = bundle, manifest, make, left, key
        self._lock = threading.Lock()
        self._done = 0
        self.failed = 0
        self.over = False
        self.company = False
        """Others are judged at the same time, and share the device's memory."""
        self.again: list[str] = []
        """Jobs that ended in company as they might not have alone."""

    def work(self, waiting: list[list[str]], seats: Sequence[str | None], devices: int) -> None:
        """Judge all groups of jobs, a thread a seat; ``seats``: the device of each, ``devices`` in number."""
        self.company = len(seats) > devices
        with ThreadPoolExecutor(max_workers=max(1, len(seats))) as pool:
            try:
                for each in [pool.submit(self._work, waiting, seat) for seat in seats]:
                    each.result()
            except BaseException:  # an interrupt, or one judge's failure: the others end after the kernel they are at
                self.over = True
                raise

    def _work(self, waiting: list[list[str]], device: str | None) -> None:
        """Take groups of jobs until none is left, with an engine of its own, of one backend at a time."""
        engine: Engine | None = None
        backend = ""
        try:
            while True:
                with self._lock:
                    if self.over or not waiting:
                        break
                    group = waiting.pop()
                if (wanted := self._backend(group[0])) != backend:
                    self._leave(engine, backend)
                    engine, backend = None, wanted
                for job in group:
                    if not self.over:
                        engine = engine or self._make(backend, device)
                        engine = engine if self._judge(job, engine, backend) else None
            self._leave(engine, backend, close=False)
        finally:
            if engine is not None:
                engine.close()

    def _backend(self, job: str) -> str:
        """Of a group's kernels: the manifest's one, or in a run over several the one that the job's own kernel names."""
        known = self._manifest.backend.split(",")
        if len(known) > 1:
            with suppress(OSError, ValueError, LookupError, TypeError):  # said when it is judged
                data = json.loads((self._bundle / "jobs" / f"{job}.json").read_text(encoding="utf-8"))
                known = [name for name in known if name == data["kernel"]["backend"]] or known
        return known[0]

    def _leave(self, engine: Engine | None, backend: str, *, close: bool = True) -> None:
        """Say what judged, and end it."""
        if engine is not None:
            name = f"device@{backend}.json" if "," in self._manifest.backend else "device.json"
            self._put("device", name, to_json(engine.device()))
            if close:
                engine.close()

    def _judge(self, job: str, engine: Engine, backend: str) -> bool:
        """Whether the engine can go on; else it is closed."""
        failure = self._bundle / "failures" / f"{job}.json"
        failed, sound = False, True
        try:
            verdict = _judge_one(self._bundle, job, self._manifest, engine, backend)
            status = f"{verdict.status.value}: {verdict.reason}"
            doubtful = self.company and verdict.status is Status.OUT_OF_MEMORY
            if not doubtful:
                found = {"job": self._manifest.jobs[job], "verdict": to_json(verdict)}
                self._put("result", f"results/{job}.json", found)
                failure.unlink(missing_ok=True)
        except KernelwrightError as error:
            failed, doubtful, status = not self.company, self.company, f"failed: {error.message}"
            kind = "task" if isinstance(error, TaskError) and not self.company else "harness"  # alone it may be admitted
            said = {"kind": kind, "message": error.message, "remedy": error.remedy}
            self._put("failure", f"failures/{job}.json", {**said, "job": self._manifest.jobs[job]})
            engine.close()  # what failed may have left a child in any state
            sound = False
        with self._lock:
            if doubtful:
                self.again.append(job)
            else:
                self._done += 1
            self.failed += failed
            _say(f"{self._done}/{self._left} {job}: {status}")
        return sound

    def _put(self, kind: str, name: str, data: dict[str, Any]) -> None:
        put(self._bundle / name, self._key.sealed(kind, self._manifest.run, data) if self._key else data)


def _judge_one(bundle: Path, job_id: str, manifest: Manifest, engine: Engine, backend: str) -> Verdict:
    path = bundle / "jobs" / f"{job_id}.json"
    if not path.is_file():
        raise InputError(f"{path} is not there", "copy the whole bundle")
    text = path.read_text(encoding="utf-8")
    if sha256(text) != manifest.jobs[job_id]:
        raise InputError(f"job {job_id} is not what the manifest says", "create the bundle again")
    data = json.loads(text)
    job = Job(job_id, from_json(Kernel, data["kernel"]), from_json(Task, data["task"]))
    if "," in manifest.backend and job.kernel.backend != backend:
        raise InputError(f"job {job_id} is of backend {job.kernel.backend}, none of {manifest.backend}", "create it again")
    return engine.evaluate(job)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def main(argv: Sequence[str]) -> int:
    """Exit code 0: every job has a result; 1: some could not be judged; 2: wrong input; 3: the harness failed."""
    parser = argparse.ArgumentParser(prog="python -m kernelwright.evaluator.worker", description=__doc__)
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--device", help="cpu, or cuda, tpu, npu (with :N), or several: cuda:0,cuda:1; default: what is there")
    parser.add_argument("--jobs", type=_at_least_one, default=1, help="kernels in judgement at once on a device; one is timed")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the key that the bundle was created with: results are sealed")
    options = parser.parse_args(argv)
    try:
        key = Key.read(options.key, options.bundle) if options.key else None
        return 1 if judge_all(options.bundle, options.device, jobs=options.jobs, key=key) else 0
    except KernelwrightError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.remedy:
            sys.stderr.write(f"remedy: {error.remedy}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
