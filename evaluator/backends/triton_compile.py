"""Compile Triton launches for a GPU that is not there, and read what the compiler made of them.

Enter :func:`compile_launches` in a process that does not interpret, and call the model with CPU tensors: each kernel it
would launch is compiled for the architecture, specialised to its real arguments. Nothing runs; outputs are garbage.
"""

from __future__ import annotations

import math
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends.triton_driver import StandInDriver, stand_in

_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_OPCODE = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9.]+)", re.MULTILINE)
_WIDE = re.compile(r"^(LDG|STG)\b.*\.(128|64)\b")
_INTERESTING = """
    HGMMA HMMA IMMA QGMMA DMMA LDG STG LDGSTS UTMALDG UTMASTG LDS STS LDSM STSM LDL STL BAR MUFU FFMA FADD FMUL HFMA2
    SHFL RED ATOMG ATOM
"""
INTERESTING = frozenset(_INTERESTING.split())
_MAX_DISASSEMBLED = 6
_TOOLS = {"cuobjdump": "-res-usage", "nvdisasm": "-c"}


@dataclass
class LaunchEvidence:
    """One compiled specialisation of a kernel, and how often it would have been launched."""

    name: str
    signature: dict[str, str]
    """Argument -> Triton type (``*fp32``, ``i32``, ``constexpr``)."""
    constexprs: dict[str, Any]
    num_warps: int
    num_stages: int
    shared_bytes: int
    launches: int = 0
    grid: tuple[int, int, int] = (0, 0, 0)
    """Of the last launch."""
    registers: int = 0
    """A thread; 0 where the toolchain has no cuobjdump."""
    spill_bytes: int = 0
    """Local memory a thread."""
    instructions: dict[str, int] = field(default_factory=dict)
    """SASS opcodes that matter; ``LDG.128`` counts the 16-byte loads among ``LDG``."""


@contextmanager
def compile_launches(arch: int = 90) -> Iterator[list[LaunchEvidence]]:
    """Compile instead of launching, for ``sm_<arch>``; the list fills as the model runs.

    Of an autotuner's configurations at most 3 are compiled. Errors are Triton's own: ``CompilationError`` with the
    line, ``OutOfResources`` beyond the H100's shared memory.
    """
    recorder = _Recorder(arch)
    with stand_in(StandInDriver(recorder, arch)):
        yield recorder.found


class _Recorder:
    """The stand-in's loader: keeps what is compiled, counts what would be launched."""

    def __init__(self, arch: int) -> None:
        self.arch = arch
        self.found: list[LaunchEvidence] = []
        self._by_hash: dict[str, LaunchEvidence] = {}
        self._latest: LaunchEvidence | None = None

    def launcher(self, source: Any, metadata: Any) -> Callable[..., None]:
        # Triton asks again at each launch, since the stand-in gives it no module to keep.
        identity = str(getattr(metadata, "hash", id(metadata)))
        if identity not in self._by_hash:
            self._by_hash[identity] = _evidence(source, metadata)
            self.found.append(self._by_hash[identity])
        evidence = self._latest = self._by_hash[identity]

        def launch(x: int, y: int, z: int, *_: Any) -> None:
            evidence.launches += 1
            evidence.grid = (int(x), int(y), int(z))

        return launch

    def load(self, name: str, binary: bytes) -> tuple[int, int]:
        if self._latest is None:
            return 0, 0
        if not self._latest.registers:
            self._latest.registers, self._latest.spill_bytes = resources(binary)
            if len(self.found) <= _MAX_DISASSEMBLED:
                self._latest.instructions = instruction_mix(binary)
        return self._latest.registers, self._latest.spill_bytes // 4


def _evidence(source: Any, metadata: Any) -> LaunchEvidence:
    names = list(source.signature)
    return LaunchEvidence(
        name=str(getattr(metadata, "name", "kernel")),
        signature={str(k): str(v) for k, v in source.signature.items()},
        constexprs={_name(key, names): _plain(value) for key, value in getattr(source, "constants", {}).items()},
        num_warps=int(metadata.num_warps),
        num_stages=int(getattr(metadata, "num_stages", 0)),
        shared_bytes=int(metadata.shared),
    )


def _name(key: Any, names: list[str]) -> str:
    """Constants are keyed by name or by a path of positions."""
    if isinstance(key, tuple) and key and isinstance(key[0], int):
        return ".".join([names[key[0]], *map(str, key[1:])])
    return str(key)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def resources(binary: bytes) -> tuple[int, int]:
    """(registers, spilled bytes) a thread of a cubin, by the ``cuobjdump`` of Triton's wheel; zeros without it."""
    match = _RESOURCES.search(_tool("cuobjdump", binary))
    # Spills live on the stack: LOCAL counts only what the runtime reserves besides.
    return (int(match[1]), int(match[2]) + int(match[4])) if match else (0, 0)


def instruction_mix(binary: bytes) -> dict[str, int]:
    """Opcodes of :data:`INTERESTING` in a cubin, by the ``nvdisasm`` of Triton's wheel; empty without it."""
    mix: Counter[str] = Counter()
    for opcode in _OPCODE.findall(_tool("nvdisasm", binary)):
        head = opcode.split(".", 1)[0]
        mix["total"] += 1
        if head in INTERESTING:
            mix[head] += 1
        if wide := _WIDE.match(opcode):
            mix[f"{wide[1]}.{wide[2]}"] += 1
    return dict(mix)


def _tool(name: str, binary: bytes) -> str:
    """What a tool of Triton's wheel prints. Here alone files are written and programs run: nothing of a kernel's is called."""
    import triton

    if type(binary) is not bytes:
        raise TypeError("a binary is bytes")
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    if not path.exists():
        return ""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        done = subprocess.run([str(path), _TOOLS[name], file.name], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout
