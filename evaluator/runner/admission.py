"""Is a task worth judging: would an output that no work was done for pass?

For each draw that kernels of the task will be judged on, outputs that take no computing are compared by the judge's own rule.
One that passes every draw makes the task worthless as it stands: it is hardened by a draw in which one element dominates (for
means, where half precision averages out) or in which signs are mixed (a ReLU of inputs that are never negative lets its
input pass), or it is refused. In KernelBench 41 of 250 tasks let such an output pass at the field's usual 1e-2.

Two kinds of inputs hide what a kernel leaves out, whatever the effortless outputs do: those of one sign, where a kernel may do
without an absolute value or a branch, and those whose results fade to nothing (the product of 128 numbers below one). Tasks
with them get one more draw each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kernelwright.evaluator.correctness import compare
from kernelwright.evaluator.runner.cases import Case, Expected
from kernelwright.evaluator.runner.draws import many_valued

REFUSE = ("zeros", "a constant", "the previous draw's output", "an input passed through", "one row for all")
WEAK = "half precision inside"
HARDENING = ("lone", "signed")
"""Spikes of the draws that a task is hardened by where it needs it."""
_FADED = 0.1
"""Share of an output's elements that the dtype rounds to zero, from which on inputs near one are drawn as well."""


def admit(case: Case, draws: Sequence[Mapping[str, Any]], seed: int, rtol: float | None) -> dict[str, Any]:
    """Judge the effortless outputs on ``draws`` (``scale``, ``spikes``, ``vary`` each).

    Returns ``passing`` (names of :data:`REFUSE` that pass every draw), ``harden`` (the spikes of further draws that tell
    more) and ``weak`` (what passes even so, and is only said).
    """
    left = {*REFUSE, WEAK}
    used = 0
    for number, draw in enumerate(draws):
        before = case.expected
        if not case.draw(seed + number, draw["scale"], draw["spikes"], draw["vary"]):
            continue
        used += 1
        left &= {name for name in left if _passes(case, name, before, rtol)}
        if not left:
            break
    harden = []
    for number, spikes in enumerate(HARDENING):
        before = case.expected
        if left and used and case.draw(seed + len(draws) + number, 1.0, spikes, False):
            caught = {name for name in left if not _passes(case, name, before, rtol)}
            harden += [spikes] if caught else []
            left -= caught
    passing = [name for name in REFUSE if name in left] if used else []
    return {"passing": passing, "harden": harden, "weak": [WEAK] if WEAK in left else []}


def further(case: Case, seed: int) -> list[str]:
    """Spikes of the draws that show what the ordinary ones of this case hide."""
    if not case.draw(seed, 1.0, "", False):
        return []
    positive = any(many_valued(t) and t.numel() > 1 and not bool((t < 0).any()) for t in case.inputs)
    faded = _faded(case)
    found = ["signed"] if positive and case.draw(seed, 1.0, "signed", False) else []
    return [*found, "ones"] if faded and case.draw(seed, 1.0, "ones", False) and not _faded(case) else found


def _faded(case: Case) -> bool:
    """Whether a good part of an output is too small for its dtype."""
    pairs = zip(case.expected.eager, case.expected.oracle, strict=True)
    return any(
        bool(((e == 0) & (o != 0)).double().mean() > _FADED) for e, o in pairs if e.is_floating_point() and e.numel() > 1
    )


def _passes(case: Case, name: str, before: Expected, rtol: float | None) -> bool:
    """Whether the effortless output passes in every output tensor (and, if there is but one row or input, exists)."""
    now = case.expected
    if now.mutated or now.state or all(t.numel() == 0 for t in now.eager):
        return False  # inputs that must change: none of these changes them
    made = _halved(case) if name == WEAK else [_effortless(case, name, i, before) for i in range(len(now.eager))]
    if made is None or any(t is None for t in made):
        return False
    return all(
        t.shape == e.shape and compare(t, o, e, rtol).passed
        for t, o, e in zip(made, now.oracle, now.eager, strict=True)
        if t is not None
    )


def _effortless(case: Case, name: str, index: int, before: Expected) -> torch.Tensor | None:
    eager, old = case.expected.eager[index], before.eager[index]
    if name == "zeros":
        return torch.zeros_like(eager)
    if name == "a constant":
        value = old.double().mean() if old.numel() and not old.is_complex() else torch.zeros(())
        return torch.full_like(eager, value.to(eager.dtype).item())
    if name == "the previous draw's output":
        return old if old is not eager and old.shape == eager.shape else None
    if name == "an input passed through":
        alike = (t for t in case.inputs if t.shape == eager.shape and t.dtype == eager.dtype)
        return next(alike, None)
    if eager.dim() < 2 or eager.shape[0] < 2:
        return None
    return eager[:1].expand_as(eager)


def _halved(case: Case) -> list[torch.Tensor] | None:
    """The reference's outputs for inputs rounded to bfloat16; None where the working dtype is no wider."""
    if case.dtype not in (torch.float32, torch.float64):
        return None
    wide = [t for t in case.inputs if t.is_floating_point()]
    if not wide:
        return None
    rounded = [t.to(torch.bfloat16).to(t.dtype) if t.is_floating_point() else t for t in case.inputs]
    return list(case.expect(rounded).eager)
