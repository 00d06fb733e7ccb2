"""Which files a runner may see: the interpreter, torch and its neighbours, the system's libraries and tools, devices.

Not the checkout, task files, the workspace, homes, or anything temporary but its own folder, wherever those lie: where
one lies inside a folder that must be seen (an interpreter in ``/usr`` with this package installed in it), that folder
is opened entry by entry around it. Names of entries on the way stay visible.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernelwright.evaluator import chip_npu
from kernelwright.evaluator.chip_tpu import nodes

_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt/rocm",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime", "/etc/nsswitch.conf",
    "/etc/passwd", "/etc/group", "/etc/locale.alias", "/etc/OpenCL", "/etc/nvidia",
    "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage",
)  # fmt: skip
"""``passwd`` names the user (``getpass.getuser`` in torch's caches); it holds no secret."""
_GPU = ("/sys/bus/pci", "/sys/devices", "/sys/class", "/sys/module/nvidia", "/sys/module/nvidia_uvm", "/run/nvidia")
_TPU = ("/sys/bus/pci", "/sys/devices", "/sys/class", "/sys/kernel/iommu_groups", "/sys/module/gasket", "/sys/module/vfio")
"""Where libtpu and JAX look for chips (``jax/_src/hardware_utils.py``), and the drivers. From documentation, not run."""
_PROC = (
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/loadavg",
    "/proc/devices", "/proc/modules", "/proc/driver", "/proc/sys/vm", "/proc/sys/kernel",
)  # fmt: skip
"""Where ``/proc`` shows other processes too, only these."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_GPU_WRITES = ("/proc/self/task",)
"""CUDA names its threads there while it starts (``comm``, opened to be truncated), and does not start where it cannot."""
_GPU_DEVICES = ("nvidia", "kfd", "dri", "dxg")
_COMPILERS = ("gcc", "cc", "clang")
"""Triton compiles its launchers with one of them."""
_LIBRARIES = ("torch", "triton", "numpy")


@dataclass(frozen=True)
class Visible:
    """Paths for :class:`kernelwright.evaluator.runner.landlock.Access`; folders include what is below."""

    read: tuple[str, ...]
    listed: tuple[str, ...]
    write: tuple[str, ...]
    devices: tuple[str, ...]


def visible(
    gpu: bool, own_proc: bool, hidden: Sequence[str] = (), seen: Sequence[str] = (), chip: str = ""
) -> Visible:
    """What a runner on this device sees. ``own_proc``: its ``/proc`` shows its own processes only.

    ``hidden``: folders to leave out beside this package's own, should they lie inside what is seen. ``seen``: folders besides.
    ``chip``: the kind of the one that it opens.
    """
    read, listed = _folders(gpu, tuple(hidden), (*seen, *_chip_folders(chip)))
    proc = ("/proc",) if own_proc else _PROC
    devices = [*_DEVICES, *(_gpu_devices() if gpu else ()), *(_GPU_WRITES if gpu else ()), *_chip_nodes(chip)]
    # The GPU's driver keeps there what processes share.
    return Visible((*read, *proc), listed, ("/dev/shm",) if gpu else (), tuple(devices))


@functools.cache  # the fork-server asks once, before it forks
def _folders(gpu: bool, hidden: tuple[str, ...], seen: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    out = [os.path.realpath(path) for path in (*hidden, *own_folders())]
    read, listed = _around([*_SYSTEM, *_toolchain(), *seen, *(_GPU if gpu else ())], out)
    return tuple(read), tuple(listed)


def own_folders() -> Iterator[str]:
    """This package: its folder, and where its parts, which may be links, lie."""
    import kernelwright

    package = Path(__file__).resolve().parent.parent.parent
    root = Path(kernelwright.__file__).resolve().parent
    yield str(root)
    yield from (str(part) for part in root.iterdir() if part.is_dir())
    if (package / "pyproject.toml").exists():  # a checkout: all of it but an environment inside
        yield from (str(part) for part in package.iterdir() if not (part / "pyvenv.cfg").exists())


def _toolchain() -> Iterator[str]:
    yield from {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    yield from {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    for name in ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH"):
        yield from (path for path in os.environ.get(name, "").split(os.pathsep) if path.startswith("/"))
    for name in _COMPILERS:
        if found := shutil.which(name):
            yield str(Path(found).resolve().parent.parent)
    for name in _LIBRARIES:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            yield str(Path(place).parent)


def _chip_folders(kind: str) -> tuple[str, ...]:
    return _TPU if kind == "tpu" else chip_npu.seen_folders() if kind == "npu" else ()


def _chip_nodes(kind: str) -> list[str]:
    return nodes() if kind == "tpu" else chip_npu.nodes() if kind == "npu" else []


def _gpu_devices() -> Iterator[str]:
    yield from (str(node) for node in Path("/dev").iterdir() if node.name.startswith(_GPU_DEVICES))


def _around(wanted: Iterable[str], hidden: Sequence[str]) -> tuple[list[str], list[str]]:
    """``wanted`` without ``hidden``: (paths seen whole, folders of which only the names are)."""
    read: list[str] = []
    listed: list[str] = []
    queue = [*wanted]
    while queue:
        path = queue.pop()
        real = os.path.realpath(path)
        if any(_inside(real, out) for out in hidden) or not Path(real).exists():
            continue
        if path == real and any(_inside(path, seen) for seen in read):
            continue
        if any(_inside(out, real) for out in hidden):
            listed.append(path)
            queue += _entries(path)
        else:
            read.append(path)
    return read, listed


def _entries(path: str) -> list[str]:
    try:
        return [str(entry) for entry in Path(path).iterdir()]
    except OSError:
        return []


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
