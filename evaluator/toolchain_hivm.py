"""Triton-Ascend's linalg to HIVM by the vendor's `bishengir-compile`, and to an NPU's binary where CANN's `hivmc` is installed.

`hivmc`, the compiler's last step, is closed. Where it is not there, that it alone is missing is the only failure that passes.
Where it is, what it refuses counts; so far it never was: how it is found and called is read in AscendNPU-IR
(`bishengir/lib/Tools/Utils/Utils.cpp`, `bishengir/lib/Tools/bishengir-compile/`), and what it says there is not known.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.evaluator import cann
from kernelwright.evaluator.ascend_environment import ARCH, Toolchain
from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.toolchain import BuildError, run_limited
from kernelwright.evaluator.toolchain_cann import CRASH, Trouble

SECONDS = 120.0
_TEXT = 4 << 20
_OPTIONS = (
    f"--target={ARCH}", "--enable-auto-bind-sub-block=True", "--enable-hfusion-compile=true", "--enable-hivm-compile=true",
    "--enable-triton-kernel-compile=true",
)  # fmt: skip
_RESULT = "module.hivm.opt.mlir"
_BINARY = "kernel.o"
_CLOSED = ("hivmc", "Failed to run BiShengIR pipeline")
"""What stands in the errors of a compilation that lacks nothing but its last step."""
_GENERAL = ("hivmc run fails", "Failed to run BiSheng", "[ERROR] Executing:", "`hivmc --version`", "Cannot find hivmc")
"""What stands there when the last step failed, besides the reason."""
_ERROR = re.compile(r"\berror: |^\[ERROR\]")
_PLACE = re.compile(r"^loc\([^)]*\): ")
PLAIN = """
module {
  func.func @plain(%arg0: memref<?xi8>, %arg1: memref<?xi8>, %arg2: memref<?xf32> {tt.tensor_kind = 0 : i32},
      %arg3: memref<?xf32> {tt.tensor_kind = 1 : i32}, %arg4: i32, %arg5: i32, %arg6: i32, %arg7: i32, %arg8: i32, %arg9: i32)
      attributes {SyncBlockLockArgIdx = 0 : i64, WorkspaceArgIdx = 1 : i64, global_kernel = "local", parallel_mode = "simd"} {
    %to = memref.reinterpret_cast %arg3 to offset: [0], sizes: [256], strides: [1]
      : memref<?xf32> to memref<256xf32, strided<[1]>>
    %from = memref.reinterpret_cast %arg2 to offset: [0], sizes: [256], strides: [1]
      : memref<?xf32> to memref<256xf32, strided<[1]>>
    %made = memref.alloc() : memref<256xf32>
    memref.copy %from, %made : memref<256xf32, strided<[1]>> to memref<256xf32>
    %values = bufferization.to_tensor %made restrict writable : memref<256xf32>
    %twice = arith.addf %values, %values : tensor<256xf32>
    bufferization.materialize_in_destination %twice in writable %to : (tensor<256xf32>, memref<256xf32, strided<[1]>>) -> ()
    return
  }
}
"""
"""A kernel that a whole toolchain makes a binary of."""


@dataclass(frozen=True)
class LastStep:
    """A `hivmc` that has made a binary of :data:`PLAIN`."""

    path: str
    versions: str
    """Of the toolkit and of `hivmc`."""
    variables: Mapping[str, str]

    @property
    def identity(self) -> str:
        """What a binary depends on."""
        return f"{self.path} {self.versions}"


@dataclass(frozen=True)
class Hivm:
    """What became of one linalg."""

    text: str
    notes: Sequence[str]
    """What the compiler said of having to try again."""
    binary: Mapping[str, Any] = field(default_factory=dict)
    """``bytes`` of the NPU's binary, or the ``problem`` of the tool that makes it; empty where it is not there."""


def last_step(toolchain: Toolchain) -> LastStep | str:
    """CANN's `hivmc`, or why the one that is here is of no use, in one line; empty where there is none.

    Tried once in a process and place.
    """
    home = cann.home()
    path = cann.program(home, "hivmc") if home else shutil.which("hivmc") or ""
    where = home or Path(path).resolve().parent.parent
    return _tried(toolchain, str(where), path, os.environ.get("PATH", "")) if path else ""


@functools.cache
def _tried(toolchain: Toolchain, where: str, path: str, _: str) -> LastStep | str:
    home = Path(where)
    variables = cann.variables(home, path)
    with tempfile.TemporaryDirectory() as folder:
        run_limited([path, "--version"], Path(folder), 60.0, variables)
        said = (Path(folder) / "stderr.txt").read_text(errors="replace").strip().splitlines()
    versions = f"CANN {cann.version(home) or 'of unknown version'}, {(said or ['hivmc that says no version'])[0][:120]}"
    found = LastStep(path, versions, variables)
    problem = _plain_fails(toolchain, found)
    return f"{path} makes no binary of a plain kernel ({problem}); {cann.REMEDY}" if problem else found


