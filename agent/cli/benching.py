"""``kernelwright bench --suite …``: tasks x samples, or kernels that others wrote."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli import bench_shown
from kernelwright.agent.cli.interrupt import Interrupt
from kernelwright.agent.cli.options import AsJson, Home, RayAddress, StoreUrl, at_cluster, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.agent.cli.progress import Progress
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from kernelwright.agent.bench.plan import Part, Plan
    from kernelwright.agent.settings import RunConfig
    from kernelwright.agent.workspace import Workspace

INTERRUPTED = 130
_JUDGES = ("ours", "upstream")


def bench(  # noqa: PLR0913  one argument an option is how typer reads a command line
    ctx: typer.Context,
    suite: Annotated[str | None, typer.Option(help="Which tasks: quickstart, core, or with --path a public suite.")] = None,
    path: Annotated[Path | None, typer.Option(metavar="DIR", help="Your own clone of the suite.")] = None,
    levels: Annotated[str | None, typer.Option(metavar="A,B", help="Only these levels or categories.")] = None,
    tasks: Annotated[str | None, typer.Option(metavar="A,B", help="Only these tasks: names, or their numbers.")] = None,
    scale: Annotated[float | None, typer.Option(help="Work over that as shipped, at most 1.")] = None,
    solutions: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Judge the kernels in this folder; none are written.")
    ] = None,
    author: Annotated[str | None, typer.Option(help="Of --solutions: whose kernels; default the folder's name.")] = None,
    judge: Annotated[
        str, typer.Option(help="ours, or upstream: the suite's own rule beside ours, where it can be computed.")
    ] = "ours",
    model: Annotated[str | None, typer.Option(help="Writer: playbook, or provider/model[,…]; default by your keys.")] = None,
    samples: Annotated[int, typer.Option(help="Independent samples a task.")] = 1,
    attempts: Annotated[int | None, typer.Option(help="Attempts a task and sample; default 30, or the suite's own.")] = None,
    policy: Annotated[str, typer.Option(help="evokernel, greedy, beam, mcts or evolve.")] = "evokernel",
    backend: Annotated[
        str | None,
        typer.Option(help="cpp, triton, cuda, pallas, ascend, ttlang; default by the device, or a solution's text."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda[:N], tpu[:N] or npu[:N]; default: what is there.")] = None,
    seed: Annotated[int, typer.Option(help="Of the first sample; each further one has the next.")] = 0,
    jobs: Annotated[int, typer.Option(help="Ideas in flight a task.")] = 1,
    patience: Annotated[int | None, typer.Option(help="End a task after so many attempts without a new best.")] = None,
    memory_exclude: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="Leave this task's experiences out, too.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local, ray: a cluster, or an import path.")] = "local",
    ray_address: RayAddress = None,
    steps: Annotated[str, typer.Option(metavar="A,B", help="A model's steps: code, with plan, review, lesson.")] = "code",
    repairs: Annotated[int, typer.Option(help="Attempts in a row at repairing a rejected kernel.")] = 2,
    max_usd: Annotated[float | None, typer.Option(help="US dollars that the whole bench may spend, hard.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens in and out that it may spend, hard.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Wall time that it may take.")] = None,
    task_usd: Annotated[
        float | None, typer.Option(help="US dollars a task and sample: no further attempt once they are spent.")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="[MODEL=]IN,OUT", help="US dollars for a million tokens of a model.")
    ] = None,
    api_base: Annotated[str | None, typer.Option(metavar="URL", help="Where the model is served.")] = None,
    reasoning_effort: Annotated[str | None, typer.Option(help="minimal, low, medium or high, where a model has it.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2, where a model takes it.")] = None,
    answer_tokens: Annotated[int | None, typer.Option(help="Most tokens of one answer, thoughts included.")] = None,
    prompt_tokens: Annotated[int, typer.Option(help="A prompt's cap; the least valuable parts go first.")] = 16_000,
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance in place of the judge's own.")] = None,
    baselines: Annotated[str | None, typer.Option(metavar="A,B", help="Which of eager, compile, max-autotune to time.")] = None,
    timing_seconds: Annotated[float | None, typer.Option(help="Cap on the timing of one case.")] = None,
    sandbox: Annotated[str, typer.Option(help="auto, strict (refuse where a layer is missing) or off.")] = "auto",
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output | None:
    """Run a suite, several samples a task, and say how much of it was solved and how fast; or judge kernels of others.

    The samples are independent: each is a run of its own with a seed of its own, and recalls nothing that any run of any
    sample learned on a task of the suite. Interrupted or killed, it goes on with `kernelwright resume BENCH`.
    Exit code 0: every task was solved in some sample, 1: some were not.
    """
    if ctx.invoked_subcommand is not None:
        return None
    from kernelwright.agent.bench import plan as plans
    from kernelwright.agent.bench.run import check
    from kernelwright.agent.bench.upstream import rules
    from kernelwright.agent.cli import defaults
    from kernelwright.agent.llm.options import Limits, ModelOptions, parse_prices
    from kernelwright.agent.settings import RunConfig
    from kernelwright.tasks.load import suite_budget
    from kernelwright.tasks.suites.suite import Selection, load_tasks

    if suite is None:
        raise InputError("bench needs --suite", "give --suite quickstart, or --suite NAME --path DIR")
    if judge not in _JUDGES:
        raise InputError(f"--judge is {judge!r}", f"give one of {', '.join(_JUDGES)}")
    if judge == "upstream" and engine == "bundle":
        raise InputError("--judge upstream and --engine bundle are given", "upstream's rule needs the device: leave one out")
    chosen = Selection(_list(levels), _list(tasks), scale)
    loaded = load_tasks(suite, path, chosen)
    stated, unstated = rules(suite, path, loaded.tasks) if judge == "upstream" else ({}, {})
    config = RunConfig(
        argv=tuple(sys.argv[1:]),
        order=(),
        backend=backend or defaults.backend(device),
        model="playbook" if solutions is not None else model or defaults.model(),
        device=device,
        policy=policy,
        budget=attempts if attempts is not None else (suite_budget(suite) if path is None else None) or 30,
        seed=seed,
        jobs=jobs,
        patience=patience,
        memory_exclude=tuple(memory_exclude or ()),
        engine=engine,
        ray_address=at_cluster(ray_address) if engine == "ray" else None,
        llm=ModelOptions(
            api_base=api_base,
            reasoning_effort=reasoning_effort,
            temperature=temperature,
            answer_tokens=answer_tokens,
            prices=parse_prices(price or ()),
        ),
        limits=Limits(max_usd, max_tokens, max_seconds, task_usd),
        steps=_list(steps),
        repairs=repairs,
        prompt_tokens=prompt_tokens,
        rtol=rtol,
        baselines=_list(baselines) or None,
        timing_seconds=timing_seconds,
        sandbox=sandbox,
    )
    bench_id, created = plans.new_id()
    plan = plans.Plan(
        id=bench_id,
        created=created,
        suite=suite,
        config=config,
        tasks=loaded.tasks,
        samples=samples,
        path=str(path) if path is not None else None,
        levels=chosen.levels,
        scale=scale,
        left_out=loaded.left_out,
        notes=loaded.notes,
        rules=stated,
        no_rule=unstated,
        commit=plans.commit(),
    )
    if solutions is not None:
        given = {"--model": model, "--attempts": attempts, "--samples": None if samples == 1 else samples}
        plan = _handed_in(plan, solutions, author, backend, given)
    elif author is not None:
        raise InputError("--author says whose --solutions are judged", "give --solutions DIR, or leave it out")
    check(plan)
    place = workspace(home, store)
    plans.save(plan, place)
    return go_on(plan, place)


def go_on(plan: Plan, place: Workspace) -> Output:
    """Work on a bench under Ctrl-C's two meanings and with progress on stderr."""
    from kernelwright.agent.bench.run import work

    many = f"{len(plan.submissions)} solutions" if plan.author else f"{len(plan.tasks)} tasks x {plan.samples} samples"
    sys.stderr.write(f"{plan.id}: {many}, by {plan.model}; if it is cut off: kernelwright resume {plan.id}\n")
    with Interrupt() as interrupt, Progress(interrupt, sys.stderr) as progress:
        standing = work(plan, place, progress, begins=lambda part: _announce(part, plan), asks=_announce_rule)
    code = INTERRUPTED if interrupt.asked else 0 if standing.finished and standing.solved else 1
    data = bench_shown.data(standing, interrupted=interrupt.asked)
    return Output(data, lambda console: bench_shown.show(standing, data, console), code)


