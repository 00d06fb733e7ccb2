"""``kernelwright VERB …``: finds the verb's module, runs it, and turns what comes of it into output and an exit code.

Only the verb that is asked for is imported, and nothing heavy before it is needed.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from kernelwright import __version__
from kernelwright.agent.cli.output import Output, show, show_error, stdout_kept
from kernelwright.tasks.errors import KernelwrightError

VERBS = {
    "optimize": "write, judge and refine kernels for one or many tasks",
    "tune": "make a whole model faster end to end, and prove it",
    "check": "judge one kernel on one task",
    "tasks": "list the tasks, or show one",
    "resume": "go on with a run that was interrupted or waits",
    "runs": "list the runs",
    "report": "write a run's report again",
    "watch": "see a run live on the terminal; pause, stop it, raise its budget",
    "serve": "look at runs and memory in a browser, read-only",
    "memory": "what was learned: list, show, search, export, import, rebuild, stats",
    "exchange": "answer prompts by hand, and see them: next, submit, list, show",
    "mcp": "serve a coding agent over the Model Context Protocol",
    "bench": "run a suite and measure, judge kernels of others, compare",
    "leaderboard": "build a static site from results of benches and machines",
    "gc": "free artifacts that nothing refers to, and stale builds",
    "bundle": "carry kernels to another machine, and their verdicts back",
    "export": "make a package of a tuned model's kernels",
    "doctor": "what works here, and why the rest does not",
}

_MODULES = {"gc": "collecting"}
"""Verbs whose module is not called as they are: none is called like one of the standard library."""

INTERRUPTED = 130
HARNESS = 3
USAGE = 2


def run(argv: Sequence[str]) -> int:
    """Run one command line; returns the exit code (design §3): 0, 1, 2 usage or input, 3 harness, 130 interrupted."""
    argv = list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return 0 if argv else USAGE
    if argv[0] == "--version":
        sys.stdout.write(f"kernelwright {__version__}\n")
        return 0
    as_json = "--json" in argv
    try:
        return _run_verb(argv[0], argv[1:], as_json)
    except KernelwrightError as error:
        show_error(error.message, error.remedy, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("aborted\n")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has left: nothing more may be written at exit
        return 1
    except Exception as error:  # noqa: BLE001  the process boundary: nothing unforeseen may look like a verdict
        if os.environ.get("KERNELWRIGHT_DEBUG") == "1":
            traceback.print_exc()
        message = f"the harness failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        show_error(message.rstrip(": "), "set KERNELWRIGHT_DEBUG=1 to see where, and report it", as_json)
        return HARNESS


def _run_verb(verb: str, argv: Sequence[str], as_json: bool) -> int:
    if verb not in VERBS:
        show_error(f"unknown verb {verb!r}", f"one of: {', '.join(VERBS)}", as_json)
        return USAGE
    import typer
    from typer.main import get_command

    usage_error: Any = typer.BadParameter.__bases__[0]  # its home has moved between typer's versions
    command = get_command(importlib.import_module(f"kernelwright.agent.cli.{_MODULES.get(verb, verb)}").app)
    try:
        with stdout_kept(as_json):
            result = command.main(list(argv), prog_name=f"kernelwright {verb}", standalone_mode=False)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except usage_error as error:
        message = _with_value(error.format_message(), argv) or f"{verb} needs more"
        show_error(message, f"see `kernelwright {verb} --help`", as_json)
        return USAGE
    if isinstance(result, Output):
        show(result, as_json)
        return result.code
    return result if isinstance(result, int) else 0


def _with_value(message: str, argv: Sequence[str]) -> str:
    """A usage error with the value that was given: typer names the option and leaves the value out."""
    option = re.search(r"'(--?[\w-]+)'", message)
    if option is None or option.group(1) not in argv[:-1]:
        return message
    return f"{message} (given: {argv[argv.index(option.group(1)) + 1]!r})"


def overview() -> str:
    """The text of ``kernelwright --help``."""
    width = max(len(verb) for verb in VERBS) + 3
    lines = [f"  {verb:<{width}}{what}" for verb, what in VERBS.items()]
    return "\n".join(
        [
            "Usage: kernelwright VERB [OPTIONS]",
            "",
            "Writes fast kernels, judges them, remembers what was learned, and prints only numbers that hold.",
            "",
            "Verbs:",
            *lines,
            "",
            "Example:",
            "  kernelwright optimize --suite quickstart",
            "",
            "`kernelwright VERB --help` shows a verb's options. --json on any verb prints one object.",
            "",
        ]
    )
