"""``kernelwright doctor``: what works here, and why the rest does not."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli import defaults
from kernelwright.agent.cli.install import install
from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.agent.llm.providers import PROVIDERS, present
from kernelwright.tasks.errors import KernelwrightError

if TYPE_CHECKING:
    from rich.console import Console

app = verb()


Install = Annotated[
    str | None, typer.Option("--install", metavar="NAME", help="Print how to install a backend's toolchain: ascend (Triton's).")
]
Yes = Annotated[bool, typer.Option("--yes", help="With --install: do it.")]


@app.command(epilog=example("kernelwright doctor\nkernelwright doctor --install ascend --yes"))
def doctor(
    home: Home = None, store: StoreUrl = None, name: Install = None, yes: Yes = False, as_json: AsJson = False
) -> Output:
    """Say what was detected, what is used by default, and why the rest is unavailable."""
    if name is not None:
        return install(name, yes)
    rows = [*_system(), *_packages(), *_backends(), *_sandbox(), *_models(), _place(home, store)]
    kind = defaults.device_kind(None)
    chosen = {"device": kind, "backend": defaults.backend(None), "model": defaults.model()}
    usable = all(row["ok"] for row in rows if row["needed"])
    data = {"doctor": rows, "defaults": chosen, "ok": usable}
    return Output(data, lambda console: _print(rows, chosen, console), 0 if usable else 1)


def _row(what: str, found: str, problem: str = "", *, needed: bool = False) -> dict[str, Any]:
    return {"what": what, "ok": not problem, "found": found, "problem": problem, "needed": needed}


def _system() -> Iterator[dict[str, Any]]:
    old = "" if sys.version_info >= (3, 10) else "Kernelwright needs Python 3.10 or newer"
    yield _row("python", platform.python_version(), old, needed=True)
    cuda = defaults.device_kind(None) == "cuda"
    name = _gpu_name() if cuda else ""
    cores = f"{os.cpu_count()} cores"
    yield _row("cpu", f"{platform.machine()}, {cores}", needed=True)
    problem = "" if cuda else "no CUDA device is visible: kernels are judged on the CPU, Triton ones only simulated"
    yield _row("cuda device", name, problem)
    compiler = next((path for c in ("g++", "clang++") if (path := shutil.which(c))), None)
    yield _row("C++ compiler", compiler or "", "" if compiler else "install g++: backend cpp and torch.compile need it")


def _gpu_name() -> str:
    """The first GPU's name by the driver's own tool, which needs no torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "present, name unknown"
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "present, nvidia-smi does not answer"
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "present, name unknown"


def _packages() -> Iterator[dict[str, Any]]:
    for name, needed, why in (
        ("torch", True, "kernels cannot be judged"),
        ("numpy", True, "kernels cannot be judged"),
        ("sqlalchemy", True, "runs cannot be kept"),
        ("chromadb", True, "memory cannot recall"),
        ("triton", False, "backend triton is unavailable"),
        ("jax", False, "backend pallas is unavailable"),
        ("openai", False, "OpenAI and OpenAI-compatible servers cannot be asked"),
        ("litellm", False, "no other provider than OpenAI can be asked, and no price is known"),
    ):
        try:
            yield _row(name, version(name), needed=needed)
        except PackageNotFoundError:
            yield _row(name, "", f"not installed: {why}; pip install {name}", needed=needed)


def _backends() -> Iterator[dict[str, Any]]:
    from kernelwright.evaluator.backends.registry import BACKENDS, backend

    kind = defaults.device_kind(None)
    for name in BACKENDS:
        try:
            problem = backend(name).available(kind)
        except KernelwrightError as error:
            problem = str(error)
        yield _row(f"backend {name}", "" if problem else f"on {kind}", problem)
        if name == "triton" and not problem:
            yield _ttsem()
        if name == "pallas" and not problem:
            yield _libtpu()
            yield _tpu()
        if name == "ascend":
            yield from _ascend()
            yield _npu()


def _ttsem() -> dict[str, Any]:
    """Whether Triton kernels are executed by their IR where there is no GPU."""
    from kernelwright.evaluator.backends.triton import TTSEM, semantics_problem

    missing = semantics_problem()
    found = f"{TTSEM}: executes Triton kernels of bfloat16 on the CPU"
    return _row("ttsem", "" if missing else found, f"{missing}; bfloat16 is not judged on the CPU" if missing else "")