def _announce(part: Part, plan: Plan) -> None:
    if not sys.stderr.isatty():  # on a terminal the live table has the place
        sys.stderr.write(f"sample {part.sample} of {plan.samples}: run {part.run}\n")


def _announce_rule(part: Part) -> None:
    if not sys.stderr.isatty():
        sys.stderr.write(f"upstream's rule: kernels of run {part.run}\n")


def _handed_in(plan: Plan, folder: Path, author: str | None, backend: str | None, given: dict[str, Any]) -> Plan:
    """The plan with the kernels of others in place of a writer."""
    from kernelwright.agent.bench.solutions import WRITER, adopting, find
    from kernelwright.evaluator.backends.registry import judged_here

    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        problem = f"{', '.join(wrong)} and --solutions are given"
        raise InputError(problem, "kernels of others are judged as they are: leave it out")
    adopt = adopting(plan.suite, Path(plan.path) if plan.path is not None else None, plan.tasks)
    problem = "" if backend == "cuda" else judged_here("cuda", plan.config.device, numerics=True)
    found = find(folder, plan.tasks, backend, adopt, problem and f"it is built by load_inline, for backend cuda: {problem}")
    config: RunConfig = replace(plan.config, model=WRITER, policy="greedy", budget=1, repairs=0)
    return replace(
        plan,
        config=config,
        samples=found.samples,
        author=author or folder.resolve().name,
        submissions=found.submissions,
        unknown=found.unknown,
    )


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
