"""Which code of others acts on its own account while a kernel's frame is further out: where, what, and with what.

A file that acts for itself may also call what a kernel gives it, and what is written in C has no frame: the event then
looks like the file's own. So the places are as narrow as they can be named (functions of this package, files of Triton that
compile and load), and what an event says of itself must fit besides: which library is opened, which file, which program.

Arguments are a kernel's objects: only exact built-in types are looked at, since any other would run code in here.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PosixPath
from types import FrameType
from typing import Any

LOADING = frozenset({"ctypes.dlopen", "ctypes.dlsym"})
FILES = frozenset({"open", "os.remove", "os.rename", "os.listdir", "os.scandir"})
STARTING = frozenset({"subprocess.Popen", "os.posix_spawn"})
COMPILING = FILES | STARTING


@dataclass(frozen=True)
class _Place:
    file: str
    """A part of the file's path."""
    events: frozenset[str]
    functions: frozenset[str] = frozenset()
    """Their names; empty: all of the file."""
    fits: str = ""
    """What the event must be about: ``built``, ``codegen``, ``driver``, ``maps``, ``triton``; empty: anything."""
    callers: tuple[tuple[str, str], ...] = ()
    """(part of a path, function or nothing) of the frame that called the file; empty: any."""


_NVIDIA, _AMD = "/triton/backends/nvidia/", "/triton/backends/amd/"
_COMPILERS = (
    ("/triton/compiler/compiler.py", ""),
    ("/triton/runtime/autotuner.py", "check_disk_cache"),
    (_NVIDIA, ""),
    (_AMD, ""),
)
_BUILDERS = ((_NVIDIA + "driver.py", "__init__"), (_AMD + "driver.py", "__init__"))
_PLACES = (
    _Place("/evaluator/native.py", LOADING, frozenset({"_symbol"}), "built"),
    _Place("/evaluator/symbols.py", frozenset({"open"}), frozenset({"exported"}), "built"),
    _Place("/evaluator/native_cuda.py", LOADING, frozenset({"_driver"}), "driver"),
    _Place("/evaluator/native_cuda.py", frozenset({"open"}), frozenset({"_image"}), "built"),
    _Place("/evaluator/tape.py", frozenset({"open"}), frozenset({"_mapped"}), "maps"),
    _Place("/evaluator/tape.py", frozenset({"ctypes.string_at"}), frozenset({"_blob"})),
    _Place("/evaluator/backends/triton_compile.py", COMPILING, frozenset({"_tool"}), "triton"),
    _Place("/evaluator/backends/triton_memory.py", frozenset({"gc.get_objects"}), frozenset({"_alive"})),
    _Place("/triton/runtime/cache.py", FILES, fits="triton", callers=_COMPILERS),
    _Place("/triton/runtime/build.py", COMPILING, fits="triton", callers=_BUILDERS),
    _Place("/triton/runtime/autotuner.py", frozenset({"open"}), frozenset({"check_disk_cache"}), "triton"),
    _Place("/triton/compiler/compiler.py", FILES, fits="triton"),
    _Place("/triton/tools/disasm.py", COMPILING, fits="triton"),
    _Place(_NVIDIA + "compiler.py", COMPILING, fits="triton"),
    _Place(_AMD + "compiler.py", COMPILING, fits="triton"),
    _Place(_AMD + "compiler.py", LOADING, frozenset({"_load_amd_codegen"}), "codegen"),
    _Place(_AMD + "compiler.py", frozenset({"ctypes.string_at"}), frozenset({"compile_amdgpu", "assemble_amdgcn"}), "codegen"),
    _Place(_NVIDIA + "driver.py", COMPILING, fits="triton"),
    _Place(_AMD + "driver.py", COMPILING, fits="triton"),
    _Place(_NVIDIA + "driver.py", LOADING, fits="driver"),
    _Place(_AMD + "driver.py", LOADING, fits="driver"),
    _Place(_AMD + "driver.py", LOADING | {"ctypes.string_at"}, frozenset({"_find_already_mmapped_dylib_on_linux"})),
    _Place("/triton/knobs.py", STARTING | {"open"}, fits="triton"),
    _Place("/triton/knobs.py", frozenset({"os.putenv", "os.unsetenv"})),
    _Place("/torch/cuda/_utils.py", LOADING, fits="driver"),
    # where torch asks NVML for devices; others in that file call what they are given (``_lazy_call``)
    _Place("/torch/cuda/__init__.py", LOADING, frozenset({"_raw_device_count_nvml", "_raw_device_uuid_nvml"}), "driver"),
)
"""Triton's ``runtime/jit.py``, ``autotuner.py``, ``interpreter.py``, ``testing.py`` and ``compiler/code_generator.py`` are not
here: they call what a kernel gives (grids, hooks, heuristics) and raise nothing of their own but in ``check_disk_cache``."""
_SERVICES = ("/triton/runtime/cache.py", "/triton/runtime/build.py")
_DRIVERS = ("libcuda.so", "libnvrtc", "libnvidia-ml.so", "libamdhip64", "libhiprtc", "libamd_smi")
_PROGRAMS = frozenset({"ptxas", "ptxas-blackwell", "cuobjdump", "nvdisasm", "ldconfig", "hipconfig", "gcc", "cc", "clang"}) | {
    "file",  # the standard library's platform.architecture(), a part of the key that Triton caches its modules by
    "uname",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Reasons:
    """What stands fixed when a kernel is loaded.

    Args:
        libraries: what was built ahead for this kernel: path -> the names that each defines.
        packages: folders of installed packages.
        passes_on: whether a file's code acts for its caller.
    """

    def __init__(
        self, libraries: Mapping[str, frozenset[str]], packages: tuple[str, ...], passes_on: Callable[[str], bool]
    ) -> None:
        self._libraries = dict(libraries)
        self.abroad = False
        """Whether the judge has asked for code of a GPU of AMD's: what generates it opens a library, and reads what that made
        at an address that a kernel may have put there. Only a runner that judges nothing compiles for one."""
        self._passes_on = passes_on
        self._triton = tuple(f"{folder}triton/" for folder in packages)
        found = [path for folder in packages for path in Path(folder).glob("triton/backends/*/driver.c")]
        self._driver_sources = {path.read_text(encoding="utf-8") for path in found}
        home = os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton"
        scratch = (Path.cwd(), tempfile.gettempdir(), home)  # asked now: looking for the folder writes a file
        self._scratch = tuple({f"{Path(folder).resolve()}/" for folder in scratch})

    def admit(self, path: str, defined: frozenset[str]) -> None:
        """One more library that was built for this kernel."""
        self._libraries[path] = defined

    def covers(self, frame: FrameType, event: str, arguments: tuple[Any, ...]) -> bool:
        """Whether the code of ``frame`` raises this event on its own account."""
        name, function = frame.f_code.co_filename, frame.f_code.co_name
        return any(
            event in place.events
            and place.file in name
            and (not place.functions or function in place.functions)
            and self._fits(place.fits, event, arguments)
            and (not place.callers or self._called_by(frame, place.callers))
            for place in _PLACES
        )

    def _called_by(self, frame: FrameType | None, callers: tuple[tuple[str, str], ...]) -> bool:
        """Whether the first frame outside Triton's services is one of ``callers``: a kernel has no business with them."""
        asked: FrameType | None = None
        while frame is not None:
            name = frame.f_code.co_filename
            service = any(place in name for place in _SERVICES)
            if not (service or name.startswith("<frozen") or self._passes_on(name)):
                known = any(place in name and function in ("", frame.f_code.co_name) for place, function in callers)
                return known and (callers is not _BUILDERS or asked is None or self._is_own_source(asked, frame))
            asked = frame if service else asked
            frame = frame.f_back
        return False

    def _is_own_source(self, builder: FrameType, driver: FrameType) -> bool:
        """Whether what is built is the driver's: a file of Triton's package, or the text that its caller holds.

        A driver that binds a launcher asks the description of a kernel for its signature: the builder itself may answer.
        """
        given = builder.f_locals
        if "src_path" in builder.f_code.co_varnames[: builder.f_code.co_argcount]:
            return os.path.realpath(_text(given["src_path"])).startswith(self._triton)
        source = given.get("src", "")
        return type(source) is str and (source is driver.f_locals.get("src") or source in self._driver_sources)

    def _fits(self, about: str, event: str, arguments: tuple[Any, ...]) -> bool:
        if not about:
            return True
        first = arguments[0] if arguments else None
        if event == "ctypes.dlsym":
            return self._has_symbol(about, first, arguments[1:])
        if about == "built":
            return type(first) is str and first in self._libraries and (event != "open" or _reads(arguments))
        if about == "maps":
            return type(first) is str and first == "/proc/self/maps" and _reads(arguments)
        if about == "driver":
            return self._is_driver(first)
        if about == "codegen":
            return self.abroad and (event == "ctypes.string_at" or self._is_codegen(first))
        if event in STARTING:
            return self._is_program(first)
        return self._is_scratch(event, arguments)

    def _has_symbol(self, about: str, library: Any, names: tuple[Any, ...]) -> bool:
        if type(library) is not ctypes.CDLL or len(names) != 1 or type(names[0]) is not str:
            return False
        path = object.__getattribute__(library, "__dict__").get("_name")
        if about == "driver":
            return self._is_driver(path)
        if about == "codegen":
            return self.abroad and self._is_codegen(path)
        return type(path) is str and names[0] in self._libraries.get(path, ())

    def _is_driver(self, name: Any) -> bool:
        """A GPU's own library, by its bare name or from a folder that no kernel writes to."""
        if type(name) is not str or not os.path.basename(name).startswith(_DRIVERS):  # noqa: PTH119 - one hot string
            return False
        return "/" not in name or not os.path.realpath(name).startswith(self._scratch)

    def _is_codegen(self, name: Any) -> bool:
        """The code generator for AMD's GPUs in Triton's own package."""
        own = type(name) is str and os.path.basename(name) == "libtriton_amd_codegen.so"  # noqa: PTH119 - as above
        return own and os.path.realpath(name).startswith(self._triton)

    def _is_program(self, path: Any) -> bool:
        """One of a toolchain, not from a folder that a kernel may have filled."""
        given = _text(path)
        if os.path.basename(given) not in _PROGRAMS:  # noqa: PTH119 - as above
            return False
        real = os.path.realpath(shutil.which(given) or given)
        return real.startswith(self._triton) or not real.startswith(self._scratch)

    def _is_scratch(self, event: str, arguments: tuple[Any, ...]) -> bool:
        """Files in Triton's cache or the scratch folder, and for reading those of its package."""
        for path in arguments[: 2 if event == "os.rename" else 1]:
            if type(path) is int:  # an open folder, as when a tree is removed
                continue
            given = _text(path)
            real = os.path.realpath(given) + "/"
            readable = event in ("os.listdir", "os.scandir") or (event == "open" and _reads(arguments))
            if not given:
                return False
            if real == "/dev/null/" or real.startswith(self._scratch) or (readable and real.startswith(self._triton)):
                continue
            return False
        return True


def _text(path: Any) -> str:
    """A path in words; nothing where its type is not the standard library's own."""
    if type(path) is PosixPath:
        path = str(path)
    return os.fsdecode(path) if type(path) in (str, bytes) else ""


def _reads(arguments: tuple[Any, ...]) -> bool:
    """Whether a file is opened for reading alone: (path, mode, flags) of the event."""
    flags = arguments[2] if len(arguments) > 2 else None
    return type(flags) is int and not flags & _WRITING
