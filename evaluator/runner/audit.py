"""What a kernel's own Python code does in its process, told by the interpreter's audit events.

An audit hook cannot be removed, and events come from the interpreter's C code, so that neither obfuscated text nor
``getattr`` games hide a call. Who did it is told by the frames: the standard library and NumPy act for their caller; an
installed library, and this package, acts for itself where it has reason to (:mod:`~kernelwright.evaluator.runner.reasons`:
Triton compiles, kernels' libraries are bound; dataclasses and torch ``exec``, imports load) and for the kernel elsewhere, so
that ``torch.no_grad()(open)(path)`` is the kernel's. What has no frame of the harness below it was done in a thread of the
kernel's. The hook calls no method of what an event carries: a string of a class of its own is no string here.

Not seen: native code of the kernel (:mod:`~kernelwright.evaluator.binary` reads that), and what a library that has reason to
act can be talked into within that reason, such as a file that Triton's cache writes under a name of the kernel's choosing.
"""

from __future__ import annotations

import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from kernelwright.evaluator.runner.reasons import COMPILING, Reasons

RULES = {
    "ctypes.dlopen": "raw_memory",
    "ctypes.dlsym": "raw_memory",
    "ctypes.dlsym/handle": "raw_memory",
    "ctypes.string_at": "raw_memory",
    "ctypes.wstring_at": "raw_memory",
    "ctypes.memoryview_at": "raw_memory",
    "ctypes.cdata": "raw_memory",
    "ctypes.call_function": "raw_memory",
    "gc.get_objects": "frames",
    "gc.get_referrers": "frames",
    "gc.get_referents": "frames",
    "sys._getframe": "frames",
    "sys._current_frames": "frames",
    "sys.settrace": "frames",
    "sys.setprofile": "frames",
    "sys.addaudithook": "frames",
    "code.__new__": "dynamic_code",
    "function.__new__": "dynamic_code",
    "exec": "dynamic_code",
    "marshal.loads": "dynamic_code",
    "pickle.find_class": "dynamic_code",
    "object.__setattr__": "patching",
    "object.__delattr__": "patching",
    "os.fork": "process",
    "os.forkpty": "process",
    "os.exec": "process",
    "os.posix_spawn": "process",
    "os.system": "process",
    "subprocess.Popen": "process",
    "os.kill": "exit",
    "os.killpg": "exit",
    "signal.pthread_kill": "exit",
    "os.putenv": "environment",
    "os.unsetenv": "environment",
    "os.chdir": "environment",
    "socket.connect": "network",
    "socket.bind": "network",
    "socket.__new__": "network",
    "urllib.Request": "network",
    "os.remove": "files",
    "os.rename": "files",
    "os.link": "files",
    "os.symlink": "files",
    "os.truncate": "files",
    "os.listdir": "files",
    "os.scandir": "files",
    "open": "files",
    "mmap.__new__": "files",
    "resource.setrlimit": "global_switch",
}
"""Audit event -> rule (see ``screen_rules.WHY``)."""
_DIRECT = frozenset({"exec", "sys._getframe", "code.__new__", "function.__new__", "object.__setattr__", "object.__delattr__"})
"""Events that libraries raise on behalf of honest code (dataclasses, named tuples, warnings): only the kernel's own count."""
_CTYPES = frozenset(name for name in RULES if name.startswith("ctypes."))
_LAUNCHED = (("jax/", "jaxlib/"), "/evaluator/backends/pallas", COMPILING | _CTYPES | {"os.putenv", "os.unsetenv"})
"""Libraries that compile and simulate while this package launches a kernel, its files, and what they may do then: what the
kernel makes them call (``jax.tree.map(open, …)``) has the kernel's frame in between."""
_WRAPPERS = (
    "torch/utils/_contextlib.py",
    "torch/nn/modules/module.py",
    "torch/_compile.py",
    "torch/_dynamo/eval_frame.py",
    "triton/testing.py",
)
"""Files that do nothing but call what they are given: not even what is free for other libraries is theirs."""
_ENTRIES = {"candidate.py": frozenset({"_forward", "_delayed", "build"}), "clockwork.py": frozenset({"run_calls"})}
"""Functions of the runner that call the kernel: what has no Python frame of its own there is the kernel's."""
_BOTTOM = ("candidate.py", "serve")
_IMPORT = "<frozen importlib"
_IMPORTING = "_find_and_load"


