"""The cascade: one kernel and one task in, one verdict out.

The judge runs no candidate code and imports no torch. It asks two children: the reference (trusted, owner of inputs and
expected values) and the runner (untrusted, one a kernel). What the runner says is a claim; what decides is read from
shared outputs by the reference, and from the judge's own clock.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from kernelwright.evaluator import accidents
from kernelwright.evaluator.backends.backend import Backend, OnChip
from kernelwright.evaluator.backends.registry import backend as find_backend
from kernelwright.evaluator.backends.triton import semantics_problem
from kernelwright.evaluator.ceilings import Ceilings
from kernelwright.evaluator.chip_hearing import ChipHearing
from kernelwright.evaluator.device import CHIPS, DeviceInfo, default_device, host_of, parse_device
from kernelwright.evaluator.hearing import Hearing
from kernelwright.evaluator.profiler import Profiler
from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.processes import ForkServer
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.settings import Settings
from kernelwright.evaluator.turns import exclusive
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.hardware import lookup
from kernelwright.tasks.records import (
    Kernel,
    ShapeCase,
    Status,
    Task,
    Use,
    Verdict,
)
from kernelwright.tasks.shapes import keep_accepted

_KILLED = "killed by SIGKILL"
SPIN = {"GOMP_SPINCOUNT": "5000"}
"""Idle OpenMP threads spin some 50 µs on both sides: the default, milliseconds, steals the cores of whoever is timed next; with
a fifth of it a kernel's threads sleep between two calls, and wake up on a core that is taken (docs/log.md)."""


