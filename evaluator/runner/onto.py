"""A runner's tensors where its kernel runs, if that is a chip that torch knows (an NPU): moved there, and looked at here again.

The reference reads what lies on the host. So what a judged call did to its inputs and parameters is brought back, by this
process: the reference believes it as it believes outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from kernelwright.evaluator.chip import Chip
from kernelwright.evaluator.chip_npu import flat
from kernelwright.evaluator.runner.trees import describe


class _Moved(NamedTuple):
    """A tensor that lies on the chip too."""

    host: torch.Tensor
    there: torch.Tensor


class Onto:
    """What of one runner lies on ``chip``."""

    def __init__(self, chip: Chip) -> None:
        self.kind = chip.kind
        self.device = chip.device
        self._chip = chip
        self._last: list[_Moved] = []
        self._parameters: dict[str, list[_Moved]] = {}

    def arguments(self, tensors: Sequence[torch.Tensor], key: str) -> list[torch.Tensor]:
        """Copies there of a call's inputs. Its parameters are taken anew, in place: the reference may have changed them."""
        for host, there in self._parameters.get(key, ()):
            flat(there).copy_(flat(host))
        self._last = [_Moved(t, self._chip.put(t)) for t in tensors]
        return [moved.there for moved in self._last]

    def fill(self, key: str, pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], private: bool) -> None:
        """Parameters of a case: what the host has, copied into what the kernel has. ``private``: nobody looks at them again."""
        for given, own in pairs:
            own.copy_(given)
        self._parameters[key] = [] if private else [_Moved(given, own) for given, own in pairs]

    def bring_back(self, key: str, inputs: bool) -> None:
        """What a call did to its inputs (unless it was given other copies) and parameters, to where the reference sees it."""
        for host, there in [*(self._last if inputs else ()), *self._parameters.get(key, ())]:
            flat(host).copy_(flat(there))

    def describe(self, t: torch.Tensor) -> dict[str, Any]:
        """As :func:`.trees.describe`; what lies on the chip is where the reference's lies, on the host."""
        right = t.device.type == torch.device(self.device).type
        return {**describe(t), "device": "cpu" if right else f"{t.device.type}, not the one that it is to run on"}

    def wait(self, outputs: Sequence[Any] = ()) -> None:
        """All that was begun there is done."""
        self._chip.wait(outputs)


def onto(chip: Chip | None) -> Onto | None:
    """Where a runner that opens ``chip`` has its tensors; None: on the host or the GPU, where the judge has them too."""
    return Onto(chip) if chip is not None and chip.device else None
