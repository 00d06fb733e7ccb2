"""One call of a kernel on a GPU in a process of its own, to be run under compute-sanitizer or a profiler.

``python -m kernelwright.evaluator.sanitizers.device_job FOLDER``: the folder holds ``job.json``, ``kernel.py`` and
``tensors.bin``. Lines ``job start`` and ``job end`` on stdout tell how far it came; an exception of the kernel is ``job
failed: …``. For a profiler (``profiled``) the kernel is called twice and only the second call is to be looked at: the first
compiles and tunes.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.arena import dtype_of
from kernelwright.evaluator.runner.trees import decode

MODULE = "kernel_under_test"


def main(folder: Path) -> None:
    """Build the model as a runner does, call it once, wait for the device."""
    job = json.loads((folder / "job.json").read_text())
    data = (folder / "tensors.bin").read_bytes()
    device = job["device"]
    torch.set_grad_enabled(False)
    gpu = device.startswith("cuda")
    if gpu:
        torch.cuda.set_device(torch.device(device).index or 0)
        torch.zeros(1, device=device).cpu()  # the tool takes hold of the process when CUDA starts
        _confine(folder)

    def tensor(entry: Mapping[str, Any]) -> torch.Tensor:
        size = int(entry["nbytes"])
        shape, dtype = entry["shape"], dtype_of(entry["dtype"])
        if not size:
            return torch.empty(shape, dtype=dtype, device=device)
        part = bytearray(data[entry["at"] : entry["at"] + size])
        return torch.frombuffer(part, dtype=dtype).view(shape).to(device)

    source = (folder / "kernel.py").read_text()
    path = folder / "kernel.py"
    module = types.ModuleType(MODULE)
    module.__file__ = str(path)
    sys.modules[MODULE] = module
    if "load_inline" in source:
        from kernelwright.evaluator import native_inline

        native_inline.install()
    _say("job start")
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
        model = _model(module, job, [tensor(entry) for entry in job["init_tensors"]])
        given = {name: tensor(entry) for name, entry in job["parameters"].items()}
        own = model.state_dict(keep_vars=True) if isinstance(model, torch.nn.Module) else {}
        for name, value in given.items():
            if name in own and own[name].shape == value.shape:
                own[name].data.copy_(value)
        arguments = decode(job["inputs"], [tensor(entry) for entry in job["tensors"]])
        if job["profiled"]:
            model(*arguments)
        with _looked_at() if gpu and job["profiled"] else nullcontext():
            model(*arguments)
        if gpu:
            torch.cuda.synchronize()
    except Exception as error:  # noqa: BLE001 - process boundary: the kernel may raise anything; memcheck has reported by now
        _say(f"job failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        raise SystemExit(3) from None
    _say("job end")


def _confine(folder: Path) -> None:
    """The sandbox of a runner, from here on. A layer that is missing ends the job where ``strict`` asks for all."""
    chosen = json.loads((folder / "confine.json").read_text())
    plan = sandbox.Plan.of(chosen["plan"])
    report = sandbox.Sandbox(plan, str(folder.parent)).confine()
    lacking = sandbox.missing(report)
    if chosen["strict"] and lacking:
        raise SystemExit(f"job failed: a layer of the sandbox is missing: {lacking}")


def _model(module: types.ModuleType, job: Mapping[str, Any], init: list[torch.Tensor]) -> Any:
    torch.manual_seed(job["seed"])
    with torch.device(job["device"]):
        model = module.__dict__["ModelNew"](*decode(job["init"], init))
    if isinstance(model, torch.nn.Module):
        dtype = dtype_of(job["dtype"])
        model = model.to(job["device"])
        model = (model if dtype == torch.float32 else model.to(dtype)).train(job["training"])
    return model


@contextmanager
def _looked_at() -> Iterator[None]:
    """What the device does in here is what a profiler looks at."""
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    yield
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