class Judge:
    """Judges kernels of one backend on one device; keeps the reference of the last task warm between kernels.

    Args:
        backend: short name or import path of a backend.
        device: ``cpu``, or ``cuda``, ``tpu``, ``npu`` with ``:N`` or without; None: what is there and the backend can use. A
            TPU or an NPU has to be named.
        cache: folder for builds, baselines' compilations and measured ceilings.
    """

    def __init__(self, backend: str, device: str | None, cache: Path, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.backend: Backend = find_backend(backend)
        self.device = self._choose(device)
        self.kind = self.device.split(":")[0]
        self.host = host_of(self.device)
        """Where the reference computes, and torch's tensors lie."""
        self.place = self.device if self.kind in CHIPS else self.kind
        """What the backend is asked about: of chips, which one."""
        problem = self.backend.available(self.place)
        if problem:
            raise InputError(f"backend {self.backend.name!r} cannot run on {self.device}: {problem}")
        self.simulated = self.kind == "cpu" and self.backend.name != "cpp"
        self.compiles_only = self.simulated and self.backend.name == "cuda"
        """Whether there is neither a device nor a simulator for the kernels."""
        self.interpreted = self.simulated and self.backend.name == "triton"
        """Whether Triton's interpreter runs the kernels: its bfloat16 is wrong."""
        self.by_ir = self.interpreted and not semantics_problem()
        """Whether what has bfloat16 in it can be executed by its IR instead."""
        self.cache = cache.resolve()
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{self.cache} cannot be made: {error.strerror}"
            raise InputError(message, "give a folder that can be written to") from error
        self._servers: dict[str, ForkServer] = {}
        self._session: Session | None = None
        self._parameter_seeds: dict[str, int] = {}
        self._ceilings: Ceilings | None = None
        self.profiler = Profiler()
        self.sandbox: Mapping[str, str] = {}
        """Layer -> ``on`` or ``off: why``, as the last runner had them; empty before there was one."""

    def _choose(self, device: str | None) -> str:
        if device is not None:
            return parse_device(device)
        found = default_device()
        return found if not self.backend.available(found) else "cpu"

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every child process."""
        if self._session is not None:
            self._session.close()
            self._session = None
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def device_info(self) -> DeviceInfo:
        """The device, with its ceilings measured (once, then from the cache)."""
        with accidents.on_sound_ground(self.cache):
            facts = self.ceilings()
        return DeviceInfo(
            kind=self.kind,
            name=facts.name,
            hardware=lookup(facts.name),
            memory_gbps=facts.memory_gbps,
            tflops=facts.tflops,
            cores=facts.cores,
            versions=facts.versions,
        )

    def admit(self, task: Task) -> None:
        """Check that every case of the task can be judged.

        Raises:
            TaskError: the reference does not load, fails, or is random.
        """
        with accidents.on_sound_ground(self.cache):
            self._admit(task)

    def _admit(self, task: Task) -> None:
        session = self.session_for(task)
        found: list[OpenCase] = []
        for use in Use:
            for case, dtype in self.pairs(session, use):
                wrong = dtype == "bfloat16" and self.interpreted and not self.by_ir
                if not (self.simulated and (wrong or use is Use.TIMING)):
                    opened = session.open(case, dtype)
                    if opened is not None and use is Use.CORRECTNESS:
                        found.append(opened)
        if found:
            session.admit(found, self.settings.rtol)

    def pairs(self, session: Session, use: Use) -> list[tuple[ShapeCase, str]]:
        """The (case, dtype) pairs of one use on this device; of derived alternatives the first that is accepted.

        Where kernels are executed by their IR, those for a GPU as well.
        """
        cases = session.task.cases_for(self.kind, use)
        if self.by_ir:
            cases = tuple(case for case in session.task.cases if case in (*cases, *session.task.cases_for("cuda", use)))
        if any(c.derived for c in cases):
            cases = keep_accepted(cases, lambda c: session.open(c, c.dtypes[0]) is not None)
        return [(case, dtype) for case in cases for dtype in case.dtypes]

    def judge(self, kernel: Kernel, task: Task, recorded: Mapping[str, Any] | None = None) -> Verdict:
        """The verdict on ``kernel``.

        ``recorded``: the journal of an earlier judging, whose seeds are drawn again; checked, as it may be a stranger's.

        Raises:
            TaskError: the task itself cannot be judged.
            HarnessError: the harness failed: a disk without room, a device or a fork-server that is gone.
        """
        began = time.monotonic()
        with accidents.on_sound_ground(self.cache):
            kills = accidents.memory_kills()
            self._parameter_seeds = dict((recorded or {}).get("parameter_seeds", {}))
            verdict = self._hear(kernel, task, recorded)
            if _KILLED in verdict.reason and accidents.memory_kills() > kills:  # perhaps not the kernel's fault: once more
                kills = accidents.memory_kills()
                verdict = self._hear(kernel, task, recorded)
                if _KILLED in verdict.reason and accidents.memory_kills() > kills:
                    reason = f"the host ran out of memory, twice: {verdict.reason}"
                    verdict = replace(verdict, status=Status.OUT_OF_MEMORY, reason=reason)
        return replace(verdict, seconds=round(time.monotonic() - began, 3))

    def _hear(self, kernel: Kernel, task: Task, recorded: Mapping[str, Any] | None) -> Verdict:
        hearing = (ChipHearing if self.kind in CHIPS else Hearing)(self, kernel, task, recorded)
        try:
            verdict = hearing.run()
        finally:
            hearing.close()
        if hearing.by_ir and verdict.status is Status.UNSUPPORTED:
            hearing = Hearing(self, kernel, task, recorded, not_by_ir=verdict.reason)
            try:
                return hearing.run()
            finally:
                hearing.close()
        return verdict

    def session_for(self, task: Task) -> Session:
        last = self._session
        if last is not None and (last.task != task or last.parameter_seeds != self._parameter_seeds or not last.alive):
            last.close()
            self._session = None
        if self._session is None:
            inductor = {
                "TORCHINDUCTOR_CACHE_DIR": str(self.cache / "inductor"),
                "TRITON_CACHE_DIR": str(self.cache / "triton"),
                "TORCHINDUCTOR_COMPILE_THREADS": "1",
            }
            server, settings = self.server({}), self.settings
            confined = None
            if settings.stranger:
                confined = sandbox.plan(settings.sandbox, server.layers, gpu=self.kind == "cuda", processes=True)
            self._session = Session(task, self.host, server, inductor, confined, self._parameter_seeds)
        return self._session

    def server(self, environment: Mapping[str, str]) -> ForkServer:
        key = json.dumps(dict(environment), sort_keys=True)
        if key not in self._servers:
            # Freed memory stays in the process, so that page faults of large outputs are not timed as a kernel's work.
            heap = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)} if self.host == "cpu" else {}
            threads = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), **SPIN} if self.host == "cpu" else {}
            self._servers[key] = ForkServer({**heap, **threads, **environment})
        return self._servers[key]

    @property
    def on_chip(self) -> OnChip:
        """The backend, which runs kernels on a chip."""
        return cast(OnChip, self.backend)

    def ceilings(self) -> Ceilings:
        if self._ceilings is None and self.kind in CHIPS:  # nothing measures one here: no roofline
            found = self.on_chip.facts(int(self.device.partition(":")[2] or 0))
            self._ceilings = Ceilings(found.name, len(os.sched_getaffinity(0)), found.versions)
        if self._ceilings is None:
            probe = Task("device", "", "", ())
            session = Session(probe, self.device, self.server({}), {})
            try:
                with exclusive(self.device):
                    self._ceilings = Ceilings.load(self.cache, session)
            finally:
                session.close()
        return self._ceilings

    def environment(self) -> dict[str, Any]:
        """What the verdict says of where it was reached."""
        measured = self._ceilings
        found: dict[str, Any] = {"device": self.device, "kind": self.kind, "versions": {"python": platform.python_version()}}
        if measured is not None:
            found |= {"device": measured.name, "cores": measured.cores, "versions": dict(measured.versions)}
            found |= {"memory_gbps": measured.memory_gbps, "tflops": dict(measured.tflops)}
        return {
            **found,
            "backend": self.backend.name,
            "sandbox": dict(self.sandbox),
            **({"reference_sandbox": dict(self._session.layers)} if self.settings.stranger and self._session else {}),
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }
