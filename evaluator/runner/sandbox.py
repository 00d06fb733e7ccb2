"""The layers around a runner: probed once, applied in the forked child, reported before any candidate code.

The layers, and what each is for:

- ``process``: a session of its own and a keeper that ends everything the runner started (``namespaces.keep``);
- ``environment``, ``rlimits``: no keys; bounded files, address space and, where that binds, processes;
- ``no_new_privs``, ``capabilities``: no rights to gain, none to use;
- ``namespaces``: no network, no other process to be seen or signalled, files in memory only (not on a GPU);
- ``landlock`` (or ``mounts``): only the files of :mod:`visible` are readable, only the scratch folder is writable;
- ``seccomp``: no sockets, tracing, mounting, kernel interfaces; for ``cpp`` no processes.

Not protected against: bugs of the kernel or of the GPU's driver; code that rewrites the runner's own memory (all that a
runner says is a claim); what the CPU's caches, a device's memory of earlier processes and timing reveal; on a GPU, other
processes of this user being seen (not read or signalled) and a full disk between two looks of the watchdog. A runner on a
TPU or an NPU talks to it itself, by its device file: what a program may do to it beyond its own end is the driver's.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import resource
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.evaluator.chip import Chip, NoChip
from kernelwright.evaluator.runner import landlock, linux, mounts, namespaces, seccomp
from kernelwright.evaluator.runner.visible import Visible, visible

BASE = ("process", "environment", "rlimits", "no_new_privs")
"""Layers that every runner has, and that cannot be missing."""
_GPU_PROBED = ("namespaces", "landlock", "seccomp")
"""Layers under which CUDA, or a TPU's client, or an NPU's, may not start."""
PINNED_BYTES = 1 << 40
"""What a runner on a chip may pin, as far as this user may: VFIO pins what the chip reads (Cloud TPU's pages ask containers for
``memlock`` of 64 GiB), and within the layers no capability lifts the limit."""
WORK_BYTES = 512 << 20
"""What a runner may write, together."""


@dataclass(frozen=True)
class Plan:
    """What is to be applied to one runner. Crosses to the fork-server as JSON."""

    namespaces: tuple[str, ...] = ()
    landlock: bool = False
    mounts: bool = False
    seccomp: bool = False
    capabilities: bool = False
    gpu: bool = False
    chip: str = ""
    """The kind of the chip that it opens for itself."""
    processes: bool = False
    """The kernel's language needs to start processes."""
    hidden: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    """Folders that it may read besides."""
    off: Mapping[str, str] = field(default_factory=dict)
    """Layer that is not applied -> why."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Plan:
        return cls(**{**data, **{name: tuple(data[name]) for name in ("namespaces", "hidden", "seen")}})


def plan(
    mode: str, probed: Mapping[str, str], gpu: bool, processes: bool, hidden: Sequence[str] = (), chip: str = ""
) -> Plan:
    """What to apply in ``mode`` (``auto``, ``strict``, ``off``), given the :func:`probe`'s answers."""
    if mode == "off":
        layers = ("namespaces", "landlock", "seccomp", "capabilities")
        return Plan(gpu=gpu, chip=chip, processes=processes, off=dict.fromkeys(layers, "--sandbox off"))
    if device := "gpu" if gpu else chip:
        probed = {**probed, **{layer: probed.get(f"{device}_{layer}") or probed[layer] for layer in _GPU_PROBED}}
    special = ("gpu_", "tpu_", "npu_")
    off = {layer: why for layer, why in probed.items() if why and layer != "mounts" and not layer.startswith(special)}
    use_mounts = bool(probed["landlock"]) and not probed["mounts"] and not (gpu or chip)
    if probed["landlock"] and not use_mounts:
        off["mounts"] = probed["mounts"] or "not on a GPU, TPU or NPU"
    return Plan(
        namespaces=() if probed["namespaces"] else namespaces.ALL,
        landlock=not probed["landlock"],
        mounts=use_mounts,
        seccomp=not probed["seccomp"],
        capabilities=True,
        gpu=gpu,
        chip=chip,
        processes=processes,
        hidden=tuple(hidden),
        off=off,
    )


def missing(applied: Mapping[str, str]) -> dict[str, str]:
    """The layers that ``--sandbox strict`` asks for and ``applied`` lacks, each with the reason.

    Files must be hidden by Landlock or by mounts.
    """
    lacking = {layer: state for layer, state in applied.items() if state != "on"}
    if applied.get("mounts") == "on":
        lacking.pop("landlock", None)
    if applied.get("landlock") == "on":
        lacking.pop("mounts", None)
    return lacking


def probe() -> dict[str, str]:
    """Layer -> why it cannot be had here, empty when it can. Forks; call it in a process with one thread.

    On a machine with an NVIDIA GPU also ``gpu_namespaces``, ``gpu_landlock`` and ``gpu_seccomp``: whether CUDA starts there. In
    a process whose runners open a TPU or an NPU likewise ``tpu_…``, ``npu_…``, by opening it; so it must be nobody's meanwhile.
    """
    return {
        **_probe_gpu(),
        **_probe_chip(),
        "namespaces": (entered := _tried(lambda: namespaces.enter(namespaces.ALL))),
        "mounts": entered or _tried(lambda: namespaces.enter(namespaces.ALL), _bind_something),
        "landlock": _tried(landlock.version),
        "seccomp": seccomp.supported(),
    }


def _probe_gpu() -> dict[str, str]:
    if not Path("/dev/nvidiactl").exists():
        return {}
    alone = {"gpu_landlock": Plan(landlock=True, gpu=True), "gpu_seccomp": Plan(seccomp=True, gpu=True, processes=True)}
    return {
        **{name: _tried(functools.partial(_start_cuda, chosen)) for name, chosen in alone.items()},
        "gpu_namespaces": _tried(lambda: namespaces.enter(namespaces.ALL), _start_cuda_alone),
    }


def _probe_chip() -> dict[str, str]:
    """All layers at once, which costs one start of some seconds; where the chip does not start so, one by one."""
    chip = Chip.of(os.environ)
    if chip is None:
        return {}
    kind = chip.kind
    layers = {
        f"{kind}_landlock": Plan(landlock=True, chip=kind),
        f"{kind}_seccomp": Plan(seccomp=True, chip=kind, processes=True),
    }
    whole = Plan(landlock=True, seccomp=True, chip=kind, processes=True)
    if not _tried(lambda: namespaces.enter(namespaces.ALL), functools.partial(_start_chip, chip, whole, True)):
        return dict.fromkeys((*layers, f"{kind}_namespaces"), "")
    return {
        **{name: _tried(functools.partial(_start_chip, chip, chosen, False)) for name, chosen in layers.items()},
        f"{kind}_namespaces": _tried(
            lambda: namespaces.enter(namespaces.ALL), functools.partial(_start_chip, chip, Plan(chip=kind), True)
        ),
    }


def _start_chip(chip: Chip, chosen: Plan, alone: bool) -> None:
    """Confine this process as a runner is, ``alone`` in its namespaces, and open the chip.

    Raises:
        OSError: it does not open.
    """
    if alone:
        with contextlib.suppress(OSError):
            namespaces.fresh_proc()
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    most = PINNED_BYTES if hard == resource.RLIM_INFINITY else min(PINNED_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (most, most))
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.drop_capabilities()
    Sandbox(chosen, tempfile.gettempdir()).confine()
    try:
        chip.open()
    except (NoChip, ImportError) as error:
        raise OSError(errno.ENODEV, str(error)[:150]) from error


def _start_cuda_alone() -> None:
    """In a namespace's first process, which looks for itself in ``/proc``."""
    with contextlib.suppress(OSError):
        namespaces.fresh_proc()
    _start_cuda(Plan(gpu=True))


def _start_cuda(chosen: Plan) -> None:
    """Confine this process and start CUDA.

    Raises:
        OSError: it does not start, with the driver's number.
    """
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    Sandbox(chosen, tempfile.gettempdir()).confine()
    driver = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    code = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0)
    code = code or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    if code:
        raise OSError(code, f"CUDA does not start under it (driver error {code})")


