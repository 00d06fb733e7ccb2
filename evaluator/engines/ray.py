"""Judging on a Ray cluster: one warm judge a device, wherever in the cluster the device is (design §8).

A device is a unit of the custom resource ``kernelwright_cpu`` or ``kernelwright_cuda``; nodes declare what they have, and
Ray places one actor on each unit. ``evaluate`` blocks and may be called from many threads: as many kernels are judged at
once as there are devices.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright import __version__
from kernelwright.evaluator.backends.registry import backend as find_backend
from kernelwright.evaluator.device import DeviceInfo, default_device
from kernelwright.evaluator.engines.engine import Engine, Job
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import HarnessError, InputError, KernelwrightError
from kernelwright.tasks.records import Task, Verdict
from kernelwright.tasks.resolve import resolve

ADDRESS = ("KERNELWRIGHT_RAY_ADDRESS", "RAY_ADDRESS")
LOCAL = "kernelwright.evaluator.engines.local:LocalEngine"
MOST_LOST = 5
"""Workers that one job may lose before it is given up: a kernel must not take down a whole cluster."""
MOST_HUNG = 2
_REACH_SECONDS = 10.0


@dataclass(frozen=True)
class Patience:
    """Seconds that the engine waits before it calls something lost."""

    judge: float = 3600.0
    """For one verdict; a judge's own limits are far below, so that a longer silence is a hung node."""
    device: float = 120.0
    """For a device, when the cluster has none left for us."""


def named() -> str | None:
    """The cluster that the environment names: ``KERNELWRIGHT_RAY_ADDRESS``, else ``RAY_ADDRESS``; None: one is started here."""
    return next((os.environ[name] for name in ADDRESS if os.environ.get(name)), None)


