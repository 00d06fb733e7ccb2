"""Making inputs: placing, cutting and scaling what ``get_inputs`` gives, without breaking what its values mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from kernelwright.evaluator.runner.execute import Refused

_LONE = 1024.0
"""Factor of the one element that a ``lone`` draw raises."""
_LONE_OF = 16
"""It is the largest of so many random ones: one that is almost zero would not dominate."""
_CLOSE = 32.0
"""A ``ones`` draw has a deviation of one over this."""
_NUDGES = 3
_FEW_VALUES = 16
"""A floating tensor with fewer distinct values than this in a sample is a mask or a label: never scaled or mixed."""


def map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(v, change) for v in value)
    if isinstance(value, dict):
        return {k: map_tensors(v, change) for k, v in value.items()}
    return value


def place(t: torch.Tensor, device: str, dtype: torch.dtype) -> torch.Tensor:
    moved = t.detach().to(device)
    return moved.to(dtype) if moved.is_floating_point() and dtype != torch.float32 else moved


def cutter(inputs: Sequence[Any], leading: int | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Cuts the leading dimension that the first tensor has, in every tensor that shares it."""
    tensors = [v for v in inputs if isinstance(v, torch.Tensor) and v.dim()]
    if leading is None or not tensors:
        return lambda t: t
    common = tensors[0].shape[0]
    if leading >= common:
        raise Refused(f"the leading dimension is {common}: it cannot be cut to {leading}")
    return lambda t: t[:leading] if t.dim() and t.shape[0] == common else t


def many_valued(t: torch.Tensor) -> bool:
    return t.is_floating_point() and len(t.flatten()[:4096].unique()) >= min(_FEW_VALUES, t.numel())


def scaled(t: torch.Tensor, scale: float, spikes: str, generator: torch.Generator) -> torch.Tensor:
    """``scale * t`` with ``spikes``.

    Random elements grow up to 8 times (``many``), rows up to 64 (``rows``), or one element (``lone``); signs mix where there
    are none (``signed``), or all come near one (``ones``), so that long products stay in range.
    """
    if not many_valued(t) or t.numel() < 2:
        return t
    out = t * scale
    if spikes == "lone":
        some = torch.randint(t.numel(), (_LONE_OF,), generator=generator)
        out.view(-1)[int(some[int(out.view(-1)[some.to(out.device)].abs().argmax())])] *= _LONE
    if spikes == "signed" and not bool((t < 0).any()):
        out = torch.where((torch.rand(t.shape, generator=generator) < 0.5).to(t.device), out, -out)
    if spikes == "ones":
        wide = out.float()
        out = (1 + (wide - wide.mean()) / (_CLOSE * wide.std().clamp_min(1e-30))).to(t.dtype)
    if spikes == "many":
        out = _grown(out, t.shape, 0.125, 8.0, generator)
    if spikes == "rows" and t.dim() > 1:  # large as a whole, so that no sample of the other rows tells
        out = _grown(out, (*t.shape[:-1], 1), 0.05, 64.0, generator)
    return out


def _grown(t: torch.Tensor, shape: Sequence[int], share: float, most: float, generator: torch.Generator) -> torch.Tensor:
    where = torch.rand(tuple(shape), generator=generator) < share
    where.view(-1)[int(torch.randint(where.numel(), (1,), generator=generator))] = True
    factor = torch.rand(tuple(shape), generator=generator) * (most - 1) + 1
    return torch.where(where.to(t.device), t * factor.to(t.device, t.dtype), t)


def moved_by_one(t: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """``t`` in float64 with every element up or down by one unit in the last place of its own dtype; integers as they are."""
    if not t.is_floating_point():
        return t.clone()
    up = torch.randint(2, t.shape, generator=generator).to(t.device).double() * 2 - 1
    return t.double() * (1.0 + torch.finfo(t.dtype).eps * up)


def nudged(old: torch.Tensor, new: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """``old`` with a few random elements as in ``new``: what a sampled check of the contents does not see."""
    if not many_valued(old) or old.numel() < 2:
        return old.clone()
    where = torch.randint(old.numel(), (_NUDGES,), generator=generator).to(old.device)
    out = old.clone()
    out.view(-1)[where] = new.reshape(-1)[where]
    return out