def _plain_fails(toolchain: Toolchain, last: LastStep) -> str:
    with tempfile.TemporaryDirectory() as folder:
        code, log = _run(PLAIN, toolchain, Path(folder), True, SECONDS, last)
        try:
            _binary(code, log, Path(folder) / _BINARY)
        except (BuildError, Trouble) as error:
            return str(error)
    return ""


def compile_hivm(
    linalg: str, toolchain: Toolchain, folder: Path, multibuffer: bool, seconds: float, last: LastStep | None
) -> Hivm:
    """Compile one linalg for :data:`ARCH` in ``folder``.

    Raises:
        NotModelled: the compiler crashes or does not end on it.
        BuildError: it refuses it, or ``last`` does; ``log`` is what it said.
    """
    code, log = _run(linalg, toolchain, folder, multibuffer, seconds, last)
    if code is None:
        raise NotModelled(f"bishengir-compile ran past {seconds:g} s on it and was stopped")
    result = folder / "hivm" / _RESULT
    if last is not None and code in (0, 1) and result.exists():
        binary = _finished(code, log, folder / _BINARY, toolchain, last)
        return Hivm(result.read_text(errors="replace")[:_TEXT], _notes(log), binary)
    if errors := refused(log):
        raise BuildError(f"the vendor's compiler refuses it: {errors[0]}", "\n".join([*errors, *_notes(log)]))
    if code not in (0, 1):
        raise NotModelled(f"bishengir-compile crashed on it with status {code}", log[:4000])
    if not result.exists():
        raise NotModelled(f"bishengir-compile ended with status {code}, without an error and without HIVM", log[:4000])
    return Hivm(result.read_text(errors="replace")[:_TEXT], _notes(log))


def _run(
    linalg: str, toolchain: Toolchain, folder: Path, multibuffer: bool, seconds: float, last: LastStep | None
) -> tuple[int | None, str]:
    """Status of `bishengir-compile`, and what it said."""
    (folder / "kernel.mlir").write_text(re.sub(r', mix_mode\s*=\s*"[^"]*"', "", linalg))
    option = f"--enable-auto-multi-buffer={multibuffer}"
    command = [str(toolchain.vendor), "kernel.mlir", *_OPTIONS, option, "--save-temps=hivm", "-o", _BINARY]
    hidden = {"PATH": str(folder)}  # a last step that is here and of no use would accuse every kernel
    code = run_limited(command, folder, seconds, last.variables if last else hidden)
    return code, (folder / "stderr.txt").read_text(errors="replace")[:_TEXT]


def _finished(code: int, log: str, made: Path, toolchain: Toolchain, last: LastStep) -> dict[str, Any]:
    """What the last step made, or its trouble; what it refuses counts only while it still takes :data:`PLAIN`."""
    try:
        return {"bytes": _binary(code, log, made)}
    except Trouble as own:
        return {"problem": str(own)}
    except BuildError:
        if problem := _plain_fails(toolchain, last):
            return {"problem": f"it refuses the plain kernel too, which it took before: {problem}"}
        raise


def _binary(code: int | None, log: str, made: Path) -> int:
    """Bytes of what the last step made.

    Raises:
        BuildError: it refuses the kernel, in its own words; Trouble: it ended without any, or crashed.
    """
    if code == 0 and made.exists():
        return made.stat().st_size
    said = [_PLACE.sub("", line).removeprefix("error: ")[:600] for line in log.splitlines() if _ERROR.search(line)]
    own = [line for line in said if not any(general in line for general in _GENERAL)]
    if CRASH.search(log) or not own:
        what = f"hivmc crashed: {own[0]}" if own else "hivmc made no binary, and named no error of the kernel"
        raise Trouble(what)
    raise BuildError(f"the vendor's compiler refuses it: {own[0]}", "\n".join([*own, *_notes(log)]))


def refused(log: str) -> list[str]:
    """The errors of a `bishengir-compile` that speak of the kernel: all but the missing last step's; the most telling first."""
    errors = [_PLACE.sub("", line).removeprefix("error: ") for line in log.splitlines() if _ERROR.search(line)]
    general = "Failed to run BiSheng"
    ours = [line[:600] for line in errors if not any(known in line for known in _CLOSED)]
    lacks_the_last_step = any("hivmc run fails" in line for line in errors)
    told = [line for line in ours if general not in line]
    return told or ([] if lacks_the_last_step else [line for line in errors if "hivmc" not in line])


def _notes(log: str) -> list[str]:
    return [line.removeprefix("[NOTE] ")[:300] for line in log.splitlines() if line.startswith("[NOTE]")]
