"""A Pallas backend whose chip is TPU interpret mode on JAX's CPU client: what a TPU would run, but for the chip."""

from __future__ import annotations

from collections.abc import Mapping

from kernelwright.evaluator.backends.pallas import PallasBackend
from kernelwright.evaluator.chip_tpu import Tpu


class StandIn(PallasBackend):
    """Everything as on a TPU; the platform's name and how ``pallas_call`` is run are the stand-in's."""

    chip = Tpu("cpu")


class Gone(StandIn):
    """A chip that opens for whoever looks first, and never for a runner."""

    def run_entry(self, device: str) -> Mapping[str, str]:
        entry = super().run_entry(device)
        return {**entry, "JAX_PLATFORMS": "no_such_platform"} if device.startswith("tpu") else entry
