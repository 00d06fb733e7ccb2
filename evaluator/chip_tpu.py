"""The chip that Pallas kernels run on, which one process at a time can hold.

Names are libtpu's and JAX's, from their documentation (``jax/_src/cloud_tpu_init.py``, ``hardware_utils.py``; Cloud TPU's pages
on containers). libtpu 0.0.52 took them as far as it goes without a chip; none of it was run on a TPU. The reference runs there
through torchax (https://github.com/google/torchax), which is optional; with torch 2.13 its 0.0.14 is needed.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kernelwright.evaluator.chip import VARIABLE, Chip, NoChip, one_line

if TYPE_CHECKING:
    import torch

_PASSED_ON = (
    "TPU_ACCELERATOR_TYPE", "TPU_TOPOLOGY", "TPU_TOPOLOGY_ALT", "TPU_TOPOLOGY_WRAP", "TPU_LIBRARY_PATH",
    "VBAR_CONTROL_SERVICE_URL", "LIBTPU_INIT_ARGS",
)  # fmt: skip
"""What a machine's or a container's set-up says of its TPU, and the user of libtpu; no address of another host."""
_VENDOR = "0x1ae0"
"""Google's, on the PCI bus; its network cards have it too."""
_TPUS = ("0x0027", "0x0056", "0x005e", "0x0062", "0x0063", "0x006f", "0x0076")
"""PCI devices that are TPUs: v3, plc, v4, v5p, v5e, v6e, 7x."""


@dataclass(frozen=True)
class Tpu(Chip):
    """One TPU; ``platform`` is JAX's name. ``cpu``: TPU interpret mode on JAX's CPU client stands in."""

    kind: ClassVar[str] = "tpu"
    title: ClassVar[str] = "TPU"
    holders: ClassVar[str] = "fuser /dev/accel* /dev/vfio/*"
    docs: ClassVar[str] = "docs/backends/pallas.md"
    baselines: ClassVar[tuple[str, ...]] = ("eager", "jit")
    """Through torchax: operator by operator, and compiled as a whole."""
    timed: ClassVar[str] = "launches alone, on arrays that lie on the chip"
    platform: str = "tpu"

    @property
    def imports(self) -> str:
        return "jax,jax.experimental.pallas,torchax"

    def environment(self, index: int) -> dict[str, str]:
        """For a process that opens chip ``index`` of this machine and no other, asks no metadata server and locks no file.

        ``ALLOW_MULTIPLE_LIBTPU_LOAD``: libtpu's lock in ``/tmp`` lies outside every sandbox, and outlives a process of
        another user; the device node itself lets one process in, and judges take turns (``evaluator/turns.py``).
        """
        common = {VARIABLE: f"{self.kind}:{self.platform}", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TPU_SKIP_MDS_QUERY": "1"}
        if self.stands_in:
            return {**common, "JAX_PLATFORMS": self.platform}
        alone = {
            "TPU_VISIBLE_CHIPS": str(index),
            "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1",
            "TPU_PROCESS_BOUNDS": "1,1,1",
            "TPU_CHIPS_PER_HOST_BOUNDS": "1,1,1",
            "TPU_HOST_BOUNDS": "1,1,1",
            "TPU_WORKER_ID": "0",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "CLOUD_TPU_TASK_ID": "0",
            "TPU_LOG_DIR": "disabled",  # with the level, nothing is written to /tmp, where no runner may (libtpu 0.0.52)
            "TPU_MIN_LOG_LEVEL": "3",
        }
        given = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return {**given, **common, **alone, "JAX_PLATFORMS": "tpu,cpu"}  # the CPU second: some of JAX's own work is the host's

    def absent(self) -> str:
        if problem := visible():
            return problem
        if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
            return "a TPU is here and libtpu is not installed; pip install 'kernelwright[tpu]'"
        return ""

    def unmeasured(self) -> str:
        return missing()

    def open(self) -> dict[str, Any]:
        """Start JAX's client of the chip."""
        import jax

        try:
            device = jax.devices()[0]
        except Exception as error:  # noqa: BLE001 - PJRT's plugins raise what they like
            raise NoChip(f"JAX starts no {self.platform} client: {one_line(error)}") from error
        if device.platform != self.platform:
            raise NoChip(f"JAX opened {device.platform!r}, expected {self.platform!r}")
        name = f"{device.device_kind} (TPU interpret mode stands in)" if self.stands_in else device.device_kind
        runtime = " ".join(str(device.client.platform_version).split())[:200]
        return {"name": name, "versions": {"jax": jax.__version__, "jaxlib": version("jaxlib"), "runtime": runtime}}

    def total(self) -> float:
        import jax.numpy as jnp

        return float((jnp.arange(8, dtype=jnp.float32) + 1.0).sum())

    def exact(self) -> None:
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")

    def put(self, tensor: torch.Tensor) -> Any:
        from kernelwright.evaluator.backends.pallas_launch import to_jax

        return to_jax(tensor)

    def wait(self, values: Any) -> None:
        import jax

        jax.block_until_ready(values)

    def get(self, output: Any) -> list[torch.Tensor]:
        import jax

        from kernelwright.evaluator.backends.pallas_launch import to_torch

        return [to_torch(array) for array in jax.tree.leaves(jax.block_until_ready(output))]

    def calls(self, model: torch.nn.Module, tree: Any) -> dict[str, Callable[..., Any]]:
        import jax
        import torchax

        from kernelwright.evaluator.runner.trees import decode

        states, forward = torchax.extract_jax(model)
        jitted = jax.jit(lambda weights, *arrays: forward(weights, tuple(decode(tree, arrays))))
        return {
            "eager": lambda *arrays: forward(states, tuple(decode(tree, arrays))),
            "jit": lambda *arrays: jitted(states, *arrays),
        }

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """How ``pallas_call`` is traced and run inside: compiled for the chip, by the stand-in interpreted."""
        from jax.experimental.pallas import tpu as pltpu

        with pltpu.force_tpu_interpret_mode(pltpu.InterpretParams()) if self.stands_in else nullcontext():
            yield


def chips() -> int:
    """TPU chips on this machine's PCI bus, counted as JAX counts them."""
    found = 0
    for vendor in Path("/sys/bus/pci/devices").glob("*/vendor"):
        with suppress(OSError):
            found += vendor.read_text().strip() == _VENDOR and (vendor.parent / "device").read_text().strip() in _TPUS
    return found


def nodes() -> list[str]:
    """Device files of TPUs: ``/dev/accelN`` up to v4, VFIO groups from v5 on; with VFIO's own node."""
    accel = [str(node) for node in Path("/dev").glob("accel[0-9]*")]
    vfio = [str(node) for node in Path("/dev/vfio").glob("*")] if Path("/dev/vfio").is_dir() else []
    return sorted(accel + vfio)


def visible() -> str:
    """Empty where a TPU is visible here, else what is missing, in one line with the remedy."""
    if not nodes():
        where = "neither /dev/accel* nor /dev/vfio/* is here"
        given = "; in a container pass the device on: --device /dev/vfio (v5 and newer) or /dev/accel0" if chips() else ""
        return f"no TPU is visible: {where}{given}; use --device cpu, where kernels are simulated"
    if not chips() and not any(node.startswith("/dev/accel") for node in nodes()):
        return "no TPU is visible: no PCI device of /dev/vfio is one; use --device cpu, where kernels are simulated"
    return ""


def missing() -> str:
    """Why nothing runs the reference on a TPU here; empty where torchax is."""
    if importlib.util.find_spec("torchax") is not None:
        return ""
    return "torchax is not installed, which runs the reference on the TPU; pip install 'kernelwright[tpu]'"
