"""Ahead-of-time compilation for a TPU that is not here, by libtpu: VMEM limits, the compiler's own errors, its schedule.

The schedule's figures (VLIW bundles, spills, the cycles that the compiler estimates) are read from what libtpu writes where
``LIBTPU_INIT_ARGS`` says so. They are static: what refinement goes by where no TPU is, and never a speedup.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

TARGETS = {"v5e": "v5e:2x2", "v6e": "v6e:2x2"}
"""Short name -> topology, as libtpu names it."""
_PASSES = "final.*utilization"
_UTILISATION = "final_hlo-static-per-bundle-utilization.txt"
_PROGRAM = "TLP-hlo.txt"
FOLDER = "libtpu-schedules"
_FILES = 512
_MOST = 1 << 24
"""Bytes of one file that are read."""
_CYCLES = re.compile(r'hlo_op_name:\s*"([^"]*)"\s*estimated_cycles:\s*(\d+)')
_OURS = re.compile(r'^\s*(?:ROOT )?%?(\S+) = .*custom_call_target="tpu_custom_call"', re.MULTILINE)


def counting(*, cycles: bool = False) -> dict[str, str]:
    """The environment of a process, from its start, in which libtpu writes its schedules into the working folder.

    ``cycles``: with its estimate of a call, for which it goes through every step of the grid: half a minute for a few hundred.
    """
    flags = {
        "xla_jf_dump_to": FOLDER,
        "xla_jf_dump_llo_text": "true",
        "xla_jf_dump_llo_pass_label_regex": _PASSES,
    } | ({"xla_jf_dump_static_llo_profile_to": FOLDER} if cycles else {})
    return {"LIBTPU_INIT_ARGS": " ".join(f"--{name}={value}" for name, value in flags.items())}


@cache
def _device(target: str) -> Any:
    from jax.experimental import topologies

    return topologies.get_topology_desc(platform="tpu", topology_name=TARGETS[target]).devices[0]


def compile_ahead(function: Callable[..., Any], shapes: list[Any], target: str) -> dict[str, Any]:
    """Compile for ``target``: ``seconds`` and the compiler's ``memory`` figures in bytes, or its ``problem``.

    A problem of the kernel (VMEM overflow, a layout that Mosaic refuses) and one of the toolchain look alike here; what
    it says is the vendor's text. It is evidence, never a speedup.
    """
    import jax
    from jax.sharding import SingleDeviceSharding

    began = time.monotonic()
    try:
        place = SingleDeviceSharding(_device(target))
        given = [jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place) for s in shapes]
        made = jax.jit(function).lower(*given).compile()
    except Exception as error:  # noqa: BLE001 - libtpu's errors have no common class
        return {"problem": f"{type(error).__name__}: {error}"[:2000]}
    memory = made.memory_analysis()
    names = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes", "generated_code_size_in_bytes")
    return {
        "seconds": round(time.monotonic() - began, 3),
        "memory": {name: int(getattr(memory, name, 0)) for name in names},
    }


def taken(work: Path) -> list[dict[str, Any]]:
    """The schedules that came to be in the working folder of a process since the last call; their files go."""
    folder = work / FOLDER
    found = list(schedules(folder))
    for path in _files(folder, "*"):
        path.unlink(missing_ok=True)
    return found


def schedules(folder: Path) -> Iterator[dict[str, Any]]:
    """Of each Pallas kernel that libtpu wrote a schedule of: ``name``, ``bundles``, ``spills`` and ``fills`` (vector stores to
    and loads from the stack), ``slots`` (unit -> share of its slots that are used, 0 to 1) and ``cycles``, the compiler's own
    estimate of one call, where it gave one. A file that is not as it was in libtpu 0.0.52 gives nothing.
    """
    cycles: dict[str, int] = {}
    for path in _files(folder, "*_static_llo_profile.textproto"):
        for name, number in _CYCLES.findall(_text(path)):
            cycles[name] = max(int(number), cycles.get(name, 0))
    ours = {name for path in _files(folder, f"*{_PROGRAM}") for name in _OURS.findall(_text(path))}  # no copies that XLA added
    for path in _files(folder, f"*{_UTILISATION}"):
        stem = re.sub(rf"-\d+-{re.escape(_UTILISATION)}$", "", path.name)
        name = stem.partition("-")[2]
        counts = utilisation(_text(path)) if name in ours else None
        if counts is not None:
            yield {"name": name, **counts, **({"cycles": cycles[name]} if name in cycles else {})}


def utilisation(text: str) -> dict[str, Any] | None:
    """The figures of one table of units and bundles; None where it is no such table."""
    lines = text.splitlines()
    at = next((n for n, line in enumerate(lines) if line.startswith("MATMUL,") or ", VALU," in line), None)
    if at is None or at + 1 >= len(lines):
        return None
    units = [unit.strip() for unit in lines[at].split(",")]
    capacity = lines[at + 1].split()
    rows = [line.split() for line in lines[at + 2 :] if line.strip() and not line.startswith("==")]
    if len(capacity) != len(units) or any(len(row) != len(units) for row in rows):
        return None
    if not rows or not all(cell.isdecimal() for row in [capacity, *rows] for cell in row):
        return None
    used = {unit: sum(int(row[n]) for row in rows) for n, unit in enumerate(units)}
    room = {unit: int(capacity[n]) * len(rows) for n, unit in enumerate(units)}
    slots = {unit: round(used[unit] / room[unit], 3) for unit in units if ":" not in unit and room[unit]}
    spilled: Mapping[str, int] = {unit.partition(":")[2]: count for unit, count in used.items() if ":" in unit}
    return {"bundles": len(rows), "spills": spilled.get("SPILL", 0), "fills": spilled.get("FILL", 0), "slots": slots}


def _files(folder: Path, pattern: str) -> list[Path]:
    """Plain files, since a candidate may have written there: no link leads out of its folder."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.glob(pattern) if path.is_file() and not path.is_symlink())[:_FILES]


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST).decode("utf-8", errors="replace")
