"""The parts of the package tt-lang-sim that the judge uses. Importing this imports the simulator: only who runs it does.

The package rebinds ``torch.bfloat16`` and ``torch.float16`` to float32 as it is imported. Here that is undone at once, so
that narrow types are stored and rounded as what they are.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGE, VERSION = "tt-lang-sim", "1.1.6"
NEEDED = {
    "ttl.sim.block": ("broadcast", "fill", "mask", "mask_posinf", "where", "squeeze", "unsqueeze", "transpose"),
    "ttl.sim.blockstate": ("KernelType",),
    "ttl.sim.context": ("get_context", "reset_context"),
    "ttl.sim.copy": ("copy", "CopyTransaction", "GroupTransfer"),
    "ttl.sim.copyhandlers": ("TensorToBlockHandler", "BlockToTensorHandler", "BlockToPipeHandler", "PipeToBlockHandler"),
    "ttl.sim.decorators": ("compute", "datamovement"),
    "ttl.sim.dfb": ("Block", "DataflowBuffer", "make_dataflow_buffer_like"),
    "ttl.sim.diagnostics": ("is_simulator_frame", "print_diagnostic_error"),
    "ttl.sim.greenlet_scheduler": ("print_diagnostic_error", "is_simulator_frame"),
    "ttl.sim.math": ("exp", "reduce_sum", "reduce_max"),
    "ttl.sim.nodecontext": ("node", "grid_size"),
    "ttl.sim.operation": ("operation",),
    "ttl.sim.pipe": ("Pipe", "PipeNet", "SrcPipeIdentity", "DstPipeIdentity"),
    "ttl.sim.program": ("print_diagnostic_error",),
    "ttl.sim.ttnnsim": ("Tensor", "set_disable_float32_promotion"),
    "greenlet": ("getcurrent",),
}
"""Module -> what the judge uses of it. Another version may have moved it, and a check that is not there must not pass for
one that found nothing."""
_BLOCK = ("store", "raw_tensor", "from_tensor", "_check_can_read", "_buf")


class Absent(ImportError):
    """The simulator that is installed lacks what the judge uses."""


def _modules() -> dict[str, Any]:
    narrow = {name: getattr(torch, name) for name in ("bfloat16", "float16")}
    try:
        found = {name: import_module(name) for name in NEEDED}
        if hasattr(found["ttl.sim.ttnnsim"], "set_disable_float32_promotion"):
            found["ttl.sim.ttnnsim"].set_disable_float32_promotion(True)
    finally:
        for name, dtype in narrow.items():
            setattr(torch, name, dtype)
    missing = [f"{name}.{part}" for name, parts in NEEDED.items() for part in parts if not hasattr(found[name], part)]
    block = getattr(found["ttl.sim.dfb"], "Block", None)
    missing += [f"Block.{part}" for part in _BLOCK if block is not None and not hasattr(block, part)]
    if missing:
        raise Absent(f"version {version(PACKAGE)} has no {', '.join(missing)}; {VERSION} has")
    return found


MODULES = _modules()
ROOT = str(Path(str(MODULES["ttl.sim.dfb"].__file__)).parent)
"""The simulator's own files begin with this."""