def versions() -> dict[str, str]:
    """What must be equal where a kernel is judged and where its verdict is used."""
    import torch

    return {"kernelwright": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


class _Seat:
    """The actor on one device: holds an engine, and with it a warm judge. Errors made on purpose are values here, so that
    Ray's own exceptions only ever mean a lost worker or a defect."""

    def __init__(self, kind: str, backend: str, device: str | None, cache: str, settings: Settings | None) -> None:
        self._make: Callable[[], Engine] = lambda: resolve("engine", kind, {})(backend, device, Path(cache), settings)
        self._engine: Engine | None = None

    def versions(self) -> dict[str, str]:
        return versions()

    def call(self, method: str, *args: Any) -> Any:
        try:
            self._engine = self._engine or self._make()
            return getattr(self._engine, method)(*args)
        except KernelwrightError as error:
            return error


@dataclass(frozen=True)
class _Worker:
    actor: Any
    started: Any
    """Resolves to the versions there, once Ray has found a device."""


class RayEngine:
    """An :class:`~kernelwright.evaluator.engines.engine.Engine` over all devices of one kind in a Ray cluster.

    Args:
        backend: the kernels' language.
        device: ``cpu`` or ``cuda``; None: what this machine and the backend have.
        cache: folder of that path on each node.
        settings: how to judge.
        address: of the cluster, or ``local`` for one started here; None: as :func:`named` says.
        seat: import path of the engine on each device.

    Raises:
        InputError: no Ray, no cluster at the address, no such device in it, or other versions there than here.
    """

    def __init__(
        self,
        backend: str,
        device: str | None,
        cache: Path,
        settings: Settings | None = None,
        address: str | None = None,
        seat: str = LOCAL,
        patience: Patience | None = None,
    ) -> None:
        self._ray = _ray()
        find_backend(backend)
        self._kind = device or default_device()
        if self._kind not in ("cpu", "cuda"):
            raise InputError(f"--engine ray was asked for device {device!r}", "use cpu or cuda: Ray chooses which one")
        self._resource = f"kernelwright_{self._kind}"
        self._arguments = (seat, backend, self._kind, str(cache), settings)
        self._patience = patience or Patience()
        self._idle: queue.Queue[_Worker] = queue.Queue()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._lost = 0
        self._wrong: InputError | None = None
        self._info: DeviceInfo | None = None
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _connect(self._ray, address or named())
        try:
            count = int(self._ray.cluster_resources().get(self._resource, 0))
            if not count:
                remedy = f"start its nodes with: ray start … --resources='{{\"{self._resource}\": 1}}'"
                raise InputError(f"the Ray cluster has no {self._resource}", remedy)
            for _ in range(count):
                self._start()
            self._info = self._call("device")
        except BaseException:  # an interrupt, too, leaves no worker behind
            self.close()
            raise

    @property
    def devices(self) -> int:
        """Judges at work or being placed."""
        return len(self._workers)

    @property
    def lost(self) -> int:
        """Judges that were lost or ended at work, and replaced."""
        return self._lost

    def admit(self, task: Task) -> None:
        self._call("admit", task)

    def evaluate(self, job: Job) -> Verdict:
        verdict: Verdict = self._call("evaluate", job)
        return verdict

    def device(self) -> DeviceInfo:
        if self._info is None:
            raise HarnessError("the Ray engine was asked for its device before it had one")
        return self._info

    def close(self) -> None:
        self._closed.set()
        for worker in self._workers:
            with suppress(Exception):
                self._ray.kill(worker.actor)
        self._workers.clear()
        if self._ours:
            self._ray.shutdown()

    def _call(self, method: str, *args: Any) -> Any:
        """One call on whichever device is free; on another when a worker is lost, once more when it hangs."""
        lost = hung = 0
        errors = self._ray.exceptions
        while True:
            worker = self._free()
            try:
                found = self._ray.get(worker.actor.call.remote(method, *args), timeout=self._patience.judge)
            except errors.GetTimeoutError:
                hung += 1
                self._replace(worker)
                why = f"gave no answer in {self._patience.judge:g} s"
                over = hung >= MOST_HUNG
            except (errors.RayActorError, errors.NodeDiedError, errors.ObjectLostError) as error:
                lost += 1
                self._replace(worker)
                why = f"was lost ({type(error).__name__})"
                over = lost >= MOST_LOST
            except errors.RayError as error:
                self._idle.put(worker)
                raise HarnessError(f"a judge on the Ray cluster failed: {error}", "see the cluster's log") from error
            except BaseException:  # an interrupt: what this judge still does is of no use
                self._replace(worker)
                raise
            else:
                self._idle.put(worker)
                if isinstance(found, KernelwrightError):
                    raise found
                return found
            if over:
                what = f"job {args[0].id}" if method == "evaluate" else method
                raise HarnessError(f"{what}: a judge {why}; {hung + lost} were tried", "see `ray status` and the nodes' logs")

    def _free(self) -> _Worker:
        """An idle worker; waits as long as others work or Ray still places some."""
        silent = time.monotonic() + self._patience.device
        while True:
            with suppress(queue.Empty):
                return self._idle.get(timeout=0.2)
            if self._wrong is not None:
                raise self._wrong
            if time.monotonic() > silent:
                if not self._left():
                    raise HarnessError(
                        f"the Ray cluster gave no {self._resource} for {self._patience.device:g} s",
                        "start a node, or see `ray status`",
                    )
                silent = time.monotonic() + self._patience.device

    def _left(self) -> bool:
        """Whether some worker has a device: then it is only busy."""
        refs = [worker.started for worker in list(self._workers)]
        return bool(refs) and bool(self._ray.wait(refs, num_returns=1, timeout=0)[0])

    def _start(self) -> None:
        gpus = 1 if self._kind == "cuda" else 0
        remote = self._ray.remote(num_cpus=0, num_gpus=gpus, resources={self._resource: 1}, max_restarts=0)(_Seat)
        actor = remote.remote(*self._arguments)
        worker = _Worker(actor, actor.versions.remote())
        with self._lock:
            self._workers.append(worker)
        threading.Thread(target=self._welcome, args=(worker,), daemon=True).start()

    def _welcome(self, worker: _Worker) -> None:
        """Let a worker judge once it has a device and is what we are."""
        while not self._closed.is_set():
            try:
                there, here = self._ray.get(worker.started, timeout=1.0), versions()
            except self._ray.exceptions.GetTimeoutError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever an actor may die of while it starts
                if not self._closed.is_set():
                    self._died(worker, error)
                return
            differ = [f"{name} {here[name]} here, {there.get(name)} there" for name in here if here[name] != there.get(name)]
            if differ:
                self._wrong = InputError(f"a Ray worker differs: {'; '.join(differ)}", "install the same on every node")
            else:
                self._idle.put(worker)
            return

    def _died(self, worker: _Worker, error: Exception) -> None:
        if isinstance(error, self._ray.exceptions.RayActorError) and "creation task" not in str(error):
            self._replace(worker)  # its node went away before it began
        else:
            first = (str(error).strip().splitlines() or [""])[-1]
            self._wrong = InputError(f"a Ray worker does not start: {first}", "install kernelwright[ray] on every node")

    def _replace(self, worker: _Worker) -> None:
        """Ask Ray for another; it comes when a unit of the resource is free, perhaps of a node that comes back."""
        with suppress(Exception):
            self._ray.kill(worker.actor)
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
                self._lost += 1
        if not self._closed.is_set():
            self._start()


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError("--engine ray needs the package ray, which is not here", "pip install 'kernelwright[ray]'") from error


def _connect(ray: Any, address: str | None) -> None:
    """Join the cluster at ``address``, or start one on this machine."""
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address and address != "local":
            _reach(address)
            ray.init(address=address, **quiet)
        else:
            gpus = _gpus()
            have = {"kernelwright_cpu": 1.0} | ({"kernelwright_cuda": float(gpus)} if gpus else {})
            ray.init(address="local", resources=have, num_gpus=gpus, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = "start it with `ray start --head`, check the address, or give --ray-address local for one started here"
        raise InputError(f"no Ray cluster at {address or 'this machine'}: {first}", remedy) from error


def _reach(address: str) -> None:
    """Whether anybody listens at ``HOST:PORT``: Ray itself goes on trying for many minutes.

    Raises:
        OSError: nobody does.
    """
    if found := re.fullmatch(r"(?:ray://)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:/]+)):(?P<port>\d+)", address):
        socket.create_connection((found["six"] or found["host"], int(found["port"])), _REACH_SECONDS).close()


def _gpus() -> int:
    """CUDA devices that this process may use, without opening one."""
    if default_device() != "cuda":
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(visible.split(",")) if visible else len(list(Path("/dev").glob("nvidia[0-9]*")))
