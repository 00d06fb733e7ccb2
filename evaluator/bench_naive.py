"""What most harnesses do with a kernel: a few ``allclose``, some timed calls, in one process. The judge is measured against it.

It believes all that a kernel does and says, and is no judge. Run as ``python -m kernelwright.evaluator.bench_naive``: a
request as JSON on stdin (``kernel`` and ``reference``: source texts, ``sizes``, ``device``, ``checks``, ``calls``,
``repeats``), the seconds as JSON on stdout.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import torch

_WARM_CALLS = 3


def first_call(kernel: torch.nn.Module, reference: types.ModuleType, device: str) -> float:
    """Seconds that a kernel's first call takes beyond its second one: what a compiler at run time builds, as Triton's does."""
    with torch.device(device):
        inputs = reference.get_inputs()
    _synchronize(device)
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        kernel(*inputs)
        _synchronize(device)
        seconds.append(time.perf_counter() - began)
    return max(0.0, seconds[0] - seconds[1])


def check_and_time(
    kernel: torch.nn.Module, reference: types.ModuleType, device: str, checks: int, calls: int
) -> tuple[float, float, float]:
    """(seconds of ``checks`` comparisons on fresh inputs, seconds of ``calls`` calls, ms of a call).

    Raises:
        AssertionError: an output is not close to the reference's.
    """
    model = reference.Model().to(device)
    began = time.perf_counter()
    inputs: list[Any] = []
    for seed in range(checks):
        torch.manual_seed(seed)
        with torch.device(device):
            inputs = reference.get_inputs()
        if not torch.allclose(kernel(*inputs), model(*inputs), rtol=1e-3, atol=1e-3):
            raise AssertionError("the kernel's output is not close to the reference's")
    checked = time.perf_counter()
    for _ in range(_WARM_CALLS if calls else 0):
        kernel(*inputs)
    _synchronize(device)
    warm = time.perf_counter()
    for _ in range(calls):
        kernel(*inputs)
    _synchronize(device)
    ended = time.perf_counter()
    return checked - began, ended - checked, (ended - warm) * 1e3 / max(calls, 1)


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    device = str(request["device"])
    torch.set_grad_enabled(False)
    reference = _module("reference", request["reference"])
    vars(reference).update(request["sizes"])
    kernel = _module("kernel", request["kernel"]).ModelNew().to(device)
    build = first_call(kernel, reference, device)
    runs = [check_and_time(kernel, reference, device, request["checks"], request["calls"]) for _ in range(request["repeats"])]
    found = [{"build": build, "checks": checks, "calls": calls, "call_ms": call_ms} for checks, calls, call_ms in runs]
    sys.stdout.write(json.dumps(found))


def _module(name: str, source: str) -> Any:
    """The module that ``source`` makes; from a file, since Triton reads its kernels' text there."""
    with tempfile.TemporaryDirectory(prefix="kernelwright-bench-") as folder:
        path = Path(folder) / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
