"""Names to parts: the engine, the writer, the memory and the policy that a run's configuration asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from kernelwright.agent import recording
from kernelwright.agent.loop import Parts
from kernelwright.agent.policies import POLICIES
from kernelwright.agent.policies.policy import Policy, Search, Values
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers import WRITERS
from kernelwright.agent.writers.replay import RecordedEngine
from kernelwright.agent.writers.writer import Setup, Writer
from kernelwright.evaluator.backends.registry import backend as find_backend
from kernelwright.evaluator.device import parse_device
from kernelwright.evaluator.engines.engine import Engine
from kernelwright.memory.memory import Memory
from kernelwright.memory.records import Step
from kernelwright.tasks.records import Idea, Task
from kernelwright.tasks.resolve import resolve

ENGINES = {
    "local": "kernelwright.evaluator.engines.local:LocalEngine",
    "bundle": "kernelwright.evaluator.engines.bundle:BundleEngine",
}
"""Short name -> ``module:Class``; a class takes ``(backend, device, cache, settings)``."""

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@contextmanager
def opened(config: RunConfig, workspace: Workspace, memory: Memory) -> Iterator[Parts]:
    """The loop's parts for ``config``; closed when left, in the opposite order.

    Raises:
        InputError: a name, a key or a device that the configuration asks for is not there.
    """
    with ExitStack() as stack:
        writer = make_writer(config, workspace)
        stack.callback(writer.close)
        engine = make_engine(config, workspace)
        stack.callback(engine.close)
        yield Parts(memory.store, memory, writer, engine, config.backend, config.jobs)


def check_names(config: RunConfig) -> None:
    """Refuse names that nothing answers to before a run is made of them."""
    resolve("policy", config.policy, POLICIES)
    resolve("engine", config.engine, ENGINES)
    find_backend(config.backend)
    if config.engine == "local" and config.device is not None:
        parse_device(config.device)
    if config.model in WRITERS or _IMPORT_PATH.fullmatch(config.model):
        resolve("model", config.model, WRITERS)


def make_writer(config: RunConfig, workspace: Workspace) -> Writer:
    """The writer that ``--model`` names."""
    name = config.model
    if name.startswith("replay:"):
        kind = "replay"
    elif name in WRITERS or _IMPORT_PATH.fullmatch(name):
        kind = name
    else:
        kind = "litellm"
    setup = Setup(name, workspace.home, workspace.store_url, config.api_base)
    writer: Writer = resolve("model", kind, WRITERS)(setup)
    return writer


def make_engine(config: RunConfig, workspace: Workspace) -> Engine:
    """The engine that judges: a replayed run's recorded verdicts, else the one that ``--engine`` names."""
    if config.model.startswith("replay:") and not config.rejudge:
        return RecordedEngine(recording.load(config.model.removeprefix("replay:"), workspace))
    kind = resolve("engine", config.engine, ENGINES)
    engine: Engine = kind(config.backend, config.device, workspace.cache, config.judging())
    return engine


def make_policy(
    config: RunConfig, run: str, task: Task, steps: Sequence[Step], values: Values, workspace: Workspace
) -> Policy:
    """The task's policy, told what an earlier process learned."""
    script: tuple[Idea, ...] = ()
    if config.model.startswith("replay:"):
        recorded = recording.load(config.model.removeprefix("replay:"), workspace)
        script = tuple(step.idea for step in recorded.of(task))
    search = Search(
        run=run,
        task=task.name,
        family=task.family,
        backend=config.backend,
        seed=config.seed,
        budget=config.budget,
        patience=config.patience,
        target=config.target,
        jobs=config.jobs,
        asked=tuple(step.idea for step in steps if not step.learned),
        script=script,
    )
    policy: Policy = resolve("policy", config.policy, POLICIES)(search, values)
    for step in steps:
        if step.learned and step.attempt is not None:
            policy.tell(step.idea, step.attempt)
    return policy
