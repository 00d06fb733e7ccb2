"""``kernelwright mcp``: the MCP server for coding agents."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kernelwright.agent.cli.options import Home, StoreUrl, example, verb, workspace
from kernelwright.tasks.errors import InputError

app = verb()


@app.command(epilog=example("kernelwright mcp\nkernelwright mcp --home runs --backend triton --device cuda:0"))
def mcp(
    backend: Annotated[
        str | None,
        typer.Option(help="cpp, triton, cuda, pallas, ascend, ttlang, where a tool names none; default by the device."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda[:N], tpu[:N] or npu[:N], where a tool names none.")] = None,
    root: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Tools read task files below these; default: the current folder.")
    ] = None,
    baselines: Annotated[
        str | None, typer.Option(metavar="A,B", help="Which of eager, compile, max-autotune to time beside each kernel.")
    ] = None,
    timing_seconds: Annotated[float | None, typer.Option(help="Cap on the timing of one case.")] = None,
    sandbox: Annotated[str, typer.Option(help="auto, strict (refuse where a layer is missing) or off.")] = "auto",
    home: Home = None,
    store: StoreUrl = None,
) -> None:
    """Serve a coding agent over MCP on stdin and stdout: list tasks, prompts, attempts, verdicts, memory.

    A client starts it; there is no --json, since stdout belongs to the protocol.
    """
    from kernelwright.agent.mcp.service import Options

    roots = tuple(path.expanduser().absolute() for path in root or [Path.cwd()])
    for path in roots:
        if not path.is_dir():
            raise InputError(f"--root {path} is no folder", "give the folder of the task files")
    timed = tuple(baselines.split(",")) if baselines else None
    options = Options(roots, backend, device, sandbox, timed, timing_seconds).checked()
    try:
        from kernelwright.agent.mcp.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise InputError("the MCP server needs the package mcp", "pip install 'kernelwright[mcp]'") from error
    if not serve(workspace(home, store), options):
        sys.stderr.flush()
        os._exit(0)  # a kernel is under judgement: its processes end with this one, and its run goes on from its last commit
