"""What a tuning may change of the user's model, and how it is put back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class State:
    """Train/eval flags and buffers of a model as they were found."""

    modes: tuple[tuple[nn.Module, bool], ...]
    buffers: tuple[tuple[dict[str, torch.Tensor | None], str, torch.Tensor, torch.Tensor], ...]
    """Owner's dictionary, name, the tensor itself, a copy of its values."""

    @classmethod
    def of(cls, model: nn.Module) -> State:
        """The state of ``model`` now."""
        buffers = [
            (module._buffers, name, tensor, tensor.detach().clone())
            for module in model.modules()
            for name, tensor in module._buffers.items()
            if tensor is not None
        ]
        return cls(tuple((m, m.training) for m in model.modules()), tuple(buffers))

    def restore_buffers(self) -> None:
        """Statistics and the like, which forwards in training change, as they were."""
        with torch.no_grad():
            for held, name, tensor, values in self.buffers:
                if held.get(name) is not tensor:
                    held[name] = tensor
                if not torch.equal(tensor, values):
                    tensor.copy_(values)

    def restore(self) -> None:
        """Buffers and flags as they were."""
        self.restore_buffers()
        for module, training in self.modes:
            module.training = training
