"""Options that several verbs have, and the workspace they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kernelwright.agent.workspace import Workspace

Home = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="Workspace; default KERNELWRIGHT_HOME or .kernelwright/.")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="SQLAlchemy URL of the store; default <home>/store.db.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else.")]

RayAddress = Annotated[
    str | None, typer.Option("--ray-address", metavar="HOST:PORT", help="With ray: an existing cluster; local: one here.")
]

ClonePath = Annotated[Path | None, typer.Option("--path", metavar="DIR", help="Your own clone of the suite.")]
Levels = Annotated[
    list[str] | None, typer.Option("--level", "--levels", metavar="A,B", help="Only these levels or categories of the suite.")
]
Scale = Annotated[
    float | None, typer.Option(help="Smaller timing shapes: at most this share of the work as shipped, such as 0.01.")
]


def verb(help: str | None = None, shown: str = "") -> typer.Typer:
    """A verb's Typer: plain help (rich costs a third of the start), no completion commands.

    A verb with commands of its own says what it is for and shows an example; the others leave that to their function.
    """
    names = {"help_option_names": ["-h", "--help"]}
    epilog = example(shown) if shown else None
    return typer.Typer(add_completion=False, rich_markup_mode=None, help=help, epilog=epilog, context_settings=names)


def workspace(home: Path | None, store: str | None) -> Workspace:
    """The workspace of the two options."""
    from kernelwright.agent.workspace import Workspace

    return Workspace.at(home, store)


def at_cluster(address: str | None, *, otherwise: str | None = None) -> str | None:
    """The Ray cluster that this process judges on: ``address``, else what the environment names, else ``otherwise``."""
    from kernelwright.evaluator.engines.ray import ADDRESS, named

    found = address or named() or otherwise
    if found is not None:
        os.environ[ADDRESS[0]] = found
    return found


def example(text: str) -> str:
    """The examples at the end of a verb's help, line by line."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {line}" for line in text.strip().splitlines())


def listed(values: list[str] | None) -> tuple[str, ...]:
    """What an option was given, several times or with commas."""
    return tuple(part for value in values or () for part in value.split(",") if part)
