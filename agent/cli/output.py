"""What verbs give back, and how it is printed: text for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Output:
    """A verb's result: ``data`` for ``--json``, ``text`` to print it for people, and the exit code."""

    data: Mapping[str, Any]
    text: Callable[[Console], None]
    code: int = 0


def show(output: Output, as_json: bool) -> None:
    """Print ``output`` on stdout."""
    if as_json:
        sys.stdout.write(json.dumps(output.data) + "\n")
    else:
        from rich.console import Console

        width = None if sys.stdout.isatty() else 120  # a file or a pipe has no width of its own
        output.text(Console(width=width, soft_wrap=True, emoji=False))  # `model.py:llama: …` is no animal
    sys.stdout.flush()


def show_error(message: str, remedy: str, as_json: bool) -> None:
    """One line that says what is wrong and one that says what to do: on stderr, as JSON on stdout."""
    if as_json:
        sys.stdout.write(json.dumps({"error": {"message": message, "remedy": remedy}}) + "\n")
        sys.stdout.flush()
        return
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    if remedy:
        sys.stderr.write(f"remedy: {' '.join(remedy.split())}\n")


@contextmanager
def stdout_kept(keep: bool) -> Iterator[None]:
    """While a verb works with ``--json``, what libraries and child processes print on stdout goes to stderr instead."""
    if not keep:
        yield
        return
    saved = os.dup(1)
    try:
        sys.stdout.flush()
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
