"""Ascend C compiled against our own model of a 910B vector core: a host library that runs a kernel block by block.

The model is the C++ under ``ascendc/``, written from public documentation; nothing of the vendor's is needed or used.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

from kernelwright.evaluator.ascend_source import NOT_MODELLED, NotModelled, complete, kernels
from kernelwright.evaluator.toolchain import TIMEOUT_S, BuildError, Dialect, Library, build_library

PARTS = ("core.h", "tensors.h", "copies.h", "vector.h", "reduce.h")
"""Files of the model, in the order in which they are read."""
FLAGS = (
    "-O2", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fwrapv", "-ffp-contract=off", "-fno-strict-aliasing",
    "-fsanitize=bounds", "-fsanitize-undefined-trap-on-error",
)  # fmt: skip
"""Integers wrap as the device's do, no two instructions are fused into one, and an index outside an array ends the process."""
_KEPT = re.compile(r"^(?:[0-9a-f]+\s+)?([bBdDu])\s+(.+)$")
_PLUMBING = re.compile(
    r"^(?:__|_DYNAMIC|_GLOBAL_OFFSET_TABLE_|_edata|_end$|completed\.|DW\.ref\.|kwsim::|guard variable for kwsim::"
    r"|vtable|typeinfo|std::)"
)
"""Of the model and of the linker; a kernel's own names begin with none of these."""


@functools.cache
def dialect() -> Dialect:
    """The model as one header, and the flags."""
    folder = Path(__file__).parent / "ascendc"
    return Dialect("".join((folder / part).read_text() for part in PARTS), FLAGS)


def build_simulated(source: str, cache: Path, timeout: float = TIMEOUT_S) -> Library:
    """Compile an Ascend C source for the simulator into ``cache``, or find it there.

    Raises:
        NotModelled: it uses what the simulator lacks.
        BuildError: no compiler, what no AI core runs, a compiler error or a timeout.
    """
    functions = kernels(source)
    try:
        library = build_library(complete(source, functions), cache, timeout, dialect())
    except BuildError as error:
        if NOT_MODELLED in error.log:
            line = next(line for line in error.log.splitlines() if NOT_MODELLED in line)
            raise NotModelled(line.partition("error: ")[2] or line, error.log) from None
        raise
    if kept := _globals(library.path):
        raise BuildError(f"the variable {kept[0]} outlives the launch: an AI core keeps nothing; use const or class members")
    return library


def _globals(path: str) -> list[str]:
    """Variables of a kernel's own that a library keeps; none where there is no ``nm`` to tell."""
    tool = shutil.which("nm")
    if tool is None:
        return []
    done = subprocess.run([tool, "-C", path], capture_output=True, text=True, timeout=60, check=False, errors="replace")
    found = (_KEPT.match(line.strip()) for line in done.stdout.splitlines())
    return [match[2] for match in found if match and not _PLUMBING.match(match[2])]
