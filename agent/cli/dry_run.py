"""What a dry run found, on the terminal or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernelwright.agent.cli.output import Output
from kernelwright.agent.files import write_text
from kernelwright.agent.money import usd
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.records import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from kernelwright.agent.dry_run import DryRun
    from kernelwright.agent.workspace import Workspace


def as_output(found: DryRun, tasks: Sequence[Task], workspace: Workspace) -> Output:
    """The object for programs, prompts in it; for people the prompts lie in files under ``<home>/dry-run/``."""
    data: dict[str, Any] = {"dry_run": True, **to_json(found)}
    return Output(data, lambda console: _print(found, {t.name: t.slug for t in tasks}, workspace, console))


def _print(found: DryRun, slugs: dict[str, str], workspace: Workspace, console: Console) -> None:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    for name, why in found.refused.items():
        say(f"{name}: refused: {why}")
    if not found.sends:
        say(f"{found.model}: nothing is sent: {found.reason}")
        return
    for first in found.tasks:
        path = workspace.home / "dry-run" / f"{slugs[first.task]}.md"
        write_text(path, first.prompt)
        cut = f", left out: {', '.join(first.left_out)}" if first.left_out else ""
        say(f"{first.task}: first a {first.stage}, step {first.role}, about {first.tokens:,} tokens{cut}: {path}")
    for asked in found.models:
        given = ", ".join(f"{name} {value}" for name, value in asked.parameters.items())
        price = _price(asked.cost_usd_a_call)
        say(f"{asked.model} at {asked.endpoint}: {given}; a call: at most {asked.tokens_a_call:,} tokens, {price}")
    say(f"at most {found.calls_at_most:,} calls, {found.tokens_at_most:,} tokens, {_price(found.cost_usd_at_most)}")
    say("nothing was sent")


def _price(value: float | None) -> str:
    return "unknown price: give --price" if value is None else usd(value)
