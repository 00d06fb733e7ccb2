"""What a run would send, where, and what that may cost: nothing is sent, judged or kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright.agent.llm.client import Client
from kernelwright.agent.parts import check_names, kind_of, make_engine, make_policy
from kernelwright.agent.prompt.build import compose
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.ensemble import is_ensemble, members_of
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.memory import Memory
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Idea, Task

RUN = "dry-run"
"""The id that the ideas carry; no run has it."""
MARGIN = 1.5
"""A model may count so many times the tokens that we estimate: other vocabularies than the one we know."""
_SILENT = {
    "playbook": "the playbook calls no model",
    "exchange": "prompts are laid down as files, and somebody else answers them",
    "replay": "recorded answers are repeated",
}


@dataclass(frozen=True)
class First:
    """The first prompt of a task."""

    task: str
    stage: str
    role: str
    """The writer's step: ``plan`` or ``code``."""
    tokens: int
    """Estimated."""
    prompt: str
    seed: int
    """Of the idea; sent to models that take one."""
    left_out: tuple[str, ...]
    """What was cut for ``--prompt-tokens``."""


@dataclass(frozen=True)
class Asked:
    """A model that would be asked."""

    model: str
    endpoint: str
    """Host of its server, or the provider's name."""
    parameters: Mapping[str, Any]
    """The request without the prompt."""
    tokens_a_call: int
    """The most that one call can come to, prompt and answer together."""
    cost_usd_a_call: float | None
    """Likewise; None when the price is unknown."""


@dataclass(frozen=True)
class DryRun:
    """What a run would send."""

    model: str
    sends: bool
    """Whether any model would be called."""
    reason: str
    """Why nothing is sent, or what else holds for the figures."""
    tasks: tuple[First, ...]
    models: tuple[Asked, ...]
    calls_at_most: int
    """Attempts times steps, tries of a call that broke off not counted."""
    tokens_at_most: int
    cost_usd_at_most: float | None
    """None when a price is unknown."""
    refused: Mapping[str, str]
    """Task that did not load -> why."""


def dry_run(config: RunConfig, tasks: Sequence[Task], workspace: Workspace) -> DryRun:
    """What a run of ``config`` on ``tasks`` would send.

    The store stays as it is, save for what opening it does to one that an earlier Kernelwright left. Tasks are not admitted.

    Raises:
        InputError: a name, a key, a device or a price that the configuration asks for is not there.
    """
    check_names(config, several=all(task.target for task in tasks))
    names = members_of(config.model) if is_ensemble(config.model) else (config.model,)
    clients = [Client(name, config.llm) for name in names if kind_of(name) == "llm"]
    if not clients:
        why = _SILENT.get(kind_of(names[0]), f"what {names[0]} sends is for its own code to say")
        return DryRun(config.model, False, why, (), (), 0, 0, 0.0, config.refused)
    firsts = _firsts(config, tasks, workspace)
    longest = max((first.tokens for first in firsts), default=0)
    asked = tuple(_asked(client, config, firsts, longest) for client in clients)
    calls = config.budget * len(config.steps) * len(tasks)
    costs = [one.cost_usd_a_call for one in asked if one.cost_usd_a_call is not None]
    tokens = calls * max(one.tokens_a_call for one in asked)
    cost = calls * max(costs) if len(costs) == len(asked) else None
    limits = config.limits
    return DryRun(
        model=config.model,
        sends=bool(tasks),
        reason="" if tasks else "no task loaded",
        tasks=firsts,
        models=asked,
        calls_at_most=calls,
        tokens_at_most=min(tokens, limits.tokens or tokens),
        cost_usd_at_most=cost if limits.usd is None or cost is None else min(cost, limits.usd),
        refused=config.refused,
    )


def _asked(client: Client, config: RunConfig, firsts: Sequence[First], longest: int) -> Asked:
    """What one call of this model is, and at most comes to: a prompt at its cap, counted generously, and a whole answer."""
    tokens_in = int(MARGIN * max(config.prompt_tokens, longest))
    bound = client.bound("x" * tokens_in)  # no vocabulary has more tokens than bytes
    body = client.body(firsts[0].prompt, firsts[0].seed) if firsts else client.body("")
    parameters = {name: value for name, value in body.items() if name not in ("model", "messages")}
    return Asked(client.model, client.endpoint, parameters, bound.tokens, bound.usd)


def _firsts(config: RunConfig, tasks: Sequence[Task], workspace: Workspace) -> tuple[First, ...]:
    devices: dict[str, DeviceInfo] = {}
    for target in dict.fromkeys(task.target for task in tasks):
        engine = make_engine(config.on(target), workspace)
        try:
            devices[target] = engine.device()
        finally:
            engine.close()
    if not devices:
        return ()
    with _memory(config, workspace) as memory:
        return tuple(_first(config.on(task.target), task, devices[task.target], memory, workspace) for task in tasks)


def _first(config: RunConfig, task: Task, device: DeviceInfo, memory: Memory, workspace: Workspace) -> First:
    idea: Idea | None = make_policy(config, RUN, task, (), memory.values(), workspace).ask()
    if idea is None:
        raise HarnessError(f"policy {config.policy} has no first idea for {task.name}", "give another --policy")
    context = memory.recall(idea, task, config.backend)
    assignment = Assignment(idea, task, config.backend, device, context, config.given)
    prompt = compose(assignment, config.prompt_tokens, config.steps[0])
    left_out = tuple(what for section in prompt.sections for what in section.dropped)
    return First(task.name, idea.stage.value, config.steps[0], prompt.tokens, prompt.text, idea.seed, left_out)


@contextmanager
def _memory(config: RunConfig, workspace: Workspace) -> Iterator[Memory]:
    """The workspace's memory; where it has no store yet, one in a folder that goes away with what comes to be in it."""
    path = workspace.store_url.removeprefix("sqlite:///")
    if path != workspace.store_url and not Path(path).is_file():
        with tempfile.TemporaryDirectory(prefix="kernelwright-dry-run-") as folder:
            elsewhere = Workspace(Path(folder), f"sqlite:///{folder}/store.db")
            with _closing(elsewhere.open_memory(config.memory_exclude)) as memory:
                yield memory
        return
    with _closing(workspace.open_memory(config.memory_exclude)) as memory:
        yield memory


@contextmanager
def _closing(memory: Memory) -> Iterator[Memory]:
    try:
        yield memory
    finally:
        memory.close()
