"""Compile Triton launches for a GPU that is not there, and read what the compiler made of them.

Enter :func:`compile_launches` in a process that does not interpret, and call the model with CPU tensors: each kernel it
would launch is compiled for the architecture, specialised to its real arguments. Nothing runs; outputs are garbage.
"""

from __future__ import annotations

import functools
import math
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends.triton_driver import GPUS, StandInDriver, stand_in

_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_OPCODE = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9.]+)", re.MULTILINE)
_WIDE = re.compile(r"^(LDG|STG)\b.*\.(128|64)\b")
_INTERESTING = """
    HGMMA HMMA IMMA QGMMA DMMA UTCHMMA UTCQMMA LDG STG LDGSTS UTMALDG UTMASTG LDS STS LDSM STSM LDL STL BAR MUFU FFMA FADD
    FMUL HFMA2 SHFL RED ATOMG ATOM
"""
INTERESTING = frozenset(_INTERESTING.split())
_AMD_RESOURCE = re.compile(r"^\s*\.(vgpr_count|agpr_count|private_segment_fixed_size):\s+(\d+)", re.MULTILINE)
_AMD_OPCODE = re.compile(r"^\s+([a-z][a-z0-9]*_[a-z0-9_]+)\b", re.MULTILINE)
_AMD_KINDS = """
    v_mfma v_exp global_load global_store buffer_load buffer_store ds_read ds_write s_barrier scratch_
"""
AMD_KINDS = tuple(_AMD_KINDS.split())
"""Beginnings of the instructions of an AMD GPU that matter."""
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
    """A thread, accumulators included; 0 where the toolchain has no cuobjdump."""
    spill_bytes: int = 0
    """Local memory a thread."""
    instructions: dict[str, int] = field(default_factory=dict)
    """Instructions that matter: SASS opcodes, ``LDG.128`` the 16-byte loads among ``LDG``; of AMD's by :data:`AMD_KINDS`."""


@contextmanager
def compile_launches(target: str = "sm_90") -> Iterator[list[LaunchEvidence]]:
    """Compile instead of launching, for a target of :data:`GPUS`; the list fills as the model runs.

    Of an autotuner's configurations at most 3 are compiled. Errors are Triton's own: ``CompilationError`` with the
    line, ``OutOfResources`` beyond the GPU's shared memory.
    """
    gpu = GPUS[target]
    recorder = _Recorder()
    with _assembly_of(recorder) if gpu.backend == "hip" else nullcontext(), stand_in(StandInDriver(recorder, gpu)):
        yield recorder.found


@contextmanager
def _assembly_of(recorder: _Recorder) -> Iterator[None]:
    """Give the recorder each kernel's assembly before it is loaded: no tool that reads AMD's binaries is at hand."""
    from triton.compiler.compiler import CompiledKernel

    original = CompiledKernel._init_handles

    @functools.wraps(original)
    def noted(self: Any) -> Any:
        recorder.assembly = str(self.asm.get("amdgcn", ""))
        return original(self)

    CompiledKernel._init_handles = noted
    try:
        yield
    finally:
        CompiledKernel._init_handles = original


class _Recorder:
    """The stand-in's loader: keeps what is compiled, counts what would be launched."""

    def __init__(self) -> None:
        self.assembly = ""
        """Of the kernel that is being loaded, where the target's is text."""
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
            if self.assembly:
                self._latest.registers, self._latest.spill_bytes, self._latest.instructions = of_assembly(self.assembly)
                return self._latest.registers, self._latest.spill_bytes // 4
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


def of_assembly(text: str) -> tuple[int, int, dict[str, int]]:
    """(registers, spilled bytes) a thread, and the instruction mix, of an AMD kernel's assembly."""
    said = {name: int(value) for name, value in _AMD_RESOURCE.findall(text)}
    mix: Counter[str] = Counter()
    for opcode in _AMD_OPCODE.findall(text):
        mix["total"] += 1
        mix.update(kind.rstrip("_") for kind in AMD_KINDS if opcode.startswith(kind))
    # on gfx90a and later the accumulators are counted among the vector registers
    return said.get("vgpr_count", 0), said.get("private_segment_fixed_size", 0), dict(mix)


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
