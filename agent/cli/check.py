"""``kernelwright check``: judge one kernel on one task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernelwright.agent.cli import defaults, evidencing, figures, selftesting
from kernelwright.agent.cli.options import AsJson, Home, Scale, example, verb
from kernelwright.agent.cli.output import Output
from kernelwright.evaluator.settings import COMPILED_FOR, SANDBOXES, Settings
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.tasks.records import Task, Verdict

app = verb()

EXAMPLES = (
    "kernelwright check kernel.py --task rms_norm\nkernelwright check kernel.py --task model.py --json\n"
    "kernelwright check kernel.py --task rms_norm --save-evidence rms_norm.json\n"
    "kernelwright check --evidence rms_norm.json\nkernelwright check --selftest --backend cpp"
)


@app.command(epilog=example(EXAMPLES))
def check(  # noqa: PLR0913  one argument an option is how typer reads a command line
    kernel: Annotated[Path | None, typer.Argument(metavar="KERNEL", help="A Python file that defines class ModelNew.")] = None,
    task: Annotated[str | None, typer.Option(help="The task: a name, or a file.")] = None,
    backend: Annotated[
        str | None, typer.Option(help="cpp, triton, cuda, pallas, ascend, ttlang; default: by the file.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda[:N], tpu[:N] or npu[:N]; default: what is there.")] = None,
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance in place of the judge's own.")] = None,
    scale: Scale = None,
    sandbox: Annotated[str, typer.Option(help="auto, strict (refuse where a layer is missing) or off.")] = "auto",
    compile_for: Annotated[
        str, typer.Option(metavar="A,B", help=f"Of Triton without a GPU: whose evidence is wanted; {', '.join(COMPILED_FOR)}.")
    ] = "sm_90",
    save_evidence: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all that the verdict rests on to FILE, to be judged again.")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of KERNEL: does what this file says hold? Judges it again.")
    ] = None,
    judging: Annotated[
        bool, typer.Option("--judging/--no-judging", help="Of --evidence: judge again, or only look at the file.")
    ] = True,
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Judge the committed cheats and honest kernels instead of KERNEL.")
    ] = False,
    corpus: Annotated[Path | None, typer.Option(metavar="DIR", help="Of --selftest: another corpus.")] = None,
    only: Annotated[str | None, typer.Option(metavar="A,B", help="Of --selftest: the kernels with these names.")] = None,
    jobs: Annotated[int, typer.Option(help="Of --selftest: judges at once; what is missed so is judged again alone.")] = 1,
    home: Home = None,
    as_json: AsJson = False,
) -> Output:
    """Judge one kernel: is it right, its own work, and how fast? Exit code 0 passed, 1 any other verdict.

    --evidence: does the file agree with itself, and does judging again agree with it? Exit code 0 all holds, 1 something
    does not.

    --selftest: does the judge catch every committed cheat and accuse no honest kernel? Exit code 0 yes, 1 no.
    """
    if sandbox not in SANDBOXES:
        raise InputError(f"--sandbox is {sandbox!r}", f"give one of {', '.join(SANDBOXES)}")
    if evidence is not None:
        if kernel is not None or save_evidence is not None or selftest or (rtol, scale) != (None, None):
            remedy = "leave out KERNEL, --save-evidence, --selftest, --rtol and --scale"
            raise InputError("--evidence judges the kernel in its file", remedy)
        return evidencing.check(evidencing.Asked(evidence, task, backend, device, sandbox, home, judging))
    if not judging:
        raise InputError("--no-judging belongs to --evidence", "add --evidence FILE, or leave it out")
    if selftest:
        if kernel is not None or (task, save_evidence, scale) != (None, None, None):
            remedy = "leave out KERNEL, --task, --save-evidence and --scale; see --corpus and --only"
            raise InputError("--selftest judges its own corpus", remedy)
        return selftesting.test(backend, device, corpus, only, sandbox, home, jobs)
    if kernel is None or task is None:
        missing = " and ".join(name for name, value in (("KERNEL", kernel), ("--task", task)) if value is None)
        raise InputError(f"check needs {missing}", "or --selftest; see `kernelwright check --help`")
    if corpus is not None or only is not None or jobs != 1:
        raise InputError("--corpus, --only and --jobs belong to --selftest", "add --selftest, or leave them out")
    if rtol is not None and not 0 < rtol < 1:
        raise InputError(f"--rtol is {rtol}", "give a relative tolerance between 0 and 1, such as 1e-3")
    from kernelwright.tasks.load import load_task
    from kernelwright.tasks.scaling import scaled

    settings = Settings(rtol=rtol, sandbox=sandbox, record=save_evidence is not None, compile_for=_gpus(compile_for))
    verdict = _judged(kernel, scaled(load_task(task), scale), backend, device, settings, home, save_evidence)
    return Output(to_json(verdict), lambda console: _print(verdict, console), 0 if verdict.passed else 1)


def _gpus(names: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    if unknown := [name for name in found if name not in COMPILED_FOR]:
        raise InputError(f"--compile-for names {unknown[0]!r}", f"give some of {', '.join(COMPILED_FOR)}, separated by commas")
    return found


def _judged(
    path: Path,
    task: Task,
    backend: str | None,
    device: str | None,
    settings: Settings,
    home: Path | None,
    save: Path | None,
) -> Verdict:
    from kernelwright.agent.workspace import Workspace
    from kernelwright.evaluator.judge import Judge
    from kernelwright.tasks.records import Kernel

    source = _read(path)
    kernel = Kernel(source, backend or defaults.language(source))
    with Judge(kernel.backend, device, Workspace.at(home, None).cache, settings) as judge:
        verdict = judge.judge(kernel, task)
        return verdict if save is None else evidencing.save(save, kernel, task, verdict, judge)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "give the file that holds the kernel") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}", "give a Python file") from error


def _print(verdict: Verdict, console: Console) -> None:
    from rich.panel import Panel
    from rich.pretty import Pretty
    from rich.table import Table
    from rich.text import Text

    head = Text(f"{verdict.status.value} at {verdict.stage.value}: {verdict.reason}")
    head.stylize("green" if verdict.passed else "red")
    console.print(Panel(head, title=f"{verdict.task}  {verdict.kernel_id}", title_align="left"))
    lines = [f"verified: {verdict.assurance.value}; held-out shapes: {verdict.held_out}"]
    if verdict.envelope:
        lines.append(f"envelope: {verdict.envelope}")
    if verdict.library_share:
        lines.append(f"share of time in library calls: {verdict.library_share:.0%}")
    timing = verdict.timing
    if timing is not None:
        lines.append(f"latency: {figures.latency(timing)}")
        lines += [f"speedup vs {name}: {figures.interval(value)}" for name, value in timing.speedup.items() if name != "best"]
        if timing.roofline_fraction is not None:
            lines.append(f"fraction of the roofline: {timing.roofline_fraction:.0%}")
    for line in lines:
        console.print(line, markup=False, highlight=False)
    if verdict.cases:
        table = Table()
        for heading in ("case", "use", "dtype", "status", "error / bound", "detail"):
            table.add_column(heading)
        for case in verdict.cases:
            ratio = f"{case.error_ratio:.2g}" if case.error_ratio is not None else ""
            table.add_row(case.case, case.use.value, case.dtype, case.status, ratio, case.detail)
        console.print(table)
    if verdict.evidence and not verdict.passed:
        console.print(Pretty(dict(verdict.evidence), max_length=20, max_string=2000))
