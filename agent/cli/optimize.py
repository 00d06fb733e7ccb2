"""``kernelwright optimize``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernelwright.agent.cli.options import (
    AsJson,
    ClonePath,
    Home,
    Levels,
    RayAddress,
    Scale,
    StoreUrl,
    at_cluster,
    example,
    listed,
    verb,
    workspace,
)
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.errors import InputError, TaskError
from kernelwright.tasks.records import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernelwright.tasks.suites.suite import Selection

app = verb()

EXAMPLES = example(
    """
kernelwright optimize --suite quickstart
kernelwright optimize --suite kernelbench --path KernelBench --level 1,2 --budget 10
kernelwright optimize rms_norm softmax --budget 10 --model provider/model
kernelwright optimize path/to/file.py --backend triton --json
kernelwright optimize rms_norm --backend cpp,triton
kernelwright optimize rms_norm --portable --model provider/model
kernelwright optimize rms_norm --model exchange --jobs 4
kernelwright optimize rms_norm --policy beam --jobs 3 --warm-start
kernelwright optimize rms_norm --from rms_norm.cu --backend cpp --model provider/model
kernelwright optimize --suite core --model provider/model --max-usd 20 --dry-run
kernelwright optimize rms_norm --model openai/local --api-base http://127.0.0.1:8000/v1 --price 0,0 --max-tokens 500000
kernelwright optimize --model replay:261122-130500-3f2a
"""
)


@app.command(epilog=EXAMPLES)
def optimize(  # noqa: PLR0913  one argument an option is how typer reads a command line
    tasks: Annotated[list[str] | None, typer.Argument(metavar="[TASK]...", help="Task names, or paths of task files.")] = None,
    suite: Annotated[str | None, typer.Option(help="A suite's tasks: quickstart, core; a public one by --path.")] = None,
    path: ClonePath = None,
    level: Levels = None,
    scale: Scale = None,
    backend: Annotated[
        str | None,
        typer.Option(metavar="B[,B]", help="cpp, triton, cuda, pallas, ascend, ttlang, or several; default by the device."),
    ] = None,
    portable: Annotated[
        bool, typer.Option("--portable", help="Every backend that this machine can judge, on hardware or simulated.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda[:N], tpu[:N] or npu[:N]; default: what is there.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Writer: playbook, exchange, replay:RUN, or provider/model[,…]; default by your keys.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="evokernel (default), greedy, beam, mcts or evolve.")] = None,
    budget: Annotated[int | None, typer.Option(help="Attempts a task; default 30, or the suite's own.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all choices of the search; default 0.")] = None,
    jobs: Annotated[int, typer.Option(help="Ideas in flight a task.")] = 1,
    patience: Annotated[int | None, typer.Option(help="Stop a task after so many attempts without a new best.")] = None,
    target: Annotated[float | None, typer.Option(help="Stop a task at this speedup against the best baseline.")] = None,
    memory_exclude: Annotated[list[str] | None, typer.Option(metavar="TASK", help="Leave a task's experiences out.")] = None,
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="Begin with kernels of earlier runs on this or a similar task, judged anew.")
    ] = False,
    given: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Start from this kernel: judged as it is, or translated by the model."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, ray: a cluster, or bundle: judge on another machine.")] = "local",
    ray_address: RayAddress = None,
    steps: Annotated[str, typer.Option(metavar="A,B", help="A model's steps: code, with plan, review, lesson.")] = "code",
    repairs: Annotated[int, typer.Option(help="Attempts in a row at repairing a rejected kernel; 0: draft anew.")] = 2,
    weights: Annotated[
        str | None, typer.Option(metavar="W,W", help="Of several models; default: a bandit on improvement per dollar.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="With exchange: stay and wait for the answers.")] = False,
    max_usd: Annotated[float | None, typer.Option(help="US dollars that the whole run may spend, hard.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens in and out that the whole run may spend, hard.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Wall time of the whole run.")] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="[MODEL=]IN,OUT", help="US dollars for a million tokens of a model.")
    ] = None,
    api_base: Annotated[str | None, typer.Option(metavar="URL", help="Where the model is served.")] = None,
    reasoning_effort: Annotated[str | None, typer.Option(help="minimal, low, medium or high, where a model has it.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2, where a model takes it.")] = None,
    answer_tokens: Annotated[int | None, typer.Option(help="Most tokens of one answer, thoughts included.")] = None,
    stall_seconds: Annotated[float, typer.Option(help="Give up an answer of which nothing new comes for so long.")] = 120,
    requests_per_minute: Annotated[float | None, typer.Option(help="A provider's rate limit.")] = None,
    concurrency: Annotated[int, typer.Option(help="Calls in flight a provider.")] = 8,
    prompt_tokens: Annotated[int, typer.Option(help="A prompt's cap; the least valuable parts go first.")] = 16_000,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent where and its cost at most; send nothing.")
    ] = False,
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance in place of the judge's own.")] = None,
    baselines: Annotated[
        str | None, typer.Option(metavar="A,B", help="Which of eager, compile, max-autotune to time beside each kernel.")
    ] = None,
    timing_seconds: Annotated[float | None, typer.Option(help="Cap on the timing of one case.")] = None,
    sandbox: Annotated[str, typer.Option(help="auto, strict (refuse where a layer is missing) or off.")] = "auto",
    rejudge: Annotated[bool, typer.Option("--rejudge", help="With replay: judge again and compare statuses.")] = False,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Write, judge, remember and refine kernels for the given tasks; leaves the winners, the evidence and a report."""
    from kernelwright.agent import recording
    from kernelwright.agent.cli import defaults
    from kernelwright.agent.cli.work import work
    from kernelwright.agent.given import read_given
    from kernelwright.agent.llm.options import Limits, ModelOptions, parse_prices
    from kernelwright.agent.run import start
    from kernelwright.agent.settings import RunConfig
    from kernelwright.agent.targets import of_recording, spread
    from kernelwright.tasks.load import suite_budget
    from kernelwright.tasks.suites.suite import Selection

    place = workspace(home, store)
    model = model or defaults.model()
    recorded = recording.load(model.removeprefix("replay:"), place) if model.startswith("replay:") else None
    if tasks or suite is not None or recorded is None:
        chosen = Selection(listed(level), tuple(tasks or ()), scale)
        loaded, refused = _load(tasks or [], suite, scale) if path is None else _of_clone(suite, path, chosen)
        if path is None and level:
            raise InputError("--level belongs to --suite and --path", "name your own clone of the suite")
    else:
        loaded, refused = recorded.tasks, {}
    was = recording.Defaults.of(recorded)
    backends = backend or was.backend or defaults.backend(device)
    left_out: Mapping[str, str] = {}
    if portable:
        backends, left_out = _portable(backend, device, model, engine)
    config = RunConfig(
        argv=tuple(sys.argv[1:]),
        order=(*dict.fromkeys(t.asked for t in loaded), *refused),
        backend=backends,
        model=model,
        device=device,
        policy=policy or was.policy or "evokernel",
        budget=budget if budget is not None else was.budget or (suite_budget(suite) if suite and path is None else None) or 30,
        seed=seed if seed is not None else was.seed or 0,
        jobs=jobs,
        patience=patience,
        target=target,
        memory_exclude=tuple(memory_exclude or ()),
        warm_start=warm_start,
        given=None if given is None else read_given(given),
        engine=engine,
        ray_address=at_cluster(ray_address) if engine == "ray" else None,
        llm=ModelOptions(
            api_base=api_base,
            reasoning_effort=reasoning_effort,
            temperature=temperature,
            answer_tokens=answer_tokens,
            stall_seconds=stall_seconds,
            requests_per_minute=requests_per_minute,
            concurrency=concurrency,
            prices=parse_prices(price or ()),
        ),
        limits=Limits(max_usd, max_tokens, max_seconds),
        steps=tuple(steps.split(",")),
        repairs=repairs,
        weights=_weights(weights),
        prompt_tokens=prompt_tokens,
        wait=wait,
        rtol=rtol,
        baselines=tuple(baselines.split(",")) if baselines else None,
        timing_seconds=timing_seconds,
        sandbox=sandbox,
        rejudge=rejudge,
        refused=refused,
        left_out=left_out,
    )
    loaded = spread(loaded, config.targets) if recorded is None else of_recording(loaded, config.targets, was.backend)
    if dry_run:
        from kernelwright.agent.cli import dry_run as shown
        from kernelwright.agent.dry_run import dry_run as look

        return shown.as_output(look(config, loaded, place), loaded, place)
    if wait:
        sys.stderr.write(f"prompts come to {place.exchange}: see `kernelwright exchange next`\n")
    return work(lambda watch: start(config, loaded, place, watch), place)