def _ascend() -> Iterator[dict[str, Any]]:
    """Whether Triton kernels are compiled for a 910B and run here; tried, since half an installation is common."""
    from kernelwright.evaluator.ascend_environment import ARCH, toolchain
    from kernelwright.evaluator.toolchain_hivm import LastStep, last_step

    found = toolchain()
    if isinstance(found, str):
        yield _row("Triton-Ascend", "", f"{found} (Ascend C needs none of it)")
        yield from _cann()
        return
    yield _row("Triton-Ascend", f"{found.versions}, LLVM 19: compiles for {ARCH}, numerics on the host; in {found.place}")
    yield from _cann()
    last = last_step(found)
    if isinstance(last, LastStep):
        yield _row("hivmc", f"{last.versions}: makes {ARCH} binaries of Triton kernels")
    elif last:
        yield _row("hivmc", "", f"{last} (kernels are judged without it)")


def _cann() -> Iterator[dict[str, Any]]:
    """Whether the vendor's compiler takes Ascend C here; tried, with a plain kernel."""
    from kernelwright.evaluator.toolchain_cann import compiler

    if not (found := compiler()):
        return
    if isinstance(found, str):
        yield _row("CANN", "", f"{found} (kernels are judged without it)")
    else:
        what = f"compiles Ascend C for {found.form.arch} ({found.form.name})"
        yield _row("CANN", f"{found.versions}: {what}")


def _libtpu() -> dict[str, Any]:
    """Whether Pallas kernels are also compiled for a TPU that is not here; tried, since half an installation is common."""
    from kernelwright.evaluator.backends.pallas_probe import COUNTS, libtpu

    found = libtpu()
    if not found.mode and not found.problem:
        return _row("libtpu", "", "not installed: Pallas kernels are not compiled for v5e and v6e; pip install libtpu")
    figures = "compiles for v5e and v6e" + (", with bundle and spill counts" if found.mode == COUNTS else "")
    return _row("libtpu", figures if found.mode and not found.problem else "", found.problem)


def _tpu() -> dict[str, Any]:
    """Whether a TPU is here and JAX opens it: tried, where one is visible."""
    from kernelwright.evaluator.backends.pallas import PallasBackend
    from kernelwright.evaluator.chip_tpu import missing

    found = PallasBackend().facts(0)
    without = missing()
    timed = f"no baseline: {without}" if without else "timed against the reference through torchax"
    return _row("tpu", f"{found.name}: use it with --device tpu; {timed}" if found.name else "", found.problem)


def _npu() -> dict[str, Any]:
    """Whether an NPU is here, with CANN, and torch_npu opens it: tried, where one is visible."""
    from kernelwright.evaluator.backends.ascend import AscendBackend

    backend = AscendBackend()
    problem = backend.available("npu")
    found = "" if problem else f"{backend.facts(0).name}: use it with --device npu; timed against the reference by torch_npu"
    return _row("npu", found, problem)


def _sandbox() -> Iterator[dict[str, Any]]:
    """The layers around a runner that this kernel and user can have. Only ``--sandbox strict`` needs all of them."""
    from kernelwright.evaluator.runner.sandbox import probe

    probed = probe()
    for layer, why in probed.items():
        # A root of bind mounts stands in where there is no Landlock.
        spare = layer == "mounts" and not probed["landlock"]
        if not spare:
            yield _row(f"sandbox {layer}", "" if why else "works", f"{why}; kernels are judged without it" if why else "")


def _models() -> Iterator[dict[str, Any]]:
    yield _row("playbook", "built in, needs no model")
    keys = present(os.environ)
    known = ", ".join(p.key for p in PROVIDERS)
    problem = "" if keys else f"no provider's key is set ({known})"
    yield _row("model keys", ", ".join(p.key for p in keys), problem)


def _place(home: Path | None, store: str | None) -> dict[str, Any]:
    try:
        place = workspace(home, store)
        place.open_store().close()
    except ModuleNotFoundError as error:  # said among the packages, with its remedy
        return _row("workspace", "", f"cannot be opened without {error.name}", needed=True)
    except KernelwrightError as error:
        return _row("workspace", "", str(error), needed=True)
    return _row("workspace", str(place.home), needed=True)


def _print(rows: list[dict[str, Any]], chosen: dict[str, str], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found"):
        table.add_column(heading)
    for row in rows:
        mark = Text("ok", "green") if row["ok"] else Text("no", "red" if row["needed"] else "yellow")
        table.add_row(mark, Text(row["what"]), Text(row["found"] or row["problem"]))
    console.print(table)
    used = ", ".join(f"{name} {value}" for name, value in chosen.items())
    console.print(f"used by default: {used}", markup=False, highlight=False)