def _tried(attempt: Callable[[], object], inside: Callable[[], object] = lambda: None) -> str:
    """Why ``attempt``, and in a child of it ``inside``, fail in a process of their own; empty when they do not."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            attempt()
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(_told(inside, tell))
            os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
        except OSError as error:
            os.write(tell, str(error.strerror or error).encode()[:200])
        finally:
            os._exit(1)
    os.close(tell)
    with open(told, "rb") as answers:  # noqa: PTH123 - a descriptor, not a path
        problem = answers.read().decode(errors="replace")
    os.waitpid(child, 0)
    return problem


def _told(attempt: Callable[[], object], tell: int) -> int:
    try:
        attempt()
    except OSError as error:
        os.write(tell, str(error.strerror or error).encode()[:200])
        return 1
    return 0


def _bind_something() -> None:
    linux.mount("/usr", "/mnt", "", linux.MS_BIND | linux.MS_REC)
    linux.read_only("/mnt")


class Sandbox:
    """One runner's layers, applied step by step in the processes that ``server`` forks for it."""

    def __init__(self, chosen: Plan, scratch: str) -> None:
        self._plan = chosen
        self._scratch = scratch
        self._own_proc = False
        self.work = f"{scratch}/work"
        self.namespaces: tuple[str, ...] = ()
        self.report: dict[str, str] = {
            **dict.fromkeys(BASE, "on"),
            **{layer: f"off: {why}" for layer, why in chosen.off.items()},
        }

    def enter(self) -> None:
        """In the keeper: new namespaces."""
        if self._plan.namespaces:
            try:
                namespaces.enter(self._plan.namespaces)
            except OSError as error:
                self.report["namespaces"] = f"off: {error.strerror}"
                return
            self.namespaces = self._plan.namespaces
            self.report["namespaces"] = "on"

    def mount(self) -> None:
        """In the namespace's init: a bounded scratch folder, its own ``/proc``, and its own root where Landlock is missing."""
        if namespaces.MOUNT not in self.namespaces:
            return
        with contextlib.suppress(OSError):  # the watchdog bounds it then
            namespaces.bounded_folder(self.work, WORK_BYTES)
        if namespaces.PROCESS in self.namespaces:
            with contextlib.suppress(OSError):  # the few files of visible._PROC are shown then
                namespaces.fresh_proc()
                self._own_proc = True
        if self._plan.mounts:
            base = f"{self._scratch}/root"
            try:
                Path(base).mkdir()
                seen = self._seen()
                mounts.own_root(base, seen, [self.work], [f"{self._scratch}/libraries"], self._own_proc)
                self.report["mounts"] = "on"
            except OSError as error:
                self.report["mounts"] = f"off: {error.strerror}"

    def confine(self) -> dict[str, str]:
        """In the runner, last of all: files, rights and system calls. The layers, ``on`` or ``off: why``."""
        if self._plan.capabilities:
            self._apply("capabilities", linux.drop_capabilities)
        scoped = self._plan.landlock and self._apply("landlock", self._landlock) >= 6
        if self._plan.seccomp:
            alone = namespaces.PROCESS in self.namespaces
            accelerator = bool(self._plan.gpu or self._plan.chip)
            chosen = seccomp.Filter(self._plan.processes, accelerator, not (alone or scoped), not alone)
            self._apply("seccomp", lambda: seccomp.install(chosen))
        return self.report

    def _landlock(self) -> int:
        seen = self._seen()
        read = (*seen.read, f"{self._scratch}/libraries")
        return landlock.restrict(landlock.Access(read, seen.listed, (*seen.write, self.work), seen.devices))

    def _seen(self) -> Visible:
        return visible(self._plan.gpu, self._own_proc, self._plan.hidden, self._plan.seen, self._plan.chip)

    def _apply(self, layer: str, step: Callable[[], int | None]) -> int:
        try:
            value = step()
        except OSError as error:
            self.report[layer] = f"off: {error}"
            return 0
        self.report[layer] = "on"
        return value or 0