def _portable(backend: str | None, device: str | None, model: str, engine: str) -> tuple[str, Mapping[str, str]]:
    """The backends of ``--portable`` with commas between them, and why others are left out.

    Raises:
        InputError: another option says which backends, or where they are judged; none can be judged here.
    """
    from kernelwright.agent import targets

    if backend is not None:
        raise InputError(f"--portable is given with --backend {backend}", "leave one of them out")
    if model.startswith("replay:"):
        raise InputError("--portable is given, and a replay has its recording's backends", "leave it out")
    if engine != "local":
        elsewhere = f"--portable asks what this machine can judge, and --engine {engine} judges elsewhere"
        raise InputError(elsewhere, "name the backends: --backend cpp,triton")
    found, left_out = targets.portable(device, model)
    return ",".join(found), left_out


def _weights(text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--weights is {text!r}", "give a number for each model, such as 2,1") from error


def _of_clone(suite: str | None, path: Path, chosen: Selection) -> tuple[tuple[Task, ...], dict[str, str]]:
    """The chosen tasks of a user's own clone, and why each entry that is none is left out.

    Raises:
        InputError: no suite is named, or nothing of it is chosen; TaskError: ``path`` is no clone of it.
    """
    from kernelwright.tasks.suites.suite import load_tasks

    if suite is None:
        raise InputError("--path needs --suite", "name the suite that DIR is a clone of; see docs/suites.md")
    loaded = load_tasks(suite, path, chosen)
    return loaded.tasks, dict(loaded.left_out)


def _load(names: list[str], suite: str | None, scale: float | None) -> tuple[tuple[Task, ...], dict[str, str]]:
    """The tasks that load, and for each that does not why. A name that stands for nothing is refused if others load.

    Raises:
        InputError: no task is named, or none of the names stands for anything.
    """
    from kernelwright.tasks.load import load_suite, load_task
    from kernelwright.tasks.scaling import check_scale, scaled
    from kernelwright.tasks.suites import SUITES

    check_scale(scale)
    if suite in SUITES:
        raise InputError(f"the suite {suite} is read from your own clone", "give --path DIR")
    if not names and suite is None:
        raise InputError("no task is named", "give task names, files, or --suite quickstart; see `kernelwright tasks`")
    loaded: dict[str, Task] = {task.name: scaled(task, scale) for task in load_suite(suite)} if suite is not None else {}
    refused: dict[str, str] = {}
    unknown: TaskError | None = None
    for name in names:
        try:
            task = scaled(load_task(name), scale)
            loaded[task.name] = task
        except TaskError as error:
            refused[name] = str(error)
            if not Path(name).expanduser().exists():
                unknown = unknown or error
    if unknown is not None and not loaded:
        raise unknown
    return tuple(loaded.values()), refused
