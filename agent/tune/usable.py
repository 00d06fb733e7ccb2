"""Whether a model can be tuned at all: asked before anything is spent, one clear refusal each."""

from __future__ import annotations

import torch
from torch.utils import _pytree as pytree

from kernelwright.agent.tune import verify
from kernelwright.agent.tune.patch import hooked
from kernelwright.agent.tune.target import Call, Target
from kernelwright.tasks.carve.capture import Site, capture
from kernelwright.tasks.errors import InputError

_SAME = 1e-3
"""Relative distance that two equal calls may have: atomics add in another order."""


def usable(target: Target, training: bool) -> None:
    """Refuse a model that cannot be compared with itself.

    Raises:
        InputError: it fails on its inputs, writes into them, returns no tensor, or two equal calls disagree.
    """
    for call in target.calls:
        given = _copied(call)
        try:
            first = verify.run(target.model, given, training)
            second = verify.run(target.model, _copied(call), training)
        except Exception as error:  # noqa: BLE001  the user's model may fail in any way
            lines = str(error).strip().splitlines() or [""]
            raise InputError(
                f"{target.name} fails on its inputs: {type(error).__name__}: {lines[0]}", "run it by itself, with these inputs"
            ) from error
        _inputs_kept(target.name, call, given)
        if not first:
            raise InputError(f"{target.name} returns no tensor; at least one is expected", "tune a module that returns one")
        if len(first) != len(second) or any(a.shape != b.shape for a, b in zip(first, second, strict=True)):
            off = float("inf")
        else:
            off = max(verify.distance(first, second))
        if off > _SAME:
            raise InputError(
                f"{target.name} is not deterministic: two equal calls differ by {off:.2g} (relative), {_SAME} is allowed",
                "tune it in inference mode, or without dropout, other random layers and state kept between calls",
            )


def captured(target: Target) -> tuple[list[Site], list[str]]:
    """The sites of all regimes, and notes on what was left out.

    Raises:
        InputError: nothing in the model can be replaced, or a module inside a site has hooks.
    """
    sites: list[Site] = []
    notes: list[str] = []
    with torch.no_grad():
        for args, kwargs in target.calls:
            found, said = capture(target.model, args, kwargs)
            sites += found
            notes += [n for n in said if n not in notes]
    if not any(site.groups for site in sites):
        why = f": {notes[0]}" if notes else ""
        raise InputError(f"{target.name}: nothing in it can be replaced{why}", "its work is in products, or cannot be exported")
    for site in sites:
        if site.groups and (path := hooked(site)):
            raise InputError(
                f"{target.name}: module {path!r} has hooks, which a captured graph would pass by",
                "remove them, then tune again",
            )
    return sites, notes


def _copied(call: Call) -> Call:
    def copy(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_(tensor.requires_grad)

    return pytree.tree_map_only(torch.Tensor, copy, call)  # type: ignore[no-any-return]


def _inputs_kept(name: str, call: Call, given: Call) -> None:
    before, after = pytree.tree_leaves(call), pytree.tree_leaves(given)
    for number, (was, now) in enumerate(zip(before, after, strict=True)):
        if isinstance(was, torch.Tensor) and not torch.equal(was.nan_to_num(), now.nan_to_num()):
            raise InputError(
                f"{name} writes into its inputs (tensor {number}, {list(was.shape)}); they must stay as they are",
                "let it work on a copy, such as x = x.clone()",
            )