class Audit:
    """Watches from :meth:`start` on; ``seen`` maps rule to what was done.

    ``libraries``: what was built ahead for the kernel: path -> the names that each defines.
    """

    def __init__(self, libraries: Mapping[str, frozenset[str]] | None = None) -> None:
        self.seen: dict[str, str] = {}
        self._busy: set[int] = set()
        self._standard = _both([sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")])
        self._numpy = _both([str(Path(np.__file__).parent)])
        self._ours = _both([str(Path(__file__).parent.parent)])
        self._libraries = (*self._ours, *_PACKAGES)
        self._reasons = Reasons(libraries or {}, _PACKAGES, self._passes_on)

    def admit(self, path: str, defined: frozenset[str]) -> None:
        """A library that was built since: it may be opened, and these of its names bound."""
        self._reasons.admit(path, defined)

    def compile_abroad(self) -> None:
        """From here on code may be generated for GPUs of AMD's."""
        self._reasons.abroad = True

    def start(self) -> None:
        """For the rest of the process's life."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        rule = RULES.get(event)
        thread = threading.get_ident()
        if rule is None:
            return
        if thread in self._busy:  # asked for a frame below; else who is looked at has code that runs when looked at
            if event != "sys._getframe":
                self.seen.setdefault(rule, f"{event} inside another event")
                raise PermissionError(f"{event} is not there for kernels")
            return
        self._busy.add(thread)
        try:
            frame = sys._getframe(1)
            author = None if self._reads_source(frame, event, arguments) else self._author(frame, event, arguments)
            if author is not None:
                self.seen.setdefault(rule, f"{event} at line {author.f_lineno} of {Path(author.f_code.co_filename).name}")
                raise PermissionError(f"{event} is not there for kernels")
        finally:
            self._busy.discard(thread)

    def _author(self, frame: FrameType | None, event: str, arguments: tuple[Any, ...]) -> FrameType | None:
        """The frame that answers for an event: the kernel's, or what the kernel made call; None when a library did it."""
        direct, doer, last, below = event in _DIRECT, None, frame, False
        while frame is not None:
            name, last = frame.f_code.co_filename, frame
            if name.startswith(_IMPORT):
                if frame.f_code.co_name == _IMPORTING:
                    return None
            elif name.startswith("<frozen") or self._passes_on(name):
                if direct and doer is None:
                    return None
            elif not name.startswith(self._libraries):
                return frame
            else:
                if doer is None and self._has_reason(frame, event, arguments):
                    return None
                doer = doer or frame
                ours = Path(name).name if name.startswith(self._ours) else ""
                if frame.f_code.co_name in _ENTRIES.get(ours, ()):
                    return doer
                below = below or (ours, frame.f_code.co_name) == _BOTTOM
            frame = frame.f_back
        return None if below else last

    def _reads_source(self, frame: FrameType | None, event: str, arguments: tuple[Any, ...]) -> bool:
        """Whether Python source is read, as warnings, tracebacks and ``inspect`` do: a library's, or that of running code."""
        path, mode = (*arguments, None, None)[:2]
        if event != "open" or not (type(path) is str and path.endswith(".py") and type(mode) is str and mode in ("r", "rb")):
            return False
        if path.startswith((*self._standard, *self._libraries)):
            return True
        while frame is not None:
            if frame.f_code.co_filename == path:
                return True
            frame = frame.f_back
        return False

    def _has_reason(self, frame: FrameType, event: str, arguments: tuple[Any, ...]) -> bool:
        """Whether a library's code raises this event on its own account."""
        name = frame.f_code.co_filename
        if any(f"/{wrapper}" in name for wrapper in _WRAPPERS):
            return False
        if event in _LAUNCHED[2] and any(f"/{place}" in name for place in _LAUNCHED[0]) and self._launching(frame):
            return True
        return event in _DIRECT or self._reasons.covers(frame, event, arguments)

    def _launching(self, frame: FrameType | None) -> bool:
        """Whether this package's launch of a kernel is further out, and none of the kernel's frames before it."""
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith(self._ours) and _LAUNCHED[1] in name:
                return True
            if not (name.startswith(("<frozen", *self._libraries)) or self._passes_on(name)):
                return False
            frame = frame.f_back
        return False

    def _passes_on(self, name: str) -> bool:
        """Whether a file is the standard library's or NumPy's: what they do, they do for their caller."""
        if name.startswith(self._numpy):
            return True
        return name.startswith(self._standard) and not name.startswith(self._libraries)


def _installed() -> tuple[str, ...]:
    """Folders of installed packages: by their names, or, as ``pip install --target`` leaves them, by what lies in them."""
    named = ("site-packages", "dist-packages")
    entries = [e for e in sys.path if e and (any(name in e for name in named) or any(Path(e).glob("*.dist-info")))]
    return _both([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *entries])


def _both(paths: Sequence[str]) -> tuple[str, ...]:
    """Each folder as it is named and with its links resolved."""
    found = {path for name in paths for path in (name, str(Path(name).resolve()))}
    return tuple(sorted(path.rstrip("/") + "/" for path in found))


_PACKAGES = _installed()
"""Looked up as this is imported, by the fork-server: a runner may not see the folders that its libraries came from."""
