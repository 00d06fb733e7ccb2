"""Whether the JAX and the libtpu that are installed can be used: tried in a process of its own, which may crash or hang.

Run as ``python -m kernelwright.evaluator.backends.pallas_probe jax|libtpu``; prints one JSON object in its last line.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kernelwright.evaluator.backends.pallas_aot import TARGETS, compile_ahead, counting, taken
from kernelwright.evaluator.chip_probe import asked

IMPORTS = ("jax", "jax.export", "jax.experimental.pallas", "jax.experimental.pallas.tpu", "jax.experimental.topologies")
NEEDED = {
    "jax.experimental.pallas.tpu": ("InterpretParams", "force_tpu_interpret_mode", "reset_tpu_interpret_mode_state"),
    "jax._src.pallas.mosaic.interpret.interpret_pallas_call": ("races",),
    "jax._src.pallas.mosaic.interpret.race_detection_state": ("RaceDetectionState",),
    "jax._src.pallas.mosaic.interpret.shared_memory": ("SharedMemory",),
}
"""Module -> what the judge uses of it. Some is private: another version may have moved it, and a check that is not there
must not pass for one that found nothing."""
SEMAPHORES = "get_sempahores_with_nonzero_count"
"""Method of ``SharedMemory``, spelled as JAX 0.10 spells it."""
REMEDY = "pip install --force-reinstall 'kernelwright[pallas]'"
PLAIN, COUNTS = "plain", "counts"
SECONDS = 90.0


@dataclass(frozen=True)
class Libtpu:
    """What ahead-of-time compilation can do here."""

    mode: str
    """``counts``: also bundles, spills and estimated cycles; ``plain``: compile alone; empty: nothing."""
    problem: str = ""
    """Why not more, in one line with the remedy; empty too where libtpu is not installed, which is no trouble."""


def jax_problem() -> str:
    """Empty where JAX can be used, else reason and remedy in one line; asked once in a process."""
    if importlib.util.find_spec("jax") is None:
        return "JAX is not installed; pip install 'kernelwright[pallas]' (and libtpu to compile for v5e and v6e)"
    return _jax_problem()


@cache
def _jax_problem() -> str:
    said = _asked("jax")
    problem = said.get("problem")
    return f"the JAX that is installed cannot be used: {problem}; {REMEDY}" if problem else ""


@cache
def libtpu() -> Libtpu:
    """What libtpu can do; asked once in a process, by compiling a small kernel in another one."""
    if importlib.util.find_spec("libtpu") is None:
        return Libtpu("")
    counted = _asked("libtpu", **counting(cycles=True))
    if not counted.get("problem") and counted.get("counts"):
        return Libtpu(COUNTS)
    said = _asked("libtpu")
    remedy = "pip install -U libtpu jax, or uninstall libtpu: kernels are then judged without it"
    if problem := said.get("problem"):
        return Libtpu("", f"libtpu is installed and cannot be used: {problem}; {remedy}")
    why = counted.get("problem") or "it wrote none"
    return Libtpu(PLAIN, f"libtpu compiles, but gives no bundle and spill counts: {why}; tried with libtpu 0.0.52")


def environment() -> dict[str, str]:
    """For a process that compiles for an absent TPU: no metadata server is asked, JAX takes the CPU, no lock is needed."""
    return {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def _asked(what: str, **more: str) -> dict[str, Any]:
    """What the process said, or its ``problem``; ``more``: variables of its environment."""
    return asked("kernelwright.evaluator.backends.pallas_probe", (what,), {**environment(), **more}, SECONDS)


def try_jax() -> dict[str, Any]:
    """Import what the judge imports, and look for what it uses."""
    try:
        found = {name: importlib.import_module(name) for name in (*IMPORTS, *NEEDED)}
    except Exception as error:  # noqa: BLE001 - a half-installed package fails as it likes
        return {"problem": _line(error)}
    missing = [f"{name}.{part}" for name, parts in NEEDED.items() for part in parts if not hasattr(found[name], part)]
    memory = getattr(found["jax._src.pallas.mosaic.interpret.shared_memory"], "SharedMemory", None)
    if memory is not None and not hasattr(memory, SEMAPHORES):
        missing.append(f"SharedMemory.{SEMAPHORES}")
    if missing:
        return {"problem": f"version {getattr(found['jax'], '__version__', '?')} has no {', '.join(missing)}; 0.10.2 has"}
    return {"problem": ""}


def try_libtpu() -> dict[str, Any]:
    """Compile a small kernel for each target; ``counts`` says whether that gave figures of its schedule."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import pallas as pl

    def body(x: Any, o: Any) -> None:
        o[...] = x[...] + 1.0

    shape = jax.ShapeDtypeStruct((8, 128), jnp.float32)

    def add(x: Any) -> Any:
        return pl.pallas_call(body, out_shape=shape)(x)

    made = {target: compile_ahead(add, [shape], target) for target in TARGETS}
    problems = [f"{target}: {found['problem']}" for target, found in made.items() if "problem" in found]
    return {"problem": _clean("; ".join(problems)), "counts": len(taken(Path.cwd())) == len(TARGETS)}


def _line(error: BaseException) -> str:
    return _clean(f"{type(error).__name__}: {error}")


def _clean(text: str) -> str:
    return " ".join(text.split())[:300]


def main(argv: list[str]) -> int:
    """Try one of the two and print what came of it."""
    tries = {"jax": try_jax, "libtpu": try_libtpu}
    try:
        said: Mapping[str, Any] = tries[argv[0]]()
    except Exception as error:  # noqa: BLE001 - the process is there to find out
        said = {"problem": _line(error)}
    sys.stdout.write(f"\n{json.dumps(said)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
