"""Is the patched model right, and is it faster? Over fresh inputs, in turns with the original, eager and compiled."""

from __future__ import annotations

import copy
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from kernelwright.agent.tune.patch import Patched, unpatched
from kernelwright.agent.tune.rank import synchronize
from kernelwright.agent.tune.target import Call

_SLACK = 2.0
"""The patched model may be off by twice the original's own error against float64."""
_FLOOR = {torch.float32: 2e-6, torch.float64: 1e-13, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""Relative error that is always allowed: a few units in the last place of the dtype."""
_SECONDS = 2.0
"""Timing goes on beyond the rounds asked for until then."""


def fresh(call: Call, seed: int) -> Call:
    """Inputs like ``call``'s with other values: floats redrawn with their mean and spread, integers shuffled."""
    generator = torch.Generator().manual_seed(seed)

    def redraw(tensor: torch.Tensor) -> torch.Tensor:
        plain = tensor.detach().cpu()
        if tensor.is_floating_point():
            spread = float(plain.double().std(correction=0)) if plain.numel() > 1 else 1.0
            drawn = torch.randn(plain.shape, generator=generator, dtype=torch.float64) * spread + float(plain.double().mean())
            values = drawn.to(plain.dtype)
        else:
            values = plain.flatten()[torch.randperm(plain.numel(), generator=generator)].reshape(plain.shape)
        for axis, step in enumerate(tensor.stride()):  # an expanded axis holds one value however long it is
            if step == 0:
                values = values.narrow(axis, 0, min(1, tensor.shape[axis]))
        made = torch.empty_strided(values.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
        made.copy_(values)
        return made.expand(tensor.shape).requires_grad_(tensor.requires_grad)

    return pytree.tree_map_only(torch.Tensor, redraw, call)  # type: ignore[no-any-return]


def run(model: nn.Module, call: Call, training: bool) -> list[torch.Tensor]:
    """Output tensors, and in training mode the gradients of all parameters for a fixed scalar of the outputs."""
    args, kwargs = call
    with torch.set_grad_enabled(training):
        outputs = [t for t in pytree.tree_leaves(_plain(model(*args, **kwargs))) if isinstance(t, torch.Tensor)]
    if not training:
        return outputs
    wanted = [p for p in model.parameters() if p.requires_grad]
    total = sum((o.double() * _weights(o)).sum() for o in outputs if o.requires_grad)
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)  # type: ignore[arg-type]
    return [*(o.detach() for o in outputs), *(g for g in gradients if g is not None)]


def _weights(output: torch.Tensor) -> torch.Tensor:
    count = torch.arange(output.numel(), device=output.device, dtype=torch.float64)
    weights: torch.Tensor = torch.sin(count) / max(output.numel(), 1) ** 0.5
    return weights.reshape(output.shape)


def _plain(value: Any) -> Any:
    """Dataclass-like outputs of transformers as dicts."""
    return dict(value) if isinstance(value, Mapping) else value


def distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> list[float]:
    """Relative L2 distance of each output to ``b``'s; infinite where one is not finite and the other is."""
    found = []
    for x, y in zip(a, b, strict=True):
        x64, y64 = _real(x), _real(y)
        same = (x64 == y64) | (x64.isnan() & y64.isnan())
        difference = torch.where(same, torch.zeros_like(x64), x64 - y64)
        scale = float(torch.linalg.vector_norm(torch.where(y64.isfinite(), y64, torch.zeros_like(y64))))
        error = float(torch.linalg.vector_norm(difference)) / max(scale, 1e-30)
        found.append(error if error == error else float("inf"))
    return found


def _real(tensor: torch.Tensor) -> torch.Tensor:
    plain = tensor.detach()
    return (torch.view_as_real(plain.resolve_conj()) if plain.is_complex() else plain).double()


def numerics(
    patched: Patched, calls: Sequence[Call], training: bool, draws: int = 3, memory: int | None = None
) -> dict[str, Any]:
    """Compare the patched model with the original over ``draws`` fresh inputs a regime.

    ``memory``: bytes that a float64 copy may take; default: what is free.

    Returns:
        ``passed``, ``oracle`` (``float64``, or ``error ratio`` where the model has no float64 form that fits and works),
        ``note`` (why, else empty), ``ratio``: the largest error over its bound, at most 1 passes.
    """
    keys = patched.used()
    oracle, note = _double(patched, calls, training, memory)
    worst, checked = 0.0, 0
    for number, call in enumerate(calls):
        for draw in range(draws):
            given = fresh(call, 7919 * number + draw)
            patched.enable(keys)
            mine = run(patched.model, given, training)
            patched.enable(())
            theirs = run(patched.model, given, training)
            patched.enable(keys)
            own = [0.0] * len(theirs)
            truth = theirs
            if oracle is not None:
                truth = run(oracle, _wide(given), training)
                own = distance(theirs, truth)
            for error, allowed, output in zip(distance(mine, truth), own, theirs, strict=True):
                worst = max(worst, error / (_SLACK * allowed + _FLOOR.get(output.dtype, 0.0) + 1e-30))
                checked += 1
    return {
        "passed": worst <= 1,
        "oracle": "float64" if oracle is not None else "error ratio",
        "note": note,
        "ratio": worst,
        "outputs": checked,
    }


def _wide(call: Call) -> Call:
    def widen(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    return pytree.tree_map_only(torch.Tensor, widen, call)  # type: ignore[no-any-return]


def _double(patched: Patched, calls: Sequence[Call], training: bool, memory: int | None) -> tuple[nn.Module | None, str]:
    """The original in float64; None and the reason where that does not fit or does not work."""
    tensors = [*patched.model.parameters(), *patched.model.buffers()]
    needed = sum(t.numel() * (t.element_size() + 8) for t in tensors)  # a copy, then its float64 form
    left = memory if memory is not None else _free(tensors[0].device if tensors else torch.device("cpu"))
    if needed > left:
        return None, f"no float64 copy of the model fits: it takes {needed / 2**30:.2f} GiB, {left / 2**30:.2f} GiB are free"
    try:
        oracle = unpatched(copy.deepcopy(patched.model)).double()
        for call in calls:
            run(oracle, _wide(call), training)
    except Exception as error:  # noqa: BLE001  the user's model may fail in any way, and then there is no such oracle
        lines = str(error).strip().splitlines() or [""]
        return None, f"the model has no float64 form: {type(error).__name__}: {lines[0][:200]}"
    return oracle, ""


def _free(device: torch.device) -> int:
    """Bytes that may still be taken on ``device``."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _nothing() -> None:
    return None


def latency(
    variants: Mapping[str, Callable[[Call], Any]], calls: Sequence[Call], device: str, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of one pass over all regimes, per variant, one a round; in every round in another random order.

    Each round has inputs of its own, so that nothing can be kept from the last one. Where passes are short there are up to ten
    times as many rounds as asked for, within two seconds: what disturbs a few of them then disturbs no median.
    """
    order, chance = list(variants), random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in variants}
    pool = [[fresh(call, 31 * i + n) for n, call in enumerate(calls)] for i in range(4)]
    start = time.perf_counter()
    for number in range(10 * rounds + 2):
        if number >= rounds + 2 and time.perf_counter() - start > _SECONDS:
            break
        chance.shuffle(order)
        for name in order:
            given = pool[number % len(pool)]
            getattr(variants[name], "prepare", _nothing)()
            synchronize(device)
            began = time.perf_counter()
            for call in given:
                variants[name](call)
            synchronize(device)
            if number >= 2:
                taken[name].append(1e3 * (time.perf_counter() - began))
    return taken


def speedup(base: Sequence[float], mine: Sequence[float]) -> dict[str, float]:
    """Ratio of medians with its 95 % bootstrap interval, rounds drawn in pairs."""
    chance, n = random.Random(0), len(mine)
    ratios = []
    for _ in range(500):
        drawn = [chance.randrange(n) for _ in range(n)]
        ratios.append(statistics.median(base[i] for i in drawn) / statistics.median(mine[i] for i in drawn))
    ratios.sort()
    return {"median": statistics.median(base) / statistics.median(mine), "low": ratios[12], "high": ratios[487]}
