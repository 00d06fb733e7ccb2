"""Is a tensor right: against the float64 oracle, within what the reference itself errs in the working dtype.

The rule (both must hold; o the oracle, e the reference in the working dtype, c the candidate):

- each element: ``|c - o| <= max(rtol/10 * rms(o) + rtol * |o|, 6 * rms(e - o))``, but for as many as the reference exceeds
  it by, and only in its noisy rows or columns: sorted by error over bound, the n-th of ``c`` may be twice as far out as
  the n/2-th of ``e``. Noise of unequal size, as where a normalisation amplifies some columns, would else condemn kernels
  more exact than the reference (docs/adr/0006);
- where the inputs are ill-conditioned, an element may also err by six times what the reference errs there: the largest of its
  own error and of what the oracle changes by when every input moves by one unit in its last place. There is where that is
  five times as large, in bounds, as in the median element. Rows of a softmax whose largest logits nearly tie amplify
  what any two orders of summation differ by, and the whole tensor's rms does not show it (docs/adr/0009);
- whole tensor: ``relL2(c) <= max(4 * relL2(e) + 4 * eps, rtol/10)``; the floor of ``rtol/10`` lets a plain fp32 sum in
  another order pass and still rejects TF32, fp16 or bf16 arithmetic inside fp32 (docs/adr/0003).

NaN and Inf must stand where the oracle has them, except where the reference in the working dtype disagrees with the
oracle on finiteness: there either is accepted. Integers and booleans are exact. KernelBench's own convention
(``rtol = atol = 1e-2`` / ``1e-4``) is reported beside it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

RTOL = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""Default relative tolerances by working dtype."""

_NOISE = 6.0
_UNEVEN = 5.0
"""Times the median over the tensor, each noise over its bound, from which on noise is amplified."""
_NORM_FACTOR = 4.0
_TINY = 1e-300


