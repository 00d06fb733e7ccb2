"""What a kernel's own Python code does in its process, told by the interpreter's audit events.

An audit hook cannot be removed, and events come from the interpreter's C code, so that neither obfuscated text nor
``getattr`` games hide a call. Only what the kernel's code does itself counts: the frame that raised the event must not belong to
an installed library (dataclasses may ``exec``, Triton may ``compile``, torch may load its libraries).

Not seen: native code of the kernel (:mod:`~kernelwright.evaluator.binary` reads that), and what a library does on its behalf.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

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
"""Events that the standard library raises on behalf of honest code (dataclasses, named tuples): only the kernel's own count."""
_IMPORT = "<frozen importlib"


class Audit:
    """Watches from :meth:`start` on; ``seen`` maps rule to what was done."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}
        self._busy = False
        self._standard = _both([sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")])
        self._numpy = _both([str(Path(np.__file__).parent)])
        self._libraries = _installed()

    def start(self) -> None:
        """For the rest of the process's life."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        rule = RULES.get(event)
        if rule is None or self._busy:
            return
        self._busy = True
        try:
            frame = self._author(sys._getframe(1), event in _DIRECT)
            if frame is not None:
                self.seen.setdefault(rule, f"{event} at line {frame.f_lineno}")
                raise PermissionError(f"{event} is not there for kernels")
        finally:
            self._busy = False

    def _author(self, frame: FrameType | None, direct: bool) -> FrameType | None:
        """The kernel's frame that did it; None when a library did."""
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith(_IMPORT):
                return None
            if not self._passes_on(name):
                return None if name.startswith((*self._libraries, "<frozen")) else frame
            if direct:
                return None
            frame = frame.f_back
        return None


    def _passes_on(self, name: str) -> bool:
        """Whether a file is the standard library's or NumPy's: what they do, they do for their caller."""
        if name.startswith(self._numpy):
            return True
        return name.startswith(self._standard) and not name.startswith(self._libraries)


def _installed() -> tuple[str, ...]:
    """Folders of installed packages, and this package."""
    entries = [entry for entry in sys.path if "site-packages" in entry or "dist-packages" in entry]
    return _both([str(Path(__file__).parent.parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *entries])


def _both(paths: Sequence[str]) -> tuple[str, ...]:
    """Each folder as it is named and with its links resolved."""
    found = {path for name in paths for path in (name, str(Path(name).resolve()))}
    return tuple(sorted(path.rstrip("/") + "/" for path in found))
