"""One tuning as it is asked for: the command line and :func:`kernelwright.tune` both come through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kernelwright.agent.cli import defaults
from kernelwright.agent.llm.options import Limits
from kernelwright.agent.parts import check_names
from kernelwright.agent.run import start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.tune.folder import check_out
from kernelwright.agent.tune.optimise import Loop
from kernelwright.agent.tune.target import Target, target
from kernelwright.agent.tune.tune import Options, Tuned
from kernelwright.agent.tune.tune import tune as work
from kernelwright.agent.watch import Silence, Watch
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.device import CHIPS, default_device, parse_device
from kernelwright.tasks.errors import InputError

MODES = ("inference", "training")


@dataclass(frozen=True)
class Request:
    """What a tuning is asked for; what is None is detected. Refuses what makes no sense when it is made."""

    mode: str = "inference"
    """``inference`` or ``training``."""
    out: Path = Path("tuned")
    """Where the result goes."""
    device: str | None = None
    """``cpu``, ``cuda`` or ``cuda:N``."""
    backend: str | None = None
    """``cpp``, ``triton``, or an import path; None: by the device."""
    writer: str | None = None
    """Who writes kernels, as ``--model`` says it; None: by the keys that are set, else the playbook."""
    budget: int = 60
    """Attempts over all groups."""
    turn: int = 6
    """Attempts at one group before all are ranked again."""
    threshold: float = 0.01
    """Stop when no group may save this share of a pass."""
    rounds: int = 30
    """Interleaved rounds of the end-to-end timing."""
    compiled: bool = True
    """Also time ``torch.compile`` of the original."""
    policy: str = "evokernel"
    seed: int = 0
    max_usd: float | None = None
    """US dollars that each run of the loop may spend."""
    max_tokens: int | None = None
    """Tokens that each run of the loop may spend."""
    timing_seconds: float | None = None
    """Cap on the timing of one case."""
    home: Path | None = None
    """Workspace; None: ``KERNELWRIGHT_HOME`` or ``.kernelwright/``."""
    store: str | None = None
    """SQLAlchemy URL of the store; None: SQLite in the workspace."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"mode is {self.mode!r}", "give inference or training")
        for name, value in (("budget", self.budget), ("turn", self.turn), ("rounds", self.rounds)):
            if value < 1:
                raise InputError(f"{name} is {value}", "give a whole number of at least 1")
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold is {self.threshold}", "give a share between 0 and 1, such as 0.01")

    @property
    def training(self) -> bool:
        return self.mode == "training"


def carry_out(
    request: Request, argv: tuple[str, ...], load: Callable[[str], Target], watch: Watch, loop: Loop = start
) -> Tuned:
    """Refuse what can be refused, then load the target on its device with ``load``, and tune it by ``loop``.

    Raises:
        InputError: a name, a folder, the model or its inputs are not what is needed; before anything is spent.
    """
    where = parse_device(request.device or default_device())
    if where.startswith(CHIPS):
        knows = f"torch knows no {where!r}" if where.startswith("tpu") else f"that is not done on {where!r}"
        raise InputError(f"tune moves the model to its device, and {knows}", "use cpu, cuda or cuda:N")
    config = RunConfig(
        argv=argv,
        order=(),
        backend=request.backend or defaults.backend(request.device),
        model=request.writer or defaults.model(),
        device=request.device,
        policy=request.policy,
        budget=request.turn,
        seed=request.seed,
        limits=Limits(request.max_usd, request.max_tokens, None),
        timing_seconds=request.timing_seconds,
    )
    check_names(config)
    place = Workspace.at(request.home, request.store)
    check_out(request.out, place.home)
    options = Options(where, request.training, request.budget, request.threshold, request.rounds, request.compiled, request.out)
    return work(load(where), config, options, place, watch, loop)


def tune(  # noqa: PLR0913  one argument an option, as on the command line
    model: nn.Module,
    example_inputs: Any,
    *,
    mode: str = "inference",
    out: str | Path = "tuned",
    device: str | None = None,
    backend: str | None = None,
    writer: str | None = None,
    budget: int = 60,
    turn: int = 6,
    threshold: float = 0.01,
    rounds: int = 30,
    compiled: bool = True,
    policy: str = "evokernel",
    seed: int = 0,
    max_usd: float | None = None,
    max_tokens: int | None = None,
    timing_seconds: float | None = None,
    home: str | Path | None = None,
    store: str | None = None,
    watch: Watch | None = None,
) -> Tuned:
    """Make ``model`` faster in place: what ``kernelwright tune`` does, for a model that is in this process.

    Args:
        model: any module; tensors of any shape and dtype. Where kernels stay in, it is left in the mode's state (``eval()``
            for ``inference``, ``train()`` for ``training``), since they are used in that state only.
        example_inputs: one tensor, a tuple of positional arguments, a dict of keyword arguments, or a list of those, one a
            shape regime. They are neither changed nor kept by the model, and are written to ``out`` with the kernels.
        mode: ``inference`` or ``training`` (forward with gradients).
        out: folder of the result: ``apply(model)``, one file a kernel, ``manifest.json``, ``report.md``.
        device: ``cpu``, ``cuda`` or ``cuda:N``, to which model and inputs are moved; default: where the model is.
        backend: ``cpp`` or ``triton``; default by the device.
        writer: who writes kernels: ``playbook`` or a language model, as ``--model``; default by the keys that are set.
        budget: attempts over all groups; ``turn``: at one group before all are ranked again.
        threshold: share of a pass below which a group is not worth an attempt.
        rounds: of the end-to-end timing; ``compiled``: ``torch.compile`` is timed, too.
        max_usd: US dollars, ``max_tokens``: tokens that each run of the loop may spend, hard.
        timing_seconds: cap on the timing of one case, in seconds.
        home, store: the workspace and its store; default as on the command line.
        watch: told what happens, and asked whether to stop.

    Returns:
        The model, patched where kernels pay and else as it was; ``report`` with times in milliseconds and speedups with 95 %
        intervals; ``undo()`` takes every kernel out again.

    Raises:
        InputError: the model, its inputs or an option cannot be used; the model is as it was.
        HarnessError: the judge failed; likewise.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is {type(model).__name__}", "give a torch.nn.Module")
    request = Request(
        mode, Path(out), device or _place(model, example_inputs), backend, writer, budget, turn, threshold, rounds, compiled,
        policy, seed, max_usd, max_tokens, timing_seconds, Path(home) if home is not None else None, store,
    )  # fmt: skip
    name = type(model).__name__
    return carry_out(
        request,
        ("kernelwright.tune", name),
        lambda where: target(name, model, example_inputs, where),
        watch or Silence(),
    )


def _place(model: nn.Module, inputs: Any) -> str:
    """The device of the first parameter or buffer, else of the first tensor among the inputs."""
    leaves = torch.utils._pytree.tree_leaves(inputs)
    tensors = [*model.parameters(), *model.buffers(), *(t for t in leaves if isinstance(t, torch.Tensor))]
    return str(tensors[0].device) if tensors else "cpu"