@dataclass(frozen=True)
class Comparison:
    """How far a tensor is from what it should be."""

    passed: bool
    max_error: float
    """Largest ``|c - o|`` over elements finite on both sides."""
    ratio: float
    """Largest error over its bound; at most 1 when ``passed``."""
    where: tuple[int, ...]
    """Index of the worst element."""
    detail: str
    kernelbench: Mapping[str, bool]
    """What ``allclose`` at 1e-2 and 1e-4 would have said."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "max_error": self.max_error,
            "ratio": self.ratio,
            "where": list(self.where),
            "detail": self.detail,
            "kernelbench": dict(self.kernelbench),
        }


def compare(
    candidate: torch.Tensor,
    oracle: torch.Tensor,
    eager: torch.Tensor,
    rtol: float | None = None,
    nearby: Sequence[torch.Tensor] = (),
) -> Comparison:
    """Compare an output with its oracle.

    Args:
        candidate: any shape; the dtype and shape of ``eager``.
        oracle: float64 (or float32 where an operator lacks it) for floating outputs, else the exact values.
        eager: the reference's own output in the working dtype.
        rtol: overrides the default of the working dtype.
        nearby: what the oracle gives for inputs that differ by one unit in their last place; shapes of ``oracle``.
    """
    if candidate.numel() == 0:
        return Comparison(True, 0.0, 0.0, (), "", {"1e-2": True, "1e-4": True})
    if not eager.dtype.is_floating_point and not eager.dtype.is_complex:
        return _exact(candidate, eager)
    if eager.dtype.is_complex:
        parts = [torch.view_as_real(t.to(torch.complex128)) for t in (candidate, oracle, eager, *nearby)]
        return compare(parts[0], parts[1], parts[2], rtol or 1e-4, parts[3:])
    tolerance = RTOL.get(eager.dtype, 1e-4) if rtol is None else rtol
    c, o, e = candidate.double(), oracle.double(), eager.double()
    near = [t.double() for t in nearby]
    misplaced = None
    if not bool(torch.isfinite(c.sum() + o.sum() + e.sum())):
        misplaced = _misplaced_nonfinite(c, o, e)
        c, o, e, *near = _finite_parts(c, o, e, *near)
    error, noise, magnitude = (c - o).abs_(), (e - o).abs_(), o.abs()
    rms_noise, rms_oracle = _rms(noise), _rms(magnitude)
    bound = magnitude.mul_(tolerance).add_(tolerance / 10 * rms_oracle).clamp_(min=_NOISE * rms_noise)
    ratios = (error / bound.clamp_(min=_TINY)).nan_to_num_(0.0)
    if misplaced is not None:
        ratios[misplaced] = float("inf")
    worst = int(ratios.argmax())
    ratio = float(ratios.flatten()[worst])
    root = math.sqrt(c.numel())
    relative, norm = _rms(error) * root, rms_oracle * root
    eps = torch.finfo(eager.dtype).eps
    limit = max(_NORM_FACTOR * (rms_noise * root + eps * norm), tolerance / 10 * norm)
    detail = ""
    if misplaced is not None and bool(misplaced.any()):
        detail = f"{int(misplaced.sum())} elements are NaN or infinite where the oracle is not (or the other way)"
    elif ratio > 1 and not (_tail_allowed(error, ratios, noise, bound) or (near and _amplified(error, bound, o, [e, *near]))):
        detail = f"{int((ratios > 1).sum())} of {c.numel()} elements exceed their bound"
    elif relative > limit and rtol is None:
        ratio = max(ratio, relative / max(limit, _TINY))
        of_eager = rms_noise * root / max(norm, _TINY)
        detail = f"relative L2 error {relative / max(norm, _TINY):.3g} against {of_eager:.3g} of eager"
    where = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), c.shape))
    if detail:
        seen, wanted = float(candidate.flatten()[worst]), float(oracle.flatten()[worst])
        detail += f"; worst at {list(where)}: {seen:.9g}, expected {wanted:.9g}"
    convention = float(((c - e).abs_() / e.abs().add_(1.0)).max()) if misplaced is None else math.inf
    kernelbench = {name: convention <= float(name) for name in ("1e-2", "1e-4")}
    return Comparison(not detail, float(error.max()), ratio if detail else min(ratio, 1.0), where, detail, kernelbench)


def _tail_allowed(error: torch.Tensor, ratios: torch.Tensor, noise: torch.Tensor, bound: torch.Tensor) -> bool:
    """Whether the elements beyond their bound are where the reference is noisy, and as few and as near as its own, times two.

    Where: within six times the rms of the reference's error along one of the slices through the element, such as its column.
    """
    own = (noise / bound.clamp_(min=_TINY)).nan_to_num_(0.0)
    far, excused = ratios > 1, own[own > 1]
    beyond = ratios[far]
    if beyond.numel() > 2 * excused.numel() or noise.dim() < 2:
        return False
    place, squared = far.nonzero(as_tuple=True), noise.square()
    slices = [squared.mean([d for d in range(noise.dim()) if d != kept]).sqrt()[at] for kept, at in enumerate(place)]
    if bool((error[far] > _NOISE * torch.stack(slices).amax(0)).any()):
        return False
    beyond, excused = beyond.sort(descending=True).values, excused.sort(descending=True).values
    limits = 2 * excused.repeat_interleave(2)[: beyond.numel()]
    return bool((beyond <= limits).all())


def _amplified(error: torch.Tensor, bound: torch.Tensor, oracle: torch.Tensor, others: Sequence[torch.Tensor]) -> bool:
    """Whether elements beyond ``bound`` lie where ``others`` deviate far more than elsewhere, and err by six times that.

    Where: the element's row, or one of the slices through it, by their rms. Even noise is no excuse: every kernel meets it.
    """
    if not error.dim():
        return False
    far = error > bound
    noise = functools.reduce(torch.maximum, ((t - oracle).abs_().nan_to_num_(0.0, 0.0) for t in others))
    if not bool((noise > 0).any()):
        return False
    usual = _UNEVEN * float((noise / bound.clamp_(min=_TINY))[noise > 0].median())  # where an output is 0, nothing tells
    squared = noise.square()
    local = [squared.mean(-1, keepdim=True).sqrt().expand_as(noise)[far]]
    for kept in range(noise.dim() if noise.dim() > 1 else 0):
        rest = [d for d in range(noise.dim()) if d != kept]
        local.append(squared.mean(rest, keepdim=True).sqrt().expand_as(noise)[far])
    there = torch.stack(local).amax(0)
    return bool(((error[far] <= _NOISE * there) & (there >= usual * bound[far])).all())


def _rms(t: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(t)) / math.sqrt(t.numel())


def _finite_parts(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """All three with zeros wherever one of them is not finite: those places are judged by position alone."""
    finite = torch.stack([torch.isfinite(t) for t in tensors]).all(0)
    return tuple(torch.where(finite, t, torch.zeros((), dtype=t.dtype, device=t.device)) for t in tensors)


def _misplaced_nonfinite(c: torch.Tensor, o: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    """Where ``c`` is NaN/Inf unlike the oracle, and the reference does not excuse it by doing the same."""

    def unlike(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        same = torch.where(torch.isfinite(a), torch.isfinite(b), (a == b) | (torch.isnan(a) & torch.isnan(b)))
        return ~same

    return unlike(c, o) & unlike(c, e)


def _exact(candidate: torch.Tensor, expected: torch.Tensor) -> Comparison:
    wrong = candidate != expected
    if not bool(wrong.any()):
        return Comparison(True, 0.0, 0.0, (), "", {"1e-2": True, "1e-4": True})
    worst = int(wrong.flatten().to(torch.int8).argmax())
    where = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), candidate.shape))
    difference = float((candidate.double() - expected.double()).abs().max())
    seen, wanted = candidate.flatten()[worst].item(), expected.flatten()[worst].item()
    detail = f"{int(wrong.sum())} of {wrong.numel()} elements differ; first at {list(where)}: {seen}, expected {wanted}"
    return Comparison(False, difference, float("inf"), where, detail, {"1e-2": False, "1e-4": False})
