"""Ahead-of-time compilation for a TPU that is not here, by libtpu: VMEM limits and the compiler's own errors."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import cache
from typing import Any

TARGETS = {"v5e": "v5e:2x2", "v6e": "v6e:2x2"}
"""Short name -> topology, as libtpu names it."""


def installed() -> bool:
    """Whether libtpu is here."""
    return importlib.util.find_spec("libtpu") is not None


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
