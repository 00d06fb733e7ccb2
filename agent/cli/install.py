"""``kernelwright doctor --install``: the toolchain of a backend that cannot be a dependency."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from kernelwright.agent.cli.output import Output
from kernelwright.tasks.errors import HarnessError, InputError

if TYPE_CHECKING:
    from rich.console import Console

_NAMES = ("ascend",)


def install(name: str, yes: bool) -> Output:
    """Print the steps, or do them.

    Raises:
        InputError: no such toolchain, or it cannot be had on this machine; HarnessError: a step failed.
    """
    from kernelwright.evaluator import ascend_environment as ascend

    if name not in _NAMES:
        raise InputError(f"there is nothing to install for {name!r}", f"there is: {', '.join(_NAMES)}")
    if problem := ascend.steps_problem():
        raise InputError(f"Triton-Ascend cannot be installed here: {problem}", "see docs/backends/ascend.md")
    steps = ascend.steps()
    if not yes:
        lines = [shlex.join(step) for step in steps]
        data = {"install": name, "place": str(ascend.place()), "steps": lines, "done": False}
        return Output(data, lambda console: _print([*lines, "(--yes does them)"], console))
    for step in steps:
        _do(step)
    found = ascend.toolchain()
    if isinstance(found, str):
        raise HarnessError(f"all steps are done, and it does not work: {found}", "see docs/backends/ascend.md")
    done = {"install": name, "place": str(found.place), "versions": found.versions, "done": True}
    return Output(done, lambda console: _print([f"{found.versions} in {found.place}"], console))


def _do(step: list[str]) -> None:
    """One command; what it says goes to stderr."""
    sys.stderr.write(f"$ {shlex.join(step)}\n")
    sys.stderr.flush()
    try:
        code = subprocess.run(step, stdin=subprocess.DEVNULL, stdout=2, check=False).returncode
    except OSError as error:
        raise HarnessError(f"{step[0]} cannot be run: {error.strerror}", f"do it by hand: {shlex.join(step)}") from error
    if code:
        raise HarnessError(f"`{shlex.join(step)}` ended with {code}", "see what it said, do it by hand, then run this again")


def _print(lines: list[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False)
