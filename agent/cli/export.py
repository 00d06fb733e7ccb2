"""``kernelwright export``: what tune wrote, as a package to publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernelwright.agent.cli.options import AsJson, example, verb
from kernelwright.agent.cli.output import Output

app = verb()


@app.command(
    epilog=example("kernelwright export tuned --out my_kernels\nkernelwright export tuned --layout hf --name my_kernels")
)
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `kernelwright tune` wrote.")] = Path("tuned"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the package goes.")] = Path("tuned_package"),
    layout: Annotated[str, typer.Option(help="wheel: pyproject and src/; hf: Hugging Face kernels.")] = "wheel",
    name: Annotated[str, typer.Option(help="The package's name.")] = "tuned_kernels",
    license: Annotated[str, typer.Option(help="The kernels' licence, as the Hub names it; with hf.")] = "other",
    as_json: AsJson = False,
) -> Output:
    """Make a wheel-ready package, or a Hugging Face kernels repository, of a tuned model's kernels."""
    from kernelwright.agent.tune.export import export as make

    made = make(folder, out, layout, name, license)
    return Output(
        {"out": str(made), "layout": layout}, lambda console: console.print(f"{layout} package: {made}", markup=False)
    )
