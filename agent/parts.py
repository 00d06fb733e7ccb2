"""Names to parts: the engine, the writer, the memory and the policy that a run's configuration asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from kernelwright.agent import recording
from kernelwright.agent.llm.client import Client
from kernelwright.agent.llm.ledger import Ledger, check_price
from kernelwright.agent.loop import Parts
from kernelwright.agent.policies import POLICIES
from kernelwright.agent.policies.policy import Policy, Search, Values
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.targets import check as check_targets
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers import UNTEACHABLE, WRITERS
from kernelwright.agent.writers.ensemble import Ensemble, is_ensemble, members_of
from kernelwright.agent.writers.replay import RecordedEngine
from kernelwright.agent.writers.writer import Setup, Writer, never
from kernelwright.evaluator.backends.registry import backend as find_backend
from kernelwright.evaluator.device import parse_device
from kernelwright.evaluator.engines.engine import Engine
from kernelwright.memory.memory import Memory
from kernelwright.memory.records import Step
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Idea, Task
from kernelwright.tasks.resolve import resolve

ENGINES = {
    "local": "kernelwright.evaluator.engines.local:LocalEngine",
    "bundle": "kernelwright.evaluator.engines.bundle:BundleEngine",
    "ray": "kernelwright.evaluator.engines.ray:RayEngine",
}
"""Short name -> ``module:Class``; a class takes ``(backend, device, cache, settings)``."""

Engines = Callable[[RunConfig, Workspace], Engine]
"""Makes a run's engine, or lends one that is at work already: its ``close`` then lets go of nothing."""

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@contextmanager
def opened(
    run: str,
    config: RunConfig,
    workspace: Workspace,
    memory: Memory,
    engines: Engines | None = None,
    stopping: Callable[[], bool] = never,
) -> Iterator[Parts]:
    """The loop's parts for ``config``, at work on ``run``; closed when left, in the opposite order.

    ``engines`` makes the engine, unless :func:`make_engine` is to. A writer that waits asks ``stopping`` whether to go on.

    Raises:
        InputError: a name, a key or a device that the configuration asks for is not there.
    """
    with ExitStack() as stack:
        ledger = Ledger(memory.store, run, config.limits)
        stack.callback(ledger.close)
        writer = make_writer(config, workspace, run, ledger, stopping)
        stack.callback(writer.close)
        engine = (engines or make_engine)(config, workspace)
        stack.callback(engine.close)
        recorded = isinstance(engine, RecordedEngine)
        yield Parts(memory.store, memory, writer, engine, config.backend, config.jobs, recorded, ledger, config.given)


def check_names(config: RunConfig, *, several: bool = False) -> None:
    """Refuse names that nothing answers to before a run is made of them. ``several``: it may be on more than one backend."""
    resolve("policy", config.policy, POLICIES)
    resolve("engine", config.engine, ENGINES)
    for target in config.targets:
        find_backend(target)
    if config.engine == "local" and config.device is not None:
        parse_device(config.device)
    if len(config.targets) > 1 and not several:
        raise InputError(f"--backend is {config.backend!r}, and only optimize takes several", "give one backend")
    judging = not config.model.startswith("replay:") or config.rejudge
    if len(config.targets) > 1 and config.engine == "local" and judging:
        check_targets(config.targets, config.device)
    for name in members_of(config.model) if is_ensemble(config.model) else (config.model,):
        _check_model(name, config)


def make_writer(
    config: RunConfig,
    workspace: Workspace,
    run: str = "",
    ledger: Ledger | None = None,
    stopping: Callable[[], bool] = never,
) -> Writer:
    """The writer that ``--model`` names, or several as one; one that calls models needs the run's ledger."""
    setup = Setup(
        config.model,
        workspace.home,
        workspace.store_url,
        run=run,
        options=config.llm,
        ledger=ledger,
        steps=config.steps,
        weights=config.weights,
        seed=config.seed,
        prompt_tokens=config.prompt_tokens,
        wait=config.wait,
        stopping=stopping,
    )
    if not is_ensemble(config.model):
        return _single(setup)
    with ExitStack() as stack:
        made: dict[str, Writer] = {}
        for name in members_of(config.model):
            made[name] = _single(replace(setup, name=name))
            stack.callback(made[name].close)
        stack.pop_all()  # all are there: none needs to be closed because another could not be made
        return Ensemble(made, config.weights, config.seed)


def _single(setup: Setup) -> Writer:
    """The one writer that ``setup.name`` stands for."""
    writer: Writer = resolve("model", kind_of(setup.name), WRITERS)(setup)
    return writer


def kind_of(name: str) -> str:
    """Which of :data:`WRITERS` a single ``--model`` stands for: ``llm`` for whatever is no writer's name."""
    if name.startswith("replay:"):
        return "replay"
    return name if name in WRITERS or _IMPORT_PATH.fullmatch(name) else "llm"


def _check_model(name: str, config: RunConfig) -> None:
    if name.startswith("replay:"):
        return
    if kind_of(name) == "llm":
        check_price(Client(name, config.llm), config.limits)  # knows models, keys and prices, and sends nothing yet
    else:
        resolve("model", name, WRITERS)


def make_engine(config: RunConfig, workspace: Workspace) -> Engine:
    """The engine that judges: a replayed run's recorded verdicts, else the one that ``--engine`` names."""
    if config.model.startswith("replay:") and not config.rejudge:
        return RecordedEngine(recording.load(config.model.removeprefix("replay:"), workspace), config.backend)
    kind = resolve("engine", config.engine, ENGINES)
    engine: Engine = kind(config.backend, config.device, workspace.cache, config.judging())
    return engine


def make_policy(config: RunConfig, run: str, task: Task, steps: Sequence[Step], values: Values, workspace: Workspace) -> Policy:
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
        repairs=0 if config.model in UNTEACHABLE else config.repairs,
        asked=tuple(step.idea for step in steps if not step.learned),
        script=script,
    )
    policy: Policy = resolve("policy", config.policy, POLICIES)(search, values)
    for step in steps:
        if step.learned and step.attempt is not None:
            policy.tell(step.idea, step.attempt)
    return policy
