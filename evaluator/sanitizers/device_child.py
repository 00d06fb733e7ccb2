"""One call of a kernel on a device in a process of its own, under a tool that watches it: compute-sanitizer, or a profiler.

The process is untrusted and lives under the same sandbox and limits as a runner. On a GPU the tool starts the process and
talks to it by sockets, which that sandbox forbids: there the job puts itself under files' and system calls' layers, once the
tool has hold of it and before it reads the candidate. What the tool says is as good as what the candidate lets it say.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import kernelwright
from kernelwright.evaluator.build import build_native
from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.processes import ChildGone, ForkServer
from kernelwright.evaluator.runner.visible import own_folders
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.tasks.records import Kernel

_JOB = "kernelwright.evaluator.sanitizers.device_job"
SEEN = (_JOB, "kernelwright.evaluator.native", "kernelwright.evaluator.native_inline")
"""Modules of this package that a job has, with what they import of it; the rest stays unseen."""
_PACKAGE = Path(kernelwright.__file__).resolve().parent
_LIMITS = {"CORE": 0, "FSIZE": 256 << 20, "NOFILE": 4096}
_LOG_BYTES = 1 << 20


@cache
def needed(modules: Sequence[str]) -> frozenset[Path]:
    """The files of ``modules`` and of all that importing them imports from this package."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in found or path is None:
            continue
        found[name] = path
        waiting.append(name.rpartition(".")[0])
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return frozenset(found.values())


def _file_of(module: str) -> Path | None:
    """None for what is not a module of this package."""
    first, *rest = module.split(".")
    if first != _PACKAGE.name:
        return None
    folder = _PACKAGE.joinpath(*rest)
    return next((path for path in (folder.with_suffix(".py"), folder / "__init__.py") if path.is_file()), None)


@contextmanager
def job_folder(kernel: Kernel, session: Session, opened: OpenCase, device: str, profiled: bool = False) -> Iterator[Path]:
    """A folder whose ``libraries`` hold the job and the part of this package that it imports.

    ``profiled``: the kernel is called twice, and a profiler is told to look at the second call only.
    """
    scratch = Path(tempfile.mkdtemp(prefix="kernelwright-device-job-"))
    try:
        seen = scratch / "libraries"
        root = _PACKAGE.parent
        for path in needed(SEEN):
            target = seen / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        session.draw(opened)
        given, _ = session.ask("hand_over", key=opened.key, path=str(seen / "tensors.bin"))
        facts = opened.facts
        job = {
            "device": device,
            "dtype": opened.dtype,
            "seed": opened.seed,
            "training": facts["training"],
            "init": facts["init"],
            "inputs": facts["inputs"],
            "profiled": profiled,
            **given,
        }
        (seen / "job.json").write_text(json.dumps(job))
        (seen / "kernel.py").write_text(kernel.source)
        if kernel.backend == "cuda":  # built out here: the job sees no compiler's cache
            libraries = build_native(kernel.source, seen / "native").libraries
            (seen / "native.json").write_text(json.dumps(dict(libraries)))
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run_job(
    tool: Sequence[str],
    scratch: Path,
    server: ForkServer,
    seconds: float,
    mode: str,
    variables: Mapping[str, str] | None = None,
    gpu: bool = True,
) -> tuple[str, str]:
    """Run the job under ``tool`` (a command that takes the program behind it): (output, how it ended).

    It ended as ``exit 0``, ``timeout 0``, …. ``mode`` is the sandbox's.
    """
    work, seen = scratch / "work", scratch / "libraries"
    command = [*tool, sys.executable, "-m", _JOB, str(seen)]
    paths = [str(seen), *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)]
    environment = {
        **{k: v for k, v in server.environment.items() if k not in ("PYTHONPATH", "HOME", "TMPDIR")},
        "PYTHONPATH": os.pathsep.join(paths),
        "HOME": str(work),
        "TMPDIR": str(work),
        "TRITON_CACHE_DIR": str(work / "triton"),
        **(variables or {}),
    }
    if (built := seen / "native.json").exists():
        environment["KERNELWRIGHT_LIBRARIES"] = built.read_text()
    plan = sandbox.plan(mode, server.layers, gpu=gpu, processes=True)
    if gpu:
        inner = replace(plan, hidden=(*plan.hidden, *own_folders()))
        confine = {"plan": asdict(inner), "strict": mode == "strict"}
        (seen / "confine.json").write_text(json.dumps(confine))
        plan = replace(plan, namespaces=(), mounts=False, landlock=False, seccomp=False)
    config = {"command": command, "variables": environment}
    child = server.spawn("program", scratch, config, limits=_LIMITS, sandbox=plan)
    try:
        child.ask("wait", seconds)
        gone = child.kill()  # it wrote into its channel: no program of ours does
    except ChildGone as ended:
        gone = ended.gone
    with (scratch / "program.log").open("rb") as file:
        return file.read(_LOG_BYTES).decode(errors="replace"), f"{gone.how} {gone.number}"
